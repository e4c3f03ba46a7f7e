package cluster_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster"
)

// catchUps counts the calls of Config.CatchUp, by node.
type catchUps struct {
	mu    sync.Mutex
	calls map[string]int
	fails map[string]bool
}

func (c *catchUps) fail(id string, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails[id] = yes
}

func (c *catchUps) of(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[id]
}

func (c *catchUps) call(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[id]++; c.fails[id] {
		return errors.New("storage is away")
	}
	return nil
}

// TestNodesCatchUpBeforeTheyServe: a node that nobody waited for reads what was removed before it
// serves again. One that drains is waited for, and serves on.
func TestNodesCatchUpBeforeTheyServe(t *testing.T) {
	c := &catchUps{calls: map[string]int{}, fails: map[string]bool{"node3": true}}
	inRing(t, 3, func(r *simRing) {
		node := r.nodes["node3"]
		r.await(20*time.Second, "the others serve", func() bool { return r.whole("node1", "node2", "node3")() || c.of("node3") > 5 })
		if why := node.State().Serves(time.Now()); why == nil || !strings.Contains(why.Detail, "removed") {
			r.t.Errorf("the node that could not catch up: %v", why)
		}
		c.fail("node3", false)
		r.await(5*time.Second, "all serve", func() bool { return node.State().Serves(time.Now()) == nil })
		r.await(20*time.Second, "all have a view", r.whole("node1", "node2", "node3"))
		serves := c.of("node1")
		r.pass(30 * time.Second)
		if n := c.of("node1"); n != serves {
			r.t.Errorf("a node that serves has caught up %d times", n-serves)
		}
		before := c.of("node3")
		r.isolate("node3")
		r.await(15*time.Second, "the node is left out", r.whole("node1", "node2"))
		r.reconnect("node3")
		r.await(time.Minute, "it comes back", r.whole("node1", "node2", "node3"))
		if n := c.of("node3"); n == before {
			r.t.Error("a node that came back has not caught up")
		}
		before = c.of("node2")
		if err := r.nodes["node2"].Drain(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		entry := func() bool { e := r.nodes["node1"].State().Entries; return len(e) == 1 && e[0].Node == "node2" }
		r.await(5*time.Second, "the others know that it drains", entry)
		if why := r.nodes["node2"].State().Serves(time.Now()); why != nil || c.of("node2") != before {
			r.t.Errorf("a node that drains: %v, and it has caught up %d times", why, c.of("node2")-before)
		}
		if why := r.nodes["node2"].BeatAfterStop(); why == nil || !strings.Contains(why.Detail, "removed") {
			r.t.Errorf("a node that drains and was stopped: %v", why)
		}
		r.await(5*time.Second, "it serves", func() bool { return r.nodes["node2"].State().Serves(time.Now()) == nil })
		r.kill("node2")
		r.await(10*time.Second, "nobody waits for it when it is dead", func() bool { return len(r.nodes["node1"].State().Entries) == 0 })
	}, func(r *simRing) {
		r.change = func(id string, config *cluster.Config) {
			config.CatchUp = func(context.Context) error { return c.call(id) }
		}
	})
}
