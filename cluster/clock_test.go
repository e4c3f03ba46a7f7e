package cluster_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
)

// steppedClock is an Arbiter whose wall clock is ahead by another time at each node.
type steppedClock struct {
	cluster.Arbiter
	ahead time.Duration
}

// Views is Arbiter.Views.
func (c steppedClock) Views(ctx context.Context, after uint64, limit int) ([]ring.View, error) {
	views, err := c.Arbiter.Views(ctx, after, limit)
	for i := range views {
		views[i].At = views[i].At.Add(c.ahead)
	}
	return views, err
}

// TestClocksOfTheStorageDoNotMatter: a ring forms and recovers as ever, however wrong the
// times are that the storage puts into views.
func TestClocksOfTheStorageDoNotMatter(t *testing.T) {
	clocks := map[string]time.Duration{"node1": -24 * time.Hour, "node2": 0, "node3": 24 * time.Hour}
	inRing(t, 3, func(r *simRing) {
		r.boot()
		r.fault(6*time.Second, "two go on without the third", func() { r.kill("node2") }, r.whole("node1", "node3"))
		r.fault(6*time.Second, "the third comes back", func() { r.start("node2") }, r.whole("node1", "node2", "node3"))
		if at := r.nodes["node3"].State().View.At; time.Until(at) < 23*time.Hour {
			t.Errorf("the view is of %v at node3", at)
		}
	}, func(r *simRing) {
		r.change = func(id string, c *cluster.Config) { c.Arbiter = steppedClock{c.Arbiter, clocks[id]} }
	})
}

// TestServesByTheMonotonicClock: the time until which a node serves has a monotonic reading,
// which times in a bubble of synctest have not.
func TestServesByTheMonotonicClock(t *testing.T) {
	t.Parallel()
	log := memory.NewLog().Open()
	defer log.Close()
	m, err := cluster.Start(t.Context(), cluster.Config{
		Arbiter: log, Cluster: "gyre", Bind: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Member: ring.Member{Node: "node1", Quorum: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s := m.State()
	for ; s.ServesUntil.IsZero(); s = m.State() {
		<-s.Changed
	}
	if until := s.ServesUntil.String(); !strings.Contains(until, " m=") {
		t.Errorf("a node serves until %s", until)
	}
}
