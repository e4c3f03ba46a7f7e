package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
)

// simRing is nodes of one ring over one log, in a synctest bubble.
type simRing struct {
	t     *testing.T
	net   *simNet
	log   *memory.Log
	nodes map[string]*simNode // by id
	n     int                 // its size
	began time.Time
}

// simNode is a process. It is down if its Membership is nil.
type simNode struct {
	*cluster.Membership
	id, gossip string
	handle     *memory.Handle
}

// inRing runs a test with a ring of n nodes that have begun at once.
func inRing(t *testing.T, n int, test func(r *simRing)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &simRing{t: t, net: newSimNet(1), log: memory.NewLog(), nodes: map[string]*simNode{}, n: n, began: time.Now()}
		for i := range n {
			r.start(fmt.Sprintf("node%d", i+1))
		}
		stop := r.watchHolds()
		defer func() {
			stop()
			for _, node := range r.up() {
				node.Close()
			}
			// memberlist's goroutines end by themselves, when their timers fire.
			time.Sleep(2 * time.Minute)
		}()
		test(r)
	})
}

func (r *simRing) start(id string) *simNode {
	node := &simNode{id: id, gossip: gossipOf(id), handle: r.log.Open()}
	node.handle.Slow(200*time.Microsecond, 200*time.Microsecond)
	m, err := cluster.Start(r.t.Context(), r.config(node))
	if err != nil {
		r.t.Fatalf("%s does not start: %v", id, err)
	}
	node.Membership = m
	r.nodes[id] = node
	return node
}

func (r *simRing) config(node *simNode) cluster.Config {
	return cluster.Config{
		Arbiter: node.handle, Cluster: "gyre", Transport: r.net.Listen(node.gossip), Logger: r.logger(node.id),
		Member: ring.Member{Node: node.id, Addr: node.id + ":4973", Gossip: node.gossip, Protocol: 1, Quorum: r.n/2 + 1},
	}
}

func gossipOf(id string) string { return "10.0.0." + strings.TrimPrefix(id, "node") + ":7946" }

func (r *simRing) logger(id string) *slog.Logger {
	if os.Getenv("GYRE_TRACE") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", id)
}

// kill ends a process at once: nothing of it is heard or seen any more.
func (r *simRing) kill(id string) {
	node := r.nodes[id]
	node.handle.CutOff()
	r.net.Partition([]string{node.gossip}, r.gossips(func(n *simNode) bool { return n.id != id }))
	node.Close()
	node.Membership = nil
	r.net.Heal()
}

func (r *simRing) gossips(which func(n *simNode) bool) (list []string) {
	for _, node := range r.nodes {
		if which(node) {
			list = append(list, node.gossip)
		}
	}
	return list
}

// up lists the nodes that run, in order.
func (r *simRing) up() (list []*simNode) {
	for _, node := range r.nodes {
		if node.Membership != nil {
			list = append(list, node)
		}
	}
	slices.SortFunc(list, func(a, b *simNode) int { return strings.Compare(a.id, b.id) })
	return list
}

// watchHolds looks every 50 ms that no two nodes hold a slot, and that a node serves only
// with a quorum, until the function that it returns is called.
func (r *simRing) watchHolds() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			r.lookForTwo()
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

func (r *simRing) lookForTwo() {
	now := time.Now()
	by := map[int]string{}
	for _, node := range r.up() {
		s := node.State()
		for slot := 0; slot < ring.Slots; slot += 8 {
			if !s.Holds(slot, now) {
				continue
			}
			if other, ok := by[slot]; ok {
				r.t.Errorf("%v: %s and %s both hold slot %d", r.since(), other, node.id, slot)
				return
			}
			by[slot] = node.id
		}
	}
}

func (r *simRing) since() time.Duration { return time.Since(r.began).Round(time.Millisecond) }

// await waits until something holds, and returns how long that took.
func (r *simRing) await(most time.Duration, what string, holds func() bool) time.Duration {
	r.t.Helper()
	begin := time.Now()
	for !holds() {
		if time.Since(begin) > most {
			for _, node := range r.up() {
				s := node.State()
				r.t.Logf("%s: view %d %s, closed: %v", node.id, s.View.Epoch, s.View.Reason, s.Serves(time.Now()))
			}
			r.t.Fatalf("%v: not after %v: %s", r.since(), most, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begin)
}

// whole reports whether nodes serve, agree on a view with exactly these members, and hold
// all slots together.
func (r *simRing) whole(ids ...string) func() bool {
	return func() bool {
		held, epoch := 0, uint64(0)
		for _, id := range ids {
			node := r.nodes[id]
			if node.Membership == nil {
				return false
			}
			s := node.State()
			if s.Serves(time.Now()) != nil || len(s.View.Members) != len(ids) || epoch != 0 && s.View.Epoch != epoch {
				return false
			}
			epoch = s.View.Epoch
			for slot := range ring.Slots {
				if s.Holds(slot, time.Now()) {
					held++
				}
			}
		}
		return held == ring.Slots
	}
}

func (r *simRing) ids() (list []string) {
	for _, node := range r.up() {
		list = append(list, node.id)
	}
	return list
}

func TestBoot(t *testing.T) {
	for _, n := range []int{3, 5} {
		inRing(t, n, func(r *simRing) {
			took := r.await(5*time.Second, "the ring forms", r.whole(r.ids()...))
			t.Logf("%d nodes: %v, %d views", n, took, r.nodes["node1"].State().View.Epoch-1)
		})
	}
}
