package ring_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core/ring"
)

// world is a storage and sessions that beat against it, in one true time. A session
// believes by its Holder and until its time to serve is over.
type world struct {
	t        *testing.T
	rng      *rand.Rand
	now      time.Duration
	views    []*ring.View // of epochs 2 and up
	rows     []ring.Session
	sessions []*believer // all that ever were
	began    map[string]int
}

type believer struct {
	ring.Member
	holder   *ring.Holder
	watch    ring.Watch
	epoch    uint64 // of the newest view it knows
	until    time.Duration
	released uint64
	wakes    time.Duration // it does nothing until then
	// of the beat that is under way
	sent   time.Duration
	beats  bool
	answer *ring.Standing // nil: the storage has not done it yet
	says   uint64         // the epoch that it tells as released
}

func (w *world) epoch() uint64 { return uint64(len(w.views)) + 1 }

func (w *world) register(node string) {
	rows := w.rows[:0:0]
	for _, row := range w.rows {
		if row.Node != node {
			rows = append(rows, row)
		}
	}
	m := ring.Member{Session: uint64(len(w.sessions) + 1), Node: node}
	w.rows = append(rows, ring.Session{Member: m})
	w.sessions = append(w.sessions, &believer{Member: m})
}

// apply does a beat in the storage. It is lost if the session has ended.
func (w *world) apply(b *believer) {
	for i := range w.rows {
		if w.rows[i].Session == b.Session {
			w.rows[i].Beats++
			w.rows[i].Released = max(w.rows[i].Released, b.says)
			b.answer = &ring.Standing{Epoch: w.epoch(), Sessions: append([]ring.Session(nil), w.rows...)}
			return
		}
	}
	b.beats = false
}

// arrive takes a beat's answer as a node does.
func (w *world) arrive(b *believer) {
	s := b.answer
	b.beats, b.answer = false, nil
	if w.now-b.sent > ring.BeatTimeout {
		return
	}
	if b.holder == nil {
		b.holder = ring.NewHolder(b.Session, w.now, s, s.Epoch > 1)
		b.epoch = max(1, s.Epoch-1)
	}
	for _, v := range w.views {
		if v.Epoch > b.epoch {
			b.holder.Advance(w.now, v, v.Owners())
			b.epoch = v.Epoch
		}
	}
	b.watch.Observe(b.sent, w.now, s)
	b.until = b.sent + ring.ServeFor
	w.settle(b, s)
}

// settle uses what others say of themselves, late or not.
func (w *world) settle(b *believer, s *ring.Standing) {
	settled := uint64(0)
	for _, other := range w.sessions {
		if other.holder != nil && other != b && w.rng.IntN(2) == 0 {
			settled = max(settled, other.holder.Settled())
		}
	}
	b.holder.Settle(b.released, s, &b.watch, settled)
}

// propose stores a view of some of the sessions that are listed.
func (w *world) propose() {
	v := &ring.View{Epoch: w.epoch() + 1}
	for _, row := range w.rows {
		if w.rng.IntN(4) > 0 {
			v.Members = append(v.Members, row.Member)
		}
	}
	if len(v.Members) == 0 {
		return
	}
	ring.SortMembers(v.Members)
	w.views = append(w.views, v)
}

// check fails if two sessions believe that they hold one slot.
func (w *world) check() bool {
	for slot := 0; slot < ring.Slots; slot += 64 {
		var holds *believer
		for _, b := range w.sessions {
			if b.holder == nil || w.now >= b.until || !b.holder.Held().Has(slot) {
				continue
			}
			if holds != nil {
				w.t.Errorf("%v: sessions %d and %d both hold slot %d at epochs %d and %d",
					w.now, holds.Session, b.Session, slot, holds.epoch, b.epoch)
				return false
			}
			holds = b
			w.began["holds"]++
			if len(w.sessions) > 4 {
				w.began["holds later"]++
			}
		}
	}
	return true
}

func pick[T any](rng *rand.Rand, of []T) T { return of[rng.IntN(len(of))] }

// step does one thing of many that may happen next.
func (w *world) step() {
	switch what := w.rng.IntN(100); {
	case what < 3:
		w.register(fmt.Sprint("node", 1+w.rng.IntN(3)))
	case what < 9:
		w.propose()
	case what < 16:
		w.now += pick(w.rng, []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 700 * time.Millisecond})
	default:
		var b *believer
		if w.rng.IntN(10) == 0 {
			b = pick(w.rng, w.sessions)
		} else {
			row := pick(w.rng, w.rows)
			b = w.sessions[row.Session-1]
		}
		if w.rng.IntN(500) == 0 {
			b.wakes = w.now + time.Duration(w.rng.IntN(6000))*time.Millisecond
		}
		if w.now < b.wakes {
			return
		}
		w.beat(b, w.rng.IntN(5) == 0)
		if b.holder != nil && w.rng.IntN(8) > 0 {
			b.released = b.epoch
		}
	}
}

