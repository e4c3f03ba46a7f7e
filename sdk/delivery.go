package sdk

import (
	"iter"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// ackBatch and ackDelay bound what is acked and not sent yet. Acks go together in
	// one frame; those of slow handlers do not wait for others.
	ackBatch = 64
	ackDelay = 2 * time.Millisecond

	// fewAhead is up to where credit goes back for each event: a worker may be waiting.
	// Beyond, half of what there is goes back at a time.
	fewAhead = 64
)

// Delivery is one event, sent to a Subscriber. Its methods return at once. Their error
// is lease_lost if the lease that it was sent under is over, by a lost connection or
// Close: then the event is sent again, and nothing else has to be done. What else the
// server may object to is told to SubscribeOptions.OnRefused.
type Delivery struct {
	core.Event
	// Attempt says how often the event was sent, this time included.
	Attempt uint64

	by    *Subscriber
	lease uint64
}

// Ack says that the event was handled: it is not sent again. Acks wait a moment for
// others to go with, but not when the server waits for them.
func (d Delivery) Ack() error { return d.by.ack(d.lease, false, d.Position) }

// Nack gives the event back: to be sent again, parked or passed over, or to stop the
// subscription. To be sent again it rests for n.Delay, which is none if that is 0, or as the
// subscription's policy says with delivery.ByPolicy.
func (d Delivery) Nack(n delivery.Nack) error {
	m := &wire.Nack{Sub: d.by.num, Positions: []uint64{d.Position}, Action: string(n.Action), Reason: n.Reason}
	if n.Delay >= 0 {
		ms := n.Delay.Milliseconds()
		m.DelayMs = &ms
	}
	return d.by.tell(d.lease, 1, func(id uint64) wire.Message {
		m.ID = id
		return m
	})
}

// Extend asks for at least so long from now to ack the event.
func (d Delivery) Extend(more time.Duration) error {
	m := &wire.Extend{Sub: d.by.num, Positions: []uint64{d.Position}, Ms: max(more.Milliseconds(), 1)}
	return d.by.tell(d.lease, 0, func(id uint64) wire.Message {
		m.ID = id
		return m
	})
}

// Deliveries are events that were sent together, in the order they were sent in: that
// of positions, but for those that come back.
type Deliveries struct {
	core.Batch

	attempts []uint64
	credit   int // bytes that they took
	by       *Subscriber
	lease    uint64
}

// Events gives them one by one.
func (d Deliveries) Events() iter.Seq[Delivery] {
	return func(yield func(Delivery) bool) {
		i := 0
		for e := range d.Batch.Events() {
			if !yield(Delivery{Event: e, Attempt: d.attempts[i], by: d.by, lease: d.lease}) {
				return
			}
			i++
		}
	}
}

// Ack acks all of them, at once. The error is Delivery's.
func (d Deliveries) Ack() error {
	if d.Count == 0 {
		return nil
	}
	positions := make([]uint64, 0, d.Count)
	for e := range d.Batch.Events() {
		positions = append(positions, e.Position)
	}
	return d.by.ack(d.lease, true, positions...)
}

// cut splits off the first events that fit l, at least one if there is any.
func (d Deliveries) cut(l core.Limit) (head, tail Deliveries) {
	head, tail = d, d
	head.Batch, tail.Batch = d.Cut(l)
	head.attempts, tail.attempts = d.attempts[:head.Count], d.attempts[head.Count:]
	if tail.Count > 0 {
		head.credit = min(len(head.Block), d.credit)
	}
	tail.credit = d.credit - head.credit
	return head, tail
}

// lease is a Subscriber's time on one session. Subscriber.mu protects it.
type lease struct {
	number     uint64   // counts up with each
	on         *session // nil between two
	unanswered int      // events that were received, and not acked or nacked
	acks       []uint64 // to be sent
	timer      *time.Timer
	// Credit to be given back.
	events, bytes int
}

// begin begins the next lease.
func (l *lease) begin(on *session) {
	l.end()
	l.number, l.on = l.number+1, on
}

