package delivery

import (
	"slices"
	"time"
)

// FailedEvent is what outlives a machine of an event that failed and is not finished: the
// next machine goes on with its attempts and its backoff.
type FailedEvent struct {
	Position uint64
	Replay   bool // of a parked event
	Attempts int  // how often it was sent
	Failed   int  // the attempts that count against Retry.Max
	// NotBefore is the end of its backoff, by the wall clock; zero if it has none.
	NotBefore time.Time
	Failures  []Failure // the last of them
}

// failed is what is stored, and to be stored, of events that failed and are not finished.
type failed struct {
	// loaded and replays are those of an earlier machine: of events that were not read
	// yet, in order, and of parked ones. The map is never iterated.
	loaded  []FailedEvent
	replays map[uint64]FailedEvent

	// changed has the entries to store, and some that are not to be stored any more.
	changed []changed
	count   int // of the former
	// expired has the records to delete wherever the checkpoint is.
	expired []uint64
	// over has the records to delete once the checkpoint has passed them.
	over heap[position]
}

// changed is an entry when it failed.
type changed struct {
	e        *entry
	position uint64
}

// live reports whether the entry is still that event, and still to be stored.
func (c changed) live() bool { return c.e.changed && c.e.Position == c.position }

// position makes positions go in a heap.
type position uint64

func (p position) before(o position) bool { return p < o }

// load takes over what an earlier machine has stored.
func (f *failed) load(events []FailedEvent, checkpoint uint64) {
	f.replays = map[uint64]FailedEvent{}
	for _, r := range events {
		switch {
		case r.Replay:
			f.replays[r.Position] = r
		case r.Position <= checkpoint:
			f.over.push(position(r.Position))
		default:
			f.loaded = append(f.loaded, r)
		}
	}
}

// skipTo takes notice that everything before a position was read: what failed there once is
// not for the subscription any more, or is parked.
func (f *failed) skipTo(end uint64) {
	for len(f.loaded) > 0 && f.loaded[0].Position < end {
		f.over.push(position(f.loaded[0].Position))
		f.loaded = f.loaded[1:]
	}
}

// restore has an entry go on where an earlier machine left it.
func (m *Machine) restore(e *entry) {
	f := &m.store.failed
	if e.replay {
		if r, ok := f.replays[e.Position]; ok {
			delete(f.replays, e.Position)
			m.resume(e, &r)
		}
		return
	}
	f.skipTo(e.Position)
	if len(f.loaded) > 0 && f.loaded[0].Position == e.Position {
		m.resume(e, &f.loaded[0])
		f.loaded = f.loaded[1:]
	}
}

func (m *Machine) resume(e *entry, r *FailedEvent) {
	e.attempt, e.recorded = r.Attempts, true
	e.past = &past{failed: r.Failed, failures: slices.Clone(r.Failures[max(0, len(r.Failures)-maxFailures):])}
	if backoff := m.until(r.NotBefore); backoff > 0 {
		m.enter(e, retrying)
		m.setTimer(e, m.now+backoff)
	}
}

// until is how long it is to a time of the wall clock. A clock that was set back does not
// make it longer than any backoff may be.
func (m *Machine) until(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	return min(instant(t.Sub(m.epoch))-m.now, instant(maxDuration))
}

// remember has the next store keep what failed of an entry.
func (m *Machine) remember(e *entry) {
	if e.changed {
		return
	}
	f := &m.store.failed
	e.changed = true
	f.count++
	f.changed = append(f.changed, changed{e, e.Position})
}

// unremember takes notice that nothing is to be stored of an entry.
func (m *Machine) unremember(e *entry) {
	if e.changed {
		e.changed = false
		m.store.failed.count--
	}
}

// storeFailed adds to a store what failed since the last one, and what is over.
func (m *Machine) storeFailed(s *Store) {
	f := &m.store.failed
	n := 0
	for ; n < len(f.changed) && len(s.Park)+len(s.Failed) < maxStoreParks; n++ {
		if c := f.changed[n]; c.live() {
			m.unremember(c.e)
			c.e.recorded = true
			s.Failed = append(s.Failed, m.failedOf(c.e))
		}
	}
	f.changed = slices.Delete(f.changed, 0, n)
	for len(f.expired) > 0 && len(s.Forget) < maxStoreRemoves {
		s.Forget, f.expired = append(s.Forget, f.expired[0]), f.expired[1:]
	}
	for len(f.over) > 0 && uint64(f.over[0]) <= s.Checkpoint && len(s.Forget) < maxStoreRemoves {
		s.Forget = append(s.Forget, uint64(f.over.pop()))
	}
	slices.Sort(s.Forget)
	s.Forget = slices.DeleteFunc(slices.Compact(s.Forget), func(p uint64) bool {
		e := m.unfinished(p, true)
		return e != nil && e.recorded // it was replayed before, and has a record of its own
	})
}

func (m *Machine) failedOf(e *entry) FailedEvent {
	r := FailedEvent{
		Position: e.Position, Replay: e.replay, Attempts: e.attempt,
		Failed: e.past.failed, Failures: slices.Clone(e.past.failures),
	}
	if e.state == retrying {
		r.NotBefore = m.wall(e.deadline)
	}
	return r
}

// storeFailedAgain takes back what storeFailed added to a store that was not made.
func (m *Machine) storeFailedAgain(s *Store) {
	for i := range s.Failed {
		if e := m.unfinished(s.Failed[i].Position, s.Failed[i].Replay); e != nil && e.past != nil {
			m.remember(e)
		}
	}
	for _, p := range s.Forget {
		if p <= s.Checkpoint {
			m.store.failed.over.push(position(p))
		} else {
			m.store.failed.expired = append(m.store.failed.expired, p)
		}
	}
}

// unfinished is the entry of an event that is neither finished nor about to be, or nil.
func (m *Machine) unfinished(position uint64, replay bool) (e *entry) {
	if replay {
		e = m.parked.replays[position]
	} else {
		e = m.window.find(position)
	}
	if e != nil && (e.state == parking || e.state == removing) {
		return nil
	}
	return e
}

// anyOver reports whether a record is to be deleted: of an event that the checkpoint has
// passed, or that has expired.
func (f *failed) anyOver(checkpoint uint64) bool {
	return len(f.expired) > 0 || len(f.over) > 0 && uint64(f.over[0]) <= checkpoint
}
