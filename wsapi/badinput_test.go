package wsapi_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// badEvents are events that are refused, on every way in.
func badEvents() map[string]struct{ event, code string } {
	return map[string]struct{ event, code string }{
		"no data":                   {`{"type":"A"}`, "invalid_data"},
		"data and bytes":            {`{"type":"A","data":1,"dataBase64":"AA=="}`, "invalid_data"},
		"not base64":                {`{"type":"A","dataBase64":"?"}`, "invalid_data"},
		"base64 without padding":    {`{"type":"A","dataBase64":"AA"}`, "invalid_data"},
		"base64 is a number":        {`{"type":"A","dataBase64":7}`, "invalid_data"},
		"data has a name twice":     {`{"type":"A","data":{"a":1,"a":2}}`, "invalid_data"},
		"data is not JSON":          {`{"type":"A","data":{a:1}}`, "invalid_data"},
		"no type":                   {`{"data":1}`, "invalid_event_type"},
		"empty type":                {`{"type":"","data":1}`, "invalid_event_type"},
		"long type":                 {`{"type":"` + strings.Repeat("x", 257) + `","data":1}`, "invalid_event_type"},
		"type is a number":          {`{"type":1,"data":1}`, "invalid_event_type"},
		"type with NUL":             {`{"type":"a\u0000","data":1}`, "invalid_event_type"},
		"id is not a UUID":          {`{"id":"x","type":"A","data":1}`, "invalid_event_id"},
		"id is the nil UUID":        {`{"id":"00000000-0000-0000-0000-000000000000","type":"A","data":1}`, "invalid_event_id"},
		"id without dashes":         {`{"id":"0193b6b06f3e7cc19d2b5c8f0a2e4d11","type":"A","data":1}`, "invalid_event_id"},
		"id is a number":            {`{"id":5,"type":"A","data":1}`, "invalid_event_id"},
		"time is not RFC 3339":      {`{"type":"A","data":1,"time":"yesterday"}`, "invalid_event_time"},
		"time is a number":          {`{"type":"A","data":1,"time":1}`, "invalid_event_time"},
		"time zero":                 {`{"type":"A","data":1,"time":"0001-01-01T00:00:00Z"}`, "invalid_event_time"},
		"time before time":          {`{"type":"A","data":1,"time":"1600-01-01T00:00:00Z"}`, "invalid_event_time"},
		"metadata is a list":        {`{"type":"A","data":1,"metadata":[1]}`, "invalid_metadata"},
		"metadata has a name twice": {`{"type":"A","data":1,"metadata":{"a":1,"a":2}}`, "invalid_metadata"},
		"correlation is a number":   {`{"type":"A","data":1,"metadata":{"correlation_id":1}}`, "invalid_metadata"},
		"correlation, hidden":       {`{"type":"A","data":1,"metadata":{"correlation\u005fid":1}}`, "invalid_metadata"},
		"long causation":            {`{"type":"A","data":1,"metadata":{"causation_id":"` + strings.Repeat("x", 129) + `"}}`, "invalid_metadata"},
		"long content type":         {`{"type":"A","dataBase64":"","contentType":"` + strings.Repeat("x", 257) + `"}`, "invalid_content_type"},
		"content type is a number":  {`{"type":"A","dataBase64":"","contentType":1}`, "invalid_request"},
		"an event is a number":      {`7`, "invalid_request"},
		"an event is null":          {`null`, "invalid_request|invalid_data"},
		"a field stands twice":      {`{"type":"A","type":"B","data":1}`, "invalid_request"},
		"deep data":                 {`{"type":"A","data":` + strings.Repeat("[", 513) + strings.Repeat("]", 513) + `}`, "data_too_complex"},
		"deep metadata":             {`{"type":"A","data":1,"metadata":` + strings.Repeat(`{"a":`, 513) + "1" + strings.Repeat("}", 513) + `}`, "data_too_complex"},
		"very deep data":            {`{"type":"A","data":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, "data_too_complex"},
		"very deep metadata":        {`{"type":"A","data":1,"metadata":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000) + `}`, "data_too_complex"},
		"long number":               {`{"type":"A","data":[` + strings.Repeat("1", 1001) + `]}`, "data_too_complex"},
		"large event":               {`{"type":"A","data":"` + strings.Repeat("x", core.MaxEventBytes) + `"}`, "event_too_large"},
	}
}

