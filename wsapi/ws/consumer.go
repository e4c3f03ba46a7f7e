package ws

import (
	"context"
	"math"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// consumer is the source of a named subscription. It has no goroutine: its deliveries are
// in memory, and the connection's writer takes them when it can write them.
type consumer struct {
	subscriptions.Subscriber
	sub      *sub
	reported delivery.State // to the client
	// The client of a transient one is told the checkpoint: nobody else keeps it.
	transient  bool
	joined     subscriptions.Delivery // the first, which the answer to the subscribe reports
	checkpoint uint64                 // the last that was reported
	cursor     string                 // the last that was reported
	sent       bool                   // the events of joined

	// readyQueue.mu protects the fields below.
	started bool
	queued  bool
}

// join makes a consumer.
func (c *conn) join(ctx context.Context, s *sub, subs subscriptions.Joiner, r subscriptions.JoinRequest) (source, error) {
	k := &consumer{sub: s, transient: r.Transient}
	r.Wake = func() { c.ready.add(k) }
	var err error
	if k.Subscriber, err = subs.Join(ctx, r); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.named = k.Subscriber
	s.mu.Unlock()
	if k.joined, _, err = k.Take(core.Limit{}); err != nil {
		return nil, err
	}
	k.reported, k.checkpoint = k.joined.State, k.joined.Checkpoint
	return k, nil
}

// accepted is part of source.
func (k *consumer) accepted(ok *wire.OK) {
	ok.Cursor, ok.Head = k.sub.cursor(k.joined.Checkpoint), k.joined.Head
	ok.Incarnation, ok.State, ok.Reason = k.joined.Incarnation, string(k.joined.State), k.joined.Reason
	ok.Node = k.joined.Node
}

// start is part of source. A connection that has ended meanwhile may have missed the
// consumer.
func (k *consumer) start(ctx context.Context) {
	k.sub.conn.ready.start(k)
	if ctx.Err() != nil {
		k.close()
		k.sub.conn.subs.remove(k.sub)
	}
}

// close is part of source.
func (k *consumer) close() { k.sub.leave(k.sub.conn.draining.Load()) }

// leave gives back what is in flight, if s is of a named subscription. A client that is
// gone has failed; one that leaves, or that we send away, has not: that is clean.
func (s *sub) leave(clean bool) {
	if named := s.subscriber(); named != nil {
		named.Leave(clean)
	}
}

// delivered notes events that were sent to the client.
func (s *sub) delivered(d *subscriptions.Delivery) {
	if d.Count == 0 {
		return
	}
	s.mu.Lock()
	s.unanswered += d.Count
	s.last = max(s.last, d.Last)
	s.mu.Unlock()
}

// finished returns how many events an answer finishes, or up to which position.
func finished(a *subscriptions.Answer) (n int, upTo uint64) {
	switch {
	case a.Kind == subscriptions.Extend:
		return 0, 0
	case a.Kind != subscriptions.AckUpTo:
		return len(a.Positions), 0
	case a.ByVersion:
		return 0, math.MaxUint64
	}
	return 0, a.UpTo
}

// answered notes the events that an answer of the client has finished at the owner. Before
// that the answer may be on its way to another node.
func (s *sub) answered(n int, upTo uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unanswered = max(0, s.unanswered-n)
	if upTo > 0 && upTo >= s.last {
		s.unanswered = 0
	}
}

// handles reports whether the client handles events of a named subscription.
func (c *conn) handles() bool {
	for _, s := range c.subs.all() {
		s.mu.Lock()
		n := s.unanswered
		s.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

// leaveAll ends the consumers of a connection that is over.
func (c *conn) leaveAll() {
	for _, s := range c.subs.all() {
		if s.subscriber() != nil {
			s.leave(c.draining.Load())
			c.subs.remove(s)
		}
	}
}

// subscriber is that of a named subscription; nil if s is a follow.
func (s *sub) subscriber() subscriptions.Subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named
}

// readyQueue holds the consumers of one connection that may have deliveries, in the order
// that the writer serves them in.
type readyQueue struct {
	wake func()     // wakes the writer
	turn sync.Mutex // held from taking a delivery until it is in the outbox

	mu    sync.Mutex
	queue []*consumer
}

// add puts a consumer at the end, unless it is queued already.
func (q *readyQueue) add(k *consumer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if k.queued || !k.started {
		return
	}
	k.queued = true
	q.queue = append(q.queue, k)
	q.wake()
}

// awaitTurn waits until what was taken of a consumer is in the outbox.
func (q *readyQueue) awaitTurn() {
	q.turn.Lock()
	defer q.turn.Unlock()
}

// start lets a consumer be queued from now on.
func (q *readyQueue) start(k *consumer) {
	q.mu.Lock()
	k.started = true
	q.mu.Unlock()
	q.add(k)
}

// next takes the first one out; nil if there is none.
func (q *readyQueue) next() *consumer {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return nil
	}
	k := q.queue[0]
	k.queued = false
	q.queue = slices.Delete(q.queue, 0, 1)
	return k
}

// serve sends deliveries of the consumers, in turn, until there is enough to write. A client
// that is to leave gets no more.
func (c *conn) serve() {
	if c.draining.Load() && c.peer == nil {
		return
	}
	for !c.out.hasEnough() {
		k := c.ready.next()
		if k == nil {
			return
		}
		c.ready.turn.Lock()
		more := k.deliver()
		c.ready.turn.Unlock()
		if more {
			c.ready.add(k)
		}
	}
}

// deliver sends one delivery, and reports whether there was one.
func (k *consumer) deliver() bool {
	limit, _ := k.sub.limit() // the machine counts credit
	d, ok, err := k.take(limit)
	if err != nil {
		k.sub.end(err, k.cursor)
		return false
	}
	if !ok {
		return false
	}
	k.sub.delivered(&d)
	p := &parcel{Batch: d.Batch, attempts: d.Attempts, replay: d.Replay, cursor: d.Checkpoint, status: k.status(&d)}
	k.cursor, _ = k.sub.send(p, func() (core.Limit, error) { return limit, nil })
	return true
}

// take is Take, after the delivery that join has taken.
func (k *consumer) take(limit core.Limit) (d subscriptions.Delivery, ok bool, err error) {
	if !k.sent {
		k.sent = true
		d, k.joined.Batch = k.joined, core.Batch{}
		return d, true, nil
	}
	return k.Take(limit)
}

// status is how the subscription is, or nil if the client knows.
func (k *consumer) status(d *subscriptions.Delivery) *wire.Status {
	if !d.Changed || d.State == k.reported {
		return k.checkpointStatus(d)
	}
	k.reported, k.checkpoint = d.State, d.Checkpoint
	return &wire.Status{State: string(d.State), Head: d.Head, Lag: d.Lag(), Reason: d.Reason}
}

// checkpointStatus is where a transient subscription continues if all its connections
// are lost now. It is sent with the events that are beyond it.
func (k *consumer) checkpointStatus(d *subscriptions.Delivery) *wire.Status {
	if !k.transient || d.Count == 0 || d.Checkpoint <= k.checkpoint {
		return nil
	}
	k.checkpoint = d.Checkpoint
	return &wire.Status{State: wire.StateCheckpoint, Head: d.Head, Lag: d.Lag()}
}
