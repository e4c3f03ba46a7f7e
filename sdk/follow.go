package sdk

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// creditEvents and creditBytes are how far the server may be ahead of who calls
// Next. Half of it is given back at a time.
const (
	creditEvents = 4096
	creditBytes  = 2 << 20
)

// follower is a core.Follower. What the server sends waits in its queue, bounded by
// the credit.
type follower struct {
	client  *Client
	num     uint64
	request core.FollowRequest
	begun   chan struct{} // closed by begin: the server has answered, or never will
	begin   func()
	wake    chan struct{} // tells Next that there is something; holds 1

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
	f := &follower{
		client: c, num: c.lastID.Add(1), request: r,
		begun: make(chan struct{}), wake: make(chan struct{}, 1), events: creditEvents, bytes: creditBytes,
	}
	f.begin = sync.OnceFunc(func() { close(f.begun) })
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTimeout)
		defer cancel()
	}
	c.mu.Lock()
	if c.failed != nil {
		c.mu.Unlock()
		return nil, c.failed
	}
	c.follows[f.num] = f
	if c.session != nil {
		c.subscribe(f)
	}
	c.mu.Unlock()
	select {
	case <-f.begun:
	case <-ctx.Done():
		_ = f.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		return nil, c.explained(core.AsError(ctx.Err()))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.accepted {
		return nil, f.err
	}
	return f, nil
}

// subscribe sends a subscribe for f, with all credit that its queue leaves. c.mu
// is held, and there is a session.
func (c *Client) subscribe(f *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := &wire.Subscribe{ID: c.lastID.Add(1) + 1, Sub: f.num, Stream: f.request.Stream}
	from := wire.From(f.request.From)
	if f.known {
		from = wire.From(core.Cursor{Log: f.log, Position: f.position}.From())
	}
	m.From = &from
	if !f.request.Filter.IsZero() {
		m.Filter = &wire.Filter{Streams: f.request.Filter.Streams, Types: f.request.Filter.Types}
	}
	queued, bytes := 0, 0
	for i := range f.queue {
		queued += f.queue[i].events
		bytes += f.queue[i].bytes
	}
	m.Credit = &wire.Amount{Events: int64(max(0, creditEvents-queued)), Bytes: int64(max(1, creditBytes-bytes))}
	f.events, f.bytes = 0, 0
	log := c.session.welcome.Log
	k := &call{id: m.ID, follow: f, deadline: time.Now().Add(requestTimeout), message: wire.Encode(nil, m)}
	k.done = func(a answer) { f.answered(a, log) }
	c.calls[m.ID] = k
	c.session.send(false, k.message)
}

// answered takes the answer to a subscribe to that log.
func (f *follower) answered(a answer, log string) {
	if a.err != nil || a.ok == nil {
		f.client.ended(f.num, core.AsError(a.err))
		return
	}
	f.mu.Lock()
	f.accepted, f.log = true, log
	f.head = max(f.head, a.ok.Head)
	if cursor, err := core.ParseCursor(a.ok.Cursor); err == nil && !f.known {
		f.known, f.position = true, cursor.Position
	}
	f.mu.Unlock()
	f.begin()
}

// ended takes the server's end of a follow. One that may be begun again is, after
// a pause; the first subscribe is the caller's to repeat.
func (c *Client) ended(num uint64, err *core.Error) {
	c.mu.Lock()
	f := c.follows[num]
	if f == nil {
		c.mu.Unlock()
		return
	}
	f.mu.Lock()
	again := f.accepted && err.Info().Retryable ||
		err.Code == core.CodeShuttingDown || err.Code == core.CodeTooManyRequests
	f.mu.Unlock()
	if !again {
		delete(c.follows, num)
		c.mu.Unlock()
		f.end(err)
		return
	}
	s := c.session
	c.mu.Unlock()
	if err.Code == core.CodeShuttingDown {
		return // the next connection will do it
	}
	time.AfterFunc(minBackoff+rand.N(5*minBackoff), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.follows[num] == f && c.session == s && s != nil {
			c.subscribe(f)
		}
	})
}

// end makes Next fail once the queue is empty.
func (f *follower) end(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	f.begin()
	f.notify()
}

func (f *follower) notify() {
	select {
	case f.wake <- struct{}{}:
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
	switch s := c.session; {
	case s == nil:
	case s.bin:
		s.send(true, wire.AppendCredit(nil, *credit))
	default:
		s.send(false, wire.Encode(nil, credit))
	}
}

// Close is core.Follower.Close.
func (f *follower) Close() error {
	c := f.client
	c.mu.Lock()
	if c.follows[f.num] == f {
		delete(c.follows, f.num)
		if c.session != nil {
			c.session.send(false, wire.Encode(nil, &wire.Unsubscribe{ID: c.lastID.Add(1) + 1, Sub: f.num}))
		}
	}
	c.mu.Unlock()
	f.mu.Lock()
	f.queue = nil
	f.mu.Unlock()
	f.end(core.Errorf(core.CodeCanceled, "the follow was closed"))
	return nil
}

// follow finds the follow of a sub; nil if it is over.
func (c *Client) follow(num uint64) *follower {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.follows[num]
}

// events takes events of a sub.
func (c *Client) events(num uint64, d core.Delivery, bytes int) {
	f := c.follow(num)
	if f == nil {
		return
	}
	f.mu.Lock()
	f.known, f.position = true, d.Cursor
	f.head = max(f.head, d.Cursor)
	d.Head, d.Live = f.head, f.live
	f.queue = append(f.queue, item{Delivery: d, events: d.Count, bytes: bytes})
	f.mu.Unlock()
	f.notify()
}

// status takes what the server says of a sub's place. Of several that wait in the
// queue only the last means anything.
func (c *Client) status(m *wire.Status) {
	f := c.follow(m.Sub)
	cursor, err := core.ParseCursor(m.Cursor)
	if f == nil || err != nil {
		return
	}
	f.mu.Lock()
	f.known, f.position = true, max(f.position, cursor.Position)
	f.head = max(f.head, m.Head)
	switch m.State {
	case wire.StateLive:
		f.live = true
	case wire.StateCatchup:
		f.live = false
	}
	told := item{Delivery: core.Delivery{Cursor: f.position, Head: f.head, Live: f.live}}
	if last := len(f.queue) - 1; last >= 0 && f.queue[last].Count == 0 {
		f.queue[last] = told
	} else {
		f.queue = append(f.queue, told)
	}
	f.mu.Unlock()
	f.notify()
}

// delivery is what an EVENTS frame says.
func delivery(b core.Batch) core.Delivery { return core.Delivery{Batch: b, Cursor: b.Last} }

// deliveryOf is what an events message says.
func deliveryOf(m *wire.Events) (core.Delivery, error) {
	b, err := m.Batch()
	if err != nil {
		return core.Delivery{}, err
	}
	cursor, err := core.ParseCursor(m.Cursor)
	return core.Delivery{Batch: b, Cursor: cursor.Position}, err
}
