package sdk

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

const (
	// ackBatch and ackDelay bound the acks that are not sent yet: acks share a frame, but
	// those of slow handlers do not wait for others.
	ackBatch = 64
	ackDelay = 2 * time.Millisecond

	// fewAhead is up to which Ahead credit is returned for each event, because a worker may
	// be waiting. Above it, half of the credit is returned at a time.
	fewAhead = 64
)

// Delivery is one event, sent to a Subscriber. Its methods return at once, AckDurable
// excepted. Their error is lease_lost if the lease has ended, by a lost connection or Close:
// the event is redelivered, and the caller has nothing to do. Later refusals of the server go
// to SubscribeOptions.OnRefused.
type Delivery struct {
	core.Event
	// Attempt counts how often the event was sent, this time included.
	Attempt uint64
	// Replay is set for a parked event that is delivered again.
	Replay bool

	lease *lease
}

// Ack says that the event was handled: it is not sent again. An ack waits up to 2 ms for
// others to share a frame, unless the server may be waiting for it.
func (d Delivery) Ack() error { return d.lease.ack(false, d.Position) }

// AckDurable acks the event and waits until that is stored: the event is not sent again,
// even if the server crashes. It waits for earlier events to be finished, too. It is the one
// method that does not return at once: the other errors are unexpected_ack and those of ctx.
func (d Delivery) AckDurable(ctx context.Context) error {
	return d.lease.ackDurable(ctx, d.Position)
}

// Nack gives the event back: to be sent again, parked or skipped, or to stop the
// subscription. A retry waits for n.Delay, or as the subscription's policy says with
// delivery.ByPolicy.
func (d Delivery) Nack(n delivery.Nack) error {
	return d.lease.answer(1, subscriptions.Answer{Kind: subscriptions.Nack, Positions: []uint64{d.Position}, Nack: n})
}

// Extend moves the event's ack timeout to at least more from now.
func (d Delivery) Extend(more time.Duration) error {
	return d.lease.answer(0, subscriptions.Answer{Kind: subscriptions.Extend, Positions: []uint64{d.Position}, Extend: more})
}

// Deliveries are events that were sent together, in the order they were sent: that of
// positions, except for redelivered events.
type Deliveries struct {
	core.Batch

	attempts []uint64
	replay   bool // they are parked ones that are delivered again
	credit   int  // bytes that they took
	lease    *lease
}

// Events yields them one by one.
func (d Deliveries) Events() iter.Seq[Delivery] {
	return func(yield func(Delivery) bool) {
		i := 0
		for e := range d.Batch.Events() {
			if !yield(Delivery{Event: e, Attempt: d.attempts[i], Replay: d.replay, lease: d.lease}) {
				return
			}
			i++
		}
	}
}

// Ack acks all of them in one frame. The error is that of Delivery.Ack.
func (d Deliveries) Ack() error {
	if d.Count == 0 {
		return nil
	}
	return d.lease.ack(true, d.positions()...)
}

// AckDurable acks all of them and waits until that is stored, as Delivery.AckDurable does.
func (d Deliveries) AckDurable(ctx context.Context) error {
	if d.Count == 0 {
		return nil
	}
	return d.lease.ackDurable(ctx, d.positions()...)
}