// badStreams are names that cannot be written.
func badStreams() map[string]string {
	return map[string]string{
		"$all": "reserved_stream_name", "$x": "reserved_stream_name", "": "invalid_stream_name",
		strings.Repeat("x", 513): "invalid_stream_name", "a\x00b": "invalid_stream_name", "a\nb": "invalid_stream_name",
		"a\x7f": "invalid_stream_name", "a\u0085b": "invalid_stream_name", ".": "invalid_stream_name", "..": "invalid_stream_name",
	}
}

func isCode(got any, want string) bool {
	for c := range strings.SplitSeq(want, "|") {
		if got == c {
			return true
		}
	}
	return false
}

func TestHTTPRefusesBadEvents(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path = "/v1/streams/s/events"
	for name, c := range badEvents() {
		for form, body := range map[string]string{"object": c.event, "array": "[" + c.event + "]"} {
			if f := n.do("POST", path, body).fields(t); !isCode(f["code"], c.code) {
				t.Errorf("%s (%s): %v, want %s", name, form, f, c.code)
			}
		}
		f := n.do("POST", path, `{"type":"OK","data":1}`+"\n"+c.event+"\n", "Content-Type: application/x-ndjson").fields(t)
		if !isCode(f["code"], c.code) {
			t.Errorf("%s (lines): %v, want %s", name, f, c.code)
		}
		f = n.do("POST", "/v1/transactions", `{"tx":[{"stream":"a","events":[{"type":"OK","data":1}]},{"stream":"b","events":[`+c.event+`]}]}`).fields(t)
		if !isCode(f["code"], c.code) {
			t.Errorf("%s (transaction): %v, want %s", name, f, c.code)
		}
	}
	n.headIs(0)
}

// The error of an event in an array says which one it is.
func TestHTTPErrorsHaveAPlace(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for bad, place := range map[string]string{
		`{"type":"B"}`:                     "event 1: ",
		`{"type":"","data":1}`:             "event 1 of stream",
		`{"tpye":"B"}`:                     "/1/tpye",
		`5`:                                "/1 ",
		`{"type":"B","data":1,"id":"x"}`:   "/1/id: ",
		`{"type":"B","data":1,"time":"x"}`: "/1/time: ",
		`{"type":7,"data":1}`:              "/1/type: ",
		`{"type":"B","data":}`:             "at byte ",
	} {
		body := `[{"type":"A","data":1},` + bad + `]`
		f := n.do("POST", "/v1/streams/s/events", body).want(t, 400).fields(t)
		if detail := f["detail"].(string); !strings.Contains(detail, place) {
			t.Errorf("%s: %s, want %q", body, detail, place)
		}
	}
}

func TestHTTPRefusesBadStreams(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for name, code := range badStreams() {
		if name == "" {
			continue // no segment, no route
		}
		var escaped strings.Builder
		for _, b := range []byte(name) {
			fmt.Fprintf(&escaped, "%%%02X", b)
		}
		path := "/v1/streams/" + escaped.String()
		if f := n.do("POST", path+"/events", `{"type":"A","data":1}`).want(t, 400).fields(t); f["code"] != code {
			t.Errorf("%q: %v, want %s", name, f, code)
		}
		if f := n.do("POST", path+"/links", `{"links":["0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11"]}`).want(t, 400).fields(t); f["code"] != code {
			t.Errorf("%q: %v, want %s", name, f, code)
		}
		for _, accept := range []string{"application/json", "application/x-ndjson", "text/event-stream", "application/cloudevents-batch+json"} {
			if core.IsSystem(name) {
				continue // it can be read
			}
			if f := n.do("GET", path+"/events", "", "Accept: "+accept).want(t, 400).fields(t); f["code"] != code {
				t.Errorf("%q as %s: %v, want %s", name, accept, f, code)
			}
		}
		if !core.IsSystem(name) {
			n.do("HEAD", path+"/events", "").want(t, 400)
		}
		for method, under := range map[string]string{"PUT": "", "GET": "", "DELETE": "", "POST": "/resume"} {
			a := n.do(method, "/v1/subscriptions/"+escaped.String()+under, "").want(t, 400)
			if f := a.fields(t); f["code"] != "invalid_request" {
				t.Errorf("%s %q: %v, want invalid_request", method, name, f)
			}
		}
	}
	if f := n.do("POST", "/v1/streams/%ff%fe/events", `{"type":"A","data":1}`).want(t, 400).fields(t); f["code"] != "invalid_stream_name" {
		t.Errorf("invalid UTF-8: %v", f)
	}
	n.headIs(0)
}

