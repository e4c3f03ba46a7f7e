package wsapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/wsapi"
)

// node is an API over a log in memory, served on a loopback port.
type node struct {
	t     testing.TB
	store *core.Store
	subs  *subscriptions.Owner
	api   *wsapi.API
	http  *httptest.Server
}

func newNode(t testing.TB, config wsapi.Config) *node {
	t.Helper()
	n := &node{t: t}
	var ok bool
	if n.store, ok = config.Store.(*core.Store); !ok {
		n.store = core.NewStore(memory.New(), core.StoreConfig{})
	}
	if config.Store == nil {
		config.Store = n.store
	}
	var err error
	if n.subs, err = subscriptions.New(subscriptions.Config{Store: n.store, Compile: expression.NewCompiler().Compile}); err != nil {
		t.Fatal(err)
	}
	if late, ok := config.Subscriptions.(*lateJoiner); ok {
		late.Owner = n.subs
	} else {
		config.Subscriptions = n.subs
	}
	if n.api, err = wsapi.New(config); err != nil {
		t.Fatal(err)
	}
	n.http = httptest.NewUnstartedServer(n.api)
	n.http.Config.ReadHeaderTimeout = time.Second
	n.http.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := n.api.Close(ctx); err != nil {
			t.Errorf("close the API: %v", err)
		}
		n.http.Close()
		if err := n.subs.Close(ctx); err != nil {
			t.Errorf("close the subscriptions: %v", err)
		}
		_ = n.store.Close()
	})
	return n
}

// answer is an HTTP answer with its body read.
type answer struct {
	*http.Response
	body []byte
}

// do sends a request; headers are "Name: value".
func (n *node) do(method, path, body string, headers ...string) answer {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.http.URL+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return answer{res, text}
}

// fields is the body as a JSON object.
func (a answer) fields(t testing.TB) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(a.body, &fields); err != nil {
		t.Fatalf("%d %s: %v", a.StatusCode, a.body, err)
	}
	return fields
}

// want checks the status, and returns a for more.
func (a answer) want(t testing.TB, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: %d %s, want %d", a.Request.Method, a.Request.URL, a.StatusCode, a.body, status)
	}
	return a
}

func (n *node) headIs(position uint64) {
	n.t.Helper()
	if head := n.store.State().Head; head != position {
		n.t.Errorf("the head is %d, want %d", head, position)
	}
}

func TestHTTPAppendAndRead(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path = "/v1/streams/a%2Fb%20c/events"
	one := `{"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"A","data":{"n":1.10},"metadata":{"x":1}}`

	a := n.do("POST", path, one, "Content-Type: application/json").want(t, 201)
	if got := string(a.body); got != `{"version":1,"position":1,"count":1}`+"\n" {
		t.Errorf("answered %s", got)
	}
	log := n.store.State().Log
	if got, want := a.Header.Get("ETag"), `"`+log+`-1-1"`; got != want {
		t.Errorf("ETag %s, want %s", got, want)
	}
	if got, want := a.Header.Get("Location"), path+"?from=1&limit=1"; got != want {
		t.Errorf("Location %s, want %s", got, want)
	}
	if got := n.do("POST", path, one+"\n").want(t, 200).fields(t); got["duplicate"] != true || got["version"] != 1.0 {
		t.Errorf("a retry was answered %v", got)
	}
	n.do("POST", path, "[{\"type\":\"B\",\"data\":2},\n{\"type\":\"C\",\"dataBase64\":\"AP8=\",\"contentType\":\"x/y\"}]").want(t, 201)
	n.do("POST", path, "{\"type\":\"D\",\"data\":null}\n\n{\"type\":\"E\",\"data\":\"e\"}\n", "Content-Type: application/x-ndjson").want(t, 201)

	page := n.do("GET", path+"?from=2&limit=2", "").want(t, 200)
	fields := page.fields(t)
	events := fields["events"].([]any)
	if len(events) != 2 || fields["next"] != 4.0 || fields["end"] != false || fields["version"] != 5.0 {
		t.Errorf("page %s", page.body)
	}
	if e := events[1].(map[string]any); e["dataBase64"] != "AP8=" || e["contentType"] != "x/y" || e["stream"] != "a/b c" {
		t.Errorf("event %v", e)
	}
	want := `<` + path + `?from=4&limit=2>; rel="next"`
	if got := strings.Join(page.Header.Values("Link"), ", "); got != want {
		t.Errorf("Link %s\nwant %s", got, want)
	}
	if first := n.do("GET", path+"?limit=1", "").body; !bytes.Contains(first, []byte(`"data":{"n":1.10},"metadata":{"x":1}}`)) {
		t.Errorf("first %s", first)
	}
	tag := page.Header.Get("ETag")
	n.do("GET", path+"?from=2&limit=2", "", "If-None-Match: "+tag).want(t, 304)
	head := n.do("HEAD", path, "").want(t, 200)
	if head.Header.Get("Gyre-Version") != "5" || head.Header.Get("ETag") != tag {
		t.Errorf("HEAD %v", head.Header)
	}
	if got := n.do("GET", "/v1/events?dir=backward&limit=2", "").want(t, 200).fields(t); got["next"] != 3.0 || got["version"] != 5.0 {
		t.Errorf("all backward: %v", got)
	}
	n.do("GET", "/v1/events/0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11", "").want(t, 200)
	if got := n.do("GET", "/v1/streams?prefix=a%2F", "").want(t, 200).body; string(got) != `{"streams":[{"name":"a/b c","version":5,"first":1,"count":5,"state":"live"}],"end":true,"looked":1}`+"\n" {
		t.Errorf("streams %s", got)
	}
	n.headIs(5)
}

