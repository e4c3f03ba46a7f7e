package wsapi_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// loadKeys are those of two writers.
func loadKeys() keys {
	return keys{
		"flood-key":  {Name: "flood", Role: access.Writer, Streams: []string{"order-*"}},
		"polite-key": {Name: "polite", Role: access.Writer, Streams: []string{"order-*"}},
	}
}

const asPolite = "Authorization: Bearer polite-key"

// newLoaded is a node whose appends wait, and take at most so many places.
func newLoaded(t *testing.T, appends int, who access.Authenticator) (*node, *gated) {
	g := &gated{Engine: memory.New(), begun: make(chan struct{}, 100), open: make(chan struct{})}
	n := newNode(t, wsapi.Config{
		Store: core.NewStore(g, core.StoreConfig{}), Access: who, MetricsOpen: true,
		Limits: wsapi.Limits{Load: wsapi.Load{Appends: appends}},
	})
	t.Cleanup(g.release)
	return n, g
}

// greetedAs is a connection of the owner of a key.
func (n *node) greetedAs(key string) *peer {
	n.t.Helper()
	p := n.connect()
	p.say(fmt.Sprintf(`{"op":"hello","id":1,"auth":{"token":%q}}`, key))
	if m := p.receive(); m["op"] != "welcome" {
		n.t.Fatalf("hello was answered %v", m)
	}
	return p
}

// appends sends appends from an id on, and returns those that are refused before the node has
// looked at all of them.
func (p *peer) appends(from, count int, stream string) (refused []float64) {
	p.t.Helper()
	for id := from; id < from+count; id++ {
		p.say(fmt.Sprintf(`{"op":"append","id":%d,"stream":%q,"events":[{"type":"A","data":1}]}`, id, stream))
	}
	p.say(`{"op":"ping","n":1}`)
	for {
		m := p.receive()
		if m["op"] == "pong" {
			return refused
		}
		e, _ := m["error"].(map[string]any)
		if after, _ := e["retryAfterMs"].(float64); e["code"] != "overloaded" || e["retryable"] != true || after < 100 {
			p.t.Fatalf("answered %v", m)
		}
		refused = append(refused, m["id"].(float64))
	}
}

// written takes the answers to appends to one stream that were admitted, by their ids, and checks
// that they were written in order. Answers of two steps may cross.
func (p *peer) written(ids ...float64) {
	p.t.Helper()
	versions := map[any]float64{}
	for range ids {
		m := p.receive()
		if m["op"] != "ok" {
			p.t.Fatalf("answered %v", m)
		}
		versions[m["id"]] = m["version"].(float64)
	}
	last := 0.0
	for _, id := range ids {
		if versions[id] <= last {
			p.t.Errorf("append %v is version %v, after %v", id, versions[id], last)
		}
		last = versions[id]
	}
}

// ids are those from one to another.
func ids(from, to float64) (list []float64) {
	for id := from; id <= to; id++ {
		list = append(list, id)
	}
	return list
}

// TestFloodLeavesRoomForOthers: one key floods the node over 200 connections, and gets two thirds
// of the places. All that another one asks for is admitted, and answered in order.
func TestFloodLeavesRoomForOthers(t *testing.T) {
	n, g := newLoaded(t, 300, loadKeys())
	var flood []*peer
	admitted := map[*peer][]float64{}
	total := 0
	for range 200 {
		p := n.greetedAs("flood-key")
		flood = append(flood, p)
		refused := p.appends(2, 5, "order-flood")
		for id := 2.0; id < 7; id++ {
			if !slices.Contains(refused, id) {
				admitted[p] = append(admitted[p], id)
				total++
			}
		}
	}
	if total != 200 {
		t.Errorf("%d of 1000 appends of a flood are admitted, want 200", total)
	}
	polite := n.greetedAs("polite-key")
	if refused := polite.appends(2, 20, "order-polite"); len(refused) > 0 {
		t.Errorf("%v of another key are refused", refused)
	}
	n.do("GET", "/v1/streams?limit=1", "", asPolite).want(t, 200)
	for _, path := range []string{"/livez", "/readyz"} {
		n.do("GET", path, "").want(t, 200)
	}
	n.untilMetric(`gyre_requests_refused_total{kind="appends",reason="principal"}`, 800)
	n.untilMetric(`gyre_requests_in_flight{kind="appends"}`, 220)
	if a := n.do("POST", "/v1/streams/order-flood/events", `{"type":"A","data":1}`, "Authorization: Bearer flood-key"); a.StatusCode != 503 ||
		a.Header.Get("Retry-After") != "1" || a.fields(t)["code"] != "overloaded" {
		t.Errorf("over HTTP: %v %s", a.Header, a.body)
	}

	g.release()
	polite.written(ids(2, 21)...)
	for _, p := range flood {
		p.written(admitted[p]...)
	}
	n.untilMetric(`gyre_requests_in_flight{kind="appends"}`, 0)
	n.untilMetric(`gyre_requests_in_flight{kind="requests"}`, 0)
	n.do("POST", "/v1/streams/order-flood/events", `{"type":"A","data":1}`, "Authorization: Bearer flood-key").want(t, http.StatusCreated)
}