// end ends a lease, if there is one.
func (l *lease) end() {
	l.on, l.unanswered, l.acks, l.events, l.bytes = nil, 0, nil, 0, 0
	if l.timer != nil {
		l.timer.Stop()
	}
}

// is says whether it is the lease of that number, and not over.
func (l *lease) is(number uint64) bool { return l.on != nil && l.number == number }

// ack acks events of a lease, now or when it is time to send acks.
func (s *Subscriber) ack(number uint64, now bool, positions ...uint64) error {
	s.mu.Lock()
	l := &s.lease
	if !l.is(number) {
		defer s.mu.Unlock()
		return s.leaseLost()
	}
	first := len(l.acks) == 0
	l.acks = append(l.acks, positions...)
	// With all of them acked the server may be waiting for this.
	now = now || len(l.acks) >= ackBatch || len(l.acks) >= l.unanswered
	if first && !now {
		if l.timer == nil {
			l.timer = time.AfterFunc(ackDelay, s.flush)
		} else {
			l.timer.Reset(ackDelay)
		}
	}
	s.mu.Unlock()
	if now {
		s.flush()
	}
	return nil
}

// leaseLost is the error of an answer that comes too late. mu is held.
func (s *Subscriber) leaseLost() error {
	if s.err != nil {
		return core.Errorf(core.CodeLeaseLost, "the subscriber has ended: %w", s.err)
	}
	return core.Errorf(core.CodeLeaseLost, "the connection was lost after the event was sent")
}

// flush sends the acks that wait.
func (s *Subscriber) flush() {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendAcks()
}

// sendAcks is flush, with Client.mu and mu held.
func (s *Subscriber) sendAcks() {
	l := &s.lease
	if len(l.acks) == 0 {
		return
	}
	a := &wire.Ack{Sub: s.num, Positions: l.acks}
	l.unanswered -= min(len(l.acks), l.unanswered)
	on := l.on
	s.post(func(id uint64) {
		if a.ID = id; on.bin {
			on.send(true, wire.AppendAck(nil, a))
		} else {
			on.send(false, wire.Encode(nil, a))
		}
	})
	l.acks = l.acks[:0]
}

// tell sends something about an event of a lease that answers so many, after the acks
// that wait.
func (s *Subscriber) tell(number uint64, answers int, message func(id uint64) wire.Message) error {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lease
	if !l.is(number) {
		return s.leaseLost()
	}
	s.sendAcks()
	l.unanswered -= min(answers, l.unanswered)
	s.post(func(id uint64) { l.on.send(false, wire.Encode(nil, message(id))) })
	return nil
}

// post sends a request of which only a refusal is of interest. Client.mu is held.
func (s *Subscriber) post(send func(id uint64)) {
	c := s.client
	k := &call{id: c.lastID.Add(1) + 1, bound: true, deadline: time.Now().Add(requestTimeout)}
	k.done = func(a answer) {
		// Whoever lost the lease is told otherwise.
		if a.err != nil && core.AsError(a.err).Code != core.CodeLeaseLost && s.options.OnRefused != nil {
			s.options.OnRefused(a.err)
		}
	}
	c.calls[k.id] = k
	send(k.id)
}

// handled gives credit back for events of a lease, when it is enough.
func (s *Subscriber) handled(number uint64, events, bytes int) {
	s.mu.Lock()
	l := &s.lease
	if events == 0 || !l.is(number) {
		s.mu.Unlock()
		return
	}
	l.events += events
	l.bytes += bytes
	enough := s.options.Ahead <= fewAhead || l.events >= s.options.Ahead/2 || l.bytes >= creditBytes/2
	s.mu.Unlock()
	if !enough {
		return
	}
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.is(number) && l.events > 0 {
		s.sendAcks() // or what is done would be in flight beside what comes
		l.on.sendCredit(&wire.Credit{Sub: s.num, Events: int64(l.events), Bytes: int64(l.bytes)})
		l.events, l.bytes = 0, 0
	}
}