func TestHTTPPreconditions(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	log := n.store.State().Log
	post := func(query string, headers ...string) answer {
		return n.do("POST", "/v1/streams/s/events"+query, `{"type":"A","data":1}`, headers...)
	}
	post("", "If-None-Match: *").want(t, 201)
	post("", `If-Match: "`+log+`-1-1"`).want(t, 201)
	post("", "If-Match: *").want(t, 201)
	post("?expect=3").want(t, 201)
	post("?expect=stream_exists").want(t, 201)
	n.headIs(5)
	for _, c := range []struct {
		query, header, code string
		status              int
	}{
		{"?expect=4", "", "wrong_expected_version", 409},
		{"?expect=no_stream", "", "wrong_expected_version", 409},
		{"", "If-None-Match: *", "wrong_expected_version", 412},
		{"", `If-Match: "` + log + `-1-4"`, "wrong_expected_version", 412},
		{"", `If-Match: "other-1-5"`, "log_changed", 412},
		{"", `If-Match: "` + log + `-2-5"`, "wrong_expected_version", 412},
		{"", `If-Match: W/"` + log + `-1-5"`, "wrong_expected_version", 412},
		{"", `If-Match: "` + log + `-1-05"`, "wrong_expected_version", 412},
		{"", `If-Match: "` + log + `-1-9007199254740992"`, "wrong_expected_version", 412},
		{"", `If-Match: "33a64df551425fcc"`, "wrong_expected_version", 412},
		{"", `If-Match: "a", "b"`, "invalid_request", 400},
		{"", `If-Match: 5`, "invalid_request", 400},
		{"", `If-None-Match: "` + log + `-1-5"`, "invalid_request", 400},
		{"?expect=5", "If-Match: *", "invalid_request", 400},
		{"?expect=-1", "", "invalid_expected_version", 400},
		{"?expect=9007199254740992", "", "invalid_expected_version", 400},
	} {
		var headers []string
		if c.header != "" {
			headers = append(headers, c.header)
		}
		a := post(c.query, headers...).want(t, c.status)
		f := a.fields(t)
		if f["code"] != c.code || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s", c.query, c.header, a.body)
		}
		if c.query == "?expect=4" && (f["expected"] != 4.0 || f["actual"] != 5.0 || f["stream"] != "s" || f["fix"] == "" || f["title"] == "" ||
			!strings.HasPrefix(f["type"].(string), n.http.URL) || !strings.HasPrefix(f["instance"].(string), "urn:uuid:")) {
			t.Errorf("%s", a.body)
		}
	}
	n.headIs(5)
}

// stuck is a store that takes no appends: one waits until its caller gives up.
type stuck struct{ *core.Store }

func (s stuck) Append(ctx context.Context, _ core.Commit) (core.Result, error) {
	<-ctx.Done()
	return core.Result{}, core.Errorf(core.CodeUnknownOutcome, "the wait ended: %w", ctx.Err())
}

func (s stuck) State() core.State {
	state := s.Store.State()
	state.ReadOnly = core.Errorf(core.CodeStoreFull, "no space left on /data")
	return state
}

