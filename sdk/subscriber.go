package sdk

import (
	"context"
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// SubscribeOptions are how to be a subscriber. The zero value joins a subscription as it
// is, or creates it with the default definition.
type SubscribeOptions struct {
	// Definition is what the subscription is created with if there is none, or must
	// have: else the error is subscription_options_differ.
	Definition *subscriptions.Definition
	// AnyOptions joins a subscription that exists as it is, whatever Definition says.
	AnyOptions bool
	// Transient is a subscription of which the server stores nothing: it begins at the
	// Definition's From with its first subscriber, and is over when its last one has
	// left. When the connections of all are lost, it begins anew from the checkpoint that
	// the server told last: some of what was acked since comes again. What would be parked
	// is passed over. One that stops itself is over for all: subscription_stopped, with the
	// reason. A stored one of the same name is another.
	Transient bool
	// Consumer is a name for people who look at the subscription.
	Consumer string
	// Workers is how many events are handled at a time, by Consume or by who calls Next; 1
	// if 0. With more, the server sends one event of a key at a time, so that its order holds
	// whichever worker handles it.
	Workers int
	// Ahead is how many events the server may send beyond those that are done with:
	// whose successor was asked for, or whose handler has returned. Whatever it is, no
	// more than the subscription's BufferSize are sent without an answer. 0 is 4096,
	// which is also the most.
	Ahead int
	// OnStatus is told how the subscription is, when that changes. Live means that all
	// was sent, not that it was handled.
	OnStatus func(Status)
	// OnRefused is told what the server did not take of acks, nacks and extensions:
	// unexpected_ack, with the positions, where the time to ack was over and the event
	// is sent again. It is not told of what was lost with a connection.
	OnRefused func(error)
	// Both must not block, nor call the Client.
}

// Status is how a subscription is for its subscriber.
type Status struct {
	// State is Idle while there is no lease: the connection is lost, or the
	// subscription moves.
	State  delivery.State
	Reason string // why it is Stopped
	// Checkpoint was stored, and Head the log's last position, when this was told.
	Checkpoint, Head uint64
}

// Subscriber is one consumer of a named subscription. It outlives connections: after a
// break it subscribes again, and what was not acked by then is sent again.
//
// Next, Events and Consume are for one goroutine at a time; acks come from any.
type Subscriber struct {
	client     *Client
	num        uint64
	name       string
	options    SubscribeOptions
	definition []byte // of options, in JSON; nil if there is none
	start
	wake chan struct{} // tells Next that there is something; holds 1

	mu       sync.Mutex // protects the fields below
	accepted bool
	// incarnation of the subscription that was joined, and that is joined again after a
	// break, or none is.
	incarnation string
	lease       lease
	queue       []Deliveries
	unasked     Deliveries // what Next gave last, whose credit is not given back
	status      Status
	place       core.Cursor // of status.Checkpoint, as the server told it; none if its Log is ""
	err         error
}

// Subscribe joins a named subscription, and creates it if there is none. After a break
// the Subscriber joins the same subscription again or ends: with subscription_not_found
// if it was deleted, also where there is another of its name by then. The errors of
// Subscribe are subscription_options_differ, subscription_in_use, too_many_subscribers, and what
// is said of a definition that is not one.
func (c *Client) Subscribe(ctx context.Context, name string, o SubscribeOptions) (*Subscriber, error) {
	if err := ctx.Err(); err != nil {
		return nil, core.AsError(err)
	}
	if err := subscriptions.ValidateName(name); err != nil {
		return nil, err
	}
	s := &Subscriber{client: c, num: c.lastID.Add(1), name: name, options: o, start: newStart(), wake: make(chan struct{}, 1)}
	if o.Ahead <= 0 || o.Ahead > creditEvents {
		s.options.Ahead = creditEvents
	}
	if o.Definition != nil {
		err := o.Definition.Validate()
		if err == nil {
			s.definition, err = wire.Marshal(o.Definition)
		}
		if err != nil {
			return nil, err
		}
	}
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

// Next waits for events, and gives at most limit of them: at least one, and those of one
// lease. It ends with ctx, with the subscription's end, or with Close.
func (s *Subscriber) Next(ctx context.Context, limit core.Limit) (Deliveries, error) {
	s.askOn()
	d, err := s.next(ctx, limit)
	s.mu.Lock()
	s.unasked = d
	s.mu.Unlock()
	return d, err
}

// askOn gives back the credit of what Next gave last.
func (s *Subscriber) askOn() {
	s.mu.Lock()
	last := s.unasked
	s.unasked = Deliveries{}
	s.mu.Unlock()
	s.handled(last.lease, last.Count, last.credit)
}

// next is Next, gives no credit, and may be called by several workers at once.
func (s *Subscriber) next(ctx context.Context, limit core.Limit) (Deliveries, error) {
	limit.Events, limit.Bytes = max(limit.Events, 1), max(limit.Bytes, 1)
	for {
		if err := ctx.Err(); err != nil {
			return Deliveries{}, core.AsError(err)
		}
		d, more, err := s.take(limit)
		if more {
			notify(s.wake)
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

// take takes the first events from the queue. more says that there is something for
// another worker.
func (s *Subscriber) take(limit core.Limit) (d Deliveries, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return d, s.err != nil, s.err
	}
	d, rest := s.queue[0].cut(limit)
	s.queue[0] = rest
	if rest.Count == 0 {
		s.queue = s.queue[1:]
	}
	return d, len(s.queue) > 0, nil
}

// putBack gives what Next gave last back to the queue, but for the first events.
func (s *Subscriber) putBack(d Deliveries, but int) {
	done, rest := d.cut(core.Limit{Events: but, Bytes: math.MaxInt})
	s.mu.Lock()
	defer s.mu.Unlock()
	if rest.Count > 0 && s.lease.is(d.lease) {
		s.unasked = done
		s.queue = slices.Insert(s.queue, 0, rest)
	}
}

// eachLimit is what Events asks for at a time.
var eachLimit = core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10}

// Events gives event by event, until ctx ends or the subscription does, with the reason
// as the last. Asking for the next event does not ack the one before. Who breaks off may
// go on with Events, Next or Consume.
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
				given++
				if !yield(d, nil) {
					s.putBack(batch, given)
					return
				}
			}
		}
	}
}

