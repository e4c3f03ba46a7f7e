package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
)

// simRing is nodes of one ring over one log, in a synctest bubble.
type simRing struct {
	t      *testing.T
	net    *simNet
	log    *memory.Log
	nodes  map[string]*simNode // by id
	quorum int                 // of nodes that are started
	began  time.Time
	// change changes the Config of a node that is started. nil: nothing is changed.
	change func(id string, c *cluster.Config)
}

// simNode is a process. It is down if its Membership is nil.
type simNode struct {
	*cluster.Membership
	id, gossip string
	handle     *memory.Handle
	transport  *simTransport
}

// inRing runs a test with a ring of n nodes that have begun at once.
func inRing(t *testing.T, n int, test func(r *simRing), change ...func(*simRing)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &simRing{t: t, net: newSimNet(1), log: memory.NewLog(), nodes: map[string]*simNode{}, quorum: n/2 + 1, began: time.Now()}
		for _, f := range change {
			f(r)
		}
		for i := range n {
			r.start(fmt.Sprintf("node%d", i+1))
		}
		defer func() {
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
	node.transport = r.net.Listen(node.gossip)
	node.handle.SlowArbiter(200*time.Microsecond, 200*time.Microsecond)
	c := r.config(node)
	if r.change != nil {
		r.change(id, &c)
	}
	m, err := cluster.Start(r.t.Context(), c)
	if err != nil {
		r.t.Fatalf("%s does not start: %v", id, err)
	}
	node.Membership = m
	r.nodes[id] = node
	return node
}

func (r *simRing) config(node *simNode) cluster.Config {
	return cluster.Config{
		Arbiter: node.handle, Cluster: "gyre", Key: []byte("a key of thirty-two bytes, as is"), Transport: node.transport, Logger: r.logger(node.id),
		Member: ring.Member{Node: node.id, Addr: node.id + ":4973", Gossip: node.gossip, Protocol: 1, Quorum: r.quorum},
	}
}

func gossipOf(id string) string { return "10.0.0." + strings.TrimPrefix(id, "node") + ":7946" }

// seeds brings one list of addresses.
func seeds(addresses ...string) <-chan []string {
	list := make(chan []string, 1)
	list <- addresses
	return list
}

func (r *simRing) logger(id string) *slog.Logger {
	if os.Getenv("GYRE_TRACE") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", id)
}

// kill ends a process at once: nothing of it is seen any more.
func (r *simRing) kill(id string) {
	node := r.nodes[id]
	m := node.Membership
	node.Membership = nil
	node.handle.CutOff()
	_ = node.transport.Shutdown()
	m.Close()
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

// sampled is how many slots stand for one that is looked at.
const sampled = 32

// pass lets time pass, and looks every 50 ms that no two nodes hold a slot.
func (r *simRing) pass(d time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		r.lookForTwo()
		time.Sleep(min(50*time.Millisecond, time.Until(end)))
	}
}

func (r *simRing) lookForTwo() {
	now := time.Now()
	by := map[int]string{}
	for _, node := range r.up() {
		s := node.State()
		for slot := 0; slot < ring.Slots; slot += sampled {
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
		r.pass(10 * time.Millisecond)
	}
	return time.Since(begin)
}

// whole reports whether nodes serve, agree on a view with exactly these members, and hold
// all slots together.
func (r *simRing) whole(ids ...string) func() bool {
	return func() bool {
		epoch := uint64(0)
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
		}
		return r.held(ids...) == ring.Slots/sampled
	}
}

// held counts the slots that nodes hold, of those that are looked at.
func (r *simRing) held(ids ...string) (n int) {
	for _, id := range ids {
		s := r.nodes[id].State()
		for slot := 0; slot < ring.Slots; slot += sampled {
			if s.Holds(slot, time.Now()) {
				n++
			}
		}
	}
	return n
}

func (r *simRing) ids() (list []string) {
	for _, node := range r.up() {
		list = append(list, node.id)
	}
	return list
}

// epoch is the newest that any node knows.
func (r *simRing) epoch() (epoch uint64) {
	for _, node := range r.up() {
		epoch = max(epoch, node.State().View.Epoch)
	}
	return epoch
}

// fault makes a fault happen to a ring that is whole, and waits for what is to come of it.
// It returns how long that took.
func (r *simRing) fault(most time.Duration, what string, fault func(), then func() bool) time.Duration {
	r.t.Helper()
	before := r.epoch()
	fault()
	took := r.await(most, what, then)
	views := r.epoch() - before
	r.t.Logf("%s: %v, %d views", what, took, views)
	if views > 6 {
		r.t.Errorf("%s took %d views", what, views)
	}
	return took
}

func (r *simRing) boot() {
	r.t.Helper()
	r.await(5*time.Second, "the ring forms", r.whole(r.ids()...))
}

// closed reports whether a node does not serve.
func (r *simRing) closed(ids ...string) bool {
	return !slices.ContainsFunc(ids, func(id string) bool { return r.nodes[id].State().Serves(time.Now()) == nil })
}

func TestCrashAndRestart(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		r.fault(6*time.Second, "two go on without the third", func() { r.kill("node2") }, r.whole("node1", "node3"))
		r.fault(6*time.Second, "the third comes back", func() { r.start("node2") }, r.whole("node1", "node2", "node3"))
		r.fault(6*time.Second, "one starts again at once", func() { r.kill("node1"); r.start("node1") }, r.whole("node1", "node2", "node3"))
		r.fault(6*time.Second, "all start again at once", func() {
			for _, id := range r.ids() {
				r.kill(id)
				r.start(id)
			}
		}, r.whole("node1", "node2", "node3"))
	})
}

