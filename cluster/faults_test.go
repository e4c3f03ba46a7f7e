package cluster_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// healed is the most that a ring may take to be whole again after a fault is over: what is
// left of sticky removal, and 5 s.
func (r *simRing) healed(removed time.Time) time.Duration {
	return max(0, ring.StickyFor-time.Since(removed)) + 5*time.Second
}

// isolate cuts nodes from the others and from the log.
func (r *simRing) isolate(ids ...string) {
	var in []string
	for _, id := range ids {
		r.nodes[id].handle.CutOff()
		in = append(in, r.nodes[id].gossip)
	}
	r.net.Partition(in, r.gossips(func(n *simNode) bool { return !slices.Contains(ids, n.id) }))
}

func (r *simRing) reconnect(ids ...string) {
	r.net.Heal()
	for _, id := range ids {
		r.nodes[id].handle.Reconnect()
	}
}

// P08, Q03: the side with a quorum owns everything, the other nothing, and healing makes
// them one.
func TestPartitions(t *testing.T) {
	cases := []struct {
		name     string
		groups   [][]string
		majority []string // nil: there is none
	}{
		{"minority of two", [][]string{{"node1", "node4"}, {"node2", "node3", "node5"}}, []string{"node2", "node3", "node5"}},
		{"minority of one", [][]string{{"node3"}, {"node1", "node2", "node4", "node5"}}, []string{"node1", "node2", "node4", "node5"}},
		{"three ways", [][]string{{"node1", "node2"}, {"node3", "node4"}, {"node5"}}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inRing(t, 5, func(r *simRing) {
				r.boot()
				var groups [][]string
				var rest []string
				for _, g := range c.groups {
					var addresses []string
					for _, id := range g {
						addresses = append(addresses, gossipOf(id))
						if !slices.Contains(c.majority, id) {
							rest = append(rest, id)
						}
					}
					groups = append(groups, addresses)
				}
				// The log is there for everybody: what is checked is the quorum.
				r.fault(15*time.Second, "the minority does not serve", func() { r.net.Partition(groups...) }, func() bool {
					return r.closed(rest...) && (c.majority == nil || r.whole(c.majority...)())
				})
				removed := time.Now()
				r.pass(15 * time.Second)
				r.fault(r.healed(removed), "all are back", r.net.Heal, r.whole(r.ids()...))
			})
		})
	}
}

// P10: where one direction is cut, no slot ever has two owners.
func TestOneWayCuts(t *testing.T) {
	for _, way := range []string{"does not hear", "is not heard"} {
		t.Run("node2 "+way, func(t *testing.T) {
			inRing(t, 3, func(r *simRing) {
				r.boot()
				r.fault(12*time.Second, "two go on", func() {
					for _, other := range []string{"node1", "node3"} {
						if way == "does not hear" {
							r.net.Cut(gossipOf(other), gossipOf("node2"))
						} else {
							r.net.Cut(gossipOf("node2"), gossipOf(other))
						}
					}
				}, func() bool { return r.whole("node1", "node3")() && r.closed("node2") })
				removed := time.Now()
				r.pass(5 * time.Second)
				r.fault(r.healed(removed), "all are back", r.net.Heal, r.whole("node1", "node2", "node3"))
			})
		})
	}
	// Two nodes that do not reach each other are reached through the third.
	t.Run("one link", func(t *testing.T) {
		inRing(t, 3, func(r *simRing) {
			r.boot()
			before := r.epoch()
			r.net.Partition([]string{gossipOf("node1")}, []string{gossipOf("node2")})
			r.pass(20 * time.Second)
			if !r.whole("node1", "node2", "node3")() || r.epoch() != before {
				t.Errorf("a cut between two of three changed the ring, now at view %d", r.epoch())
			}
		})
	})
}

func TestCutFromTheLog(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		r.fault(6*time.Second, "two go on without the third", func() { r.nodes["node1"].handle.CutOff() },
			func() bool { return r.whole("node2", "node3")() && r.closed("node1") })
		removed := time.Now()
		if reason := r.nodes["node1"].State().Serves(time.Now()).Detail; !strings.Contains(reason, "the storage has not taken a beat of this node for ") {
			t.Errorf("node1 says: %s", reason)
		}
		r.pass(15 * time.Second)
		r.fault(r.healed(removed), "the third comes back", r.nodes["node1"].handle.Reconnect, r.whole(r.ids()...))

		before := r.epoch()
		r.fault(4*time.Second, "nobody serves without the log", func() {
			for _, node := range r.up() {
				node.handle.CutOff()
			}
		}, func() bool { return r.closed(r.ids()...) })
		r.pass(20 * time.Second)
		r.fault(2*time.Second, "all serve when it is back", func() {
			for _, node := range r.up() {
				node.handle.Reconnect()
			}
		}, r.whole(r.ids()...))
		if r.epoch() != before {
			t.Errorf("the first node back buried the others: view %d", r.epoch())
		}
	})
}

// TestSilence: a node that is cut from all for so long that others go on, as one that was
// suspended.
func TestSilence(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		for _, d := range []time.Duration{2 * time.Second, 8 * time.Second} {
			before := r.epoch()
			r.isolate("node3")
			r.pass(d)
			removed := time.Now()
			r.fault(r.healed(removed), "node3 is back", func() {
				r.reconnect("node3")
				if d < ring.ServeFor {
					return
				}
				// Its removal sticks: it beats, gossips, and serves only when it is in a view.
				// Now and then the view that it comes back with is there as soon as gossip is.
				var s cluster.State
				back := func() bool { return s.View.Epoch > before+1 }
				r.await(4*time.Second, "node3 is in gossip", func() bool {
					s = *r.nodes["node3"].State()
					return s.Alive == 2 || back()
				})
				if err := s.Serves(time.Now()); !back() && (err == nil || !strings.Contains(err.Detail, "does not name this node")) {
					t.Errorf("out of the view, it says: %v", err)
				}
			}, r.whole(r.ids()...))
			if d < ring.ServeFor && r.epoch() != before {
				t.Errorf("a silence of %v took %d views", d, r.epoch()-before)
			}
		}
	})
}

