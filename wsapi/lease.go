package wsapi

import (
	"context"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// lease is the source of a named subscription. It has no goroutine: what there is to
// tell is in memory, and the connection's writer takes it when it can write it.
type lease struct {
	subscriptions.Subscriber
	sub  *sub
	told delivery.State
	// Of a transient one the client is told the checkpoint: nobody else keeps it.
	transient  bool
	first      *subscriptions.Delivery // not passed on yet
	began      uint64                  // the checkpoint when it was joined
	checkpoint uint64                  // that was told
	cursor     string                  // that was told

	// turns.mu protects the fields below.
	started bool
	waiting bool // it is in the queue
}

// join begins a lease.
func (c *conn) join(ctx context.Context, s *sub, subs Subscriptions, r subscriptions.JoinRequest) (source, error) {
	l := &lease{sub: s, transient: r.Transient, told: delivery.CatchUp}
	r.Wake = func() { c.turns.add(l) }
	var err error
	if l.Subscriber, err = subs.Join(ctx, r); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.named = l.Subscriber
	s.mu.Unlock()
	if l.transient {
		first, _, gone := l.Take(core.Limit{}) // it tells at once where it is
		if gone != nil {
			return nil, gone
		}
		l.first, l.began = &first, first.Checkpoint
	}
	return l, nil
}

// place is part of source.
func (l *lease) place(uint64) (uint64, bool) { return l.began, l.transient }

// start is part of source. A connection that has ended meanwhile may have missed the
// lease.
func (l *lease) start(ctx context.Context) {
	l.sub.conn.turns.start(l)
	if ctx.Err() != nil {
		l.close()
	}
}

// close is part of source.
func (l *lease) close() { l.sub.leave(l.sub.conn.draining.Load()) }

// leave gives back what is in flight, if s is a lease. A client that is gone has
// failed; one that leaves, or that we send away, has not: that is clean.
func (s *sub) leave(clean bool) {
	if named := s.lease(); named != nil {
		named.Leave(clean)
	}
}

// leaveAll ends the leases of a connection that is over.
func (c *conn) leaveAll() {
	for _, s := range c.subs.all() {
		if s.lease() != nil {
			s.leave(c.draining.Load())
			c.subs.remove(s)
		}
	}
}

// lease is that of a named subscription; nil if there is none.
func (s *sub) lease() subscriptions.Subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named
}

// turns are the leases of one connection that may have something to tell, in the order
// that the writer serves them in.
type turns struct {
	wake func() // tells the writer that there is one

	mu    sync.Mutex
	queue []*lease
}

// add puts a lease at the end, unless it is there already.
func (t *turns) add(l *lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.waiting || !l.started {
		return
	}
	l.waiting = true
	t.queue = append(t.queue, l)
	t.wake()
}

// start lets a lease have turns, from now on.
func (t *turns) start(l *lease) {
	t.mu.Lock()
	l.started = true
	t.mu.Unlock()
	t.add(l)
}

// next takes the first one out; nil if there is none.
func (t *turns) next() *lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return nil
	}
	l := t.queue[0]
	l.waiting = false
	t.queue = slices.Delete(t.queue, 0, 1)
	return l
}

// serve gives the leases their turns until there is enough to write.
func (c *conn) serve() {
	for !c.out.hasEnough() {
		l := c.turns.next()
		if l == nil {
			return
		}
		if l.turn() {
			c.turns.add(l)
		}
	}
}

// turn passes on a part of what there is, and reports whether there was any.
func (l *lease) turn() bool {
	limit, _ := l.sub.limit() // the machine counts credit
	d, ok, err := l.take(limit)
	if err != nil {
		l.sub.end(err, l.cursor)
		return false
	}
	if !ok {
		return false
	}
	p := &parcel{Batch: d.Batch, attempts: d.Attempts, cursor: d.Checkpoint, status: l.tell(&d)}
	l.cursor, _ = l.sub.send(p, func() (core.Limit, error) { return limit, nil })
	return true
}

// take is Take, after what was taken to see where it begins.
func (l *lease) take(limit core.Limit) (d subscriptions.Delivery, ok bool, err error) {
	if first := l.first; first != nil {
		l.first = nil
		return *first, true, nil
	}
	return l.Take(limit)
}

// tell says how the subscription is, where the client does not know yet.
func (l *lease) tell(d *subscriptions.Delivery) *wire.Status {
	if !d.Changed || d.State == l.told {
		return l.tellCheckpoint(d)
	}
	l.told, l.checkpoint = d.State, d.Checkpoint
	status := &wire.Status{State: string(d.State), Head: d.Head, Lag: d.Lag(), Reason: d.Reason}
	if d.State == delivery.CatchUp {
		status.State = wire.StateCatchup
	}
	return status
}

// tellCheckpoint tells, with the events that go beyond it, from where a transient
// subscription is to go on if all its connections are lost now.
func (l *lease) tellCheckpoint(d *subscriptions.Delivery) *wire.Status {
	if !l.transient || d.Count == 0 || d.Checkpoint <= l.checkpoint {
		return nil
	}
	l.checkpoint = d.Checkpoint
	return &wire.Status{State: wire.StateCheckpoint, Head: d.Head, Lag: d.Lag()}
}
