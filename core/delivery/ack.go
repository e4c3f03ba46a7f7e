package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Ack finishes events. The error is lease_lost if the lease has ended, and then
// nothing happens. It is unexpected_ack, with the positions, for those that are not
// in flight under the lease: acked already, timed out or taken back since, or never sent
// to it.
// The others of the call are acked all the same.
func (m *Machine) Ack(now time.Time, l Lease, positions []uint64) error {
	return m.each(now, l, positions, m.ack)
}

// AckUpTo finishes everything that was sent under the lease before the event at
// position, and the event. What was sent after it, such as an event with a lower
// position that came back, is not acked. The error is as Ack's; if the event itself
// is not in flight under the lease, nothing is acked.
func (m *Machine) AckUpTo(now time.Time, l Lease, position uint64) error {
	s, err := m.subs.of(l)
	if err != nil {
		return err
	}
	last, ok := s.expired[position]
	if e := m.inFlightTo(s, position); e != nil {
		last, ok = e.serial, true
	}
	if !ok {
		return unexpected([]uint64{position})
	}
	m.tick(now)
	maps.DeleteFunc(s.expired, func(_, serial uint64) bool { return serial <= last })
	for i := s.sent.head; i < s.sent.tail && s.sent.at(i).serial <= last; i++ {
		if x := s.sent.at(i); !x.dead() {
			m.ack(x.e)
		}
	}
	s.trim()
	return nil
}

// Nack says that a subscriber could not handle an event.
type Nack struct {
	Action Action
	// Delay is how long ActionRetry waits; ByPolicy leaves that to the
	// subscription.
	Delay  time.Duration
	Reason string
	// Attempts are those of an event that ActionPark parks, where the subscriber counts them
	// itself. 0 leaves that to the Machine.
	Attempts int
}

// Action is what is to become of an event that was not handled.
type Action string

// The actions.
const (
	ActionRetry Action = "retry" // it is sent again, unless it has failed too often
	ActionPark  Action = "park"  // it is parked
	ActionSkip  Action = "skip"  // it is passed over
	ActionStop  Action = "stop"  // the subscription stops, and sends it again when it is resumed
)

// ByPolicy is the Nack.Delay that leaves the backoff to the subscription's Retry.
const ByPolicy time.Duration = -1

// Nack gives events back. The errors are Ack's, and invalid_request for what is no
// Nack, when nothing happens.
func (m *Machine) Nack(now time.Time, l Lease, positions []uint64, n Nack) error {
	if n.Delay > maxDuration {
		return core.Errorf(core.CodeInvalidRequest, "delay is %s, it may be up to %s", n.Delay, maxDuration)
	}
	n.Reason = core.ClipTo(n.Reason, maxTextBytes)
	switch n.Action {
	case ActionRetry:
		return m.eachBack(now, l, positions, func(e *entry) { m.fail(e, CauseNack, n.Reason, n.Delay) })
	case ActionPark:
		return m.eachBack(now, l, positions, func(e *entry) {
			e.attempt = cmp.Or(n.Attempts, e.attempt)
			m.note(e, CauseNack, n.Reason)
			m.unsend(e)
			m.comeBack(e)
			m.park(e, CauseNack, n.Reason)
		})
	case ActionSkip:
		return m.each(now, l, positions, func(e *entry) {
			m.unsend(e)
			m.skip(e)
		})
	case ActionStop:
		return m.eachBack(now, l, positions, func(e *entry) {
			m.note(e, CauseNack, n.Reason)
			m.giveBack(e)
			m.remember(e)
			m.Stop(n.Reason)
		})
	}
	return core.Errorf(core.CodeInvalidRequest, "action is %q, it may be retry, park, skip or stop", core.Clip(string(n.Action)))
}

// Extend gives a subscriber at least d from now to ack events. The errors are
// Ack's, and invalid_request for a time that cannot be given.
func (m *Machine) Extend(now time.Time, l Lease, positions []uint64, d time.Duration) error {
	if d <= 0 || d > maxDuration {
		return core.Errorf(core.CodeInvalidRequest, "the extension is %s, it may be up to %s", d, maxDuration)
	}
	if s, err := m.subs.of(l); err == nil && len(s.expired) > 0 {
		positions = slices.DeleteFunc(slices.Clone(positions), func(position uint64) bool { return s.expired[position] > 0 })
	}
	return m.each(now, l, positions, func(e *entry) {
		if at := m.now + instant(d); at > m.deadlineOf(e) {
			m.setTimer(e, at)
		}
	})
}

// Leave ends a lease. What was in flight is sent again, in order, before anything newer.
// Clean is a subscriber that said goodbye. Otherwise the attempts that it can have begun
// have failed, and may be too many by that: with keys, the oldest event of each key;
// without, the oldest, as many as it has workers. What was behind them counts as not
// attempted. The error is
// lease_lost if the lease has ended before.
func (m *Machine) Leave(now time.Time, l Lease, clean bool) error {
	s, err := m.subs.of(l)
	if err != nil {
		return err
	}
	m.tick(now)
	if !clean && !m.bound {
		for _, e := range s.begun() {
			m.fail(e, CauseLost, "", m.lostBackoff(e))
		}
	}
	for i := s.sent.head; i < s.sent.tail; i++ {
		if x := s.sent.at(i); !x.dead() {
			m.giveBack(x.e)
		}
	}
	m.subs.remove(s)
	if len(m.subs.all) == 0 {
		m.Flush()
	}
	return nil
}

