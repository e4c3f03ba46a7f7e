package cluster

import (
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/jointest"
)

// awaitOwner waits until a node holds the slot of a name.
func (w *world) awaitOwner(name string) *hostNode {
	w.t.Helper()
	s := w.nodes[0].State()
	owner, ok := s.Owner(name)
	if !ok {
		w.t.Fatal("nobody owns anything")
	}
	n := w.nodes[owner.Session-1]
	for s = n.State(); !s.Holds(ring.Slot(name), time.Now()); s = n.State() {
		<-s.Changed
	}
	return n
}

func TestRouterIsAJoiner(t *testing.T) {
	for _, kind := range []string{"local", "remote"} {
		t.Run(kind, func(t *testing.T) {
			jointest.Run(t, func(t testing.TB) jointest.System {
				w := newWorld(t, 2, 0)
				owner := w.awaitOwner("orders")
				entry := owner
				if kind == "remote" {
					entry = w.nodes[2-owner.self.Session]
				}
				return jointest.System{Joiner: entry.router, Log: owner.hosting.store, Manager: owner.owner}
			})
		})
	}
}

// TestJoinNamesTheHost: a lease says which other node hosts the subscription.
func TestJoinNamesTheHost(t *testing.T) {
	w := newWorld(t, 2, 0)
	owner := w.awaitOwner("orders")
	d := subscriptions.DefaultDefinition()
	if _, _, err := owner.owner.Put(t.Context(), "orders", &d); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes {
		sub, err := subscriptions.JoinWaiting(t.Context(), n.router, subscriptions.JoinRequest{Name: "orders", AnyOptions: true})
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if n != owner {
			want = owner.self.Node
		}
		if got, err := sub.Next(t.Context(), core.Limit{}); err != nil || got.Node != want {
			t.Errorf("at %s the host is %q, want %q: %+v, %v", n.self.Node, got.Node, want, got, err)
		}
		sub.Leave(true)
	}
}
