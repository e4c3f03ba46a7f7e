package delivery

import (
	"fmt"
	"time"

	"github.com/gyre-events/gyre/core"
)

// checkRules checks, without regard to how the model came to it, what is promised
// of deliveries.
func (w *walk) checkRules(sends map[Lease][]Delivery) {
	md := w.model
	for _, events := range sends {
		for _, d := range events {
			if md.over[d.Position] && md.replayOf(d.Position) == nil {
				w.Fatalf("event %d is sent after it was finished", d.Position)
			}
		}
	}
	for _, f := range md.all() {
		if f.state == inFlight && f.ordered {
			w.checkKey(f)
		}
	}
	for _, who := range md.workers {
		if f := md.sendable(who); f != nil && md.sends() && md.wants(who) {
			w.Fatalf("event %d waits, and subscriber %d is willing", f.Position, who.lease)
		}
	}
	if md.mode == running && len(md.workers) > 0 != (w.m.State() == CatchUp || w.m.State() == Live) {
		w.Fatalf("the state is %s", w.m.State())
	}
}

// checkKey checks what is in flight with an event: what was before it of its key is with
// the same subscriber, was sent before it, and with HoldKey is finished.
func (w *walk) checkKey(f *fate) {
	for _, o := range w.model.all() {
		if o == f || !o.ordered || o.Key != f.Key {
			continue
		}
		if o.state == inFlight && (o.holder != f.holder || w.config.Options.holdsKeys() || f.holder.workers > 1 || (o.sent < f.sent) != (o.Position < f.Position)) {
			w.Fatalf("events %d and %d of key %s are in flight together", o.Position, f.Position, f.Key)
		}
		if !o.replay && o.Position < f.Position && o.state != inFlight {
			w.Fatalf("event %d of key %s is in flight before %d", f.Position, f.Key, o.Position)
		}
	}
}

// checkStore checks a new store, and that there is one when it is time.
func (w *walk) checkStore() {
	md, s := w.model, w.out.Store
	if s == nil {
		if w.store != nil || w.now.Before(w.retryAt) {
			return
		}
		if md.count(parking, removing) > 0 || len(md.changed()) > 0 {
			w.Fatal("something is to be parked or has failed, and is not stored")
		}
		passed := 0
		for _, e := range w.log {
			if e.match && e.Position > w.m.store.checkpoint && e.Position <= md.floor(nil) {
				passed++
			}
		}
		if passed >= w.config.Options.CheckpointThreshold {
			w.Fatalf("%d events are to be stored", passed)
		}
		return
	}
	if w.store != nil || w.now.Before(w.retryAt) {
		w.Fatalf("it is too early to store %+v", s)
	}
	if want := md.floor(s.Park); s.Checkpoint != want {
		w.Fatalf("P9: stores checkpoint %d, want %d", s.Checkpoint, want)
	}
	if len(s.Park)+len(s.Remove) != md.count(parking, removing) {
		w.Fatalf("stores %+v, want %d parked and %d removed", s, md.count(parking), md.count(removing))
	}
	for _, p := range s.Park {
		ok := false
		for _, f := range md.all() {
			ok = ok || f.Position == p.Position && f.state == parking && f.attempt == p.Attempts && f.Key == p.Key
		}
		if !ok {
			w.Fatalf("parks %+v", p)
		}
	}
	for _, r := range s.Remove {
		if f := md.replayOf(r.Position); f == nil || f.state != removing {
			w.Fatalf("removes %+v", r)
		}
	}
	w.checkFailed(s)
	w.store = s
}

// checkFailed checks that a store keeps what failed, and forgets only what is over.
func (w *walk) checkFailed(s *Store) {
	md := w.model
	changed := md.changed()
	if len(s.Failed) != len(changed) {
		w.Fatalf("stores the failures of %+v, want %d", s.Failed, len(changed))
	}
	for _, r := range s.Failed {
		f := changed[[2]any{r.Position, r.Replay}]
		if f == nil || f.attempt != r.Attempts || f.failed != r.Failed || (f.state == retrying) != r.NotBefore.After(w.now) ||
			f.state == retrying && !f.due.Equal(r.NotBefore) {
			w.Fatalf("stores %+v of %+v", r, f)
		}
		f.changed = false
	}
	for _, position := range s.Forget {
		for _, f := range md.all() {
			if f.Position == position && f.failed > 0 && f.state != parking && f.state != removing {
				w.Fatalf("forgets that %+v has failed", f)
			}
		}
	}
}

// changed are the events whose failures are to be stored.
func (md *model) changed() map[[2]any]*fate {
	changed := map[[2]any]*fate{}
	for _, f := range md.all() {
		if f.changed && f.state != parking && f.state != removing {
			changed[[2]any{f.Position, f.replay}] = f
		}
	}
	return changed
}

// checkRead checks the bounds of reading, and that there is reading where it is
// needed.
func (w *walk) checkRead() {
	md, l := w.model, w.out.Read
	bytes, longest := 0, 0
	for _, f := range md.window {
		bytes += len(f.Raw)
		longest = max(longest, len(f.Raw))
	}
	span := w.m.window.entries.len()
	if len(md.window) > w.config.Window.Events || bytes > w.config.Window.Bytes+longest || span > spanFactor*w.config.Window.Events {
		w.Fatalf("the window has %d events, %d unfinished, with %d bytes", span, len(md.window), bytes)
	}
	if len(md.window)+l.Events > w.config.Window.Events || l.Events > 0 && span+w.m.store.unstored()+l.Events > spanFactor*w.config.Window.Events {
		w.Fatalf("asks for %d events beside %d, %d of them unfinished", l.Events, span, len(md.window))
	}
	credit, willing, sendable := false, false, false
	for _, who := range md.workers {
		credit = credit || who.credit.some()
		willing = willing || md.wants(who)
		sendable = sendable || md.sendable(who) != nil
	}
	if (!md.sends() || !credit) && l != (core.Limit{}) {
		w.Fatalf("asks for %+v, and nobody wants any", l)
	}
	if md.sends() && willing && l == (core.Limit{}) && !sendable &&
		len(md.window) < w.config.Window.Events && bytes < w.config.Window.Bytes && span+w.m.store.unstored() < spanFactor*w.config.Window.Events {
		w.Fatal("does not read, and has nothing to send")
	}
}

