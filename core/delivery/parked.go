package delivery

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// parked is what is parked or comes back from there.
type parked struct {
	// beyond has the events that an earlier machine parked beyond its checkpoint
	// and that were not read yet.
	beyond map[uint64]struct{}
	// held has the keys with parked events, with HoldKey.
	held map[string]holding
	// replays has the parked events that are being delivered again, or dropped,
	// until storage has taken notice. Only Kept iterates over the map.
	replays map[uint64]*entry
	bytes   int // of replays

	parking  []*entry // for this store or the next, in that order
	removing []*entry // likewise
}

// holding counts the events that hold a key.
type holding struct {
	parked    int
	replaying int // of those, the ones that are replayed or dropped
}

func makeParked() parked {
	return parked{beyond: map[uint64]struct{}{}, held: map[string]holding{}, replays: map[uint64]*entry{}}
}

// maxHeldKeys bounds the memory of HoldKey. A subscription that gets there stops:
// it is not single events that fail.
const maxHeldKeys = 1 << 16

// passes says whether an event is parked already, and forgets that.
func (a *parked) passes(position uint64) bool {
	if len(a.beyond) == 0 {
		return false
	}
	_, ok := a.beyond[position]
	delete(a.beyond, position)
	return ok
}

// holds says whether an event of a key has to be parked. Where all that is parked
// of the key is being replayed, it goes behind that instead: otherwise a busy key
// would never be free again.
func (a *parked) holds(key string) bool {
	if len(a.held) == 0 {
		return false
	}
	h := a.held[key]
	return h.parked > h.replaying
}

// hold changes the counts of a key. The key is cloned because it may be a part of
// a block.
func (a *parked) hold(key string, parked, replaying int) {
	h, known := a.held[key]
	h.parked += parked
	h.replaying += replaying
	switch {
	case h == holding{}:
		delete(a.held, key)
	case known:
		a.held[key] = h
	default:
		a.held[strings.Clone(key)] = h
	}
}

// park begins to park an entry that is not in flight, nor among the ready. It is
// finished when that is stored.
func (m *Machine) park(e *entry, cause Cause, reason string) {
	m.enter(e, parking)
	m.unremember(e)
	e.timer = 0
	p := e.history()
	p.cause, p.reason, p.at = cause, core.ClipTo(reason, maxTextBytes), m.now
	m.parked.parking = append(m.parked.parking, e)
	if !m.opts.holdsKeys() {
		return
	}
	if !e.replay {
		m.parked.hold(e.Key, 1, 0)
	}
	if e.queue != nil {
		m.parkBehind(e)
	}
	if n := len(m.parked.held); n > maxHeldKeys && m.mode == running {
		m.Stop(fmt.Sprintf("%d keys are held by parked events, the limit is %d", n, maxHeldKeys))
	}
}

// parkBehind parks what waits behind the first entry of a queue. Replays among
// it are parked as they were.
func (m *Machine) parkBehind(e *entry) {
	behind := e.next
	e.next, e.queue.tail, e.queue.unsent = nil, e, e
	for behind != nil {
		o := behind
		behind = o.next
		o.queue, o.next, o.prev = nil, nil, nil
		if o.replay {
			m.forget(o)
		} else {
			m.park(o, CauseHeld, "")
		}
	}
}

// Replay is a parked event to deliver again.
type Replay struct {
	Item
	// Attempts and Failures are those of its record.
	Attempts int
	Failures []Failure
}

// replayShare is the part of the window's bounds that replays may have beside it:
// one in so many.
const replayShare = 4

// ReplayRoom is how much Replay and Drop can take now.
func (m *Machine) ReplayRoom() core.Limit {
	l := core.Limit{
		Events: max(1, m.room.Events/replayShare) - len(m.parked.replays),
		Bytes:  max(1, m.room.Bytes/replayShare) - m.parked.bytes,
	}
	if m.mode == lost || l.Events <= 0 || l.Bytes <= 0 {
		return core.Limit{}
	}
	return l
}

// Replay has parked events delivered again, before what has a higher position but
// otherwise apart from the rest: they are in no order with events of their key,
// unless the key is held, and do not move the checkpoint. An event that is acked or
// skipped is no longer parked; one that fails too often, or that the machine loses
// before it is answered, stays parked.
//
// It takes events from the front while there is room and says how many it took.
// Those that are being replayed, or are not parked for good yet, it passes over; with
// HoldKey also those that this machine has not read up to, because earlier events of
// their key may be unfinished.
func (m *Machine) Replay(events []Replay) (taken int) {
	for i := range events {
		r := &events[i]
		if m.ReplayRoom() == (core.Limit{}) {
			return i
		}
		early := m.opts.holdsKeys() && r.Position > m.window.cursor
		if early || m.parked.replays[r.Position] != nil || m.window.find(r.Position) != nil {
			continue
		}
		e := m.addReplay(r.Item)
		if e.attempt == 0 {
			e.attempt = r.Attempts
		}
		if e.past == nil && len(r.Failures) > 0 {
			e.past = &past{failures: slices.Clone(r.Failures[max(0, len(r.Failures)-maxFailures):])}
		}
		if m.opts.holdsKeys() {
			m.enqueue(e)
		} else {
			m.makeReady(e)
		}
	}
	return len(events)
}

func (m *Machine) addReplay(it Item) *entry {
	e := m.pool.get()
	e.Item, e.replay = it, true
	m.counts[waiting]++
	m.parked.replays[e.Position] = e
	m.parked.bytes += len(e.Raw)
	m.restore(e)
	if m.opts.holdsKeys() {
		m.parked.hold(e.Key, 0, 1)
	}
	return e
}

// Drop forgets parked events; what is being replayed of them is taken back. It
// takes from the front while there is room and says how many it took.
func (m *Machine) Drop(events []ParkedRef) (taken int) {
	for i, r := range events {
		if m.ReplayRoom() == (core.Limit{}) {
			return i
		}
		if m.window.find(r.Position) != nil {
			continue
		}
		e := m.parked.replays[r.Position]
		switch {
		case e == nil:
			m.remove(m.addReplay(Item{Position: r.Position, Key: strings.Clone(r.Key)}))
		case e.state == inFlight:
			m.unsend(e)
			m.remove(e)
		case e.state == waiting:
			m.unready(e)
			m.remove(e)
		case e.state == retrying:
			m.remove(e)
		}
	}
	return len(events)
}

// remove takes an entry from the parked that is not in flight, nor among the
// ready. It is finished when that is stored.
func (m *Machine) remove(e *entry) {
	m.enter(e, removing)
	m.unremember(e)
	e.timer = 0
	m.leaveQueue(e)
	m.parked.bytes -= len(e.Raw)
	e.Raw = nil
	m.parked.removing = append(m.parked.removing, e)
}

// forget ends a replay, whatever came of it.
func (m *Machine) forget(e *entry) {
	m.leaveQueue(e)
	delete(m.parked.replays, e.Position)
	m.parked.bytes -= len(e.Raw)
	if m.opts.holdsKeys() {
		m.parked.hold(e.Key, 0, -1)
	}
	m.drop(e)
}
