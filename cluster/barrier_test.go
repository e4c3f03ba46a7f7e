package cluster_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// configured has the nodes of a ring start with something else in their Config.
func configured(change func(id string, c *cluster.Config)) func(r *simRing) {
	return func(r *simRing) { r.change = change }
}

// waitFor has every node wait for others.
func waitFor(timeout time.Duration, mandatory, optional []string) func(id string, c *cluster.Config) {
	return func(id string, c *cluster.Config) {
		c.Sync = ring.Sync{Mandatory: without(mandatory, id), Optional: without(optional, id), Timeout: timeout}
	}
}

func without(ids []string, id string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(other string) bool { return other == id })
}

// waits reports whether nodes wait, and say for whom.
func (r *simRing) waits(words string, ids ...string) func() bool {
	return func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool {
			why := r.nodes[id].State().Serves(time.Now())
			return why == nil || !strings.Contains(why.Detail, words)
		})
	}
}

// TestNodesWaitForEachOther: they go on as soon as all are up, and no node that waits is in
// a view.
func TestNodesWaitForEachOther(t *testing.T) {
	all := []string{"node1", "node2", "node3"}
	inRing(t, 2, func(r *simRing) {
		r.await(time.Second, "both wait", r.waits("others: node3 has not started", "node1", "node2"))
		r.pass(20 * time.Second)
		if s := r.nodes["node1"].State(); !slices.Equal(s.SyncMissing.Mandatory, []string{"node3"}) || s.View.Epoch != 0 {
			t.Errorf("node1 waits for %+v, and knows view %d", s.SyncMissing, s.View.Epoch)
		}
		r.start("node3")
		r.await(4*time.Second, "all are up", r.whole(all...))
		r.fault(6*time.Second, "one starts again", func() { r.kill("node2"); r.start("node2") }, r.whole(all...))
		r.kill("node3")
		r.await(10*time.Second, "a node that serves waits no more", r.whole("node1", "node2"))
	}, configured(waitFor(time.Minute, all, nil)))
}

// TestANodeThatWaitsIsInNoView: a ring that serves does not notice one that waits in vain.
func TestANodeThatWaitsIsInNoView(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.boot()
		epoch := r.epoch()
		r.change = waitFor(10*time.Second, []string{"node1", "ghost"}, []string{"absent"})
		node := r.start("node4")
		r.await(2*time.Second, "it waits", r.waits("others: ghost has not started; absent has not started (optional)", "node4"))
		r.await(2*time.Second, "node1 sees that it waits", func() bool {
			return slices.ContainsFunc(r.nodes["node1"].Seen().Members, func(m ring.Seen) bool {
				return m.Node == "node4" && m.Syncing && m.Draining && !m.InView && !m.Filtered
			})
		})
		if list := node.Seen(); len(list.SyncMissing.Mandatory) != 1 || len(list.SyncMissing.Optional) != 1 {
			t.Errorf("it says that it waits for %+v", list.SyncMissing)
		}
		failed := <-node.Failed()
		if !errors.Is(failed, core.CodeSyncNodesMissing) || !strings.Contains(failed.Error(), "after 10s: ghost has not started") || strings.Contains(failed.Error(), "absent") {
			t.Errorf("it fails with %v", failed)
		}
		if took := r.since(); took < 10*time.Second || !r.closed("node4") {
			t.Errorf("it failed after %v, and is closed: %v", took, r.closed("node4"))
		}
		if err := node.Leave(r.t.Context()); err != nil {
			t.Error(err)
		}
		node.Close()
		node.Membership = nil
		if r.epoch() != epoch {
			t.Errorf("the ring went from view %d to %d", epoch, r.epoch())
		}
	})
}

// TestOptionalNodesAreWaitedForUntilTheDeadline: and with infinity for as long as it takes.
func TestOptionalNodesAreWaitedForUntilTheDeadline(t *testing.T) {
	three, absent := []string{"node1", "node2", "node3"}, []string{"node4"}
	inRing(t, 3, func(r *simRing) {
		r.pass(9900 * time.Millisecond)
		if !r.waits("node4 has not started (optional)", three...)() {
			t.Error("they do not wait for the optional node")
		}
		r.await(3*time.Second, "they go on without it", r.whole(three...))
	}, configured(waitFor(10*time.Second, three, absent)))
	inRing(t, 3, func(r *simRing) {
		r.pass(time.Minute)
		if !r.waits("node4 has not started (optional)", three...)() {
			t.Error("they do not wait for the optional node")
		}
		r.start("node4")
		r.await(4*time.Second, "all are up", r.whole("node1", "node2", "node3", "node4"))
	}, configured(waitFor(ring.SyncForever, three, absent)))
}

