package subscriptions

import (
	"errors"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Answer is what a consumer says of events that it was sent.
type Answer struct {
	Kind      AnswerKind
	Positions []uint64 // of all kinds but AckUpTo
	UpTo      uint64   // of AckUpTo
	// ByVersion says that Positions and UpTo are versions of the stream that is subscribed
	// to. Of $all there are none, and the error is invalid_request.
	ByVersion bool
	Nack      delivery.Nack // of Nack
	Extend    time.Duration // of Extend
	// Durable is for acks: they are done when the checkpoint is stored that has passed
	// the events, which waits for earlier events to be finished.
	Durable bool
}

// AnswerKind is the kind of an Answer.
type AnswerKind uint8

// The kinds of answers. The errors are lease_lost, if the subscriber has ended, and
// unexpected_ack, with the positions or versions that are not in flight to it; the others
// are answered all the same.
const (
	// Ack finishes events.
	Ack AnswerKind = iota
	// AckUpTo finishes an event and everything that was sent before it.
	AckUpTo
	// Nack gives events back. It is done when those that are parked by it are stored
	// as parked, and the stop of the subscription if it has stopped it. Another error is
	// invalid_request.
	Nack
	// Extend gives events at least so much time from now to be acked. Another error is
	// invalid_request.
	Extend
)

// apply gives an Answer to the machine. One by versions has positions then.
func (a *Answer) apply(m *delivery.Machine, now time.Time, s *subscriber) error {
	if !a.ByVersion {
		return a.applyPositions(m, now, s)
	}
	if s.host.incarnation.Definition.Stream == core.All {
		return core.Errorf(core.CodeInvalidRequest, "a subscription of %s has no versions: name events by their positions", core.All)
	}
	versions := a.Positions
	if a.Kind == AckUpTo {
		versions = []uint64{a.UpTo}
	}
	named := locate(m, s, versions)
	if a.Kind == AckUpTo && len(named.positions) == 0 {
		return unexpectedVersions(named.missing)
	}
	a.Positions = named.positions
	if a.Kind == AckUpTo {
		a.UpTo = named.positions[0]
	}
	err := a.applyPositions(m, now, s)
	if twice, ok := errors.AsType[*core.Error](err); ok && twice.Code == core.CodeUnexpectedAck {
		for _, position := range twice.Positions {
			named.missing = append(named.missing, named.versions[position])
		}
		err = nil
	}
	if err == nil && len(named.missing) > 0 {
		err = unexpectedVersions(named.missing)
	}
	return err
}

// located is where the events of some versions are.
type located struct {
	positions []uint64
	versions  map[uint64]uint64 // by position
	missing   []uint64          // versions of which none is in flight
}

// locate finds events in flight by their versions. What was sent first is answered first,
// mostly, so it is found soon.
func locate(m *delivery.Machine, s *subscriber, versions []uint64) located {
	found := make(map[uint64]uint64, len(versions)) // positions by version; 0 is not found
	for _, v := range versions {
		found[v] = 0
	}
	r := located{versions: make(map[uint64]uint64, len(versions))}
	for position, raw := range m.Sent(s.lease) {
		if len(r.versions) == len(found) {
			break
		}
		for place := range (core.Batch{Block: raw, Count: 1}).Places() {
			if _, ok := found[place.Version]; ok {
				found[place.Version], r.versions[position] = position, place.Version
			}
		}
	}
	for _, v := range versions {
		position := found[v]
		if position == 0 {
			if position = s.expired[v]; position > 0 {
				r.versions[position] = v
			}
		}
		if position > 0 {
			r.positions = append(r.positions, position)
		} else {
			r.missing = append(r.missing, v)
		}
	}
	return r
}

func unexpectedVersions(versions []uint64) error {
	const few = 10
	e := core.Errorf(core.CodeUnexpectedAck, "not in flight under this lease: versions %d", versions)
	if n := len(versions); n > few {
		e = core.Errorf(core.CodeUnexpectedAck, "not in flight under this lease: versions %d and %d more", versions[:few], n-few)
	}
	e.Versions = versions
	return e
}

// applyPositions is apply of an Answer by positions.
func (a *Answer) applyPositions(m *delivery.Machine, now time.Time, s *subscriber) error {
	switch a.Kind {
	case AckUpTo:
		return m.AckUpTo(now, s.lease, a.UpTo)
	case Nack:
		return m.Nack(now, s.lease, a.Positions, a.Nack)
	case Extend:
		err := m.Extend(now, s.lease, a.Positions, a.Extend)
		if until := now.Add(a.Extend); err == nil && s.detached && until.After(s.until) {
			s.until = until
		}
		return err
	}
	return m.Ack(now, s.lease, a.Positions)
}

// last is the last position that an Answer names.
func (a *Answer) last() uint64 {
	if a.Kind == AckUpTo {
		return a.UpTo
	}
	return slices.Max(a.Positions)
}

// Answer is Subscriber.Answer.
func (s *subscriber) Answer(a Answer, done func(error)) {
	err, now := s.answer(&a, done)
	if !now {
		s.host.saver.expedite()
		return
	}
	done(err)
}

// answer applies an Answer. now is false if done is called later.
func (s *subscriber) answer(a *Answer, done func(error)) (err error, now bool) {
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.gone != nil {
		return leaseLost(s.gone), true
	}
	at := time.Now()
	parking, _ := h.machine.Unstored()
	err = a.apply(h.machine, at, s)
	w := waiter{err: err, done: done}
	switch {
	case a.Kind == Nack:
		if after, _ := h.machine.Unstored(); after > parking {
			w.parked = h.waiting.parked + uint64(after)
		}
		w.mode = !h.saver.modeStored()
	case a.Durable && err == nil && a.Kind != Extend:
		_, removing := h.machine.Unstored()
		w.checkpoint, w.removed = a.last(), h.waiting.removed+uint64(removing)
	}
	waits := w.mode || w.parked+w.checkpoint > 0
	if waits {
		h.waiting.list = append(h.waiting.list, w)
	}
	h.advance(at)
	h.leaveAnswered(s, at)
	return err, !waits
}

func leaseLost(why error) error {
	return core.Errorf(core.CodeLeaseLost, "the subscriber has ended: %w", why)
}

// waiting is who waits for something to come true of a host.
type waiting struct {
	commit chan struct{} // closed with the next Commit, or when there is none to make; nil if nobody waits for it
	empty  chan struct{} // closed when nothing is in flight; nil likewise
	place  chan struct{} // closed when a subscriber leaves; nil likewise
	moved  chan struct{} // closed when more is finished, or the host ends; nil likewise

	finished uint64 // up to here everything was finished when moved was looked at last

	// list has the answers that are done when something is stored. Events are parked and
	// unparked in the order of the inputs, so it is enough to count them.
	list            []waiter
	parked, removed uint64 // events, since the host began
}

// waiter is an answer that is done when so many events were parked and removed, the
// checkpoint is there, and the machine's mode is stored if mode is set.
type waiter struct {
	parked, removed, checkpoint uint64
	mode                        bool

	err  error
	done func(error)
}

// stored counts what was stored.
func (w *waiting) stored(store *delivery.Store) {
	w.parked += uint64(len(store.Park))
	w.removed += uint64(len(store.Remove))
}

// settle ends the answers for which everything is stored, and has those look who wait for a
// Commit.
func (w *waiting) settle(k *saver) {
	mode := k.modeStored()
	w.list = slices.DeleteFunc(w.list, func(x waiter) bool {
		if x.parked > w.parked || x.removed > w.removed || x.checkpoint > k.saved.Checkpoint || x.mode && !mode {
			return false
		}
		x.done(x.err)
		return true
	})
	if w.commit != nil {
		close(w.commit)
		w.commit = nil
	}
}

// forEmpty is closed when nothing is in flight.
func (w *waiting) forEmpty() <-chan struct{} {
	if w.empty == nil {
		w.empty = make(chan struct{})
	}
	return w.empty
}

// forCommit is closed with the next Commit.
func (w *waiting) forCommit() <-chan struct{} {
	if w.commit == nil {
		w.commit = make(chan struct{})
	}
	return w.commit
}

// left wakes those who wait for a place.
func (w *waiting) left() {
	if w.place != nil {
		close(w.place)
		w.place = nil
	}
}

// end ends all answers that wait.
func (w *waiting) end(why error) {
	for _, x := range w.list {
		x.done(leaseLost(why))
	}
	w.list = nil
}
