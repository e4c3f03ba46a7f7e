package delivery

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Machine delivers the events of one subscription. It is used by one goroutine at
// a time. Make one with New.
type Machine struct {
	opts  Options
	bound bool // Config.Bound
	room  core.Limit
	epoch time.Time
	now   instant // Invariant: never decreases

	control

	window window
	pool   pool
	ready  readyHeap // entries that may be sent to anybody, but for those that window.next will come to
	queues keyQueues
	timers heap[timer]
	parked parked
	subs   subscribers
	store  storage

	counts [states]int // entries in each state
	totals totals
	serial uint64 // the last number given to a send or a timer

	live     bool // what the last Feed said
	caughtUp bool // nothing was left to send when it was live, and since
	reported State
}

// Config is what a machine begins with.
type Config struct {
	Options Options // valid ones
	// Checkpoint is the stored one. The first Feed has what comes after it.
	Checkpoint uint64
	// Parked has the subscription's parked events: those beyond Checkpoint, which
	// are not delivered again, and with HoldKey all of them, for their keys.
	Parked []ParkedRef
	// Ahead are events beyond Checkpoint that are finished, as an earlier machine's Ahead
	// had them.
	Ahead []uint64
	// Failed are the failed events that earlier machines have stored, in order of position.
	Failed []FailedEvent
	// Lease is a number that no lease of an earlier machine of the subscription
	// has reached, such as the time in nanoseconds. Leases are counted from there.
	Lease Lease
	// Window bounds what is read and not finished. Zero fields mean the default.
	Window core.Limit
	// Bound is for a subscription whose one subscriber keeps the order of keys and parks
	// events by itself. Events are delivered in the order of positions, with their keys and
	// faults, and whoever leaves has failed nothing.
	Bound bool
}

// ParkedRef names a parked event.
type ParkedRef struct {
	Position uint64
	Key      string // as its Item had it
}

const (
	// windowBytes bounds the events that are read and not finished.
	windowBytes = 16 << 20

	// leastWindow and mostWindow bound their number. Between them it is twice
	// what all subscribers can have in flight.
	leastWindow = 1 << 12
	mostWindow  = 1 << 16

	// spanFactor is how many events may be held in the window for each that may
	// be unfinished there: that many, at most, are delivered again to whoever owns
	// the subscription next, because one before them took long.
	spanFactor = 8
)

// New makes a machine at now. The subscription is idle until someone joins.
func New(now time.Time, c Config) *Machine {
	m := &Machine{opts: c.Options, bound: c.Bound, room: c.Window, epoch: now, reported: Idle}
	if m.bound {
		m.opts.PartitionBy = Unpartitioned
	}
	if m.room.Events <= 0 {
		m.room.Events = min(max(2*m.opts.ConcurrencyLimit*m.opts.BufferSize, leastWindow), mostWindow)
	}
	if m.room.Bytes <= 0 {
		m.room.Bytes = windowBytes
	}
	m.queues = makeKeyQueues()
	m.window.cursor, m.window.passed = c.Checkpoint, c.Checkpoint
	m.store = makeStorage(c.Checkpoint)
	m.store.failed.load(c.Failed, c.Checkpoint)
	m.subs.lease = c.Lease
	m.parked = makeParked()
	for _, p := range c.Parked {
		if p.Position > c.Checkpoint {
			m.parked.beyond[p.Position] = struct{}{}
		}
		if m.opts.holdsKeys() {
			m.parked.hold(p.Key, 1, 0)
		}
	}
	for _, position := range c.Ahead {
		if position > c.Checkpoint {
			m.parked.beyond[position] = struct{}{}
		}
	}
	if m.opts.Paused {
		m.mode = paused
	}
	return m
}

// control is what operators and the host have asked of the machine.
type control struct {
	mode     mode
	reason   string // why it is stopped
	draining bool   // nothing is sent until Undrain
}

type mode uint8

const (
	running mode = iota
	paused
	stopped
	lost
)

// State is how a subscription is, as people see it.
type State string

// The states.
const (
	Idle    State = "idle"    // it has no subscriber
	CatchUp State = "catchup" // it is behind the head
	Live    State = "live"    // it has sent everything, and sends what comes
	Paused  State = "paused"  // it was paused
	Stopped State = "stopped" // it stopped itself; there is a reason
	Lost    State = "lost"    // another node owns it; this machine does nothing any more
)

// The states that a node tells its subscribers while no machine serves them. They have a
// reason. Delivery goes on by itself.
const (
	Moving   State = "moving"    // another node becomes its owner
	NoQuorum State = "no_quorum" // the node does not serve
	Unknown  State = "unknown"   // its owner did not answer
)

// State is how the subscription is.
func (m *Machine) State() State {
	switch {
	case m.mode == lost:
		return Lost
	case m.mode == stopped:
		return Stopped
	case m.mode == paused:
		return Paused
	case len(m.subs.all) == 0:
		return Idle
	case m.caughtUp:
		return Live
	}
	return CatchUp
}