func TestHTTPRefusesBadRequests(t *testing.T) {
	n := newNode(t, wsapi.Config{AllowHosts: []string{"gyre.example"}, AllowOrigins: []string{"https://app.example"}})
	const events = "/v1/streams/s/events"
	const ok = `{"type":"A","data":1}`
	large := strings.Repeat(" ", 6<<20) + ok
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	many := "[" + strings.Repeat(ok+",", core.MaxCommitEvents) + ok + "]"
	for _, c := range []struct {
		method, path, body, header string
		status                     int
		code                       string
	}{
		{"POST", events, ``, "", 400, "invalid_request"},
		{"POST", events, `[]`, "", 400, "empty_append"},
		{"POST", events, `{"type":"A","data":1`, "", 400, "invalid_request"},
		{"POST", events, `{"type":"A","data":1}x`, "", 400, "invalid_request"},
		{"POST", events, "{\"type\":\"\xff\",\"data\":1}", "", 400, "invalid_event_type"},
		{"POST", events, "{\"type\":\"A\",\"data\":\"\xff\"}", "", 400, "invalid_data"},
		{"POST", events, `{"type":"A","data":1,"metdata":{}}`, "", 400, "invalid_request"},
		{"POST", events, many, "", 413, "commit_too_large"},
		{"POST", events, large, "", 413, "body_too_large"},
		{"POST", events, `{"specversion":"1.0","id":"1","source":"/s","type":"A","data":` + deep + `}`, "Content-Type: application/cloudevents+json", 400, "data_too_complex"},
		{"POST", events, ok, "Content-Encoding: gzip", 415, "unsupported_media_type"},
		{"POST", events, ok, "Content-Type: application/x-www-form-urlencoded", 415, "unsupported_media_type"},
		{"POST", events, ok, "Content-Type: application/json; charset=latin1", 415, "unsupported_media_type"},
		{"POST", events + "?expect=x", ok, "", 400, "invalid_expected_version"},
		{"POST", events + "?expects=1", ok, "", 400, "invalid_request"},
		{"POST", events, ok, "Gyre-Timeout: soon", 400, "invalid_request"},
		{"POST", events, ok, "Gyre-Timeout: -1", 400, "invalid_request"},
		{"POST", events, ok, "Gyre-Timeout: 0", 400, "invalid_request"},
		{"POST", events, ok, "Gyre-Timeout: ", 400, "invalid_request"},
		{"POST", events, ok, "Gyre-Timeout: 9007199254740992", 400, "invalid_request"},
		{"POST", events, ok, "Origin: https://evil.example", 403, "origin_not_allowed"},
		{"POST", events, ok, "Origin: null", 403, "origin_not_allowed"},
		{"POST", events, ok, "Host: evil.example", 403, "host_not_allowed"},
		{"GET", events, "", "Host: evil.example:80", 403, "host_not_allowed"},
		{"POST", "/v1/transactions", `{"tx":[]}`, "", 400, "empty_append"},
		{"POST", "/v1/transactions", `{"tx":[{"stream":"a","expect":"exists","events":[` + ok + `]}]}`, "", 400, "invalid_expected_version"},
		{"POST", "/v1/transactions", `{"tx":[{"stream":"a","expect":-1,"events":[` + ok + `]}]}`, "", 400, "invalid_expected_version"},
		{"POST", "/v1/transactions", `{"tx":[{"stream":"a","expect":1.5,"events":[` + ok + `]}]}`, "", 400, "invalid_expected_version"},
		{"POST", "/v1/transactions", `{"tx":[{"stream":"a","expect":1e400,"events":[` + ok + `]}]}`, "", 400, "invalid_expected_version"},
		{"POST", "/v1/transactions", `{"tx":[{"stream":"a","expect":"5","events":[` + ok + `]}]}`, "", 400, "invalid_expected_version"},
		{"POST", "/v1/transactions", `{"tx":[{"stream":"a","events":[` + ok + `]}],"checks":[{"stream":"b"}]}`, "", 400, "invalid_request"},
		{"POST", "/v1/transactions", `{"tx":[{"stream":"a","events":[` + ok + `]}],"checks":[{"stream":"$b","expect":1}]}`, "", 400, "reserved_stream_name"},
		{"POST", "/v1/transactions", ok, "Content-Type: application/x-ndjson", 415, "unsupported_media_type"},
		{"GET", events, "", "", 404, "stream_not_found"},
		{"GET", "/v1/streams/$/events", "", "", 400, "invalid_stream_name"},
		{"GET", "/v1/streams/$x/events", "", "", 404, "stream_not_found"},
		{"GET", "/v1/events?system=false", "", "", 400, "invalid_request"},
		{"GET", "/v1/events?system=", "", "Accept: text/event-stream", 400, "invalid_request"},
		{"GET", "/v1/streams?system=1", "", "", 400, "invalid_request"},
		{"HEAD", events, "", "", 404, ""},
		{"GET", events + "?from=-1", "", "", 400, "invalid_request"},
		{"GET", events + "?from=9007199254740992", "", "", 400, "invalid_request"},
		{"GET", events + "?limit=0", "", "", 400, "invalid_request"},
		{"GET", "/v1/streams?limit=0", "", "", 400, "invalid_request"},
		{"GET", "/v1/subscriptions?limit=0", "", "", 400, "invalid_request"},
		{"GET", events + "?limit=1001", "", "", 400, "invalid_request"},
		{"GET", events + "?limit=1&limit=2", "", "", 400, "invalid_request"},
		{"DELETE", "/v1/streams/a?hard=true&hard=true", "", "", 400, "invalid_request"},
		{"GET", events + "?dir=up", "", "", 400, "invalid_request"},
		{"GET", events + "?cursor=a.1", "", "", 400, "invalid_request"},
		{"GET", events + "?x=%zz", "", "", 400, "invalid_request"},
		{"GET", events, "", "Accept: text/html", 406, "not_acceptable"},
		{"GET", events + "?dir=backward", "", "Accept: text/event-stream", 400, "invalid_request"},
		{"GET", "/v1/events?cursor=nonsense", "", "Accept: text/event-stream", 400, "invalid_cursor"},
		{"GET", "/v1/events?cursor=other.1", "", "Accept: text/event-stream", 409, "log_changed"},
		{"GET", "/v1/events?from=5", "", "Accept: text/event-stream", 400, "invalid_cursor"},
		{"GET", "/v1/events?types=%00", "", "Accept: text/event-stream", 400, "invalid_filter"},
		{"GET", "/v1/events/none", "", "", 400, "invalid_event_id"},
		{"GET", "/v1/events/0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11", "", "", 404, "event_not_found"},
		{"GET", "/v1/streams?cursor=!", "", "", 400, "invalid_cursor"},
		{"GET", "/v1/streams?cursor=zz", "", "", 400, "invalid_cursor"}, // no UTF-8
		{"GET", "/v1/retention?cursor=zz", "", "", 400, "invalid_cursor"},
		{"GET", "/v1/streams/a/snapshots?cursor=zz", "", "", 400, "invalid_cursor"},
		{"GET", "/v1/progress?cursor=zz", "", "", 400, "invalid_cursor"},
		{"GET", "/v1/subscriptions?cursor=zz", "", "", 400, "invalid_cursor"},
		{"GET", "/v1/streams?limit=x", "", "", 400, "invalid_request"},
		{"GET", "/v1/nothing", "", "", 404, "not_found"},
		{"GET", "/v1/streams//events", "", "", 404, "not_found"},
		{"GET", "/v1/streams/", "", "", 404, "not_found"},
		{"GET", "/docs/errors/nothing", "", "", 404, "not_found"},
		{"DELETE", events, "", "", 405, "method_not_allowed"},
		{"PATCH", "/v1/server", "", "", 405, "method_not_allowed"},
		{"GET", "/v1/ws", "", "", 400, "protocol_error"},
		{"GET", "/v1/ws", "", "Sec-WebSocket-Protocol: gyre.v2", 400, "version_unsupported"},
		{"GET", "/v1/ws", "", "Origin: https://evil.example", 403, "origin_not_allowed"},
	} {
		var headers []string
		if c.header != "" {
			headers = append(headers, c.header)
		}
		a := n.do(c.method, c.path, c.body, headers...)
		if a.StatusCode != c.status {
			t.Errorf("%s %s %s %.80s: %d %s, want %d", c.method, c.path, c.header, c.body, a.StatusCode, a.body, c.status)
			continue
		}
		if c.code != "" && (a.fields(t)["code"] != c.code || a.Header.Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s %s %s %.80s: %s, want %s", c.method, c.path, c.header, c.body, a.body, c.code)
		}
	}
	n.headIs(0)
	n.do("POST", events, ok, "Host: Gyre.Example.:4973", "Origin: https://APP.example").want(t, 201)
	n.do("POST", events, ok, "Origin: "+n.http.URL).want(t, 201)
	a := n.do("OPTIONS", events, "", "Origin: https://app.example").want(t, 204)
	if a.Header.Get("Access-Control-Allow-Origin") != "https://app.example" || a.Header.Get("Allow") != "GET, HEAD, OPTIONS, POST" {
		t.Errorf("preflight: %v", a.Header)
	}
}