// begun is what a subscriber can be handling: its workers begin in the order of sending.
func (s *subscriber) begun() (entries []*entry) {
	unkeyed := 0
	for i := s.sent.head; i < s.sent.tail; i++ {
		x := s.sent.at(i)
		if x.dead() || !x.e.leads() || x.e.queue == nil && unkeyed == s.workers {
			continue
		}
		if x.e.queue == nil {
			unkeyed++
		}
		entries = append(entries, x.e)
	}
	return entries
}

// lostBackoff is how long an event waits whose subscriber was lost: not at all the first
// time it fails, so that it stays before newer ones.
func (m *Machine) lostBackoff(e *entry) time.Duration {
	if e.past == nil || e.past.failed == 0 {
		return 0
	}
	return m.opts.Retry.backoff(e.past.failed)
}

// giveBack makes an entry in flight wait again without a failure.
func (m *Machine) giveBack(e *entry) {
	m.unsend(e)
	m.comeBack(e)
	m.requeue(e)
}

// each does something to every event at positions that is in flight under a lease.
func (m *Machine) each(now time.Time, l Lease, positions []uint64, do func(*entry)) error {
	s, err := m.subs.of(l)
	if err != nil {
		return err
	}
	m.tick(now)
	var others []uint64
	for _, position := range positions {
		if e := m.inFlightTo(s, position); e != nil {
			do(e)
		} else if !s.answerExpired(position) {
			others = append(others, position)
		}
	}
	s.trim()
	return unexpected(others)
}

// eachBack is each, from the last event sent to the first: one that comes back takes those
// behind it of its key back, too, and would do so before their turn.
func (m *Machine) eachBack(now time.Time, l Lease, positions []uint64, do func(*entry)) error {
	var entries []*entry
	err := m.each(now, l, positions, func(e *entry) { entries = append(entries, e) })
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(b.serial, a.serial) })
	for _, e := range slices.Compact(entries) {
		s := e.holder
		do(e)
		s.trim()
	}
	return err
}

// inFlightTo is the entry of a position that is in flight to a subscriber, or nil.
// A parked event may be in the window still, finished, while it is replayed.
func (m *Machine) inFlightTo(s *subscriber, position uint64) *entry {
	if e := m.window.find(position); e != nil && e.holder == s {
		return e
	}
	if e := m.parked.replays[position]; e != nil && e.holder == s {
		return e
	}
	return nil
}

// unexpected is the error for positions that are not in flight, or nil for none.
func unexpected(positions []uint64) error {
	if len(positions) == 0 {
		return nil
	}
	const few = 10
	e := core.Errorf(core.CodeUnexpectedAck, "not in flight under this lease: %d", positions)
	if n := len(positions); n > few {
		e = core.Errorf(core.CodeUnexpectedAck, "not in flight under this lease: %d and %d more", positions[:few], n-few)
	}
	e.Positions = positions
	return e
}

func (m *Machine) ack(e *entry) {
	s := e.holder
	s.acked++
	s.lastAck = m.now
	m.totals.acked++
	m.totals.ackTime += m.now - e.sentAt
	m.unsend(e)
	m.complete(e)
}

func (m *Machine) skip(e *entry) {
	m.totals.skipped++
	m.complete(e)
}

// complete ends an entry that needs nothing more.
func (m *Machine) complete(e *entry) {
	if e.replay {
		m.remove(e)
		return
	}
	m.finish(e)
}

func (m *Machine) timeOut(e *entry) { m.fail(e, CauseTimeout, "", ByPolicy) }

// fail ends an attempt. Unless it was one too many, the event is sent again after
// the backoff.
func (m *Machine) fail(e *entry, cause Cause, reason string, backoff time.Duration) {
	m.note(e, cause, reason)
	m.unsend(e)
	e.past.failed++
	if m.opts.Retry.exhausted(e.past.failed) {
		m.giveUp(e)
		return
	}
	m.comeBack(e)
	m.remember(e)
	if backoff < 0 {
		backoff = m.opts.Retry.backoff(e.past.failed)
	}
	if backoff == 0 {
		m.requeue(e)
		return
	}
	m.enter(e, retrying)
	m.setTimer(e, m.now+instant(backoff))
	m.reorder(e)
}

// note remembers a failure of an entry in flight.
func (m *Machine) note(e *entry, cause Cause, reason string) {
	m.totals.failed++
	e.history().add(Failure{
		At: m.wall(m.now), Attempt: e.attempt, Consumer: e.holder.consumer, Cause: cause, Reason: reason})
}

// giveUp does what the policy says after the last attempt.
func (m *Machine) giveUp(e *entry) {
	last := e.past.failures[len(e.past.failures)-1]
	why := string(last.Cause)
	if last.Reason != "" {
		why += ": " + last.Reason
	}
	switch m.opts.Retry.Then {
	case ThenPark:
		m.comeBack(e)
		m.park(e, CauseRetries, why)
	case ThenSkip:
		m.skip(e)
	case ThenStop:
		failed := e.past.failed
		e.past.failed = 0 // whoever resumes has seen to it
		m.comeBack(e)
		m.remember(e)
		m.requeue(e)
		m.Stop(fmt.Sprintf("event %d failed %d times, the last time: %s", e.Position, failed, why))
	}
}