func TestHTTPWhileTheStoreIsStuck(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	n := newNode(t, wsapi.Config{Store: stuck{store}})
	a := n.do("POST", "/v1/streams/s/events", `{"type":"A","data":1}`, "Gyre-Timeout: 1").want(t, 503)
	if f := a.fields(t); f["code"] != "unknown_outcome" || f["retryable"] != true || a.Header.Get("Retry-After") == "" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	if a := n.do("GET", "/readyz", "").want(t, 503); !bytes.Contains(a.body, []byte("store_full: no space left")) {
		t.Errorf("readyz: %s", a.body)
	}
	n.do("GET", "/livez", "").want(t, 200)
	if f := n.do("GET", "/v1/server", "").want(t, 200).fields(t); f["readOnly"].(map[string]any)["code"] != "store_full" {
		t.Errorf("server: %v", f)
	}
	if a := n.do("GET", "/", "").want(t, 200); !bytes.Contains(a.body, []byte("Not writable")) || !bytes.Contains(a.body, []byte("make build")) {
		t.Errorf("landing: %s", a.body)
	}
}

func TestHTTPHeadOfAFollowEnds(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for _, accept := range []string{"text/event-stream", "application/x-ndjson", "application/json"} {
		a := n.do("HEAD", "/v1/events", "", "Accept: "+accept).want(t, 200)
		if a.Header.Get("Content-Type") != accept || len(a.body) > 0 {
			t.Errorf("%s: %v %s", accept, a.Header, a.body)
		}
	}
}

func TestHTTPTransaction(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	a := n.do("POST", "/v1/transactions", `{"tx":[
		{"stream":"a","expect":"no_stream","events":[{"type":"A","data":1},{"type":"B","data":2}]},
		{"stream":"b","expect":0,"events":[{"type":"C","data":3}]}],
		"checks":[{"stream":"c","expect":"no_stream"}]}`).want(t, 201)
	if got := string(a.body); got != `{"position":3,"count":3,"appends":[{"version":2,"position":2,"count":2},{"version":1,"position":3,"count":1}]}`+"\n" {
		t.Errorf("answered %s", got)
	}
	f := n.do("POST", "/v1/transactions", `{"tx":[{"stream":"d","events":[{"type":"A","data":1}]}],"checks":[{"stream":"a","expect":7}]}`).want(t, 409).fields(t)
	if f["element"] != 1.0 || f["stream"] != "a" || f["actual"] != 2.0 {
		t.Errorf("refused with %v", f)
	}
	n.headIs(3)
}

func TestHTTPLines(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	var body strings.Builder
	for range 2500 {
		body.WriteString(`{"type":"A","data":{ "a":` + "1\t}}\n")
	}
	n.do("POST", "/v1/streams/s/events", body.String(), "Content-Type: application/x-ndjson").want(t, 201)
	for query, want := range map[string]string{
		"":                         `{"$end":{"next":2501,"end":true,"version":2500}}`,
		"?from=2400&limit=50":      `{"$end":{"next":2450,"end":false,"version":2500}}`,
		"?dir=backward&limit=1200": `{"$end":{"next":1300,"end":false,"version":2500}}`,
	} {
		a := n.do("GET", "/v1/streams/s/events"+query, "", "Accept: application/x-ndjson").want(t, 200)
		lines := strings.Split(strings.TrimSpace(string(a.body)), "\n")
		if last := lines[len(lines)-1]; last != want {
			t.Errorf("%s: ended with %s, want %s", query, last, want)
		}
		for _, line := range lines {
			if !json.Valid([]byte(line)) {
				t.Fatalf("%s: line %s", query, line)
			}
		}
	}
	n.do("GET", "/v1/streams/none/events", "", "Accept: application/x-ndjson").want(t, 404)
}