func TestSlowGossip(t *testing.T) {
	inRing(t, 5, func(r *simRing) {
		r.boot()
		before := r.epoch()
		r.net.Delay(30 * time.Millisecond)
		r.net.Lose(0.2)
		r.pass(20 * time.Second)
		if !r.whole(r.ids()...)() || r.epoch() != before {
			t.Errorf("slow gossip changed the ring, now at view %d", r.epoch())
		}
		r.fault(8*time.Second, "four go on", func() { r.kill("node2") }, r.whole("node1", "node3", "node4", "node5"))
	})
}

func TestRollingRestart(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		for _, id := range []string{"node1", "node2", "node3"} {
			r.fault(4*time.Second, id+" starts again", func() {
				if err := r.nodes[id].Leave(r.t.Context()); err != nil {
					t.Fatal(err)
				}
				r.nodes[id].Close()
				r.start(id)
			}, r.whole("node1", "node2", "node3"))
		}
	})
}

// Q06: of two processes with one node id the older one ends.
func TestOneNodeIDTwice(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		older := r.nodes["node1"]
		second := &simNode{id: "node1", gossip: "10.0.0.9:7946", handle: r.log.Open()}
		second.transport = r.net.Listen(second.gossip)
		m, err := cluster.Start(r.t.Context(), r.config(second))
		if err != nil {
			t.Fatal(err)
		}
		second.Membership = m
		r.nodes["second"] = second
		select {
		case err := <-older.Failed():
			if !errors.Is(err, core.CodeNodeSuperseded) {
				t.Errorf("the older process ends with %v", err)
			}
		case <-time.After(2 * time.Second):
			t.Fatal("the older process goes on")
		}
		r.fault(6*time.Second, "the newer takes its place", func() {}, func() bool {
			return r.whole("second", "node2", "node3")() && r.closed("node1")
		})
	})
}

// renamed registers with the ring's name whatever the node was started with.
type renamed struct{ cluster.Arbiter }

func (r renamed) Register(ctx context.Context, _ string, m ring.Member, secret [32]byte) (uint64, error) {
	return r.Arbiter.Register(ctx, "gyre", m, secret)
}

func TestStrangers(t *testing.T) {
	cases := map[string]func(*cluster.Config){
		"wrong label": func(c *cluster.Config) { c.Cluster, c.Arbiter = "other", renamed{c.Arbiter} },
		"wrong key":   func(c *cluster.Config) { c.Key = []byte("another key, and just as long as") },
		"no key":      func(c *cluster.Config) { c.Key = nil },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			inRing(t, 3, func(r *simRing) {
				r.boot()
				node := &simNode{id: "node4", gossip: gossipOf("node4"), handle: r.log.Open()}
				node.transport = r.net.Listen(node.gossip)
				c := r.config(node)
				change(&c)
				m, err := cluster.Start(r.t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				node.Membership = m
				r.nodes["node4"] = node
				r.pass(10 * time.Second)
				s := m.State()
				if s.Serves(time.Now()) == nil || len(s.View.Members) != 3 || !r.whole("node1", "node2", "node3")() {
					t.Fatalf("view %+v", s.View)
				}
				if !strings.Contains(s.Closed.Detail, "gossip does not reach node1 at 10.0.0.1:7946: ") {
					t.Errorf("it says: %s", s.Closed.Detail)
				}
				t.Log(s.Closed.Detail)
			})
		})
	}
}

// TestRefused: a process of which as many members as the quorum know that nothing listens
// at its address is gone before its beats and gossip say so.
func TestRefused(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		r.pass(5 * time.Second)
		session := r.nodes["node2"].State().Self.Session
		r.nodes["node1"].Refused(session)
		before := r.epoch()
		r.pass(5 * time.Second)
		if r.epoch() != before {
			t.Fatal("one node's word was enough")
		}
		r.fault(2*time.Second, "two say that nothing listens", func() {
			r.kill("node2")
			r.pass(1100 * time.Millisecond)
			r.nodes["node1"].Refused(session)
			r.nodes["node3"].Refused(session)
		}, func() bool { return len(r.nodes["node1"].State().View.Members) == 2 })
	})
}

func TestRenew(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		before := r.epoch()
		r.fault(time.Second, "a view is renewed, once", func() {
			for _, node := range r.up() {
				node.Renew(before)
			}
		}, func() bool { return r.whole(r.ids()...)() && r.epoch() > before })
		r.pass(3 * time.Second)
		if r.epoch() != before+1 {
			t.Errorf("%d views", r.epoch()-before)
		}
	})
}

// TestSessionThatEnded: the storage ended the session of a node that lives, so it comes
// back with another.
func TestSessionThatEnded(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		node := r.nodes["node3"]
		session := node.State().Self.Session
		r.fault(8*time.Second, "it registers again", func() {
			if err := node.handle.Leave(r.t.Context(), session); err != nil {
				t.Fatal(err)
			}
		}, func() bool { return node.State().Self.Session > session && r.whole(r.ids()...)() })
	})
}