// checkWake checks that the machine wakes when the model has something to do.
func (w *walk) checkWake() {
	var first time.Time
	for _, f := range w.model.all() {
		if !f.due.IsZero() && (f.state == inFlight && w.model.leads(f) || f.state == retrying) && (first.IsZero() || f.due.Before(first)) {
			first = f.due
		}
	}
	if !first.IsZero() && (w.out.Wake.IsZero() || w.out.Wake.After(first)) {
		w.Fatalf("wakes at %v, want %v", w.out.Wake, first)
	}
	if !w.out.Wake.IsZero() && !w.out.Wake.After(w.now) {
		w.Fatalf("wakes at %v, it is %v", w.out.Wake, w.now)
	}
}

// check holds a machine to what its fields promise, after an Advance.
func (m *Machine) check() error {
	var counts [states]int
	unfinished, bytes, last := 0, 0, uint64(0)
	q := &m.window.entries
	for i := q.head; i < q.tail; i++ {
		s := q.at(i)
		if s.position <= last {
			return fmt.Errorf("slot %d after %d", s.position, last)
		}
		last = s.position
		if s.e == nil {
			continue
		}
		if s.e.index != i || s.e.Position != s.position || s.e.replay {
			return fmt.Errorf("slot %d has %+v", s.position, s.e)
		}
		counts[s.e.state]++
		unfinished++
		bytes += len(s.e.Raw)
	}
	replayBytes := 0
	for position, e := range m.parked.replays {
		if e.Position != position || !e.replay {
			return fmt.Errorf("replay %d has %+v", position, e)
		}
		counts[e.state]++
		replayBytes += len(e.Raw)
	}
	if counts != m.counts || unfinished != m.window.unfinished || bytes != m.window.bytes || replayBytes != m.parked.bytes {
		return fmt.Errorf("counted %v, %d events of %d and %d bytes; the machine has %v, %d, %d, %d",
			counts, unfinished, bytes, replayBytes, m.counts, m.window.unfinished, m.window.bytes, m.parked.bytes)
	}
	if len(m.parked.parking) != counts[parking] || len(m.parked.removing) != counts[removing] {
		return fmt.Errorf("%d parking, %d removing of %v", len(m.parked.parking), len(m.parked.removing), counts)
	}
	if q.head < q.tail && q.at(q.head).e == nil {
		return fmt.Errorf("a finished event is first in the window")
	}
	return m.checkSides(counts)
}

// checkSides checks what hangs on the entries: lanes, what is ready, and what was
// sent to whom.
func (m *Machine) checkSides(counts [states]int) error {
	queued := 0
	for key, q := range m.queues.byKey {
		inFlights := 0
		var unsent, before *entry
		for e := q.head; e != nil; e = e.next {
			queued++
			if e.state == inFlight {
				inFlights++
			}
			if unsent == nil && e.state != inFlight {
				unsent = e
			}
			if e.Key != key || e.queue != q || e.prev != before || e.next == nil && q.tail != e || e.state == inFlight && e.holder != q.holder {
				return fmt.Errorf("queue %s has %+v", key, e)
			}
			before = e
		}
		if inFlights != q.inFlight || unsent != q.unsent || inFlights == 0 && q.holder != nil {
			return fmt.Errorf("queue %s has %d in flight: %+v", key, inFlights, q)
		}
	}
	if queued > m.window.unfinished+len(m.parked.replays) {
		return fmt.Errorf("%d entries in queues", queued)
	}
	if err := m.checkReady(&m.ready, nil); err != nil {
		return err
	}
	sent := 0
	for _, s := range m.subs.all {
		inFlight := 0
		for i := s.sent.head; i < s.sent.tail; i++ {
			if x := s.sent.at(i); !x.dead() {
				inFlight++
			}
		}
		if inFlight != s.inFlight || s.sent.len() > 2*m.opts.BufferSize+100 || inFlight > m.opts.BufferSize {
			return fmt.Errorf("subscriber %d has %d of %d in flight, says %d", s.lease, inFlight, s.sent.len(), s.inFlight)
		}
		sent += inFlight
		if err := m.checkReady(&s.ready, s); err != nil {
			return err
		}
	}
	if sent != counts[inFlight] {
		return fmt.Errorf("%d are in flight to someone, %d in all", sent, counts[inFlight])
	}
	if bound := 2*(m.room.Events+m.room.Events/replayShare) + 200; len(m.timers) > bound {
		return fmt.Errorf("%d timers", len(m.timers))
	}
	return nil
}

// checkReady checks what is ready for a subscriber, or for all.
func (m *Machine) checkReady(h *readyHeap, s *subscriber) error {
	for i, e := range *h {
		var holder *subscriber
		if e.queue != nil {
			holder = e.queue.holder
		}
		if e.state != waiting || e.ready != h || e.place != i || holder != s || e.queue != nil && e.queue.unsent != e || !m.seen(e) {
			return fmt.Errorf("ready: %+v", e)
		}
		if i > 0 && e.before((*h)[(i-1)/2]) {
			return fmt.Errorf("ready: %d above %d", (*h)[(i-1)/2].Position, e.Position)
		}
	}
	return nil
}
