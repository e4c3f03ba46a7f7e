package ws

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// followed is the source of a follow.
type followed struct {
	core.Follower
	sub  *sub
	from core.From
	// live and noQuorum are as they were reported to the client.
	live, noQuorum bool
}

// accepted is part of source. The cursor is left out where only the first delivery will
// tell it, and a status says when it is live.
func (f *followed) accepted(ok *wire.OK) {
	switch f.from.Kind {
	case core.FromStart:
		ok.Cursor = f.sub.cursor(0)
	case core.FromEnd:
		ok.Cursor = f.sub.cursor(ok.Head)
	case core.AfterPosition:
		ok.Cursor = f.sub.cursor(f.from.N)
	}
}

func (f *followed) close() { _ = f.Close() } // it only ends the wait

// start is part of source. It runs until the follow ends. It reads ahead by what there is
// credit and room for, and otherwise holds only the follower's place.
func (f *followed) start(ctx context.Context) {
	defer f.close()
	cursor, err := f.run(ctx)
	if ctx.Err() != nil { // unsubscribed, or the connection is gone
		f.sub.conn.subs.remove(f.sub)
		return
	}
	f.sub.end(err, cursor)
}

// run sends deliveries until the follow ends. It returns the cursor to continue from.
func (f *followed) run(ctx context.Context) (cursor string, err error) {
	allowed := func() (core.Limit, error) { return f.sub.allowed(ctx) }
	for {
		limit, err := allowed()
		if err != nil {
			return cursor, err
		}
		d, err := f.next(ctx, limit)
		if err != nil {
			return cursor, err
		}
		after, err := f.sub.send(&parcel{Batch: d.Batch, cursor: d.Cursor, status: f.status(&d)}, allowed)
		f.sub.conn.out.unreserve(len(d.Block))
		if err != nil {
			return cursor, err
		}
		cursor = after
	}
}

// next is Next, and reserves memory for the events. A follow that waits for events
// reserves none.
func (f *followed) next(ctx context.Context, limit core.Limit) (core.Delivery, error) {
	out := f.sub.conn.out
	reserved := 0
	if !f.live {
		reserved = out.reserve(limit.Bytes)
		limit.Bytes = reserved
	}
	d, err := f.Next(ctx, limit)
	if err != nil {
		out.unreserve(reserved)
		return d, err
	}
	return d, out.settle(reserved, len(d.Block))
}

// allowed waits until there is credit and room, and says how much.
func (s *sub) allowed(ctx context.Context) (core.Limit, error) {
	for {
		if limit, ok := s.limit(); ok {
			return limit, s.conn.out.waitRoom(ctx)
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return core.Limit{}, ctx.Err()
		}
	}
}

// status is how the follow stands, or nil if the events say it.
func (f *followed) status(d *core.Delivery) *wire.Status {
	status := &wire.Status{Head: d.Head, Lag: d.Lag()}
	switch {
	case d.NoQuorum != "":
		status.State, status.Reason = wire.StateNoQuorum, d.NoQuorum
	case d.Live && !f.live:
		status.State = wire.StateLive
	case f.noQuorum && !d.Live:
		status.State = wire.StateCatchup
	case !d.Live && f.live:
		status.State, status.Reason = wire.StateCatchup, "slow"
	case d.Count == 0 || f.sub.conn.bin && d.Cursor > d.Last:
		status.State = wire.StateCheckpoint
	default:
		return nil
	}
	f.live, f.noQuorum = d.Live, d.NoQuorum != ""
	return status
}

// credit allows a sub more. One that is over, or never was, is no error.
func (c *conn) credit(m *wire.Credit) {
	s := c.subs.get(m.Sub)
	if s == nil || m.Events < 0 || m.Bytes < 0 {
		return
	}
	if named := s.subscriber(); named != nil {
		_ = named.Credit(delivery.Credit{Events: m.Events, Bytes: m.Bytes}) // that it has ended is told by end
		return
	}
	if s.auto {
		return
	}
	s.mu.Lock()
	s.events = min(s.events+min(m.Events, unlimited), unlimited)
	s.bytes = min(s.bytes+min(m.Bytes, unlimited), unlimited)
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}
