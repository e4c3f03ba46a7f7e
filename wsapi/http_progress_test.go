package wsapi_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const one = `{"type":"A","data":1}`

func TestHTTPProgress(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	log := n.store.State().Log
	n.do("POST", "/v1/streams/s/events", "["+one+","+one+","+one+"]").want(t, 201)
	n.do("GET", "/v1/progress/a%2Fb", "").want(t, 404)
	n.do("POST", "/v1/streams/out/events?progress=a%2Fb&from=0&to=1&log="+log, one).want(t, 201)
	n.do("POST", "/v1/transactions", `{"tx":[{"stream":"out","events":[`+one+`]}],"progress":{"name":"a/b","from":1,"to":2}}`).want(t, 201)
	const alone = `{"progress":{"name":"a/b","from":2,"to":3,"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11"}}`
	if got := string(n.do("POST", "/v1/transactions", alone).want(t, 201).body); got != `{"position":0,"count":0,"appends":[]}`+"\n" {
		t.Errorf("moved alone: %s", got)
	}
	if got := n.do("POST", "/v1/transactions", alone).want(t, 200).fields(t); got["duplicate"] != true {
		t.Errorf("moved again: %v", got)
	}
	lost := n.do("POST", "/v1/streams/out/events?progress=a%2Fb&from=1&to=3", one).want(t, 409).fields(t)
	if lost["code"] != "progress_conflict" || lost["expected"] != 1.0 || lost["actual"] != 3.0 || lost["fix"] == "" {
		t.Errorf("moved from another place: %v", lost)
	}
	n.headIs(5)

	got := n.do("GET", "/v1/progress/a%2Fb", "").want(t, 200).fields(t)
	if got["name"] != "a/b" || got["position"] != 3.0 || got["log"] != log || got["cursor"] != log+".3" || got["lag"] != 2.0 ||
		got["id"] != "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11" || got["moved"] == nil {
		t.Errorf("progress: %v", got)
	}
	n.do("DELETE", "/v1/progress/a%2Fb", "").want(t, 204)
	n.do("DELETE", "/v1/progress/a%2Fb", "").want(t, 404)
	n.do("POST", "/v1/streams/l/links?progress=a%2Fb&from=0&to=5", `{"links":["`+eventID(t, n)+`"]}`).want(t, 201)
}

// eventID is the id of the first event.
func eventID(t *testing.T, n *node) string {
	t.Helper()
	page, err := n.store.Read(t.Context(), core.ReadRequest{Stream: "s"})
	if err != nil {
		t.Fatal(err)
	}
	return page.Slice()[0].ID.String()
}

func TestHTTPProgressIsListed(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.do("POST", "/v1/streams/s/events", one).want(t, 201)
	for _, name := range []string{"w-2", "v", "w-1", "w-3"} {
		n.do("POST", "/v1/transactions", `{"progress":{"name":"`+name+`","from":0,"to":1}}`).want(t, 201)
	}
	names := func(query string) (list []string, cursor string, end bool) {
		t.Helper()
		page := n.do("GET", "/v1/progress"+query, "").want(t, 200).fields(t)
		for _, p := range page["progress"].([]any) {
			list = append(list, p.(map[string]any)["name"].(string))
		}
		cursor, _ = page["cursor"].(string)
		return list, cursor, page["end"].(bool)
	}
	if list, _, end := names(""); strings.Join(list, " ") != "v w-1 w-2 w-3" || !end {
		t.Errorf("all: %v, %v", list, end)
	}
	list, cursor, end := names("?prefix=w-&limit=2")
	if strings.Join(list, " ") != "w-1 w-2" || end {
		t.Errorf("a page: %v, %v", list, end)
	}
	if list, _, end = names("?prefix=w-&limit=2&cursor=" + cursor); strings.Join(list, " ") != "w-3" || !end {
		t.Errorf("the next: %v, %v", list, end)
	}
}

