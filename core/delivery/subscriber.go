package delivery

import (
	"math"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// Lease is one subscriber's time with a subscription, from Join to Leave. What is
// sent under a lease can be answered under that lease only.
type Lease uint64

// Credit is what a subscriber is ready to be sent. Both count down with each
// event, which may take the bytes below zero; with nothing left of either, nothing
// is sent.
type Credit struct {
	Events, Bytes int64
}

// Unlimited credit does not count down.
const Unlimited = math.MaxInt64

func (c Credit) some() bool { return c.Events > 0 && c.Bytes > 0 }

func (c *Credit) spend(bytes int) {
	if c.Events != Unlimited {
		c.Events--
	}
	if c.Bytes != Unlimited {
		c.Bytes -= int64(bytes)
	}
}

func (c *Credit) add(more Credit) {
	c.Events = addCredit(c.Events, more.Events)
	c.Bytes = addCredit(c.Bytes, more.Bytes)
}

// addCredit adds without overflow: more than there can be is Unlimited.
func addCredit(have, more int64) int64 {
	more = max(more, 0)
	if have > Unlimited-more {
		return Unlimited
	}
	return have + more
}

// subscribers are those that have joined.
type subscribers struct {
	all     []*subscriber // in the order they joined
	willing heap[*subscriber]
	sends   []Send // of the last Advance
	lease   Lease  // the last one given
}

// subscriber is one lease.
type subscriber struct {
	lease    Lease
	consumer string
	workers  int
	buffer   int // most that may be in flight, beside Options.BufferSize
	credit   Credit
	inFlight int
	served   uint64 // the serial of the last send: the subscriber with the lowest waits longest
	out      []Delivery
	ready    readyHeap // what may be sent to this subscriber only, since it has others of the key

	// sent has what was sent, in that order. What is answered is dropped when it
	// comes to the front, or when too much of it has come together.
	sent fifo[sent]
	// timed is the index in sent behind the last one whose time to ack was looked
	// at: it has passed, or was extended and has a timer.
	timed uint64

	acked   uint64
	lastAck instant // of no meaning before there was one

	// expired has the serials of the sends of events that expired in flight, by position: at
	// most maxBuffer, until they are answered.
	expired map[uint64]uint64
}

// sent is one event sent once.
type sent struct {
	e      *entry
	serial uint64
}

// dead says that the event is no longer in flight from this send.
func (s *sent) dead() bool { return s.e.serial != s.serial }

// before makes the subscriber with least in flight the first, and of those the one
// that waits longest.
func (s *subscriber) before(o *subscriber) bool {
	return s.inFlight < o.inFlight || s.inFlight == o.inFlight && s.served < o.served
}

func (s *subscriber) willing(buffer int) bool {
	return s.credit.some() && s.inFlight < min(buffer, s.buffer)
}

// Consumer is who joins.
type Consumer struct {
	Name string // for people
	// Workers is how many events the consumer handles at a time; 1 if it is less. With
	// several it gets one event of a key at a time: it does not know the keys, and has to
	// keep their order.
	Workers int
	// Buffer is how many events may be in flight to it, if it is less than
	// Options.BufferSize and not 0.
	Buffer int
}

// Join begins a lease. The error is subscription_in_use if the only subscriber is there already, and
// too_many_subscribers if there are as many as may be. The subscription may be
// paused or stopped: then nothing is sent yet.
func (m *Machine) Join(c Consumer, credit Credit) (Lease, error) {
	if m.mode == lost {
		return 0, core.Errorf(core.CodeUnavailable, "the subscription has moved to another owner")
	}
	if limit := m.opts.ConcurrencyLimit; len(m.subs.all) >= limit {
		if limit == 1 {
			return 0, core.Errorf(core.CodeSubscriptionInUse, "the subscription has the subscriber %q", m.subs.all[0].consumer)
		}
		e := core.Errorf(core.CodeTooManySubscribers, "the subscription has %d subscribers, which is its limit", limit)
		e.Limit = int64(limit)
		return 0, e
	}
	m.subs.lease++
	s := &subscriber{lease: m.subs.lease, consumer: core.ClipTo(c.Name, maxTextBytes), workers: max(c.Workers, 1), buffer: maxBuffer, served: m.nextSerial()}
	if c.Buffer > 0 {
		s.buffer = c.Buffer
	}
	s.credit.add(credit)
	m.subs.all = append(m.subs.all, s)
	return s.lease, nil
}

// Credit adds to what a subscriber is ready to be sent. The error is lease_lost if
// the lease has ended.
func (m *Machine) Credit(l Lease, more Credit) error {
	s, err := m.subs.of(l)
	if err != nil {
		return err
	}
	s.credit.add(more)
	return nil
}

// Recall takes events back that the host has not passed on to their subscriber: they
// count as never sent. It also ends the subscriber's credit, until Credit gives some.
// A position that is not in flight under the lease is ignored. The error is lease_lost
// if the lease has ended.
func (m *Machine) Recall(l Lease, positions []uint64) error {
	s, err := m.subs.of(l)
	if err != nil {
		return err
	}
	s.credit = Credit{}
	// From the last to the first: one that comes back takes those behind it back, too.
	for _, position := range slices.Backward(slices.Sorted(slices.Values(positions))) {
		e := m.inFlightTo(s, position)
		if e == nil {
			continue
		}
		m.totals.sent--
		if e.attempt > 1 {
			m.totals.redelivered--
		}
		e.attempt--
		m.giveBack(e)
	}
	s.trim()
	return nil
}

// of is the subscriber with a lease; the error is lease_lost.
func (s *subscribers) of(l Lease) (*subscriber, error) {
	for _, sub := range s.all {
		if sub.lease == l {
			return sub, nil
		}
	}
	return nil, core.Errorf(core.CodeLeaseLost, "lease %d has ended", l)
}

// remove ends a lease. What was sent under it is taken back already.
func (s *subscribers) remove(gone *subscriber) {
	s.all = slices.DeleteFunc(s.all, func(sub *subscriber) bool { return sub == gone })
}

func (s *subscribers) anyCredit() bool {
	return slices.ContainsFunc(s.all, func(sub *subscriber) bool { return sub.credit.some() })
}

// trim drops what was answered from the front of sent. An event that is not
// answered for long keeps what was sent after it there; when that is more than half
// of all, it goes too.
func (s *subscriber) trim() {
	for s.sent.len() > 0 && s.sent.at(s.sent.head).dead() {
		s.sent.pop()
	}
	const few = 16
	if s.sent.len() > 2*s.inFlight+few {
		s.compact()
	}
	s.timed = max(s.timed, s.sent.head)
}

func (s *subscriber) compact() {
	q, to, timed := &s.sent, s.sent.head, s.timed
	for i := q.head; i < q.tail; i++ {
		if q.at(i).dead() {
			if i < timed {
				s.timed--
			}
			continue
		}
		*q.at(to) = *q.at(i)
		to++
	}
	for i := to; i < q.tail; i++ {
		*q.at(i) = sent{}
	}
	q.tail = to
}

// untimed is the index of the first send that has its first time to ack still, or
// the end.
func (s *subscriber) untimed() uint64 {
	i := max(s.timed, s.sent.head)
	for i < s.sent.tail {
		if x := s.sent.at(i); !x.dead() && x.e.timer == 0 && !x.e.overdue {
			break
		}
		i++
	}
	s.timed = i
	return i
}
