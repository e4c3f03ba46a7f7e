package wsapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

const asJSON = "Content-Type: application/json"

func TestSubscriptionsOverHTTP(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.feed(3, 1)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "/v1/subscriptions", "", 200, `{"subscriptions":[],"end":true}`},
		{"GET", "/v1/subscriptions/a", "", 404, `"code":"subscription_not_found"`},
		{"PUT", "/v1/subscriptions/a", ``, 201, `"stream":"$all","from":"start","filter":{},"map":null,"partitionBy":"none","concurrencyLimit":1,"bufferSize":64,"checkpointThreshold":1,"checkpointAfterMs":0,"ackTimeoutMs":30000,"retry":{"max":10,"minMs":100,"maxMs":30000,"then":"park"},"onPark":"continue","paused":false,"state":"idle","start":0,"checkpoint":0,"finished":0,"lag":3,`},
		{"PUT", "/v1/subscriptions/a", `{}`, 200, `"name":"a"`},
		{"PUT", "/v1/subscriptions/a?create=true", `{"bufferSize":1}`, 409, `bufferSize is 64, not 1`},
		{"PUT", "/v1/subscriptions/b", `{"from":{"after":{"position":2}},"map":["x"],"filter":{"types":["A*"],"expr":"true"},"paused":true}`, 201, `"from":{"position":3},"filter":{"types":["A*"],"expr":"true"},"map":["x"],`},
		{"GET", "/v1/subscriptions/b", "", 200, `"state":"paused","start":2,"checkpoint":2,"finished":2,"lag":1,`},
		{"GET", "/v1/subscriptions?limit=1", "", 200, `"cursor":"YQ","end":false}`},
		{"GET", "/v1/subscriptions?cursor=YQ", "", 200, `"name":"b"`},
		{"GET", "/v1/subscriptions?cursor=!", "", 400, `invalid_cursor`},
		{"GET", "/v1/subscriptions?limits=1", "", 400, `invalid_request`},
		{"PUT", "/v1/subscriptions/c", `{"bufferSizes":1}`, 400, `bufferSizes is not a field that is known`},
		{"PUT", "/v1/subscriptions/c", `{"retry":{"maxx":1}}`, 400, `invalid_request`},
		{"PUT", "/v1/subscriptions/c", `{"filter":{"expr":"nonsense"}}`, 400, `invalid_expression`},
		{"PUT", "/v1/subscriptions/c", `x`, 400, `invalid_request`},
		{"PUT", "/v1/subscriptions/%00", `{}`, 400, `invalid_request`},
		{"GET", "/v1/subscriptions/c/parked", ``, 404, `subscription_not_found`},
		{"GET", "/v1/subscriptions/a/parked", ``, 200, `{"parked":[],"end":true}`},
		{"POST", "/v1/subscriptions/a/parked/replay", `{"all":true}`, 200, `{"count":0}`},
		{"POST", "/v1/subscriptions/a/parked/replay", `{}`, 400, `invalid_request`},
		{"POST", "/v1/subscriptions/a/parked/replay", `{"ids":["x"]}`, 400, `invalid_event_id`},
		{"DELETE", "/v1/subscriptions/a/parked", ``, 200, `{"count":0}`},
		{"PUT", "/v1/subscriptions/a?create=true", `{"bufferSize":5}`, 409, `subscription_options_differ`},
		{"PUT", "/v1/subscriptions/a", `{"bufferSize":5}`, 200, `"bufferSize":5,`},
		{"PUT", "/v1/subscriptions/a?create=false", `{"bufferSize":6}`, 200, `"bufferSize":6,`},
		{"PUT", "/v1/subscriptions/a", `{"from":"end"}`, 400, `a reset moves it`},
		{"PUT", "/v1/subscriptions/d?create=false", `{}`, 404, `subscription_not_found`},
		{"PUT", "/v1/subscriptions/d?create=maybe", `{}`, 400, `create is`},
		{"DELETE", "/v1/subscriptions/a/parked?positions=1,x", ``, 400, `invalid_request`},
		{"DELETE", "/v1/subscriptions/a/parked?positions=2", ``, 404, `event_not_found`},
		{"POST", "/v1/subscriptions/a/ack", `{"positions":[1]}`, 400, `lease is missing`},
		{"POST", "/v1/subscriptions/a/ack", `{"lease":7,"positions":[1]}`, 409, `lease_lost`},
		{"DELETE", "/v1/subscriptions/a", ``, 204, ``},
		{"DELETE", "/v1/subscriptions/a", ``, 404, `subscription_not_found`},
		{"POST", "/v1/subscriptions/a/resume", ``, 404, `subscription_not_found`},
	} {
		got := n.do(c.method, c.path, c.body, asJSON)
		if got.StatusCode != c.status || !strings.Contains(string(got.body), c.says) {
			t.Errorf("%s %s %s: %d %s, want %d with %s", c.method, c.path, c.body, got.StatusCode, got.body, c.status, c.says)
		}
	}
}