func TestHTTPRefusesBadProgress(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.do("POST", "/v1/streams/s/events", one).want(t, 201)
	long := strings.Repeat("x", 257)
	for query, code := range map[string]string{
		"progress=p":                             "invalid_request",
		"progress=p&from=0":                      "invalid_request",
		"progress=p&to=1":                        "invalid_request",
		"from=0&to=1":                            "invalid_request",
		"log=x":                                  "invalid_request",
		"progress=p&from=x&to=1":                 "invalid_request",
		"progress=p&from=-1&to=1":                "invalid_request",
		"progress=p&from=0&to=9007199254740992":  "invalid_request",
		"progress=p&from=0&to=1&from=0":          "invalid_request",
		"progress=&from=0&to=1":                  "invalid_progress",
		"progress=%24p&from=0&to=1":              "invalid_progress",
		"progress=" + long + "&from=0&to=1":      "invalid_progress",
		"progress=p&from=1&to=1":                 "invalid_progress",
		"progress=p&from=0&to=2":                 "invalid_progress",
		"progress=p&from=0&to=1&log=A":           "invalid_progress",
		"progress=p&from=0&to=1&log=another":     "log_changed",
		"progress=p&from=1&to=2":                 "invalid_progress",
		"progress=p&from=0&to=1&expect=7":        "wrong_expected_version",
		"progress=p&from=0&to=1&expect=nonsense": "invalid_expected_version",
	} {
		if f := n.do("POST", "/v1/streams/out/events?"+query, one).fields(t); f["code"] != code {
			t.Errorf("%s: %v, want %s", query, f, code)
		}
	}
	for body, code := range map[string]string{
		`{}`:              "empty_append",
		`{"progress":{}}`: "invalid_progress",
		`{"progress":{"name":"p","from":0,"to":"1"}}`:        "invalid_request",
		`{"progress":{"name":"p","from":0,"to":1,"x":1}}`:    "invalid_request",
		`{"progress":{"name":"p","from":-1,"to":1}}`:         "invalid_request",
		`{"progress":{"name":"p","from":0,"to":1.5}}`:        "invalid_request",
		`{"progress":{"name":"p","from":0,"to":1,"id":"x"}}`: "invalid_event_id",
		`{"progress":{"name":"p\u0000","from":0,"to":1}}`:    "invalid_progress",
		`{"progress":7}`: "invalid_request",
		`{"tx":[],"progress":{"name":"p","from":0,"to":2}}`:   "invalid_progress",
		`{"progress":{"name":"p","from":0,"to":1},"tx":[{}]}`: "invalid_stream_name",
	} {
		if f := n.do("POST", "/v1/transactions", body).fields(t); f["code"] != code {
			t.Errorf("%s: %v, want %s", body, f, code)
		}
	}
	for _, method := range []string{"GET", "DELETE"} {
		if f := n.do(method, "/v1/progress/%24p", "").want(t, 400).fields(t); f["code"] != "invalid_progress" {
			t.Errorf("%s: %v", method, f)
		}
	}
	for query, code := range map[string]string{
		"progress=p&from=1": "invalid_request", "progress=p&cursor=a.1": "invalid_request", "progress=%24p": "invalid_progress",
	} {
		if f := n.do("GET", "/v1/events?"+query, "", "Accept: text/event-stream").want(t, 400).fields(t); f["code"] != code {
			t.Errorf("%s: %v, want %s", query, f, code)
		}
	}
	n.do("GET", "/v1/events?progress=p", "").want(t, 400) // a page has none
	n.headIs(1)
	n.do("GET", "/v1/progress/p", "").want(t, 404)
}

// TestTailAtProgress follows at a stored place over HTTP and WebSocket. Both say first what
// the place is: the next move is from there.
func TestTailAtProgress(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	log := n.store.State().Log
	n.do("POST", "/v1/streams/s/events", "["+one+","+one+","+one+"]").want(t, 201)
	n.do("POST", "/v1/transactions", `{"progress":{"name":"p","from":0,"to":2}}`).want(t, 201)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", n.http.URL+"/v1/events?progress=p", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for _, want := range []string{
		"event: status", "id: " + log + ".2", `data: {"state":"catchup","cursor":"` + log + `.2","head":3}`,
		"id: " + log + ".3", `data: {"stream":"s","version":3`,
	} {
		line := ""
		for line == "" || strings.HasPrefix(line, "retry") {
			if !lines.Scan() {
				t.Fatal("the stream ended")
			}
			line = lines.Text()
		}
		if !strings.HasPrefix(line, want) {
			t.Fatalf("line %q, want %q", line, want)
		}
	}

	p := n.greeted(wire.JSON)
	for name, at := range map[string]string{"p": ".2", "none": ".0"} {
		p.say(`{"op":"subscribe","id":2,"sub":1,"stream":"$all","from":{"progress":"` + name + `"}}`)
		if ok := p.receive(); ok["op"] != "ok" || ok["cursor"] != log+at {
			t.Errorf("subscribed at %s: %v", name, ok)
		}
		p.say(`{"op":"unsubscribe","id":3,"sub":1}`)
		for m := p.receive(); m["op"] != "ok"; m = p.receive() {
		}
	}
	p.say(`{"op":"subscribe","id":4,"sub":1,"stream":"$all","from":{"progress":"$p"}}`)
	p.refused("a bad name", 4, "invalid_progress")
}