func (d Deliveries) positions() []uint64 {
	positions := make([]uint64, 0, d.Count)
	for e := range d.Batch.Events() {
		positions = append(positions, e.Position)
	}
	return positions
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

// handled returns the credit of events.
func (d Deliveries) handled() {
	if d.Count > 0 {
		d.lease.handled(d.Count, d.credit)
	}
}

// lease is a Subscriber's time on one connection. It batches acks and credit.
type lease struct {
	*joined
	by *Subscriber

	sending sync.Mutex // held while acks are sent

	// by.mu protects the fields below.
	unanswered int      // events received and not yet acked or nacked
	leaving    bool     // the node shuts down: what was not taken is left to others
	answers    int      // that are being sent
	acks       []uint64 // to be sent
	timer      *time.Timer
	// Credit to be returned.
	events, bytes int
}

// drop discards the waiting acks. by.mu is held.
func (l *lease) drop() {
	l.acks = nil
	if l.timer != nil {
		l.timer.Stop()
	}
}

// lost is the error of an answer after the lease has ended. by.mu is held.
func (l *lease) lost() error {
	if l.by.err != nil {
		return core.Errorf(core.CodeLeaseLost, "the subscriber has ended: %w", l.by.err)
	}
	return core.Errorf(core.CodeLeaseLost, "the connection was lost after the event was sent")
}

// ack acks events, now or with the next batch of acks.
func (l *lease) ack(now bool, positions ...uint64) error {
	s := l.by
	s.mu.Lock()
	if s.lease != l {
		defer s.mu.Unlock()
		return l.lost()
	}
	first := len(l.acks) == 0
	l.acks = append(l.acks, positions...)
	// When every event is acked, the server may be waiting for this.
	now = now || len(l.acks) >= ackBatch || len(l.acks) >= l.unanswered
	if first && !now {
		if l.timer == nil {
			l.timer = time.AfterFunc(ackDelay, l.flush)
		} else {
			l.timer.Reset(ackDelay)
		}
	}
	s.mu.Unlock()
	if now {
		l.flush()
	}
	return nil
}

// flush sends the acks that wait. Those that another flush took are sent when it returns.
func (l *lease) flush() {
	l.sending.Lock()
	defer l.sending.Unlock()
	s := l.by
	s.mu.Lock()
	acks := l.acks
	l.acks = nil
	l.unanswered -= min(len(acks), l.unanswered)
	l.answers++
	s.mu.Unlock()
	if len(acks) > 0 {
		l.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: acks}, s.refused)
	}
	l.sent()
}

// sent notes that an answer is on its way.
func (l *lease) sent() {
	s := l.by
	s.mu.Lock()
	l.answers--
	leaving := l.leaving
	s.mu.Unlock()
	if leaving {
		l.client.leaveIfDone()
	}
}

// leave has the lease take no more events: those that were not taken are left to others. The
// acks that wait are sent.
func (l *lease) leave() {
	s := l.by
	s.mu.Lock()
	l.leaving = true
	l.unanswered -= min(l.retire(), l.unanswered)
	s.mu.Unlock()
	l.flush()
}

func (l *lease) isLeaving() bool {
	l.by.mu.Lock()
	defer l.by.mu.Unlock()
	return l.leaving
}

// handling reports whether events are handled, or an answer is not sent yet.
func (l *lease) handling() bool {
	l.by.mu.Lock()
	defer l.by.mu.Unlock()
	return l.leaving && (l.unanswered > 0 || l.answers > 0)
}

// answer sends another answer of so many events, after the waiting acks.
func (l *lease) answer(events int, a subscriptions.Answer) error {
	if err := l.before(events); err != nil {
		return err
	}
	l.Answer(a, l.by.refused)
	l.sent()
	return nil
}

// ackDurable acks events and waits until the ack is stored.
func (l *lease) ackDurable(ctx context.Context, positions ...uint64) error {
	if err := l.before(len(positions)); err != nil {
		return err
	}
	defer l.sent()
	return subscriptions.Do(ctx, l, subscriptions.Answer{Kind: subscriptions.Ack, Positions: positions, Durable: true})
}

// before counts so many events as answered, and sends the acks that wait. sent comes after it.
func (l *lease) before(events int) error {
	s := l.by
	s.mu.Lock()
	if s.lease != l {
		defer s.mu.Unlock()
		return l.lost()
	}
	l.unanswered -= min(events, l.unanswered)
	l.answers++
	s.mu.Unlock()
	l.flush()
	return nil
}

// refused reports an answer that the server refused, other than for a lost lease.
func (s *Subscriber) refused(err error) {
	if err != nil && core.AsError(err).Code != core.CodeLeaseLost && s.options.OnRefused != nil {
		s.options.OnRefused(err)
	}
}

// handled returns credit once there is enough. Acks go first, so that handled events are not
// in flight beside new ones.
func (l *lease) handled(events, bytes int) {
	s := l.by
	s.mu.Lock()
	l.events += events
	l.bytes += bytes
	enough := s.options.Ahead <= fewAhead || l.events >= s.options.Ahead/2 || l.bytes >= creditBytes/2
	var credit delivery.Credit
	if enough {
		credit = delivery.Credit{Events: int64(l.events), Bytes: int64(l.bytes)}
		l.events, l.bytes = 0, 0
	}
	s.mu.Unlock()
	if enough {
		l.flush()
		_ = l.Credit(credit) // a lease that has ended needs none
	}
}
