package sdk

import (
	"context"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// creditEvents and creditBytes bound what the server may send ahead of Next. Half of it is
// returned at a time.
const (
	creditEvents = 4096
	creditBytes  = 2 << 20
)

// follower is a core.Follower. What the server sends waits in its queue, bounded by
// the credit.
type follower struct {
	client *Client
	num    uint64
	what   core.FollowRequest
	start
	wake chan struct{} // wakes Next; holds 1

	mu       sync.Mutex // protects the fields below
	accepted bool
	queue    []item
	events   int // taken from the queue, or not yet given, as credit
	bytes    int
	log      string
	known    bool   // whether position is
	position uint64 // everything up to here is in the queue, or was
	head     uint64
	live     bool
	noQuorum string
	err      error
}

// item is a delivery in the queue, and the credit it came for.
type item struct {
	core.Delivery
	events, bytes int
}

// Follow is core.Log.Follow. It outlives connections: after a break it goes on
// where it was.
func (c *Client) Follow(ctx context.Context, r core.FollowRequest) (core.Follower, error) {
	if err := ctx.Err(); err != nil {
		return nil, core.AsError(err)
	}
	if err := r.Filter.Validate(); err != nil {
		return nil, err
	}
	return retryWhileOverloaded(ctx, c, func() (core.Follower, error) { return c.followOnce(ctx, r) })
}

func (c *Client) followOnce(ctx context.Context, r core.FollowRequest) (core.Follower, error) {
	f := &follower{
		client: c, num: c.lastID.Add(1), what: r,
		start: newStart(), wake: make(chan struct{}, 1), events: creditEvents, bytes: creditBytes,
	}
	if err := c.begin(ctx, f.num, f, &f.start); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.accepted {
		return nil, f.err
	}
	return f, nil
}

// request is part of sub. It gives all credit that the queue leaves.
func (f *follower) request(*session) *wire.Subscribe {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := &wire.Subscribe{Sub: f.num, Stream: f.what.Stream, From: &f.what.From, System: f.what.System, TimeoutMs: f.timeoutMs()}
	if f.known {
		from := core.Cursor{Log: f.log, Position: f.position}.From()
		m.From = &from
	}
	if !f.what.Filter.IsZero() {
		m.Filter = &wire.Filter{Streams: f.what.Filter.Streams, Types: f.what.Filter.Types}
	}
	queued, bytes := 0, 0
	for i := range f.queue {
		queued += f.queue[i].events
		bytes += f.queue[i].bytes
	}
	m.Credit = &wire.Amount{Events: int64(max(0, creditEvents-queued)), Bytes: int64(max(1, creditBytes-bytes))}
	f.events, f.bytes = 0, 0
	return m
}

// answered is part of sub.
func (f *follower) answered(ok *wire.OK, log string) {
	f.mu.Lock()
	f.accepted, f.log = true, log
	f.head = max(f.head, ok.Head)
	if cursor, err := core.ParseCursor(ok.Cursor); err == nil && !f.known {
		f.known, f.position = true, cursor.Position
	}
	f.mu.Unlock()
	f.done()
}

// disconnected is part of sub: the follow goes on where it was.
func (f *follower) disconnected(*core.Error) (again bool) { return true }

// interrupted is part of sub.
func (f *follower) interrupted(err *core.Error) (again bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return comesBack(f.accepted, err)
}

// end makes Next fail once the queue is empty.
func (f *follower) end(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	f.done()
	notify(f.wake)
}

// notify fills a channel that holds 1.
func notify(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Next is core.Follower.Next.
func (f *follower) Next(ctx context.Context, limit core.Limit) (core.Delivery, error) {
	limit.Events, limit.Bytes = max(limit.Events, 1), max(limit.Bytes, 1)
	for {
		if err := ctx.Err(); err != nil {
			return core.Delivery{}, core.AsError(err)
		}
		d, credit, ok, err := f.take(limit)
		if credit != nil {
			f.client.giveCredit(credit)
		}
		if ok || err != nil {
			return d, err
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
	}
}

// take takes the first delivery from the queue, or as much of it as limit allows,
// and says what credit to give for it.
func (f *follower) take(limit core.Limit) (d core.Delivery, credit *wire.Credit, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return d, nil, false, f.err
	}
	first := &f.queue[0]
	d = first.Delivery
	head, tail := d.Cut(limit)
	if tail.Count > 0 {
		d.Batch, d.Cursor, d.Live = head, head.Last, false
		first.Batch = tail
		return d, nil, true, nil
	}
	f.events += first.events
	f.bytes += first.bytes
	*first = item{}
	f.queue = f.queue[1:]
	if f.events >= creditEvents/2 || f.bytes >= creditBytes/2 {
		credit = &wire.Credit{Sub: f.num, Events: int64(f.events), Bytes: int64(f.bytes)}
		f.events, f.bytes = 0, 0
	}
	return d, credit, true, nil
}

// giveCredit lets the server send more. Without a connection there is nothing to
// do: the next subscribe gives all.
func (c *Client) giveCredit(credit *wire.Credit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		c.session.sendCredit(credit)
	}
}

// Close is core.Follower.Close.
func (f *follower) Close() error {
	c := f.client
	c.mu.Lock()
	if s := c.remove(f.num); s != nil {
		s.send(false, wire.Encode(nil, &wire.Unsubscribe{ID: c.lastID.Add(1) + 1, Sub: f.num}))
	}
	c.mu.Unlock()
	f.mu.Lock()
	f.queue = nil
	f.mu.Unlock()
	f.end(core.Errorf(core.CodeCanceled, "the follow was closed"))
	return nil
}

// receive is part of sub.
func (f *follower) receive(p parcel) {
	d := core.Delivery{Batch: p.batch, Cursor: p.cursor}
	f.mu.Lock()
	f.known, f.position = true, d.Cursor
	f.head = max(f.head, d.Cursor)
	f.noQuorum = ""
	d.Head, d.Live = f.head, f.live
	f.queue = append(f.queue, item{Delivery: d, events: d.Count, bytes: p.bytes})
	f.mu.Unlock()
	notify(f.wake)
}

// reported is part of sub. Of several that wait in the queue only the last means
// anything.
func (f *follower) reported(m *wire.Status) {
	cursor, err := core.ParseCursor(m.Cursor)
	if err != nil {
		return
	}
	f.mu.Lock()
	f.known, f.position = true, max(f.position, cursor.Position)
	f.head = max(f.head, m.Head)
	switch m.State {
	case wire.StateLive:
		f.live, f.noQuorum = true, ""
	case wire.StateCatchup:
		f.live, f.noQuorum = false, ""
	case wire.StateNoQuorum:
		f.live, f.noQuorum = false, m.Reason
	}
	now := item{Delivery: core.Delivery{Cursor: f.position, Head: f.head, Live: f.live, NoQuorum: f.noQuorum}}
	if last := len(f.queue) - 1; last >= 0 && f.queue[last].Count == 0 {
		f.queue[last] = now
	} else {
		f.queue = append(f.queue, now)
	}
	f.mu.Unlock()
	notify(f.wake)
}