// fetched is the answer to a fetch.
type fetched struct {
	Lease  uint64
	Events []struct{ Position, Attempt uint64 }
	State  string
}

func (n *node) fetch(name, body string) (f fetched) {
	n.t.Helper()
	got := n.do("POST", "/v1/subscriptions/"+name+"/fetch", body, asJSON)
	if err := json.Unmarshal(got.body, &f); got.StatusCode != 200 || err != nil {
		n.t.Fatalf("fetch: %d %s", got.StatusCode, got.body)
	}
	return f
}

func (f fetched) String() string { return fmt.Sprint(f.Events) }

// In a subscription to one stream, events may be named by their versions.
func TestFetchedByVersions(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.feed(10, 2) // s-1 has versions 1 to 5, at 2, 4, 6, 8 and 10
	f := n.fetch("s", `{"options":{"stream":"s-1","retry":{"minMs":0}}}`)
	if f.String() != "[{2 1} {4 1} {6 1} {8 1} {10 1}]" {
		t.Fatalf("%+v", f)
	}
	a := n.fetch("a", `{"options":{"stream":"$all"}}`)
	for _, c := range []struct {
		name   string
		lease  uint64
		path   string
		body   string
		status int
		says   string
	}{
		{"s", f.Lease, "ack", `"versions":[1,7]`, 409, `"versions":[7]`},
		{"s", f.Lease, "ack", `"versions":[1]`, 409, `"versions":[1]`},
		{"s", f.Lease, "ack", `"upToVersion":2`, 204, ``},
		{"s", f.Lease, "extend", `"versions":[3,5],"ms":60000`, 204, ``},
		{"s", f.Lease, "ack", `"positions":[6],"versions":[3]`, 400, `invalid_request`},
		{"s", f.Lease, "ack", `"upTo":6,"upToVersion":3`, 400, `invalid_request`},
		{"s", f.Lease, "nack", `"action":"park"`, 400, `by positions or by versions`},
		{"s", f.Lease, "extend", `"positions":[6],"versions":[3],"ms":1`, 400, `by positions or by versions`},
		{"s", f.Lease, "nack", `"versions":[3],"action":"park"`, 204, ``},
		{"s", f.Lease, "ack", `"versions":[4,5],"durable":true`, 204, ``},
		{"a", a.Lease, "ack", `"versions":[1]`, 400, `has no versions`},
		{"a", a.Lease, "nack", `"versions":[1],"action":"skip"`, 400, `has no versions`},
		{"a", a.Lease, "extend", `"versions":[1],"ms":1`, 400, `has no versions`},
	} {
		got := n.do("POST", "/v1/subscriptions/"+c.name+"/"+c.path, fmt.Sprintf(`{"lease":%d,%s}`, c.lease, c.body), asJSON)
		if got.StatusCode != c.status || !strings.Contains(string(got.body), c.says) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.path, c.body, got.StatusCode, got.body, c.status, c.says)
		}
	}
	if got := n.do("GET", "/v1/subscriptions/s/parked", "", asJSON); !strings.Contains(string(got.body), `"position":6,`) {
		t.Errorf("parked: %s", got.body)
	}
	n.checkpoint("s", 10)
}

