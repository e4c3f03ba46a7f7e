package wsapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// stats are those that a node answers with.
func (n *node) stats() (s wire.Stats) {
	n.t.Helper()
	a := n.do("GET", "/v1/stats", "").want(n.t, 200)
	if err := json.Unmarshal(a.body, &s); err != nil {
		n.t.Fatal(err)
	}
	return s
}

// Stats have what was done, and agree with /metrics, which has the same counters.
func TestStats(t *testing.T) {
	n := newNode(t, wsapi.Config{Node: "n1", Version: "1.2", Extensions: []wsapi.Extension{{Stats: func(s *wire.Stats) { s.Store.Commits = 7 }}}})
	const path = "/v1/streams/order-1/events"
	n.do("POST", path, `[{"type":"A","data":1},{"type":"B","data":2}]`).want(t, 201)
	n.do("POST", path+"?expect=0", `[{"type":"A","data":1}]`).want(t, 409)
	n.do("GET", path, "").want(t, 200)
	n.do("GET", "/v1/streams/none/events", "").want(t, 404)
	n.greeted(wire.JSON)
	s := n.stats()
	if s.Node != "n1" || s.Version != "1.2" || s.Uptime <= 0 || s.Log.ID != n.store.State().Log || s.Log.Head != 2 || s.Log.ReadOnly {
		t.Errorf("the node: %+v", s)
	}
	if a := s.Appends; a.Events != 2 || a.OK != 1 || a.Conflicts != 1 || a.Seconds.Count != 1 || a.Seconds.Sum <= 0 {
		t.Errorf("appends: %+v", a)
	}
	if b := s.Appends.Seconds.Buckets; len(b) == 0 || b[len(b)-1].Count != 1 || b[0].LE <= 0 {
		t.Errorf("buckets: %+v", b)
	}
	if s.Reads.Events != 2 || s.Connections.Open != 1 || s.Connections.MemoryLimit == 0 || s.Store.Commits != 7 {
		t.Errorf("reads %+v, connections %+v, store %+v", s.Reads, s.Connections, s.Store)
	}
	if s.HTTP.Requests < 4 || s.HTTP.ClientErrors != 2 || s.HTTP.Denied+s.HTTP.ServerErrors != 0 {
		t.Errorf("http: %+v", s.HTTP)
	}
	if s.Process.Goroutines == 0 || s.Process.Heap == 0 {
		t.Errorf("process: %+v", s.Process)
	}
	metrics := string(n.do("GET", "/metrics", "").want(t, 200).body)
	for _, line := range []string{"gyre_append_events_total 2", "gyre_read_events_total 2", "gyre_ws_connections 1"} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("/metrics has no %q", line)
		}
	}
	if f := n.do("GET", "/v1/stats?node=n2", "").want(t, 501).fields(t); f["code"] != string(core.CodeNotSupported) {
		t.Errorf("another node: %v", f)
	}
	n.do("GET", "/v1/stats?node=n1", "").want(t, 200)
	n.do("GET", "/v1/stats?from=1", "").want(t, 400)
	n.do("GET", "/v1/stats", "", "Accept: text/html").want(t, 406)
}

// The op answers as the route does; the sub sends at once, and again a second later.
func TestStatsOverWebSocket(t *testing.T) {
	n := newNode(t, wsapi.Config{Node: "n1"})
	for _, protocol := range []string{wire.JSON, wire.Bin} {
		p := n.greeted(protocol)
		p.say(`{"op":"stats","id":2}`)
		if m := p.receive(); m["op"] != "ok" || m["id"] != 2.0 || m["node"] != "n1" || m["appends"] == nil {
			t.Fatalf("stats: %v", m)
		}
		p.say(`{"op":"stats.follow","id":3,"sub":1,"node":"n2"}`)
		p.refused("another node", 3, "not_supported")
		p.say(`{"op":"stats.follow","id":4,"sub":1}`)
		if m := p.receive(); m["op"] != "ok" || m["sub"] != 1.0 {
			t.Fatalf("stats.follow: %v", m)
		}
		var last float64
		for range 3 {
			m := p.receive()
			uptime, _ := m["uptime"].(float64)
			if m["op"] != "stats.follow" || m["sub"] != 1.0 || m["node"] != "n1" || uptime <= last {
				t.Fatalf("stats.follow sends %v after an uptime of %v", m, last)
			}
			last = uptime
		}
		p.say(`{"op":"unsubscribe","id":5,"sub":1}`)
		for m := p.receive(); m["op"] != "ok"; m = p.receive() {
			if m["op"] != "stats.follow" {
				t.Fatalf("unsubscribe: %v", m)
			}
		}
	}
}

// As server-sent events, they come until the client goes.
func TestStatsAsEventStream(t *testing.T) {
	n := newNode(t, wsapi.Config{Node: "n1"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.http.URL+"/v1/stats", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", eventsType)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for found := 0; found < 2; {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var s wire.Stats
		if err := json.Unmarshal([]byte(text), &s); err != nil || s.Node != "n1" {
			t.Fatalf("%s: %v", text, err)
		}
		found++
	}
}
