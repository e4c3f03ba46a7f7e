package sdk

import (
	"context"
	"iter"
	"math"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// SubscribeOptions configure a Subscriber. The zero value joins a subscription as it is, or
// creates it with the default definition.
type SubscribeOptions struct {
	// Definition creates the subscription if it does not exist. If it exists with another
	// definition, the error is subscription_options_differ.
	Definition *subscriptions.Definition
	// AnyOptions uses Definition only to create: an existing subscription is joined as it is.
	AnyOptions bool
	// Transient joins a subscription of which the server stores nothing. It begins at the
	// Definition's From with its first subscriber, and ends with its last. If all its
	// connections are lost, it begins again at the last checkpoint that the server reported:
	// some acked events come again. Events are skipped instead of parked. If it stops itself,
	// it ends for all subscribers with subscription_stopped and the reason. A stored
	// subscription of the same name is another subscription.
	Transient bool
	// Consumer names this subscriber in Subscriptions.Info.
	Consumer string
	// Workers is how many events are handled at a time, by Consume or by the caller of Next;
	// 1 if 0. With more, the server sends one event of a key at a time, so that its order
	// holds whichever worker handles it.
	Workers int
	// BufferSize is how many events may be in flight to this subscriber, if that is fewer
	// than the Definition's BufferSize and not 0.
	BufferSize int
	// Ahead is how many events the server may send before the caller asks for more with Next,
	// or a handler returns. The subscription's BufferSize bounds the unanswered events in any
	// case. 0 is 4096, which is also the maximum.
	Ahead int
	// OnStatus is called when the status changes. Live means that every event was sent, not
	// that it was handled.
	OnStatus func(Status)
	// OnRefused is called with the acks, nacks and extensions that the server refused:
	// unexpected_ack with the positions, if the ack timeout ran out and the events are
	// redelivered. It is not called for those that were lost with a connection.
	OnRefused func(error)
	// Neither may block or call the Client.
}

// Status is a subscription's state as its subscriber knows it.
type Status struct {
	// State is Idle without a lease: the connection is lost, or the subscription moves.
	State  delivery.State
	Reason string // why it is Stopped
	// Checkpoint and Head are the stored checkpoint and the log's last position at that time.
	Checkpoint, Head uint64
}

// Subscriber is one consumer of a named subscription. It outlives connections: after a
// break it joins again, and events that were not acked are redelivered.
//
// Next, Events and Consume are for one goroutine at a time; acks may come from any.
type Subscriber struct {
	client  *Client
	num     uint64
	options SubscribeOptions
	first   *wire.Subscribe // that begins it
	start
	wake chan struct{} // wakes Next; holds 1

	mu       sync.Mutex // protects the fields below
	accepted bool
	lease    *lease     // the present one; nil between two
	unasked  Deliveries // what Next returned last, whose credit is not given back
	status   Status
	// incarnation is that of the joined subscription. Only it is joined again.
	incarnation string
	place       core.Cursor // the cursor of status.Checkpoint; none if its Log is ""
	err         error
}

// Subscribe joins a named subscription, and creates it if there is none. After a break
// the Subscriber joins the same subscription again or ends: with subscription_not_found
// if it was deleted, also where there is another of its name by then. The errors of
// Subscribe are subscription_options_differ, subscription_in_use, too_many_subscribers,
// and those of an invalid definition.
func (c *Client) Subscribe(ctx context.Context, name string, o SubscribeOptions) (*Subscriber, error) {
	if err := ctx.Err(); err != nil {
		return nil, core.AsError(err)
	}
	if o.Ahead <= 0 || o.Ahead > creditEvents {
		o.Ahead = creditEvents
	}
	r := subscriptions.JoinRequest{
		Name: name, Transient: o.Transient, Consumer: o.Consumer, Workers: o.Workers, BufferSize: o.BufferSize,
		Definition: o.Definition, AnyOptions: o.AnyOptions,
		Credit: delivery.Credit{Events: int64(o.Ahead), Bytes: creditBytes},
	}
	if o.Definition == nil && !o.Transient { // as it is, or with the default definition
		d := subscriptions.DefaultDefinition()
		r.Definition, r.AnyOptions = &d, true
	}
	m, err := subscribeOf(&r)
	if err != nil {
		return nil, err
	}
	m.Sub = c.lastID.Add(1)
	s := &Subscriber{client: c, num: m.Sub, options: o, first: m, start: newStart(), wake: make(chan struct{}, 1)}
	s.status.State = delivery.Idle
	if err := c.begin(ctx, s.num, s, &s.start); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.accepted {
		return nil, s.err
	}
	return s, nil
}

// Next blocks until there are events, and returns at least one and at most limit of them, all
// of one lease. It returns an error when ctx ends, the subscription ends, or after Close.
func (s *Subscriber) Next(ctx context.Context, limit core.Limit) (Deliveries, error) {
	s.askOn()
	d, err := s.next(ctx, limit)
	s.mu.Lock()
	s.unasked = d
	s.mu.Unlock()
	return d, err
}

// askOn returns the credit of the last result of Next.
func (s *Subscriber) askOn() {
	s.mu.Lock()
	last := s.unasked
	s.unasked = Deliveries{}
	s.mu.Unlock()
	last.handled()
}

// next is Next without credit; several workers may call it at once.
func (s *Subscriber) next(ctx context.Context, limit core.Limit) (Deliveries, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Deliveries{}, core.AsError(err)
		}
		s.mu.Lock()
		l, err := s.lease, s.err
		s.mu.Unlock()
		var d Deliveries
		more := err != nil
		if l != nil {
			d, more = l.take(limit)
			d.lease = l
		}
		if more {
			notify(s.wake) // for another worker
		}
		if d.Count > 0 || err != nil {
			return d, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}

// putBack requeues the last result of Next, except for its first events.
func (s *Subscriber) putBack(d Deliveries, but int) {
	done, rest := d.cut(core.Limit{Events: but, Bytes: math.MaxInt})
	s.mu.Lock()
	defer s.mu.Unlock()
	if rest.Count == 0 || s.lease != d.lease {
		return
	}
	s.unasked = done
	if d.lease.leaving {
		d.lease.unanswered -= min(rest.Count, d.lease.unanswered)
	} else {
		d.lease.putBack(rest)
	}
}

// eachLimit bounds one Next of Events.
var eachLimit = core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10}

