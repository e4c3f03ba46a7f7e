package delivery

import (
	"iter"
	"slices"
	"time"
)

// Kept yields the position and the Raw of each event that may be sent or stored as parked
// yet, or is in flight: those that can be gone from the log by now.
func (m *Machine) Kept() iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for i := m.window.entries.head; i < m.window.entries.tail; i++ {
			if e := m.window.entries.at(i).e; e != nil && !e.expired && !yield(e.Position, e.Raw) {
				return
			}
		}
		for _, e := range m.parked.replays {
			if e.state != removing && !e.expired && !yield(e.Position, e.Raw) {
				return
			}
		}
	}
}

// Expire ends the events at positions that are gone from the log: they are not sent any
// more, and are no longer parked. A position that no event is kept for is passed over. A
// subscriber that has such an event in flight may answer it as any other, which does nothing.
func (m *Machine) Expire(now time.Time, positions []uint64) {
	m.tick(now)
	if m.mode == lost {
		return
	}
	for _, position := range positions {
		e := m.window.find(position)
		if e == nil {
			e = m.parked.replays[position]
		}
		if e != nil && e.state != removing && !e.expired {
			m.totals.expired++
			m.expireEntry(e)
		}
	}
	for _, s := range m.subs.all {
		s.trim()
	}
}

// Expiring reports whether something of an expired event is stored yet: that it is parked, or has
// failed.
func (m *Machine) Expiring() bool {
	return m.mode != lost && (m.counts[removing]+len(m.store.failed.expired) > 0 ||
		slices.ContainsFunc(m.parked.parking, func(e *entry) bool { return e.expired }))
}

// ExpireParked is Drop of parked events that are gone from the log.
func (m *Machine) ExpireParked(events []ParkedRef) (taken int) {
	before := len(m.parked.removing)
	taken = m.Drop(events)
	m.totals.expired += uint64(len(m.parked.removing) - before)
	return taken
}

func (m *Machine) expireEntry(e *entry) {
	switch e.state {
	case waiting:
		m.unready(e)
	case inFlight:
		e.holder.expire(e)
		m.unsend(e)
	case parking:
		if e.stored {
			e.expired = true // what is stored of it is removed behind the store
			return
		}
		m.unpark(e)
	}
	m.forgetFailure(e)
	m.complete(e)
}

// unpark takes an entry back that was to be parked by the next store.
func (m *Machine) unpark(e *entry) {
	list := m.parked.parking
	for i := range list {
		if list[i] == e {
			m.parked.parking = append(list[:i], list[i+1:]...)
			list[len(list)-1] = nil
			break
		}
	}
	if m.opts.holdsKeys() && !e.replay {
		m.parked.hold(e.Key, -1, 0)
	}
}

// unparkExpired ends the entries that expired while a store was under way which was to park
// them, and was not made.
func (m *Machine) unparkExpired(entries []*entry) {
	for _, e := range entries {
		if e.expired {
			e.expired = false
			m.expireEntry(e)
		}
	}
}

// forgetFailure has the record of a failed event deleted by the next store, wherever the
// checkpoint is: it may say what was in the event.
func (m *Machine) forgetFailure(e *entry) {
	if e.recorded && !e.replay { // that of a replay goes with the parked one
		e.recorded = false
		m.store.failed.expired = append(m.store.failed.expired, e.Position)
	}
}

// expire notes that an event in flight is gone: an answer to it is not unexpected.
func (s *subscriber) expire(e *entry) {
	if s.expired == nil {
		s.expired = map[uint64]uint64{}
	}
	if len(s.expired) == maxBuffer { // it does not answer
		clear(s.expired)
	}
	s.expired[e.Position] = e.serial
}

// answerExpired reports whether an event has expired that was in flight, and forgets that.
func (s *subscriber) answerExpired(position uint64) bool {
	_, ok := s.expired[position]
	delete(s.expired, position)
	return ok
}

// Unanswered is how many events were sent under a lease that the subscriber may answer.
func (m *Machine) Unanswered(l Lease) int {
	s, err := m.subs.of(l)
	if err != nil {
		return 0
	}
	return s.inFlight + len(s.expired)
}