// beat does the next part of a beat, or what is left of it.
func (w *world) beat(b *believer, slow bool) {
	for {
		w.now += pick(w.rng, []time.Duration{0, 0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond})
		switch {
		case !b.beats:
			b.beats, b.sent, b.says = true, w.now, b.released
		case b.answer == nil:
			w.apply(b)
		default:
			w.arrive(b)
		}
		if slow || !b.beats {
			return
		}
	}
}

// TestNobodyHoldsASlotTwice: whatever is late, lost or silent, and whoever starts again.
func TestNobodyHoldsASlotTwice(t *testing.T) {
	reached := map[string]int{}
	for seed := range uint64(25) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 2)), now: time.Second, began: reached}
		for n := range 3 {
			w.register(fmt.Sprint("node", n+1))
		}
		for range 600 {
			w.step()
			if !w.check() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
	if reached["holds"] < 1000 || reached["holds later"] < 1000 {
		t.Errorf("hardly anything was held: %v", reached)
	}
}

func TestASlotThatStaysIsHeldWithoutAPause(t *testing.T) {
	now := time.Second
	rows := []ring.Session{{Member: ring.Member{Session: 1, Node: "a"}}}
	standing := &ring.Standing{Epoch: 1, Sessions: rows}
	h := ring.NewHolder(1, now, standing, false)
	var w ring.Watch
	view := func(epoch uint64, members ...ring.Member) {
		v := &ring.View{Epoch: epoch, Members: members}
		h.Advance(now, v, v.Owners())
		standing = &ring.Standing{Epoch: epoch, Sessions: rows}
		w.Observe(now, now, standing)
	}
	view(2, rows[0].Member)
	if !h.Settle(2, standing, &w, 0) || count(h.Held()) != ring.Slots {
		t.Fatal("the only member does not hold everything")
	}
	b := ring.Member{Session: 2, Node: "b"}
	rows = append(rows, ring.Session{Member: b})
	view(3, rows[0].Member, b)
	kept := count(h.Held())
	if kept == 0 || kept == ring.Slots {
		t.Fatalf("it holds %d slots after another has come", kept)
	}
	view(4, rows[0].Member) // b goes, and does not say that it has released anything
	if h.Settle(4, standing, &w, 0) || count(h.Held()) != kept {
		t.Fatalf("it holds %d slots, with %d that it kept", count(h.Held()), kept)
	}
	rows[1].Released = 4
	view(4, rows[0].Member)
	if !h.Settle(4, standing, &w, 0) || count(h.Held()) != ring.Slots {
		t.Fatal("it does not hold what b has released")
	}
}

// TestTheDeadHoldNothing: after DeadAfter of silence, and not while a beat may be on its way
// that was answered before the view that leaves the session out.
func TestTheDeadHoldNothing(t *testing.T) {
	a, b := ring.Member{Session: 1, Node: "a"}, ring.Member{Session: 2, Node: "b"}
	for _, c := range []struct {
		viewAt, firstHeld time.Duration // after b was seen to beat last
	}{
		{time.Second, ring.DeadAfter},
		{ring.DeadAfter, ring.DeadAfter + ring.BeatTimeout},
	} {
		var w ring.Watch
		began := time.Second
		s := &ring.Standing{Epoch: 2, Sessions: []ring.Session{{Member: a}, {Member: b}}}
		h := ring.NewHolder(1, began, s, false)
		both := &ring.View{Epoch: 2, Members: []ring.Member{a, b}}
		h.Advance(began, both, both.Owners())
		for after := time.Duration(0); after <= c.firstHeld; after += 100 * time.Millisecond {
			now := began + after
			if after == c.viewAt {
				alone := &ring.View{Epoch: 3, Members: []ring.Member{a}}
				h.Advance(now, alone, alone.Owners())
				if h.Settle(3, s, &w, 0); count(h.Held()) == ring.Slots {
					t.Error("a standing of an earlier epoch settles a view")
				}
				s = &ring.Standing{Epoch: 3, Sessions: s.Sessions}
			}
			s.Sessions[0].Beats++
			w.Observe(now, now, s)
			h.Settle(s.Epoch, s, &w, 0)
			if held := count(h.Held()) == ring.Slots; held != (after == c.firstHeld) {
				t.Errorf("a view after %v: at %v all is held: %v", c.viewAt, after, held)
			}
		}
	}
}

func count(set *ring.SlotSet) (n int) {
	for slot := range ring.Slots {
		if set.Has(slot) {
			n++
		}
	}
	return n
}
