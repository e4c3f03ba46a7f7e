package delivery

import "github.com/gyre-events/gyre/core"

// Feed gives the machine what was read, in answer to Output.Read: all events for
// this subscription after the last cursor, up to this one, in order. Positions may
// have gaps, and items may be empty: what is not for the subscription is passed
// over by the cursor. live says that the reader has reached the head.
//
// Items out of order are an internal error, and nothing is taken.
func (m *Machine) Feed(items []Item, cursor uint64, live bool) error {
	last := m.window.cursor
	for i := range items {
		if items[i].Position <= last {
			return core.Errorf(core.CodeInternal, "fed event %d after position %d", items[i].Position, last)
		}
		last = items[i].Position
	}
	if cursor < last {
		return core.Errorf(core.CodeInternal, "fed cursor %d after position %d", cursor, last)
	}
	if m.mode == lost {
		return nil
	}
	for i := range items {
		m.take(&items[i])
	}
	if n := len(items); n > 0 {
		m.window.recorded = items[n-1].RecordedMicros
	}
	m.window.cursor = cursor
	m.store.failed.skipTo(cursor + 1)
	m.live = live
	m.caughtUp = m.caughtUp && live
	return nil
}

// take puts one event into the window.
func (m *Machine) take(it *Item) {
	if m.parked.passes(it.Position) {
		m.window.add(it.Position, nil)
		return
	}
	e := m.pool.get()
	e.Item = *it
	m.counts[waiting]++
	m.window.add(it.Position, e)
	if len(m.store.failed.loaded) > 0 {
		m.restore(e)
	}
	switch {
	case it.Fault != "" && !m.bound:
		m.park(e, CauseFault, it.Fault)
	case m.parked.holds(it.Key):
		m.park(e, CauseHeld, "")
	case m.opts.partitioned():
		m.enqueue(e)
	}
}

// toRead is how much to read. Reading is ahead of the subscribers by what they can
// take twice over, so that there is something to send when acks come, and no
// further: what is read for nobody only fills memory.
func (m *Machine) toRead() core.Limit {
	if !m.delivers() || !m.subs.anyCredit() {
		return core.Limit{}
	}
	const least = 128
	want := max(least, 2*m.opts.BufferSize*len(m.subs.all))
	have := len(m.ready) + int(m.window.entries.tail-m.window.next)
	if have > want/2 {
		return core.Limit{}
	}
	span := m.room.Events*spanFactor - m.window.entries.len() - m.store.unstored()
	l := core.Limit{
		Events: min(want-have, m.room.Events-m.window.unfinished, span),
		Bytes:  m.room.Bytes - m.window.bytes,
	}
	if l.Events <= 0 || l.Bytes <= 0 {
		return core.Limit{}
	}
	return l
}