func TestHTTPPagesForPeople(t *testing.T) {
	n := newNode(t, wsapi.Config{Node: "n<1>", Version: "v1"})
	a := n.do("GET", "/", "").want(t, 200)
	if !bytes.Contains(a.body, []byte("n&lt;1&gt;")) || !strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%v %s", a.Header, a.body)
	}
	for _, code := range core.Codes() {
		if a := n.do("GET", "/docs/errors/"+string(code), "").want(t, 200); !bytes.Contains(a.body, []byte(code)) {
			t.Errorf("%s: %s", code, a.body)
		}
	}
	for _, path := range []string{"/openapi.json", "/asyncapi.json", "/v1/server"} {
		n.do("GET", path, "").want(t, 200).fields(t)
	}
	for _, path := range []string{"/livez", "/readyz?verbose", "/healthz"} {
		n.do("GET", path, "").want(t, 200)
	}
	n.do("POST", "/v1/streams/secret/events", `{"type":"A","data":1}`).want(t, 201)
	metrics := n.do("GET", "/metrics", "").want(t, 200).body
	for _, want := range []string{"gyre_append_events_total 1", `gyre_append_duration_seconds_count{result="ok"} 1`, "gyre_log_head_position 1",
		`gyre_http_request_duration_seconds_count{code="201",method="POST",route="/v1/streams/{stream}/events"} 1`, "gyre_build_info{", "gyre_ws_connections 0"} {
		if !bytes.Contains(metrics, []byte(want)) {
			t.Errorf("metrics have no %s", want)
		}
	}
	if bytes.Contains(metrics, []byte("secret")) {
		t.Error("metrics name a stream")
	}
}