// TestConnectionWithoutKeyLeavesRoom: where there are no keys each connection counts for itself.
func TestConnectionWithoutKeyLeavesRoom(t *testing.T) {
	n, g := newLoaded(t, 300, nil)
	flood, polite := n.greeted(), n.greeted()
	refused := flood.appends(2, 250, "flood")
	if len(refused) != 50 {
		t.Errorf("%d of 250 appends of a connection are refused, want 50", len(refused))
	}
	if refused := polite.appends(2, 3, "polite"); len(refused) > 0 {
		t.Errorf("%v of another connection are refused", refused)
	}
	g.release()
	polite.written(2, 3, 4)
	flood.written(ids(2, 201)...)
}

// TestRefusedEventsAreNotLookedAt: a node that takes no more appends looks at none, and takes
// frames behind one that it refuses.
func TestRefusedEventsAreNotLookedAt(t *testing.T) {
	n, g := newLoaded(t, 3, nil)
	p := n.greeted(wire.Bin)
	frame := func(id uint64, data string) []byte {
		return wire.AppendCommit(nil, &wire.CommitFrame{ID: id, Commit: core.Commit{Appends: []core.Append{
			{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "A", Data: []byte(data)}}},
		}}})
	}
	p.send(slices.Concat(frame(2, "1"), frame(3, "1"), frame(4, "not JSON"), frame(5, "1")))
	p.refused("one too many", 4, "overloaded")
	p.refused("one behind it", 5, "overloaded")
	g.release()
	p.replies(2)
	n.untilMetric(`gyre_requests_in_flight{kind="appends"}`, 0)
	p.send(frame(6, "not JSON"))
	p.refused("what is not JSON", 6, "invalid_data")
	n.untilMetric(`gyre_requests_in_flight{kind="appends"}`, 0)
}

// TestReadsLeaveRoom: a connection with many reads leaves room for another, and beyond the node's
// limit they are refused over HTTP, too. What is lost gives its places back.
func TestReadsLeaveRoom(t *testing.T) {
	engine := hanging{memory.New(), make(chan struct{}, 10)}
	n := newNode(t, wsapi.Config{Store: core.NewStore(engine, core.StoreConfig{}), Limits: wsapi.Limits{Load: wsapi.Load{Reads: 3}}})
	flood, polite := n.greeted(), n.greeted()
	for id := range 3 {
		flood.say(fmt.Sprintf(`{"op":"read","id":%d,"stream":"s"}`, id+2))
	}
	if m := flood.receive(); m["op"] != "error" || m["error"].(map[string]any)["code"] != "overloaded" {
		t.Errorf("a third read is answered %v", m)
	}
	polite.say(`{"op":"read","id":2,"stream":"s"}`)
	n.untilMetric(`gyre_requests_in_flight{kind="reads"}`, 3)
	for _, path := range []string{"/v1/streams/s/events", "/v1/events", "/v1/streams", "/v1/events/0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11"} {
		if a := n.do("GET", path, "").want(t, 503); a.fields(t)["code"] != "overloaded" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %v %s", path, a.Header, a.body)
		}
	}
	_, _ = flood.Close(), polite.Close()
	n.untilMetric(`gyre_requests_in_flight{kind="reads"}`, 0)
	n.untilMetric(`gyre_requests_in_flight{kind="requests"}`, 0)
	n.do("GET", "/v1/streams", "").want(t, 200)
}

// TestTagsOfEarlierTimelinesAreReads: the state of the stream is read for them, and for no others.
func TestTagsOfEarlierTimelinesAreReads(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	n := newNode(t, wsapi.Config{Store: restored{continued{store}}, Limits: wsapi.Limits{Load: wsapi.Load{Reads: 1}}})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.http.URL+"/v1/streams/s/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
			_ = res.Body.Close()
		}
	})
	n.untilMetric(`gyre_requests_in_flight{kind="reads"}`, 1)
	for tag, want := range map[string]core.Code{`"before-1-1"`: core.CodeOverloaded, `"after-1-1"`: core.CodeWrongExpectedVersion} {
		if code := n.do("POST", "/v1/streams/s/events", `{"type":"A","data":1}`, "If-Match: "+tag).fields(t)["code"]; code != string(want) {
			t.Errorf("an append with the ETag %s: %v, want %s", tag, code, want)
		}
	}
	cancel()
	reading.Wait()
}

// TestWhatRelievesIsNeverRefused: acks, nacks and the end of a session are served while the node
// takes no other request.
func TestWhatRelievesIsNeverRefused(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Load: wsapi.Load{Requests: 1}}})
	n.fill("s", 2, 1)
	f := n.fetch("work", `{"max":2,"options":{"stream":"s"}}`)
	// An event stream is a request that is not answered yet.
	res, err := http.Get(n.http.URL + "/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	n.untilMetric(`gyre_requests_in_flight{kind="requests"}`, 0)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.http.URL+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	stream, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	a := n.do("GET", "/v1/streams/s/events", "").want(t, 503)
	if !strings.Contains(string(a.body), `"retryAfterMs":`) || a.Header.Get("Retry-After") == "" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	p := n.greeted()
	p.say(`{"op":"read","id":2,"stream":"s"}`)
	p.refused("a read", 2, "overloaded")
	n.do("POST", "/v1/subscriptions/work/ack", fmt.Sprintf(`{"lease":%d,"positions":[1]}`, f.Lease)).want(t, 204)
	n.do("POST", "/v1/subscriptions/work/nack", fmt.Sprintf(`{"lease":%d,"positions":[2],"action":"retry"}`, f.Lease)).want(t, 204)
	n.do("DELETE", "/v1/session", "").want(t, 204)
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/v1/server"} {
		n.do("GET", path, "").want(t, 200)
	}
}