// Reason is why it is stopped.
func (m *Machine) Reason() string { return m.reason }

// Output is what a host has to do after Advance. Its slices are good until the
// next call of Advance; Store is until the call of Stored that answers it.
type Output struct {
	// Sends has something for each subscriber that gets events.
	Sends []Send
	// Store is one Commit to make, or nil. Stored has to be called when it is done.
	Store *Store
	// State is the present one. Changed reports whether the Advance before returned another;
	// subscribers get it after the Sends.
	State   State
	Changed bool
	// Read is how much may be read and fed, zero for nothing now. While it is not
	// zero one read should be under way. What an earlier Advance said holds until
	// it is fed, even if this one says less.
	Read core.Limit
	// Wake is when to call Advance, if nothing else happens before; zero is never.
	Wake time.Time
}

// Send is events for one subscriber.
type Send struct {
	Lease  Lease
	Events []Delivery
}

// Delivery is one event, sent once.
type Delivery struct {
	Position uint64
	Attempt  int // how often it was sent, this time included
	// Replay is set for a parked event that is delivered again.
	Replay bool
	Raw    []byte
	// Key and Fault are those of the Item. Only a machine that is Bound delivers an event
	// with a fault.
	Key, Fault string
}

// Advance does what time and the inputs since the last call have made possible.
// Called again at once it does nothing.
func (m *Machine) Advance(now time.Time) Output {
	m.tick(now)
	if m.mode == lost {
		return m.output(nil)
	}
	m.expire()
	m.dispatch()
	m.store.passed += m.window.sweep(m.store.checkpoint)
	m.caughtUp = m.caughtUp || m.live && m.counts[waiting] == 0
	return m.output(m.nextStore())
}

func (m *Machine) output(store *Store) Output {
	o := Output{Sends: m.subs.sends, Store: store, State: m.State(), Read: m.toRead()}
	o.Changed = o.State != m.reported
	m.reported = o.State
	if at := m.wake(); at != never {
		o.Wake = m.wall(at)
	}
	return o
}

// tick takes notice of the time.
func (m *Machine) tick(now time.Time) { m.now = max(m.now, instant(now.Sub(m.epoch))) }

func (m *Machine) wall(at instant) time.Time { return m.epoch.Add(time.Duration(at)) }

// next is a serial number.
func (m *Machine) nextSerial() uint64 {
	m.serial++
	return m.serial
}

// enter moves an entry to another state.
func (m *Machine) enter(e *entry, s state) {
	m.counts[e.state]--
	m.counts[s]++
	e.state = s
}

// Pause stops sending and reading until Resume. Events in flight stay so, and may
// be acked. The checkpoint is stored.
func (m *Machine) Pause() {
	if m.mode == running {
		m.mode = paused
		m.Flush()
	}
}

// Stop is Pause for a reason that someone has to look at.
func (m *Machine) Stop(reason string) {
	if m.mode != lost {
		m.mode, m.reason = stopped, core.ClipTo(reason, maxTextBytes)
		m.Flush()
	}
}

// Resume ends Pause and Stop.
func (m *Machine) Resume() {
	if m.mode != lost {
		m.mode, m.reason = running, ""
	}
}

// Drain stops sending and reading until Undrain, for a host that wants to change or
// release the subscription. Events in flight stay so: each is answered, or fails at
// its deadline. Drain returns the last of these deadlines, or the zero time if nothing is
// in flight or there is no limit; a subscriber that extends its time can pass it. The
// state does not change.
func (m *Machine) Drain() (deadline time.Time) {
	m.draining = true
	if at := m.lastDeadline(); at != 0 && at != never {
		deadline = m.wall(at)
	}
	return deadline
}

// Ahead returns the positions beyond the stored checkpoint of events that are finished, in
// order and max at most: an earlier one is not. A machine that is given them does not send
// those events again.
func (m *Machine) Ahead(max int) []uint64 {
	ahead := slices.Sorted(maps.Keys(m.parked.beyond))
	for i := m.window.entries.head; i < m.window.entries.tail && len(ahead) < max; i++ {
		if x := m.window.entries.at(i); x.e == nil && x.position > m.store.checkpoint {
			ahead = append(ahead, x.position)
		}
	}
	slices.Sort(ahead)
	return ahead[:min(len(ahead), max)]
}

// Undrain ends Drain: the machine goes on as before.
func (m *Machine) Undrain() { m.draining = false }

// Sent yields the position and the Raw of each event in flight under a lease, in the order
// of sending.
func (m *Machine) Sent(l Lease) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		s, err := m.subs.of(l)
		if err != nil {
			return
		}
		for i := s.sent.head; i < s.sent.tail; i++ {
			if x := s.sent.at(i); !x.dead() && !yield(x.e.Position, x.e.Raw) {
				return
			}
		}
	}
}

// InFlight is the number of events that are sent and not answered.
func (m *Machine) InFlight() int { return m.counts[inFlight] }

func (m *Machine) delivers() bool {
	return m.mode == running && !m.draining && len(m.subs.all) > 0
}
