package ringtest

import (
	"cmp"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Handled is an event that a subscriber's handler has run with, and acked at its end. The
// outcome of the ack may be unknown.
type Handled struct {
	Consumer    string // where it ran
	Key         string // of the event; no two handlers of one run at a time
	Position    uint64
	Began, Done time.Duration
}

// Deliveries is what the consumers of a subscription have handled. It is in the order in
// which handlers began.
type Deliveries []Handled

// CheckAll checks that every event was handled at least once.
func (d Deliveries) CheckAll(log []core.Event) error {
	var f faults
	handled := map[uint64]bool{}
	for _, h := range d {
		handled[h.Position] = true
	}
	for i := range log {
		if !handled[log[i].Position] {
			f.add("the event at position %d was not handled", log[i].Position)
		}
	}
	return f.err()
}

// CheckKeys checks that no two handlers of a key overlap and that none goes back, but for
// those that began or ended in a span of faults.
func (d Deliveries) CheckKeys(faulty []Span) error {
	var f faults
	latest := map[string]Handled{} // of a key
	for _, h := range slices.SortedStableFunc(slices.Values(d), func(a, b Handled) int { return cmp.Compare(a.Began, b.Began) }) {
		before, ok := latest[h.Key]
		if ok && !touches(faulty, Span{before.Began, h.Done}) {
			if before.Done > h.Began {
				f.add("key %s: position %d was handled at %s from %v, and %d at %s until %v", h.Key, h.Position, h.Consumer, h.Began, before.Position, before.Consumer, before.Done)
			}
			if before.Position >= h.Position {
				f.add("key %s: position %d was handled at %s after %d at %s", h.Key, h.Position, h.Consumer, before.Position, before.Consumer)
			}
		}
		if !ok || h.Done >= before.Done {
			latest[h.Key] = h
		}
	}
	return f.err()
}

func touches(spans []Span, other Span) bool {
	return slices.ContainsFunc(spans, func(s Span) bool { return s.From <= other.To && other.From <= s.To })
}

// CheckFollow checks that a follow of $all has seen every event once, in order.
func CheckFollow(log []core.Event, seen []uint64) error {
	var f faults
	for i := range max(len(log), len(seen)) {
		switch {
		case i >= len(seen):
			f.add("position %d was not followed", log[i].Position)
		case i >= len(log):
			f.add("position %d was followed, and is not in the log", seen[i])
		case log[i].Position != seen[i]:
			f.add("position %d was followed where %d is next", seen[i], log[i].Position)
			return f.err()
		}
	}
	return f.err()
}