// TestTheBarrierIsCheckedAgain: all were up, but one is gone before there is a quorum.
func TestTheBarrierIsCheckedAgain(t *testing.T) {
	two := []string{"node1", "node2"}
	with := func(id string, c *cluster.Config) {
		waitFor(time.Minute, two, nil)(id, c)
		c.Member.Quorum = 3
	}
	inRing(t, 2, func(r *simRing) {
		r.await(2*time.Second, "all are up, without a quorum", r.waits("no view yet", two...))
		r.kill("node2")
		r.await(10*time.Second, "it waits again", r.waits("the node waits for others: node2 has not beaten", "node1"))
		failed := <-r.nodes["node1"].Failed()
		if !errors.Is(failed, core.CodeSyncNodesMissing) || r.since() < time.Minute {
			t.Errorf("after %v: %v", r.since(), failed)
		}
	}, configured(with))
}

func TestTimeoutsThatDiffer(t *testing.T) {
	with := func(id string, c *cluster.Config) {
		c.Sync.Timeout = map[string]time.Duration{"node1": 30 * time.Second, "node2": ring.SyncForever, "node3": 0}[id]
	}
	inRing(t, 3, func(r *simRing) {
		r.boot()
		for _, node := range r.up() {
			if w := node.State().Warnings(); len(w) != 1 || !strings.Contains(w[0], "different --sync-nodes-timeout (node1 30000; node2 infinity)") {
				t.Errorf("%s warns of %q", node.id, w)
			}
		}
	}, configured(with))
}

// denies has every node deny some.
func denies(patterns ...string) func(id string, c *cluster.Config) {
	return func(_ string, c *cluster.Config) { c.Member.Filter.Deny = patterns }
}

// TestFilteredNodes: they serve as entry nodes as long as the ring does, own nothing and
// count for no quorum.
func TestFilteredNodes(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.start("node4")
		r.start("node5")
		serve := func(ids ...string) func() bool {
			return func() bool {
				return !slices.ContainsFunc(ids, func(id string) bool { return r.nodes[id].State().Serves(time.Now()) != nil })
			}
		}
		members := r.whole("node1", "node2", "node3")
		r.await(5*time.Second, "the ring forms", func() bool { return members() && serve("node4", "node5")() })
		if s := r.nodes["node4"].State(); !s.Filtered || s.Warnings() != nil {
			t.Errorf("node4 is filtered: %v, and warns of %q", s.Filtered, s.Warnings())
		}
		for _, seen := range r.nodes["node1"].Seen().Members {
			if want := seen.Node > "node3"; seen.Filtered != want || seen.InView == want {
				t.Errorf("node1 sees %+v", seen)
			}
		}
		if err := r.nodes["node5"].Drain(r.t.Context()); err != nil {
			t.Errorf("an entry node does not drain: %v", err)
		}
		r.nodes["node5"].Undrain()
		r.fault(10*time.Second, "two entry nodes and a member are no quorum", func() { r.kill("node1"); r.kill("node2") },
			func() bool { return r.closed("node3", "node4", "node5") })
		r.pass(30 * time.Second)
		if !r.closed("node3", "node4", "node5") {
			t.Error("entry nodes count for a quorum")
		}
		r.start("node1")
		r.await(10*time.Second, "the quorum is back", serve("node1", "node3", "node4", "node5"))
		began := time.Now()
		if err := r.nodes["node1"].Drain(r.t.Context()); !errors.Is(err, core.CodeNoNodeAvailable) || time.Since(began) > time.Second {
			t.Errorf("a member of two drains beside entry nodes: %v after %v", err, time.Since(began))
		}
	}, configured(denies("/^node[45]$/")))
}

// TestAFilterThatIsNew: nodes that start again with a filter leave a member out, once all
// have it, and take it back without.
func TestAFilterThatIsNew(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		r.start("node4")
		r.boot()
		again := func(ids ...string) {
			for _, id := range ids {
				r.kill(id)
				r.start(id)
				r.await(10*time.Second, id+" is back", r.whole("node1", "node2", "node3", "node4"))
			}
		}
		r.change = denies("node4")
		again("node1", "node2")
		if w := strings.Join(r.nodes["node3"].State().Warnings(), "\n"); !strings.Contains(w, "different filters (node1 deny node4; node2 deny node4; node3 none; node4 none)") {
			t.Errorf("node3 warns of %q", w)
		}
		r.kill("node3")
		r.start("node3")
		r.await(10*time.Second, "node4 is left out", r.whole("node1", "node2", "node3"))
		r.await(time.Second, "node4 is an entry node", func() bool { s := r.nodes["node4"].State(); return s.Filtered && s.Serves(time.Now()) == nil })
		epoch := r.epoch()
		r.pass(time.Minute)
		if r.epoch() != epoch {
			t.Errorf("there are %d views more", r.epoch()-epoch)
		}
		r.change = denies()
		r.kill("node1")
		r.start("node1")
		r.await(15*time.Second, "node4 is back", r.whole("node1", "node2", "node3", "node4"))
	})
}