func TestHTTPTailResumes(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Heartbeat: 10 * time.Millisecond}})
	n.do("POST", "/v1/streams/s/events", `[{"type":"A","data":1},{"type":"B","data":2}]`).want(t, 201)
	log := n.store.State().Log

	tail := func(query string, headers ...string) (next func() string, stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", n.http.URL+query, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/event-stream")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(res.Body)
		return func() string {
			for lines.Scan() {
				if line := lines.Text(); line != "" && !strings.HasPrefix(line, "retry") {
					return line
				}
			}
			t.Fatal("the stream ended")
			return ""
		}, func() { cancel(); res.Body.Close() }
	}
	wait := func(next func() string, want string) {
		t.Helper()
		for {
			line := next()
			if line == ":" {
				continue
			}
			if !strings.HasPrefix(line, want) {
				t.Fatalf("line %q, want %q", line, want)
			}
			return
		}
	}
	next, stop := tail("/v1/streams/s/events?from=2")
	wait(next, "id: "+log+".2")
	wait(next, `data: {"stream":"s","version":2,"position":2,`)
	wait(next, "event: status")
	wait(next, "id: "+log+".2")
	wait(next, `data: {"state":"live","cursor":"`+log+`.2","head":2}`)
	if next() != ":" {
		t.Error("no heartbeat")
	}
	stop()
	n.do("POST", "/v1/streams/s/events", `{"type":"C","data":3}`).want(t, 201)
	next, stop = tail("/v1/events?from=1", "Last-Event-ID: "+log+".2")
	wait(next, "id: "+log+".3")
	wait(next, `data: {"stream":"s","version":3`)
	stop()
	if f := n.do("GET", "/v1/events", "", "Accept: text/event-stream", "Last-Event-ID: other.3").want(t, 409).fields(t); f["code"] != "log_changed" {
		t.Errorf("another log's cursor: %v", f)
	}
}

func TestHTTPLinks(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const first, second, none = "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11", "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d12", "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d13"
	n.do("POST", "/v1/streams/a/events", `[{"id":"`+first+`","type":"A","data":1},{"id":"`+second+`","type":"B","data":2}]`).want(t, 201)
	both := `{"links":["` + second + `","` + first + `"]}`
	a := n.do("POST", "/v1/streams/l/links?expect=0", both).want(t, 201)
	if got := string(a.body); got != `{"version":2,"position":4,"count":2}`+"\n" || a.Header.Get("Location") != "/v1/streams/l/events?from=1&limit=2" || a.Header.Get("ETag") == "" {
		t.Errorf("answered %s, %v", got, a.Header)
	}
	if got := string(n.do("POST", "/v1/streams/l/links?expect=0", both).want(t, 200).body); !strings.Contains(got, `"duplicate":true`) {
		t.Errorf("sent again: %s", got)
	}
	page := string(n.do("GET", "/v1/streams/l/events", "").want(t, 200).body)
	if !strings.Contains(page, `"stream":"l","version":1,"position":3,"id":"`+second+`","type":"B"`) ||
		!strings.Contains(page, `"link":{"stream":"a","version":2,"position":2}`) {
		t.Errorf("read %s", page)
	}
	if all := string(n.do("GET", "/v1/events", "").want(t, 200).body); strings.Contains(all, `"link"`) || strings.Contains(all, `"stream":"l"`) {
		t.Errorf("$all has %s", all)
	}
	for _, x := range []struct {
		path, body string
		status     int
		code       string
	}{
		{"l/links", `{"links":["` + none + `"]}`, 404, "event_not_found"},
		{"l/links", `{"links":["` + first + `","` + first + `"]}`, 409, "duplicate_event"},
		{"a/links", `{"links":["` + first + `"]}`, 409, "duplicate_event"},
		{"m/links?expect=3", `{"links":["` + first + `"]}`, 409, "wrong_expected_version"},
		{"$all/links", `{"links":["` + first + `"]}`, 400, "reserved_stream_name"},
		{"m/links", `{"links":[]}`, 400, "empty_append"},
		{"m/links", `{"links":["x"]}`, 400, "invalid_event_id"},
		{"m/links", `{"events":[]}`, 400, "invalid_request"},
	} {
		if f := n.do("POST", "/v1/streams/"+x.path, x.body).want(t, x.status).fields(t); f["code"] != x.code {
			t.Errorf("%s %s: %v, want %s", x.path, x.body, f, x.code)
		}
	}
	f := n.do("POST", "/v1/streams/l/links", `{"links":["`+none+`"]}`).want(t, 404).fields(t)
	if f["eventId"] != none || f["stream"] != "l" {
		t.Errorf("refused with %v", f)
	}
	n.do("POST", "/v1/transactions", `{"tx":[{"stream":"b","events":[{"type":"C","data":3}]},{"stream":"m","expect":0,"links":["`+first+`"]}]}`).want(t, 201)
	n.do("POST", "/v1/transactions", `{"tx":[{"stream":"b","events":[{"type":"C","data":3}],"links":["`+first+`"]}]}`).want(t, 400)
	n.headIs(6)
}
