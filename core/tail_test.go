package core

import "testing"

// TestTailTakesWhatWaitedForAGap has a step come after events of others, and the
// gap close in each of the ways it can: with nothing more to come, what waited has
// to be in the tail.
func TestTailTakesWhatWaitedForAGap(t *testing.T) {
	batch := func(position uint64) Batch {
		var b Batch
		e := NewEvent{Type: "T", Format: Bytes}
		b.Add(EncodeEvent(nil, Placement{Stream: "s", Version: position, Position: position, Incarnation: 1}, &e), position)
		return b
	}
	for name, closeGap := range map[string]func(t *tail){
		"filled":    func(t *tail) { t.fill(Page{Batch: batch(1)}) },
		"empty":     func(t *tail) { t.fill(Page{End: true, Head: 2}) },
		"skipped":   func(t *tail) { t.skipTo(1) },
		"overtaken": func(t *tail) { t.skipTo(1); t.skipTo(1) },
	} {
		tail := newTail(1<<20, "log", 0)
		tail.share(func() bool { return true })
		tail.publish(0, batch(2), 0)
		if _, end := tail.place(); end != 0 || tail.missing() != 1 || len(tail.gaps) != 1 {
			t.Fatalf("%s: the tail ends at %d, misses up to %d, before the gap is closed", name, end, tail.missing())
		}
		closeGap(tail)
		if _, end := tail.place(); end != 2 {
			t.Errorf("%s: the tail ends at %d, want 2", name, end)
		}
	}
}
