package wsapi

import (
	"context"
	"math"
	"strconv"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// The bounds of one message with events.
	maxEventsText  = 64 << 10
	maxEventsFrame = 256<<10 - 64

	// unlimited is the credit of a dimension that the client leaves to us.
	unlimited = math.MaxInt64 / 2
)

var errNoNamed = core.Errorf(core.CodeNotSupported, "this server has no named subscriptions")

// sub is one follow of a connection. Its goroutine (run) reads ahead by what there
// is credit and room for, and otherwise keeps the follower's place only.
type sub struct {
	conn     *conn
	num      uint64
	auto     bool // no credit was given: the socket sets the pace
	maxBatch int
	cancel   context.CancelFunc
	log      string // the log's identity, for cursors
	live     bool   // what the client was told; owned by run

	over bool // protected by outbox.mu

	mu     sync.Mutex // protects events and bytes
	events int64      // credit
	bytes  int64      // credit; below zero after an event that was larger
	more   chan struct{}
}

// subs are the follows of one connection.
type subs struct {
	limit int
	mu    sync.Mutex
	byNum map[uint64]*sub
}

func newSubs(limit int) *subs { return &subs{limit: limit, byNum: map[uint64]*sub{}} }

func (ss *subs) add(s *sub) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if _, ok := ss.byNum[s.num]; ok {
		return core.Errorf(core.CodeDuplicateSub, "sub %d is in use", s.num)
	}
	if len(ss.byNum) >= ss.limit {
		e := core.Errorf(core.CodeTooManySubs, "%d follows on this connection", len(ss.byNum))
		e.Limit = int64(ss.limit)
		return e
	}
	ss.byNum[s.num] = s
	return nil
}

func (ss *subs) get(num uint64) *sub {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byNum[num]
}

// remove frees the number of s, if it still has it.
func (ss *subs) remove(s *sub) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.byNum[s.num] == s {
		delete(ss.byNum, s.num)
	}
}

// subscribe starts a follow.
func (c *conn) subscribe(m *wire.Subscribe) {
	s, request, err := c.newSub(m)
	if err != nil {
		c.refuse(m.ID, err)
		return
	}
	ctx, call := c.begin(m.ID, m.TimeoutMs)
	if call == nil {
		return
	}
	s.cancel = call.cancel
	if err := c.subs.add(s); err != nil {
		call.cancel()
		if c.calls.finish(call) {
			c.refuse(m.ID, err)
			c.calls.settle()
		}
		return
	}
	c.running.Go(func() {
		c.api.metrics.follows.Inc()
		defer c.api.metrics.follows.Dec()
		defer call.cancel()
		defer c.subs.remove(s)
		s.run(ctx, call, request)
	})
}

func (c *conn) newSub(m *wire.Subscribe) (*sub, core.FollowRequest, error) {
	s := &sub{conn: c, num: m.Sub, maxBatch: core.MaxReadEvents, more: make(chan struct{}, 1)}
	r := core.FollowRequest{Stream: m.Stream}
	switch {
	case m.Subscription != "":
		return nil, r, errNoNamed
	case m.Sub == 0 || m.Sub > core.MaxNumber:
		return nil, r, core.Errorf(core.CodeInvalidRequest, "sub is a number from 1 to 2^53-1")
	case m.MaxBatch < 0:
		return nil, r, core.Errorf(core.CodeInvalidRequest, "maxBatch is at least 1")
	}
	if m.MaxBatch > 0 {
		s.maxBatch = min(m.MaxBatch, core.MaxReadEvents)
	}
	if m.From != nil {
		r.From = core.From(*m.From)
	}
	if m.Filter != nil {
		r.Filter = core.Filter{Streams: m.Filter.Streams, Types: m.Filter.Types}
	}
	s.events, s.bytes, s.auto = unlimited, unlimited, m.Credit == nil
	if m.Credit != nil {
		if m.Credit.Events < 0 || m.Credit.Bytes < 0 {
			return nil, r, core.Errorf(core.CodeInvalidRequest, "credit is not negative")
		}
		s.events = min(m.Credit.Events, unlimited)
		if m.Credit.Bytes > 0 {
			s.bytes = min(m.Credit.Bytes, unlimited)
		}
	}
	return s, r, nil
}