// Status is how the subscription is, as far as the server has told.
func (s *Subscriber) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Close leaves. What was acked before is acked when it returns; what was not goes to
// other subscribers, at once and without having failed. It waits for the server to say
// so until ctx ends, or 30 s; without a connection there is nothing to wait for. Later
// acks are lease_lost.
func (s *Subscriber) Close(ctx context.Context) error {
	c := s.client
	s.flush()
	k := &call{id: c.lastID.Add(1) + 1, bound: true, deadline: time.Now().Add(requestTimeout)}
	k.message = wire.Encode(nil, &wire.Unsubscribe{ID: k.id, Sub: s.num})
	answers := make(chan answer, 1)
	k.done = func(a answer) { answers <- a }
	c.mu.Lock()
	session := c.remove(s.num)
	if session != nil {
		c.calls[k.id] = k
		session.send(false, k.message)
	}
	c.mu.Unlock()
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
		c.abandon(k, core.AsError(ctx.Err()))
		return (<-answers).err
	}
}

// request is part of sub. With it a new lease begins, and what came under the one
// before is nobody's any more.
func (s *Subscriber) request(on *session) *wire.Subscribe {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = nil
	s.lease.begin(on)
	m := &wire.Subscribe{
		Sub: s.num, Subscription: s.name, Transient: s.options.Transient,
		Consumer: s.options.Consumer, Workers: s.options.Workers, Ack: "explicit",
		Credit: &wire.Amount{Events: int64(s.options.Ahead), Bytes: creditBytes},
	}
	switch {
	case m.Transient:
		m.Options = s.asked()
	case s.incarnation != "":
		m.Incarnation = s.incarnation
	case s.definition == nil:
		m.Options, m.AnyOptions = []byte("{}"), true
	default:
		m.Options, m.AnyOptions = s.definition, s.options.AnyOptions
	}
	return m
}

// asked is the definition of a transient subscription, which begins where it was. mu is
// held.
func (s *Subscriber) asked() []byte {
	if s.place.Log == "" {
		return s.definition
	}
	d := subscriptions.DefaultDefinition()
	if s.options.Definition != nil {
		d = *s.options.Definition
	}
	d.From = s.place.From()
	text, err := wire.Marshal(&d)
	if err != nil {
		return s.definition // which was marshaled the same way
	}
	return text
}

// answered is part of sub.
func (s *Subscriber) answered(ok *wire.OK, _ string) {
	cursor, err := core.ParseCursor(ok.Cursor)
	s.mu.Lock()
	s.accepted, s.incarnation = true, ok.Incarnation
	if err == nil {
		s.place = cursor
	}
	s.mu.Unlock()
	s.setStatus(func(now *Status) { *now = Status{State: delivery.CatchUp, Checkpoint: now.Checkpoint, Head: ok.Head} })
	s.done()
}

// receive is part of sub.
func (s *Subscriber) receive(p parcel) {
	attempts, err := p.tries()
	if err == nil && len(attempts) != p.batch.Count {
		err = core.Errorf(core.CodeProtocolError, "%d events were sent, with %d attempts", p.batch.Count, len(attempts))
	}
	if err != nil {
		s.client.ended(s.num, core.AsError(err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease.on == nil {
		return // it was over before they came
	}
	s.lease.unanswered += p.batch.Count
	s.queue = append(s.queue, Deliveries{Batch: p.batch, attempts: attempts, credit: p.bytes, by: s, lease: s.lease.number})
	notify(s.wake)
}

// told is part of sub.
func (s *Subscriber) told(m *wire.Status) {
	cursor, err := core.ParseCursor(m.Cursor)
	s.setStatus(func(now *Status) {
		if err == nil {
			s.place, now.Checkpoint = cursor, cursor.Position
		}
		now.Head = m.Head
		if m.State != wire.StateCheckpoint {
			now.State, now.Reason = delivery.State(m.State), m.Reason
		}
	})
}

// interrupted is part of sub.
func (s *Subscriber) interrupted(err *core.Error) (again bool) {
	s.mu.Lock()
	s.lease.end()
	s.queue = nil
	again = s.accepted && err.Info().Retryable
	s.mu.Unlock()
	s.setStatus(func(now *Status) { now.State, now.Reason = delivery.Idle, "" })
	return again
}

// setStatus changes the status and tells of it.
func (s *Subscriber) setStatus(change func(*Status)) {
	s.mu.Lock()
	before := s.status
	change(&s.status)
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
	s.lease.end()
	s.queue = nil
	s.mu.Unlock()
	s.done()
	notify(s.wake)
}