func TestCrashBelowQuorum(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		r.fault(10*time.Second, "one of three does not serve", func() { r.kill("node2"); r.kill("node3") },
			func() bool { return r.closed("node1") })
		r.pass(30 * time.Second)
		s := r.nodes["node1"].State()
		if s.Serves(time.Now()) == nil || !strings.Contains(s.Closed.Detail, "quorum is 2") || !strings.Contains(s.Closed.Detail, " has not beaten for ") {
			t.Errorf("node1 does not say what is missing: %v", s.Closed)
		}
		r.fault(6*time.Second, "it serves when another comes", func() { r.start("node3") }, r.whole("node1", "node3"))
	})
}

func TestLeave(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		for _, id := range []string{"node1", "node3"} {
			rest := slices.DeleteFunc(r.ids(), func(i string) bool { return i == id })
			left := make(chan error)
			node := r.nodes[id]
			took := r.fault(time.Second, id+" leaves", func() { go func() { left <- node.Leave(r.t.Context()) }() }, r.whole(rest...))
			if took > 500*time.Millisecond {
				t.Errorf("it took %v until the others had what %s had", took, id)
			}
			if err := <-left; err != nil {
				t.Fatal(err)
			}
			node.Close()
			r.fault(3*time.Second, id+" starts again", func() { r.start(id) }, r.whole("node1", "node2", "node3"))
		}
	})
}

// N03: a node that drains owns nothing until it takes that back.
func TestDrain(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		node := r.nodes["node2"]
		r.fault(time.Second, "node2 drains", func() {
			if err := node.Drain(r.t.Context()); err != nil {
				t.Fatal(err)
			}
		}, func() bool { return node.State().Serves(time.Now()) == nil && len(node.State().View.Members) == 2 })
		if err := r.nodes["node1"].Drain(r.t.Context()); !errors.Is(err, core.CodeNoNodeAvailable) {
			t.Errorf("the last but one drains: %v", err)
		}
		r.pass(20 * time.Second)
		if !r.whole("node1", "node3")() {
			t.Error("the drained node is in a view")
		}
		back := r.whole("node1", "node2", "node3")
		r.fault(5*time.Second, "it comes back", node.Undrain, func() bool {
			if err := node.State().Serves(time.Now()); err != nil {
				r.t.Fatalf("it does not serve while it comes back: %v", err)
			}
			return back()
		})
	})
}

// A node leaves before the storage has taken a beat of it.
func TestLeaveBeforeTheFirstBeat(t *testing.T) {
	inRing(t, 1, func(r *simRing) {
		node := r.nodes["node1"]
		node.handle.CutOff()
		if node.State().Standing != nil {
			r.t.Fatal("a beat was taken")
		}
		if err := node.Leave(r.t.Context()); err == nil {
			r.t.Error("the session ends without storage")
		}
	})
}

