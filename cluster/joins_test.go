package cluster_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core/ring"
)

// blind is an Arbiter that names no address of gossip by which a node is reached.
type blind struct{ cluster.Arbiter }

func (b blind) Beat(ctx context.Context, session, released uint64, draining bool) (ring.Standing, error) {
	s, err := b.Arbiter.Beat(ctx, session, released, draining)
	s.Sessions = slices.Clone(s.Sessions)
	for i := range s.Sessions {
		s.Sessions[i].Gossip = "10.9.9.9:7946"
	}
	return s, err
}

// inBlindRing runs a test with three nodes that find each other by seeds alone.
func inBlindRing(t *testing.T, seeds func(id string) <-chan []string, test func(r *simRing)) {
	t.Helper()
	inRing(t, 3, test, func(r *simRing) {
		r.change = func(id string, c *cluster.Config) { c.Arbiter, c.Seeds = blind{c.Arbiter}, seeds(id) }
	})
}

// TestSeedsSoak: nodes that the storage does not lead to each other form a ring by seeds, and
// are one again after five minutes without each other; with GYRE_SOAK=1 after an hour.
func TestSeedsSoak(t *testing.T) {
	apart := 5 * time.Minute
	if os.Getenv("GYRE_SOAK") != "" {
		apart = time.Hour
	}
	all := func(string) <-chan []string { return seeds(gossipOf("node1"), gossipOf("node2"), gossipOf("node3")) }
	inBlindRing(t, all, func(r *simRing) {
		r.boot()
		r.fault(15*time.Second, "two go on", func() { r.isolate("node3") }, r.whole("node1", "node2"))
		time.Sleep(apart)
		r.fault(10*time.Second, "the third comes back", func() { r.reconnect("node3") }, r.whole(r.ids()...))
	})
}

// TestSeedsAreLost: a node that has lost sight of the others needs seeds to come back, and
// takes those that come minutes later.
func TestSeedsAreLost(t *testing.T) {
	found := map[string]chan []string{}
	bring := func(addresses ...string) {
		for _, c := range found {
			c <- addresses
		}
	}
	inBlindRing(t, func(id string) <-chan []string {
		found[id] = make(chan []string, 1)
		return found[id]
	}, func(r *simRing) {
		all := []string{gossipOf("node1"), gossipOf("node2"), gossipOf("node3")}
		bring(all...)
		r.boot()
		bring()
		r.fault(15*time.Second, "two go on", func() { r.isolate("node3") }, r.whole("node1", "node2"))
		time.Sleep(time.Minute)
		r.reconnect("node3")
		time.Sleep(5 * time.Minute)
		if !r.whole("node1", "node2")() {
			t.Fatal("the third comes back, and nothing leads to it")
		}
		r.fault(10*time.Second, "the third is found", func() { bring(all...) }, r.whole(r.ids()...))
	})
}

// TestManySeeds: addresses of nobody do not keep the others from being tried.
func TestManySeeds(t *testing.T) {
	var list []string
	for i := range 250 {
		list = append(list, fmt.Sprintf("10.1.0.%d:7946", i))
	}
	for i := range 3 {
		list = append(list, gossipOf(fmt.Sprintf("node%d", i+1)))
	}
	inBlindRing(t, func(string) <-chan []string { return seeds(list...) }, func(r *simRing) {
		r.await(2*time.Minute, "the ring forms", r.whole(r.ids()...))
	})
}
