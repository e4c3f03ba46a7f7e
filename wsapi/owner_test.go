package wsapi_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// routing is a Store whose streams n2 owns, but those that begin with own.
type routing struct {
	*core.Store
}

func named(c core.Commit, r core.Result) core.Result {
	if len(c.Appends) > 0 && !strings.HasPrefix(c.Appends[0].Stream, "own") {
		r.Node = "n2"
	}
	return r
}

func (s *routing) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	r, err := s.Store.Append(ctx, c)
	return named(c, r), err
}

func (s *routing) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	s.Store.Submit(ctx, c, func(r core.Result, err error) { done(named(c, r), err) })
}

// entryNode is n1, before a routing Store.
func entryNode(t *testing.T) *node {
	t.Helper()
	store := core.NewStore(memory.New(), core.StoreConfig{})
	// The nil Owners are asked nothing: no request here is about a subscription.
	n := newNode(t, wsapi.Config{Store: &routing{store}, Node: "n1", Owners: struct{ wsapi.Owners }{}})
	before := n.store
	n.store = store
	t.Cleanup(func() { _ = before.Close() })
	return n
}

func TestHTTPNamesTheOwner(t *testing.T) {
	n := entryNode(t)
	event := `{"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"A","data":1}`
	tx := `{"tx":[{"stream":"t","events":[{"type":"A","data":1}]},{"stream":"own-t","events":[{"type":"A","data":1}]}]}`
	for _, c := range []struct {
		path, body string
		status     int
		node       string
	}{
		{"/v1/streams/s/events", event, 201, "n2"},
		{"/v1/streams/s/events", event, 200, "n2"},
		{"/v1/streams/own/events", `{"type":"A","data":1}`, 201, "n1"},
		{"/v1/streams/own-links/links", `{"links":["0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11"]}`, 201, "n1"},
		{"/v1/transactions", tx, 201, "n2"},
	} {
		a := n.do("POST", c.path, c.body, asJSON).want(t, c.status)
		if got := a.Header.Get("Gyre-Node"); got != c.node || strings.Contains(string(a.body), `"node"`) {
			t.Errorf("POST %s: node %q, want %q; %s", c.path, got, c.node, a.body)
		}
	}
}

func TestClientsLearnTheOwner(t *testing.T) {
	n := entryNode(t)
	for form, o := range map[string]sdk.Options{"binary": {}, "json": {JSON: true}} {
		client, err := sdk.Dial(t.Context(), n.http.URL, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			streams []string
			node    string
		}{
			{[]string{form}, "n2"},
			{[]string{"own-" + form}, "n1"},
			{[]string{form, "own-" + form}, "n2"},
			{[]string{"own-" + form, form}, "n1"},
		} {
			var commit core.Commit
			for _, stream := range c.streams {
				event := core.NewEvent{ID: core.NewID(), Type: "A", Data: []byte("1")}
				commit.Appends = append(commit.Appends, core.Append{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{event}})
			}
			for _, duplicate := range []bool{false, true} {
				r, err := client.Append(t.Context(), commit)
				if err != nil || r.Node != c.node || r.Duplicate != duplicate {
					t.Errorf("%s: an append to %v is answered %+v, %v; the owner is %q", form, c.streams, r, err, c.node)
				}
			}
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOlderClientsAreNotNamedTheOwner: in frames, whose flags they know; in JSON they ignore
// the field.
func TestOlderClientsAreNotNamedTheOwner(t *testing.T) {
	n := entryNode(t)
	p := n.greeted(wire.Bin)
	for _, events := range [][]core.NewEvent{oneOf(1), oneOf(2)} {
		p.send(wire.AppendCommit(nil, &wire.CommitFrame{ID: 2, Commit: core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: events}}}}))
		kind, message, err := p.ReadMessage()
		if err != nil || kind != websocket.BinaryMessage || message[1] != 0 || strings.Contains(string(message), "n2") {
			t.Errorf("answered %q, %v", message, err)
		}
	}
	q := n.greeted(wire.JSON)
	q.say(`{"op":"append","id":2,"stream":"s","events":[{"type":"A","data":1}]}`)
	if ok := q.receive(); ok["op"] != "ok" || ok["node"] != "n2" {
		t.Errorf("answered %v", ok)
	}
}

func oneOf(n int) (events []core.NewEvent) {
	for range n {
		events = append(events, core.NewEvent{Type: "A", Data: []byte("1")})
	}
	return events
}