// Events are fetched, and acked or nacked under the lease; who does not is taken for
// failed when the time is over.
func TestFetch(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.feed(5, 1)
	post := func(path, body string, status int, says string) {
		t.Helper()
		got := n.do("POST", "/v1/subscriptions/s/"+path, body, asJSON)
		if got.StatusCode != status || !strings.Contains(string(got.body), says) {
			t.Errorf("%s %s: %d %s", path, body, got.StatusCode, got.body)
		}
	}
	f := n.fetch("s", `{"max":2,"consumer":"lambda","options":{"ackTimeoutMs":400,"retry":{"minMs":0}}}`)
	if f.String() != "[{1 1} {2 1}]" || f.Lease == 0 {
		t.Fatalf("%+v", f)
	}
	post("fetch", `{}`, 409, "subscription_in_use")
	post("ack", fmt.Sprintf(`{"lease":%d,"positions":[3]}`, f.Lease), 409, "unexpected_ack")
	post("ack", fmt.Sprintf(`{"lease":%d,"upTo":1}`, f.Lease), 204, "")
	post("extend", fmt.Sprintf(`{"lease":%d,"positions":[2],"ms":5000}`, f.Lease), 204, "")
	post("nack", fmt.Sprintf(`{"lease":%d,"positions":[2],"action":"retry","delayMs":0}`, f.Lease), 204, "")
	// All is answered, so the lease is over, and another may fetch.
	post("ack", fmt.Sprintf(`{"lease":%d,"positions":[2]}`, f.Lease), 409, "lease_lost")
	if f = n.fetch("s", `{"max":3}`); f.String() != "[{2 2} {3 1} {4 1}]" {
		t.Fatalf("%+v", f)
	}
	post("ack", fmt.Sprintf(`{"lease":%d,"positions":[2]}`, f.Lease), 204, "")
	// The client is gone. When its time is over, another gets what it had.
	var again fetched
	for again.Lease == 0 {
		got := n.do("POST", "/v1/subscriptions/s/fetch", `{"waitMs":100}`, asJSON)
		if got.StatusCode == 200 {
			_ = json.Unmarshal(got.body, &again)
		}
	}
	if again.String() != "[{3 2} {4 2} {5 1}]" {
		t.Fatalf("%+v", again)
	}
	post("ack", fmt.Sprintf(`{"lease":%d,"positions":[3]}`, f.Lease), 409, "lease_lost")
	post("ack", fmt.Sprintf(`{"lease":%d,"upTo":5}`, again.Lease), 204, "")
	began := time.Now()
	if f = n.fetch("s", `{"waitMs":150}`); f.Lease != 0 || len(f.Events) != 0 || f.State != "live" || time.Since(began) < 100*time.Millisecond {
		t.Errorf("nothing to fetch: %+v after %s", f, time.Since(began))
	}
	go func() {
		time.Sleep(20 * time.Millisecond) // the fetch is waiting by then, most likely; it passes in any case
		n.feed(1, 1)
	}()
	if f = n.fetch("s", `{"waitMs":10000}`); f.String() != "[{6 1}]" {
		t.Errorf("%+v", f)
	}
	n.checkpoint("s", 5)
	for body, says := range map[string]string{
		`{"max":1001}`:                 "invalid_request",
		`{"max":-1}`:                   "invalid_request",
		`{"waitMs":-1}`:                "invalid_request",
		`{"wait":1}`:                   "invalid_request",
		`{"options":{"retry":7}}`:      "invalid_request",
		`{"options":{"bufferSize":3}}`: "subscription_options_differ",
	} {
		if got := n.do("POST", "/v1/subscriptions/s/fetch", body, asJSON); !strings.Contains(string(got.body), says) {
			t.Errorf("fetch %s: %d %s", body, got.StatusCode, got.body)
		}
	}
}

// A client that fetches and acks everything, again and again, gets each event once.
func TestFetchUntilTheEnd(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	var c core.Commit
	for range 200 {
		c.Appends = append(c.Appends, core.Append{Stream: "big", Expect: core.AnyVersion, Events: []core.NewEvent{
			{Type: "T", Data: fmt.Appendf(nil, `{"pad":"%0*d"}`, 2700, 0)},
		}})
	}
	if _, err := n.store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for next := uint64(1); next <= 200; {
		f := n.fetch("s", `{"waitMs":10000,"options":{"stream":"big","retry":{"max":1,"minMs":0,"maxMs":0,"then":"skip"}}}`)
		for _, e := range f.Events {
			if e.Position != next || e.Attempt != 1 {
				t.Fatalf("got %v, want %d", f, next)
			}
			next++
		}
		if got := n.do("POST", "/v1/subscriptions/s/ack", fmt.Sprintf(`{"lease":%d,"upTo":%d}`, f.Lease, next-1), asJSON); got.StatusCode != 204 {
			t.Fatalf("ack: %d %s", got.StatusCode, got.body)
		}
	}
}

// A server without subscriptions says so.
func TestNoSubscriptions(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	api, err := wsapi.New(wsapi.Config{Store: n.store})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = api.Close(t.Context()) }()
	_ = n.api.Close(t.Context())
	n.api, n.http.Config.Handler = api, api
	if got := n.do("GET", "/v1/subscriptions", ""); got.StatusCode != 501 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	p := n.greeted()
	p.say(`{"op":"subscribe","id":2,"sub":1,"subscription":"billing"}`)
	p.refused("subscribe", 2, "not_supported")
	p.say(`{"op":"ack","id":3,"sub":1,"positions":[1]}`)
	p.refused("ack", 3, "not_supported")
}

// TestDefinitionsWithoutNull: null is refused where a definition says what it is, over HTTP
// and on a WebSocket, except as map.
func TestDefinitionsWithoutNull(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	p := n.greeted()
	for i, definition := range []string{
		`{"stream":null}`, `{"from":null}`, `{"filter":null}`, `{"partitionBy":null}`, `{"retry":null}`, `{"onPark":null}`, `{"paused":null}`,
		`{"bufferSize":null}`, `{"filter":{"types":null}}`, `{"filter":{"types":[null]}}`, `{"filter":{"expr":null}}`, `{"filter":{"plugin":null}}`, `{"filter":{"plugin":""}}`, `{"map":{"plugin":null}}`, `{"retry":{"max":null}}`, `{"map":[null]}`,
	} {
		if f := n.do("PUT", "/v1/subscriptions/nulls", definition).want(t, 400).fields(t); f["code"] != "invalid_request" {
			t.Errorf("%s: %v", definition, f)
		}
		p.say(fmt.Sprintf(`{"op":"subscribe","id":%d,"sub":1,"subscription":"nulls","options":%s}`, i+2, definition))
		p.refused("subscribe", float64(i+2), "invalid_request")
	}
	n.do("PUT", "/v1/subscriptions/nulls", `{"map":null}`).want(t, 201)
}
