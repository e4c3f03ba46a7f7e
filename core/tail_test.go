package core

import (
	"fmt"
	"testing"
)

func batchAt(position uint64) Batch { return batchIn(position, "s") }

// batchIn has an event of each of some streams, from a position on.
func batchIn(position uint64, streams ...string) (b Batch) {
	e := NewEvent{Type: "T", Format: Bytes}
	for i, stream := range streams {
		at := position + uint64(i)
		b.Add(EncodeEvent(nil, Placement{Stream: stream, Version: at, Position: at, Incarnation: 1}, &e), at)
	}
	return b
}

// TestTailOfOneStream: who follows one stream from far behind gets the batches that have it.
func TestTailOfOneStream(t *testing.T) {
	tail := newTail(1<<20, "log", 0)
	for i := range uint64(100) {
		tail.publish(0, batchIn(3*i+1, "all", fmt.Sprintf("even-%d", i%2), fmt.Sprintf("s-%d", i)), 0)
	}
	for stream, want := range map[string]int{"all": 90, "even-0": 45, "s-0": 0, "s-50": 1, "none": 0} {
		batches, head, ok := tail.fromOf(stream, 30) // the end of the tenth batch
		if len(batches) != want || head != 300 || !ok {
			t.Errorf("%s: %d batches up to %d, want %d", stream, len(batches), head, want)
		}
	}
}

// TestWaitersAreToldOfWhatIsInTheTail: between what is published and its wake, one that
// leaves has been woken for it, and one that comes has seen it.
func TestWaitersAreToldOfWhatIsInTheTail(t *testing.T) {
	newWaiter := func() *waiter { return &waiter{stream: "s", woken: make(chan uint64, 1)} }
	for name, change := range map[string]func(*tail, *waiter){
		"leaves":   func(tail *tail, w *waiter) { tail.leave(w) },
		"restarts": func(tail *tail, _ *waiter) { tail.skipTo(9) },
		"wakes":    func(tail *tail, _ *waiter) { tail.wake() },
		"comes":    func(tail *tail, _ *waiter) { tail.wait(newWaiter(), "log", 1) },
	} {
		tail, first, second := newTail(1<<20, "log", 0), newWaiter(), newWaiter()
		if !tail.wait(first, "log", 0) {
			t.Fatalf("%s: there is nothing to wait for in an empty tail", name)
		}
		tail.publish(0, batchAt(1), 0)
		if len(first.woken) != 0 {
			t.Fatalf("%s: woken before the wake", name)
		}
		change(tail, first)
		if len(first.woken) != 1 || <-first.woken != 0 {
			t.Errorf("%s: the first waiter was not woken for position 1", name)
		}
		if _, end := tail.place(); !tail.wait(second, "log", end) {
			t.Fatalf("%s: there is something behind the end", name)
		}
		tail.wake()
		if len(second.woken) != 0 {
			t.Errorf("%s: the second waiter was woken for what it has seen", name)
		}
	}
}

// TestTailTakesWhatWaitedForAGap has a step come after events of others, and the
// gap close in each of the ways it can: with nothing more to come, what waited has
// to be in the tail.
func TestTailTakesWhatWaitedForAGap(t *testing.T) {
	for name, closeGap := range map[string]func(t *tail){
		"filled":    func(t *tail) { t.fill(Page{Batch: batchAt(1)}) },
		"empty":     func(t *tail) { t.fill(Page{End: true, Head: 2}) },
		"skipped":   func(t *tail) { t.skipTo(1) },
		"overtaken": func(t *tail) { t.skipTo(1); t.skipTo(1) },
	} {
		tail := newTail(1<<20, "log", 0)
		tail.share(func() bool { return true })
		tail.publish(0, batchAt(2), 0)
		if _, end := tail.place(); end != 0 || tail.missing() != 1 || len(tail.gaps) != 1 {
			t.Fatalf("%s: the tail ends at %d, misses up to %d, before the gap is closed", name, end, tail.missing())
		}
		closeGap(tail)
		if _, end := tail.place(); end != 2 {
			t.Errorf("%s: the tail ends at %d, want 2", name, end)
		}
	}
}

// TestTailForgetsWhatComesBeforeAnEarlyNotice: what comes late to the place before a notice may be
// removed, whether a step has written it or a page was read before.
func TestTailForgetsWhatComesBeforeAnEarlyNotice(t *testing.T) {
	for name, closeGap := range map[string]func(t *tail){
		"filled": func(t *tail) { t.fill(Page{Batch: batchAt(1)}) },
		"a step": func(t *tail) { t.publish(1, batchAt(1), 0) },
	} {
		tail := newTail(1<<20, "log", 0)
		tail.share(func() bool { return true })
		notice := batchIn(3, NoticeStream)
		notice.Hidden = true
		tail.publish(0, notice, 0)
		closeGap(tail)
		if batches, end, ok := tail.from(0); end != 1 || ok {
			t.Errorf("%s: the tail has %d batches up to %d before the notice", name, len(batches), end)
		}
		tail.fill(Page{Batch: batchAt(2)})
		if batches, end, ok := tail.from(0); end != 3 || ok {
			t.Errorf("%s: the tail has %d batches up to %d", name, len(batches), end)
		}
	}
}