// credit allows a sub more. One that is over, or never was, is no error.
func (c *conn) credit(m *wire.Credit) {
	s := c.subs.get(m.Sub)
	if s == nil || s.auto || m.Events < 0 || m.Bytes < 0 {
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

// unsubscribe ends a sub. When it is answered nothing more comes of the sub.
func (c *conn) unsubscribe(m *wire.Unsubscribe) {
	if m.ID == 0 {
		c.refuse(0, core.Errorf(core.CodeInvalidRequest, "a request has an id from 1 to 2^53-1"))
		return
	}
	if s := c.subs.get(m.Sub); s != nil {
		c.out.endSub(s)
		s.cancel()
		c.subs.remove(s)
	}
	c.out.text(wire.Encode(nil, &wire.OK{ID: m.ID}))
}

// run is the life of a sub.
func (s *sub) run(ctx context.Context, call *call, r core.FollowRequest) {
	c := s.conn
	state := c.api.config.Store.State()
	s.log = state.Log
	follower, err := c.api.config.Store.Follow(ctx, r)
	if !c.calls.finish(call) {
		if err == nil {
			_ = follower.Close()
		}
		return
	}
	if err != nil {
		c.subs.remove(s)
		c.refuse(call.id, err)
		c.calls.settle()
		return
	}
	defer func() { _ = follower.Close() }() // it only ends the wait
	c.out.text(s.accepted(call.id, r.From, state.Head))
	c.calls.settle()
	cursor, err := s.follow(ctx, follower)
	if ctx.Err() != nil {
		return // unsubscribed, or the connection is gone
	}
	c.api.logInternal(err)
	c.subs.remove(s)
	e := wire.NewError(err)
	c.out.subText(s, wire.Encode(nil, &wire.End{Sub: s.num, Error: e, Cursor: cursor, Retryable: e.Retryable}))
}

// accepted encodes the answer to a subscribe. The cursor is left out where only
// the first delivery will tell it. live is said by a status, once it is known.
func (s *sub) accepted(id uint64, from core.From, head uint64) []byte {
	dst := append(make([]byte, 0, 128), `{"op":"ok","id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `,"sub":`...)
	dst = strconv.AppendUint(dst, s.num, 10)
	place, known := uint64(0), true
	switch from.Kind {
	case core.FromStart:
	case core.FromEnd:
		place = head
	case core.AfterPosition:
		place = from.N
	default:
		known = false
	}
	if known {
		dst = append(dst, `,"cursor":"`...)
		dst = append(dst, s.cursor(place)...)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"head":`...)
	dst = strconv.AppendUint(dst, head, 10)
	return append(dst, `,"live":false}`...)
}

func (s *sub) cursor(position uint64) string {
	return core.Cursor{Log: s.log, Position: position}.String()
}

// follow passes on what the follower tells, until one of both ends. It returns the
// cursor to go on from.
func (s *sub) follow(ctx context.Context, follower core.Follower) (cursor string, err error) {
	for {
		limit, err := s.allowed(ctx)
		if err != nil {
			return cursor, err
		}
		d, err := follower.Next(ctx, limit)
		if err != nil {
			return cursor, err
		}
		if d.Count > 0 {
			s.conn.api.metrics.read(d.Count)
			if s.conn.bin {
				s.sendFrame(&d)
			} else if err := s.sendText(ctx, &d); err != nil {
				return cursor, err
			}
		}
		cursor = s.cursor(d.Cursor)
		s.tell(&d, cursor)
	}
}

// allowed waits until there is credit and room, and says how much.
func (s *sub) allowed(ctx context.Context) (core.Limit, error) {
	for {
		s.mu.Lock()
		events, bytes := s.events, s.bytes
		s.mu.Unlock()
		if events > 0 && bytes > 0 {
			limit := core.Limit{Events: int(min(events, int64(s.maxBatch))), Bytes: maxEventsText}
			if s.conn.bin {
				limit.Bytes = maxEventsFrame
			}
			limit.Bytes = int(min(bytes, int64(limit.Bytes)))
			return limit, s.conn.out.waitRoom(ctx)
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return core.Limit{}, ctx.Err()
		}
	}
}

// spend takes what was sent off the credit.
func (s *sub) spend(events, bytes int) {
	if s.auto {
		return
	}
	s.mu.Lock()
	s.events -= int64(events)
	s.bytes -= int64(bytes)
	s.mu.Unlock()
}

// sendFrame sends a delivery as one EVENTS frame.
func (s *sub) sendFrame(d *core.Delivery) {
	var space [64]byte
	s.spend(d.Count, len(d.Block))
	header, block := s.conn.eventsFrame(space[:0], s.num, false, &d.Batch)
	s.conn.out.subFrame(s, header, block)
}

// sendText sends a delivery in as many messages as the bound and the credit ask
// for: in JSON it may be larger than it was.
func (s *sub) sendText(ctx context.Context, d *core.Delivery) error {
	message := arenas.Get().(*arena)
	defer message.free()
	for rest := d.Batch; rest.Count > 0; {
		limit, err := s.allowed(ctx)
		if err != nil {
			return err
		}
		var count int
		var last uint64
		message.b, count, last = s.appendText(message.b[:0], rest, limit)
		if count == rest.Count {
			last = d.Cursor
		}
		message.b = append(message.b, `],"cursor":"`...)
		message.b = append(message.b, s.cursor(last)...)
		message.b = append(message.b, '"', '}')
		s.spend(count, len(message.b))
		s.conn.out.subText(s, message.b)
		_, rest = rest.Cut(core.Limit{Events: count, Bytes: math.MaxInt})
	}
	return nil
}

// appendText begins a message with as many events as limit allows, at least one.
func (s *sub) appendText(dst []byte, b core.Batch, limit core.Limit) (text []byte, count int, last uint64) {
	dst = append(dst, `{"op":"events","sub":`...)
	dst = strconv.AppendUint(dst, s.num, 10)
	dst = append(dst, `,"events":[`...)
	for e := range b.Events() {
		before := len(dst)
		if count > 0 {
			dst = append(dst, ',')
		}
		dst = wire.AppendEventJSON(dst, &e)
		if count == limit.Events || count > 0 && len(dst) > limit.Bytes {
			return dst[:before], count, last
		}
		count++
		last = e.Position
	}
	return dst, count, last
}

// tell says how the follow stands, where the events do not.
func (s *sub) tell(d *core.Delivery, cursor string) {
	status := wire.Status{Sub: s.num, Cursor: cursor, Head: d.Head, Lag: d.Lag()}
	switch {
	case d.Live && !s.live:
		status.State = wire.StateLive
	case !d.Live && s.live:
		status.State, status.Reason = wire.StateCatchup, "slow"
	case d.Count == 0 || s.conn.bin && d.Cursor > d.Last:
		status.State = wire.StateCheckpoint
	default:
		return
	}
	s.live = d.Live
	s.conn.out.subText(s, wire.Encode(nil, &status))
}
