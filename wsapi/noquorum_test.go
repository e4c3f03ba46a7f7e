package wsapi_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
)

// halting is a Store whose follows deliver what a test says.
type halting struct {
	*core.Store
	deliveries []core.Delivery
}

func (h *halting) Follow(context.Context, core.FollowRequest) (core.Follower, error) {
	return &scripted{left: h.deliveries}, nil
}

type scripted struct {
	left []core.Delivery
}

func (s *scripted) Next(ctx context.Context, _ core.Limit) (core.Delivery, error) {
	if len(s.left) == 0 {
		<-ctx.Done()
		return core.Delivery{}, core.AsError(ctx.Err())
	}
	d := s.left[0]
	s.left = s.left[1:]
	return d, nil
}

func (s *scripted) Close() error { return nil }

// A node in a ring that does not serve says so on its follows: a status, an event of the event
// stream, and a delivery of the client.
func TestFollowSaysNoQuorum(t *testing.T) {
	store := &halting{Store: core.NewStore(memory.New(), core.StoreConfig{}), deliveries: []core.Delivery{
		{Cursor: 3, Head: 3, Live: true},
		{Cursor: 3, Head: 4, NoQuorum: `1 of 3 "members"`},
		{Cursor: 3, Head: 4},
		{Cursor: 3, Head: 5, NoQuorum: "again"},
		{Cursor: 5, Head: 5, Live: true},
	}}
	n := newNode(t, wsapi.Config{Store: store})
	before := n.store
	n.store = store.Store
	t.Cleanup(func() { _ = before.Close() })

	t.Run("ws", func(t *testing.T) {
		p := n.greeted()
		p.say(`{"op":"subscribe","id":2,"sub":1,"stream":"$all"}`)
		if m := p.receive(); m["op"] != "ok" {
			t.Fatalf("heard %v", m)
		}
		for i, want := range []string{"live", "no_quorum", "catchup", "no_quorum", "live"} {
			m := p.receive()
			if m["op"] != "status" || m["state"] != want || (m["reason"] != nil) != (want == "no_quorum") {
				t.Errorf("%d: heard %v, want %s", i, m, want)
			}
		}
	})
	t.Run("event stream", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.http.URL+"/v1/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/event-stream")
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var states []string
		lines := bufio.NewScanner(res.Body)
		for len(states) < 5 && lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				m := answer{Response: res, body: []byte(text)}.fields(t)
				states = append(states, fmt.Sprint(m["state"], " ", m["reason"]))
			}
		}
		want := []string{"live <nil>", `no_quorum 1 of 3 "members"`, "catchup <nil>", "no_quorum again", "live <nil>"}
		if got := strings.Join(states, ", "); got != strings.Join(want, ", ") {
			t.Errorf("heard %s", got)
		}
	})
	t.Run("client", func(t *testing.T) {
		client, err := sdk.Dial(t.Context(), n.http.URL, sdk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		f, err := client.Follow(t.Context(), core.FollowRequest{Stream: core.All})
		if err != nil {
			t.Fatal(err)
		}
		// Of states that wait in the queue only the last means anything.
		for d := (core.Delivery{}); !d.Live || d.Cursor != 5; {
			if d, err = f.Next(t.Context(), core.Limit{}); err != nil {
				t.Fatal(err)
			}
			if d.NoQuorum != "" && d.Live {
				t.Errorf("%+v", d)
			}
		}
	})
}

// shut is a Store whose reads wait for a quorum.
type shut struct{ *core.Store }

func (s *shut) Read(ctx context.Context, _ core.ReadRequest) (core.Page, error) {
	core.ClaimOf(ctx).WaitsFor(core.Errorf(core.CodeNoNodeAvailable, "1 of 3 members"))
	<-ctx.Done()
	return core.Page{}, core.AsError(ctx.Err())
}

// A read that waits for a quorum until its deadline is answered no_node_available.
func TestReadWaitsForAQuorum(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	n := newNode(t, wsapi.Config{Store: &shut{store}})
	before := n.store
	n.store = store
	t.Cleanup(func() { _ = before.Close() })
	p := n.greeted()
	p.say(`{"op":"read","id":2,"stream":"a","timeoutMs":1}`)
	p.refused("read", 2, "no_node_available")
}