// Events yields event by event until ctx or the subscription ends; the last pair has the
// reason. It does not ack. After a break out of the loop, Events, Next and Consume go on
// with the next event.
func (s *Subscriber) Events(ctx context.Context) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		for {
			batch, err := s.Next(ctx, eachLimit)
			if err != nil {
				yield(Delivery{}, err)
				return
			}
			given := 0
			for d := range batch.Events() {
				if given > 0 && batch.lease.isLeaving() {
					s.putBack(batch, given)
					break
				}
				given++
				if !yield(d, nil) {
					s.putBack(batch, given)
					return
				}
			}
		}
	}
}

// Status returns the last status that the server reported.
func (s *Subscriber) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Close leaves the subscription. Earlier acks are done when it returns; events that were not
// acked go to other subscribers at once, without a failed attempt. It waits for the server's
// answer until ctx ends, or 30 s; without a connection it returns at once. Later acks are
// lease_lost.
func (s *Subscriber) Close(ctx context.Context) error {
	s.mu.Lock()
	l := s.lease
	s.mu.Unlock()
	if l != nil {
		l.flush()
	}
	answers := make(chan answer, 1)
	session := s.client.leave(&wire.Unsubscribe{Sub: s.num}, func(a answer) { answers <- a })
	s.end(core.Errorf(core.CodeCanceled, "the subscriber was closed"))
	if session == nil {
		return nil
	}
	select {
	case a := <-answers:
		return a.err
	case <-session.gone: // and the lease with it
		return nil
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	}
}

// request is part of sub. A new lease begins with it. A transient subscription begins at its
// last checkpoint; a stored one is joined again only as the same incarnation.
func (s *Subscriber) request(on *session) *wire.Subscribe {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lease = &lease{joined: newJoined(s.client, s.num, on, func() { notify(s.wake) }), by: s}
	m := *s.first
	m.TimeoutMs = s.timeoutMs()
	switch {
	case s.options.Transient && s.place.Log != "":
		d := subscriptions.DefaultDefinition()
		if s.options.Definition != nil {
			d = *s.options.Definition
		}
		d.From = s.place.From()
		if text, err := wire.Marshal(&d); err == nil { // as it was marshaled before
			m.Options = text
		}
	case s.incarnation != "":
		m.Options, m.AnyOptions, m.Incarnation = nil, false, s.incarnation
	}
	return &m
}

// answered is part of sub.
func (s *Subscriber) answered(ok *wire.OK, _ string) {
	s.mu.Lock()
	l := s.lease
	if l == nil { // it was closed meanwhile
		s.mu.Unlock()
		return
	}
	s.accepted = true
	if !s.options.Transient {
		s.incarnation = ok.Incarnation
	}
	s.mu.Unlock()
	l.accept(ok)
	s.setStatus(l)
	s.done()
}

// receive is part of sub.
func (s *Subscriber) receive(p parcel) {
	s.mu.Lock()
	l := s.lease
	if l == nil || l.leaving {
		s.mu.Unlock()
		return // the lease has ended, or the events are left to others
	}
	l.unanswered += p.batch.Count
	s.mu.Unlock()
	if err := l.receive(p); err != nil {
		s.client.ended(s.num, err)
	}
}

// reported is part of sub.
func (s *Subscriber) reported(m *wire.Status) {
	s.mu.Lock()
	l := s.lease
	s.mu.Unlock()
	if l != nil {
		l.report(m)
		s.setStatus(l)
	}
}

// disconnected is part of sub.
func (s *Subscriber) disconnected(err *core.Error) (again bool) {
	s.endLease(err)
	return true
}

// interrupted is part of sub.
func (s *Subscriber) interrupted(err *core.Error) (again bool) {
	s.endLease(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	return comesBack(s.accepted, err)
}

// present is the present lease; nil if there is none.
func (s *Subscriber) present() *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease
}

// endLease ends the present lease, if there is one.
func (s *Subscriber) endLease(err error) {
	s.mu.Lock()
	l := s.lease
	s.lease = nil
	if l != nil {
		l.drop()
	}
	s.mu.Unlock()
	if l != nil {
		l.end(err)
	}
	s.setStatus(nil)
}

// setStatus takes the status of the present lease, or that there is none, and reports a
// change.
func (s *Subscriber) setStatus(l *lease) {
	s.mu.Lock()
	if l != s.lease { // it ended, or another began
		s.mu.Unlock()
		return
	}
	before := s.status
	if l == nil {
		s.status.State, s.status.Reason = delivery.Idle, ""
	} else {
		s.status, s.place = l.where()
	}
	now := s.status
	s.mu.Unlock()
	if s.options.OnStatus != nil && now != before {
		s.options.OnStatus(now)
	}
}

// end is part of sub.
func (s *Subscriber) end(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.endLease(err)
	s.done()
	notify(s.wake)
}
