package cluster

import (
	"testing"
	"time"

	"github.com/gyre-events/gyre/core/ring"
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
