package ring_test

import (
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/core/ring"
)

func view(nodes ...string) *ring.View {
	v := &ring.View{Epoch: 2}
	for i, n := range nodes {
		v.Members = append(v.Members, ring.Member{Session: uint64(i + 1), Node: n})
	}
	ring.SortMembers(v.Members)
	return v
}

// TestSlotStays: nodes of different versions share a ring, so a name's slot never changes.
func TestSlotStays(t *testing.T) {
	for name, want := range map[string]int{"": 3828, "order-1": 954, "audit": 2603} {
		if got := ring.Slot(name); got != want {
			t.Errorf("slot of %q is %d, want %d", name, got, want)
		}
	}
}

// P11: only the slots of a member that goes get another owner.
func TestOwnersMoveOnlyWithTheirMember(t *testing.T) {
	three, two := view("a", "b", "c").Owners(), view("a", "b").Owners()
	moved := 0
	for slot := range ring.Slots {
		before, _ := three.Owner(slot)
		after, _ := two.Owner(slot)
		if before.Node != "c" && before.Node != after.Node {
			t.Fatalf("slot %d moved from %s to %s when c went", slot, before.Node, after.Node)
		}
		if before.Node == "c" {
			moved++
		}
	}
	if c, _ := view("a", "b", "c").Node("c"); moved != three.Count(c.Session) {
		t.Errorf("%d slots moved, c had %d", moved, three.Count(c.Session))
	}
}

// A move says how many slots went from whom to whom, of the sessions that are asked about.
func TestMoves(t *testing.T) {
	two, three := view("a", "b"), view("a", "b", "c")
	all := func(uint64) bool { return true }
	moves := three.Owners().Moves(two.Owners(), all)
	if len(moves) != 2 || moves[0].From != "a" || moves[1].From != "b" || moves[0].To != "c" || moves[1].To != "c" {
		t.Fatalf("c comes: %+v", moves)
	}
	if c, _ := three.Node("c"); moves[0].Slots+moves[1].Slots != three.Owners().Count(c.Session) {
		t.Errorf("c comes: %+v, and c has %d", moves, three.Owners().Count(c.Session))
	}
	a, _ := two.Node("a")
	if left := three.Owners().Moves(two.Owners(), func(s uint64) bool { return s == a.Session }); len(left) != 1 || left[0] != moves[0] {
		t.Errorf("of a: %+v, want %+v", left, moves[0])
	}
	if same := two.Owners().Moves(two.Owners(), all); same != nil {
		t.Errorf("nothing changed: %+v", same)
	}
	if first := two.Owners().Moves((&ring.View{}).Owners(), all); first != nil {
		t.Errorf("the first view: %+v", first)
	}
}

// P11: 10,000 streams spread within 1.1 of the mean over 3 nodes.
func TestOwnersAreEven(t *testing.T) {
	owners := view("node1@127.0.0.1", "node2@127.0.0.1", "node3@127.0.0.1").Owners()
	counts := map[string]int{}
	for i := range 10_000 {
		m, _ := owners.Owner(ring.Slot(fmt.Sprintf("order-%d", i)))
		counts[m.Node]++
	}
	for node, n := range counts {
		if n > 11_000/3 {
			t.Errorf("%s owns %d of 10,000 streams: %v", node, n, counts)
		}
	}
}

func TestNoMembers(t *testing.T) {
	if m, ok := (&ring.View{}).Owners().Owner(1); ok {
		t.Errorf("%+v owns a slot of an empty view", m)
	}
}
