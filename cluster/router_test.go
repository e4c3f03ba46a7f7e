package cluster

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

func simTest(t *testing.T, nodes int, f func(t *testing.T, s *routerSim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newRouterSim(t, 1, nodes)
		defer s.close()
		f(t, s)
	})
}

func appendTo(stream string, expect core.Expect) core.Commit {
	return core.Commit{Appends: []core.Append{{
		Stream: stream, Expect: expect, Events: []core.NewEvent{{Type: "T", Data: []byte("{}")}},
	}}}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestRouterWritesAtTheOwner: a Commit is written by the owner of its stream, whichever
// node takes it.
func TestRouterWritesAtTheOwner(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		for i := range 30 {
			stream := fmt.Sprintf("s-%d", i)
			for k, n := range s.all() {
				result, err := n.router.Append(within(t, time.Second), appendTo(stream, core.Expect(k)))
				if err != nil || result.Appends[0].LastVersion != uint64(k+1) {
					t.Fatalf("%s at %s: %+v, %v", stream, n.self.Node, result, err)
				}
			}
		}
		s.checkOwners()
	})
}

// checkOwners checks that nothing was given to the engine of a node that does not own the
// stream in the Commit's epoch.
func (s *routerSim) checkOwners() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.attempts {
		if len(a.c.Appends) != 1 {
			continue
		}
		v := s.views[a.epoch-2]
		owner, _ := s.ownerIn(v.Epoch, a.c.Appends[0].Stream)
		if owner != a.node {
			s.t.Errorf("session %d made an append to %q under epoch %d, whose owner is %d", a.node, a.c.Appends[0].Stream, a.epoch, owner)
		}
	}
}
