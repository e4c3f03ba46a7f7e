package cluster_test

import (
	"testing"
	"time"

	"github.com/gyre-events/gyre/core/ring"
)

// P01, P03, P06, P07: a ring whose quorum is all of its nodes owns nothing while one is
// missing, at every node and in every slot, and everything while none is.
func TestQuorumOfAll(t *testing.T) {
	inRing(t, 2, func(r *simRing) {
		r.pass(10 * time.Second)
		for _, id := range r.ids() {
			s := r.nodes[id].State()
			if owner, ok := s.Owner("s"); ok || s.Serves(time.Now()) == nil {
				t.Errorf("%s of two serves, and says that %s owns the stream", id, owner.Node)
			}
		}
		r.fault(5*time.Second, "three serve", func() { r.start("node3") }, r.whole("node1", "node2", "node3"))
		r.fault(10*time.Second, "two do not", func() { r.kill("node2") }, func() bool { return r.closed("node1", "node3") })
		r.pass(10 * time.Second)
		if n := r.held("node1", "node3"); n > 0 || !r.closed("node1", "node3") {
			t.Errorf("two of three hold %d slots", n)
		}
		r.fault(10*time.Second, "three serve again", func() { r.start("node2") }, r.whole("node1", "node2", "node3"))
	}, func(r *simRing) { r.quorum = 3 })
}

// owners lists the node of each slot's owner, as node1 has it.
func (r *simRing) owners() (list [ring.Slots]string) {
	s := r.nodes["node1"].State()
	for slot := range list {
		m, _ := s.Owners.Owner(slot)
		list[slot] = m.Node
	}
	return list
}

// N06, P11: of a node that goes, its share moves to the others, and of one that comes, the
// same share moves back. Nothing else moves.
func TestShareMovesBack(t *testing.T) {
	goes := map[string]func(r *simRing){
		"killed": func(r *simRing) { r.kill("node2") },
		"left": func(r *simRing) {
			if err := r.nodes["node2"].Leave(r.t.Context()); err != nil {
				r.t.Error(err)
			}
			r.nodes["node2"].Close()
		},
	}
	for name, goes := range goes {
		t.Run(name, func(t *testing.T) {
			inRing(t, 3, func(r *simRing) {
				r.boot()
				before := r.owners()
				r.fault(6*time.Second, "two go on", func() { goes(r) }, r.whole("node1", "node3"))
				for slot, owner := range r.owners() {
					if owner == "node2" || owner != before[slot] && before[slot] != "node2" {
						t.Errorf("slot %d has moved from %s to %s", slot, before[slot], owner)
					}
				}
				r.fault(6*time.Second, "the third comes back", func() { r.start("node2") }, r.whole("node1", "node2", "node3"))
				if r.owners() != before {
					t.Error("the node has another share than before")
				}
			})
		})
	}
}