// A drain that times out is taken back, unless another holds it or the process ends.
func TestDrainTimesOut(t *testing.T) {
	var release chan struct{}
	stuck := func(r *simRing) {
		release = make(chan struct{})
		r.change = func(id string, c *cluster.Config) {
			c.Release = func(ctx context.Context, s *cluster.State) {
				if _, ok := s.View.Member(s.Self.Session); ok || id != "node2" || r.since() < time.Minute {
					return
				}
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
		}
	}
	boot := func(r *simRing) *simNode {
		r.boot()
		r.pass(time.Minute)
		return r.nodes["node2"]
	}
	timesOut := func(t *testing.T, drain func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := drain(ctx); !errors.Is(err, core.CodeTimeout) {
			t.Errorf("the drain ends with %v", err)
		}
	}
	all := []string{"node1", "node2", "node3"}
	t.Run("it comes back", func(t *testing.T) {
		inRing(t, 3, func(r *simRing) {
			timesOut(r.t, boot(r).Drain)
			r.fault(5*time.Second, "node2 has released", func() { close(release) }, r.whole(all...))
		}, stuck)
	})
	t.Run("not while another waits", func(t *testing.T) {
		inRing(t, 3, func(r *simRing) {
			node := boot(r)
			ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
			defer cancel()
			drained := make(chan error, 1)
			go func() { drained <- node.Drain(ctx) }()
			timesOut(r.t, node.Drain)
			r.pass(5 * time.Second)
			close(release)
			if err := <-drained; err != nil {
				r.t.Error(err)
			}
			cancel()
			if err := node.Drain(ctx); err != nil {
				r.t.Errorf("a node that is drained drains again: %v", err)
			}
			r.stays("node1", "node3")
			r.fault(5*time.Second, "it comes back", node.Undrain, r.whole(all...))
		}, stuck)
	})
	t.Run("not if the process ends", func(t *testing.T) {
		inRing(t, 3, func(r *simRing) {
			node := boot(r)
			timesOut(r.t, node.HandOver)
			timesOut(r.t, node.Drain)
			close(release)
			r.stays("node1", "node3")
			if err := node.Leave(r.t.Context()); err != nil {
				r.t.Error(err)
			}
		}, stuck)
	})
}

// stays fails if the view changes from one of these nodes.
func (r *simRing) stays(ids ...string) {
	r.t.Helper()
	before := r.epoch()
	r.pass(20 * time.Second)
	if !r.whole(ids...)() || r.epoch() != before {
		r.t.Errorf("the view is not that of %v any more", ids)
	}
}

// A node drains just before another comes into the view. Restarts that follow each other do
// that, when the other tells sooner that it serves than this node knows its view.
func TestDrainBesideANodeThatComes(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		if err := r.nodes["node1"].Leave(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		r.kill("node1")
		r.await(5*time.Second, "node1 leaves", r.whole("node2", "node3"))
		came := r.start("node1")
		node := r.nodes["node2"]
		r.await(5*time.Second, "node1 is seen", func() bool {
			return slices.ContainsFunc(node.Seen().Members, func(s ring.Seen) bool {
				return s.Session == came.State().Self.Session && s.GossipState == ring.GossipAlive
			})
		})
		if len(node.State().View.Members) != 2 {
			r.t.Fatal("node1 is in a view already")
		}
		if err := node.Drain(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		r.await(5*time.Second, "node1 takes over", r.whole("node1", "node3"))
	})
}

func TestGossipAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	log := memory.NewLog().Open()
	defer log.Close()
	m, err := cluster.Start(t.Context(), cluster.Config{
		Arbiter: log, Cluster: "gyre", Bind: taken.Addr().String(), Logger: slog.New(slog.DiscardHandler), Member: ring.Member{Node: "node1", Quorum: 1},
	})
	if err == nil {
		m.Close()
	}
	if !errors.Is(err, core.CodeInvalidConfig) {
		t.Errorf("a node whose gossip address is taken starts with %v", err)
	}
}

func TestBoot(t *testing.T) {
	for _, n := range []int{3, 5} {
		inRing(t, n, func(r *simRing) {
			took := r.await(5*time.Second, "the ring forms", r.whole(r.ids()...))
			t.Logf("%d nodes: %v, %d views", n, took, r.nodes["node1"].State().View.Epoch-1)
		})
	}
}