func TestHTTPWhileShuttingDown(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	if err := n.api.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := n.do("POST", "/v1/streams/s/events", `{"type":"A","data":1}`).want(t, 503)
	if a.fields(t)["code"] != "shutting_down" || a.Header.Get("Retry-After") == "" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	if a := n.do("GET", "/readyz", "").want(t, 503); !bytes.Contains(a.body, []byte("shutting_down")) {
		t.Errorf("readyz: %s", a.body)
	}
	n.do("GET", "/livez", "").want(t, 200)
	n.headIs(0)
}

// raw opens a TCP connection and sends text.
func (n *node) raw(text string) net.Conn {
	n.t.Helper()
	c, err := net.Dial("tcp", n.http.Listener.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		n.t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		n.t.Fatal(err)
	}
	return c
}

func TestSlowBodiesAreCutOff(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{IOTimeout: 50 * time.Millisecond}})
	c := n.raw("POST /v1/streams/s/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"type\":")
	if text, err := io.ReadAll(c); err != nil || !bytes.Contains(text, []byte(`"code":"timeout"`)) {
		t.Errorf("answered %q, %v", text, err)
	}
	n.headIs(0)
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	c := n.raw("GET /livez HTTP/1.1\r\nHost: localhost\r\nX")
	if text, err := io.ReadAll(c); err != nil || bytes.Contains(text, []byte("200 OK")) {
		t.Errorf("answered %q, %v", text, err)
	}
	if a := n.do("GET", "/livez", ""); a.StatusCode != http.StatusOK {
		t.Error("others are served no more")
	}
}
