package delivery

import (
	"cmp"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// model is what a machine has to do, in the plainest way: a list of events, each
// with what became of it, searched from the front for everything.
type model struct {
	o    Options
	room core.Limit

	now      time.Time
	mode     mode
	draining bool
	cursor   uint64
	window   []*fate // unfinished, in order
	replays  []*fate // in no order
	over     map[uint64]bool
	beyond   map[uint64]bool
	failing  map[uint64]FailedEvent // of an earlier machine, not met yet
	parked   map[uint64]string      // keys by position, as far as the machine knows
	workers  []*worker
	expired  map[uint64]bool // while the store under way parks them
	serial   int
}

// fate is what became of an event.
type fate struct {
	Item
	replay  bool
	ordered bool // it keeps to the order of its key
	state   state
	attempt int
	failed  int
	holder  *worker
	sent    int       // serial of the send
	changed bool      // since its failures were stored
	due     time.Time // of a retry or of the time to ack; zero while others of the key are in flight before it
}

// worker is one subscriber.
type worker struct {
	lease   Lease
	credit  Credit
	workers int
	buffer  int // 0 is the subscription's
	served  int
	expired map[uint64]int // serials of sends by position
}

func newModel(now time.Time, c Config) *model {
	md := &model{o: c.Options, room: c.Window, now: now, cursor: c.Checkpoint,
		over: map[uint64]bool{}, beyond: map[uint64]bool{}, parked: map[uint64]string{}, expired: map[uint64]bool{}}
	md.failing = map[uint64]FailedEvent{}
	for _, f := range c.Failed {
		md.failing[f.Position] = f
	}
	for _, p := range c.Parked {
		md.parked[p.Position] = p.Key
		md.beyond[p.Position] = p.Position > c.Checkpoint
	}
	if c.Options.Paused {
		md.mode = paused
	}
	return md
}

func (md *model) next() int {
	md.serial++
	return md.serial
}

func (md *model) all() []*fate { return slices.Concat(md.window, md.replays) }

func (md *model) inFlight(w *worker) (fates []*fate) {
	for _, f := range md.all() {
		if f.holder == w {
			fates = append(fates, f)
		}
	}
	slices.SortFunc(fates, func(a, b *fate) int { return cmp.Compare(a.sent, b.sent) })
	return fates
}

func (md *model) find(w *worker, position uint64) *fate {
	for _, f := range md.inFlight(w) {
		if f.Position == position {
			return f
		}
	}
	return nil
}

func (md *model) replayOf(position uint64) *fate {
	for _, f := range md.replays {
		if f.Position == position {
			return f
		}
	}
	return nil
}

func (md *model) unfinished(position uint64) bool {
	return slices.ContainsFunc(md.window, func(f *fate) bool { return f.Position == position })
}

// restore has an event go on where an earlier machine left it.
func (md *model) restore(f *fate, now time.Time) {
	r, ok := md.failing[f.Position]
	if !ok || r.Replay != f.replay {
		return
	}
	delete(md.failing, f.Position)
	f.attempt, f.failed = r.Attempts, r.Failed
	if r.NotBefore.After(now) {
		f.state, f.due = retrying, r.NotBefore
	}
}

func (md *model) feed(items []Item, cursor uint64, now time.Time) {
	for _, it := range items {
		if md.beyond[it.Position] {
			md.over[it.Position] = true
			continue
		}
		f := &fate{Item: it}
		md.restore(f, now)
		md.window = append(md.window, f)
		if it.Fault != "" || md.holds(it.Key) {
			md.park(f)
		} else {
			f.ordered = md.o.partitioned()
		}
	}
	md.cursor = cursor
}

// holds says whether there is something parked of a key that is not replayed.
func (md *model) holds(key string) bool {
	if !md.o.holdsKeys() {
		return false
	}
	for position, of := range md.parked {
		if of == key && md.replayOf(position) == nil {
			return true
		}
	}
	return false
}

func (md *model) park(f *fate) {
	f.state = parking
	if !f.replay {
		md.parked[f.Position] = f.Key
	}
	if !md.o.holdsKeys() || !f.ordered {
		return
	}
	for _, o := range md.all() {
		if o != f && o.ordered && o.Key == f.Key {
			o.ordered = false
			if o.replay {
				md.forget(o)
			} else {
				md.park(o)
			}
		}
	}
}

func (md *model) forget(f *fate) {
	md.replays = slices.DeleteFunc(md.replays, func(o *fate) bool { return o == f })
}

// leads says that no event of the key is unfinished before f.
func (md *model) leads(f *fate) bool {
	return !f.ordered || md.o.holdsKeys() || !slices.ContainsFunc(md.window, func(o *fate) bool {
		return o.ordered && o.Key == f.Key && o.Position < f.Position
	})
}

// giveBack takes an event back, and those of its key that were sent behind it.
func (md *model) giveBack(f *fate) {
	for _, o := range md.all() {
		if o == f || f.ordered && o.ordered && o.Key == f.Key && o.state == inFlight && o.sent > f.sent {
			o.state, o.holder = waiting, nil
		}
	}
}

// begun is what a subscriber can be handling: the oldest of each key, and the oldest without
// one, as many as it has workers.
func (md *model) begun(w *worker) (fates []*fate) {
	seen := map[string]int{}
	for _, f := range md.inFlight(w) {
		key, most := "-", w.workers
		if f.ordered {
			key, most = "key "+f.Key, 1
		}
		if seen[key]++; seen[key] <= most {
			fates = append(fates, f)
		}
	}
	return fates
}

// end finishes an event that was acked, skipped or dropped. The time of the next of its
// key begins.
func (md *model) end(f *fate) {
	led, inFlightTo := md.leads(f), f.holder
	f.holder = nil
	defer func() {
		for _, o := range md.all() {
			if led && f.ordered && o.ordered && o.Key == f.Key && o.state == inFlight && o.holder == inFlightTo && md.leads(o) {
				if at := md.ackBy(); at.After(o.due) {
					o.due = at
				}
			}
		}
	}()
	if f.replay {
		f.state, f.ordered = removing, false
		return
	}
	md.over[f.Position] = true
	md.window = slices.DeleteFunc(md.window, func(o *fate) bool { return o == f })
}

// ackBy is when an event has to be acked whose time begins now; zero is never.
func (md *model) ackBy() time.Time {
	if md.o.AckTimeoutMs == NoLimit {
		return time.Time{}
	}
	return md.now.Add(time.Duration(md.o.AckTimeoutMs) * time.Millisecond)
}

// fail ends an attempt, and says whether the event was skipped by that.
func (md *model) fail(f *fate, rest time.Duration) (skipped bool) {
	f.failed++
	if f.failed < md.o.Retry.Max || md.o.Retry.Max == NoLimit {
		md.giveBack(f)
		f.changed = true
		if rest < 0 {
			ms := md.o.Retry.MinMs
			for range f.failed - 1 {
				ms = min(2*ms, md.o.Retry.MaxMs)
			}
			rest = time.Duration(ms) * time.Millisecond
		}
		f.state, f.due = retrying, md.now.Add(rest)
		if rest == 0 {
			f.state = waiting
		}
		return false
	}
	switch md.o.Retry.Then {
	case ThenPark:
		md.giveBack(f)
		md.park(f)
	case ThenSkip:
		md.end(f)
		return true
	case ThenStop:
		md.giveBack(f)
		f.failed, f.changed = 0, true
		md.mode = stopped
	}
	return false
}

// advance does what Machine.Advance has to, and returns what is sent.
func (md *model) advance(now time.Time) (sends map[Lease][]Delivery, skipped []uint64) {
	md.now = now
	for _, f := range md.all() {
		switch {
		case f.state == retrying && !f.due.After(now):
			f.state = waiting
		case f.state == inFlight && md.leads(f) && !f.due.IsZero() && !f.due.After(now):
			if md.fail(f, ByPolicy) {
				skipped = append(skipped, f.Position)
			}
		}
	}
	sends = map[Lease][]Delivery{}
	var w *worker
	until := 0                   // how many w may have in flight before another one gets some
	served := map[*worker]bool{} // there is nothing left for
	for md.sends() {
		if w == nil || !md.wants(w) || len(md.inFlight(w)) >= until {
			if w = md.willing(served); w == nil {
				break
			}
			until = len(md.inFlight(w)) + 1 + len(md.inFlight(w))/atATime
		}
		f := md.sendable(w)
		if f == nil {
			served[w], w = true, nil
			continue
		}
		f.attempt++
		f.state, f.holder, f.sent, f.due = inFlight, w, md.next(), time.Time{}
		if md.leads(f) {
			f.due = md.ackBy()
		}
		w.served = f.sent
		w.credit.Events--
		w.credit.Bytes -= int64(len(f.Raw))
		sends[w.lease] = append(sends[w.lease], Delivery{Position: f.Position, Attempt: f.attempt, Replay: f.replay})
	}
	return sends, skipped
}

// sends says that nobody has stopped it from sending.
func (md *model) sends() bool { return md.mode == running && !md.draining }

// willing is who is to get the next event.
func (md *model) willing(but map[*worker]bool) (best *worker) {
	for _, w := range md.workers {
		if !md.wants(w) || but[w] {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(len(md.inFlight(w)), len(md.inFlight(best))), cmp.Compare(w.served, best.served)) < 0 {
			best = w
		}
	}
	return best
}

// wants says that a worker may get more.
func (md *model) wants(w *worker) bool {
	buffer := md.o.BufferSize
	if w.buffer > 0 {
		buffer = min(buffer, w.buffer)
	}
	return w.credit.Events > 0 && w.credit.Bytes > 0 && len(md.inFlight(w)) < buffer
}

// sendable is the next event to be sent to w.
func (md *model) sendable(w *worker) (best *fate) {
	for _, f := range md.all() {
		if f.state == waiting && (best == nil || f.Position < best.Position) && !md.blocked(f, w) {
			best = f
		}
	}
	return best
}

// blocked says that another event of the key is to be finished before f may go to w, or at
// least to be in flight to w.
func (md *model) blocked(f *fate, w *worker) bool {
	return f.ordered && slices.ContainsFunc(md.all(), func(o *fate) bool {
		switch {
		case o == f || !o.ordered || o.Key != f.Key:
			return false
		case md.o.holdsKeys():
			return o.state != waiting && o.state != retrying || o.Position < f.Position
		}
		return o.Position < f.Position && (o.holder != w || w.workers > 1)
	})
}

// floor is where the checkpoint may be when the events at some positions are
// parked.
func (md *model) floor(parks []Parked) uint64 {
	for _, f := range md.window {
		if !slices.ContainsFunc(parks, func(p Parked) bool { return p.Position == f.Position }) {
			return f.Position - 1
		}
	}
	return md.cursor
}

// stored takes notice of a store.
func (md *model) stored(s *Store) {
	for _, p := range s.Park {
		if f := md.replayOf(p.Position); f != nil && f.state == parking {
			md.forget(f)
		} else {
			md.over[p.Position] = true
			md.window = slices.DeleteFunc(md.window, func(f *fate) bool { return f.Position == p.Position })
		}
		if md.expired[p.Position] {
			delete(md.expired, p.Position)
			md.replays = append(md.replays, &fate{Item: Item{Position: p.Position, Key: p.Key}, replay: true, state: removing})
		}
	}
	for _, r := range s.Remove {
		md.forget(md.replayOf(r.Position))
		delete(md.parked, r.Position)
	}
}

// expire ends an event that is gone from the log, unless the store under way parks it.
func (md *model) expire(f *fate, s *Store) {
	switch {
	case f.state == parking && s != nil && slices.ContainsFunc(s.Park, func(p Parked) bool { return p.Position == f.Position }):
		md.expired[f.Position] = true
		return
	case f.state == parking && !f.replay:
		delete(md.parked, f.Position)
	case f.state == inFlight:
		f.holder.expired[f.Position] = f.sent
	}
	md.end(f)
}

// notStored takes notice of a store that was not made.
func (md *model) notStored(s *Store) {
	for position := range md.expired {
		delete(md.expired, position)
		for _, f := range md.all() {
			if f.Position == position {
				md.expire(f, nil)
			}
		}
	}
	for _, r := range s.Failed {
		for _, f := range md.all() {
			if f.Position == r.Position && f.replay == r.Replay && f.state != parking && f.state != removing {
				f.changed = true
			}
		}
	}
}

func (md *model) count(states ...state) (n int) {
	for _, f := range md.all() {
		if slices.Contains(states, f.state) {
			n++
		}
	}
	return n
}
