package ws

import (
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// The bounds of one message with events.
	maxEventsText  = 64 << 10
	maxEventsFrame = 256<<10 - 64

	// unlimited is the credit of a dimension that the client leaves to us.
	unlimited = math.MaxInt64 / 2
)

// sub is one follow of a connection (follow.go), or one consumer of a named subscription
// (consumer.go).
type sub struct {
	conn     *conn
	num      uint64
	auto     bool // no credit was given, or it is counted elsewhere: the socket sets the pace
	maxBatch int
	cancel   func() // ends it, and the call that opens it
	log      string // the log's identity, for cursors

	over bool // protected by outbox.mu

	mu     sync.Mutex // protects the fields below
	events int64      // credit
	bytes  int64      // credit; below zero after an event that was larger
	// named is the subscriber, once there is one; nil for a follow. It counts credit
	// itself.
	named subscriptions.Subscriber
	// unanswered is how many events of a named subscription the client may be handling, as
	// far as can be told from its answers; last is the position of the last.
	unanswered int
	last       uint64

	more chan struct{} // holds 1: there is more credit
}

// source is where a sub has its events from.
type source interface {
	// accepted adds what is known of it to the answer to its subscribe, which has the
	// log's head.
	accepted(ok *wire.OK)
	// start has the sub served. That of a follow returns when it is over.
	start(ctx context.Context)
	// close gives up a source that was not started.
	close()
}

// parcel is one delivery of a source.
type parcel struct {
	core.Batch
	attempts []uint64 // of a named subscription: one for each event
	replay   bool     // of a named subscription: they are parked ones that are delivered again
	cursor   uint64
	status   *wire.Status // sent after the events; may be nil
}

// opening is how a sub gets its source.
type opening func(ctx context.Context, s *sub) (source, error)

// subs are those of one connection.
type subs struct {
	limit int
	open  prometheus.Gauge
	mu    sync.Mutex
	byNum map[uint64]*sub
}

func newSubs(limit int, open prometheus.Gauge) *subs {
	return &subs{limit: limit, open: open, byNum: map[uint64]*sub{}}
}

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
	ss.open.Inc()
	return nil
}

func (ss *subs) get(num uint64) *sub {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byNum[num]
}

// all are those of now.
func (ss *subs) all() []*sub {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return slices.Collect(maps.Values(ss.byNum))
}

// remove frees the number of s, if it still has it.
func (ss *subs) remove(s *sub) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.byNum[s.num] == s {
		delete(ss.byNum, s.num)
		ss.open.Dec()
	}
}

// subscribe starts a follow, or joins a named subscription.
func (c *conn) subscribe(m *wire.Subscribe) {
	open, err := c.opening(m)
	if err != nil {
		c.refuse(m.ID, err)
		return
	}
	c.startSub(m, open)
}

// startSub starts a sub in a goroutine of its own.
func (c *conn) startSub(m *wire.Subscribe, open opening) {
	s, err := c.newSub(m)
	if err != nil {
		c.refuse(m.ID, err)
		return
	}
	call := c.begin(m.ID, m.TimeoutMs)
	if call == nil {
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	s.cancel = func() {
		c.calls.interrupt(call)
		cancel()
	}
	if err := c.subs.add(s); err != nil {
		cancel()
		if c.calls.finish(call) {
			c.refuse(m.ID, err)
			c.calls.settle()
		}
		return
	}
	c.running.Go(func() {
		defer cancel()
		s.run(ctx, call, open)
	})
}

func (c *conn) newSub(m *wire.Subscribe) (*sub, error) {
	s := &sub{conn: c, num: m.Sub, maxBatch: core.MaxReadEvents, more: make(chan struct{}, 1)}
	switch {
	case m.Sub == 0 || m.Sub > core.MaxNumber:
		return nil, core.Errorf(core.CodeInvalidRequest, "sub is a number from 1 to 2^53-1")
	case m.MaxBatch < 0:
		return nil, core.Errorf(core.CodeInvalidRequest, "maxBatch is at least 1")
	case m.Credit != nil && (m.Credit.Events < 0 || m.Credit.Bytes < 0):
		return nil, core.Errorf(core.CodeInvalidRequest, "credit is not negative")
	}
	if m.MaxBatch > 0 {
		s.maxBatch = min(m.MaxBatch, core.MaxReadEvents)
	}
	s.events, s.bytes, s.auto = unlimited, unlimited, m.Credit == nil || m.Subscription != ""
	if !s.auto {
		s.events = min(m.Credit.Events, unlimited)
		if m.Credit.Bytes > 0 {
			s.bytes = min(m.Credit.Bytes, unlimited)
		}
	}
	return s, nil
}

// opening says what a subscribe asks for.
func (c *conn) opening(m *wire.Subscribe) (opening, error) {
	if m.Subscription != "" {
		return c.joining(m)
	}
	if c.peer != nil {
		return nil, core.Errorf(core.CodeNotSupported, "every node follows the log itself")
	}
	r := core.FollowRequest{Stream: m.Stream, System: m.System}
	if m.From != nil {
		r.From = *m.From
	}
	if m.Filter != nil {
		r.Filter = core.Filter{Streams: m.Filter.Streams, Types: m.Filter.Types}
	}
	return func(ctx context.Context, s *sub) (source, error) {
		var err error
		if r.From, err = core.ProgressFrom(ctx, c.config.Store, r.From); err != nil { // the answer says what it is
			return nil, err
		}
		follower, err := c.config.Store.Follow(ctx, r)
		if err != nil {
			return nil, err
		}
		return &followed{sub: s, Follower: follower, from: r.From}, nil
	}, nil
}

// unsubscribe ends a sub. When it is answered nothing more comes of the sub.
func (c *conn) unsubscribe(m *wire.Unsubscribe) {
	if m.ID == 0 {
		c.refuse(0, core.Errorf(core.CodeInvalidRequest, "a request has an id from 1 to 2^53-1"))
		return
	}
	if s := c.subs.get(m.Sub); s != nil {
		c.out.endSub(s)
		s.leave(!m.Lost)
		s.cancel()
		c.subs.remove(s)
	}
	c.reply(m.ID, wire.Encode(nil, &wire.OK{ID: m.ID}))
}

// run opens the source of a sub, answers the subscribe, and has the sub served until ctx
// ends.
func (s *sub) run(ctx context.Context, call *call, open opening) {
	c := s.conn
	state := c.config.Store.State()
	s.log = state.Timeline()
	src, err := open(call, s)
	if !c.calls.finish(call) {
		if err == nil {
			src.close()
		}
		c.subs.remove(s)
		return
	}
	if err != nil {
		c.subs.remove(s)
		c.refuse(call.id, err)
		c.calls.settle()
		return
	}
	ok := wire.OK{ID: call.id, Sub: s.num, Head: state.Head}
	src.accepted(&ok)
	c.reply(call.id, wire.Encode(nil, &ok))
	c.calls.settle()
	src.start(ctx)
}

// end tells that a sub is over by itself.
func (s *sub) end(err error, cursor string) {
	c := s.conn
	requests.LogInternal(c.config.Logger, err)
	c.subs.remove(s)
	e := wire.NewError(err)
	c.out.subText(s, wire.Encode(nil, &wire.End{Sub: s.num, Error: e, Cursor: cursor, Retryable: e.Retryable}))
}

func (s *sub) cursor(position uint64) string {
	return core.Cursor{Log: s.log, Position: position}.String()
}

// limit is how much a message may have of what there is credit for.
func (s *sub) limit() (l core.Limit, ok bool) {
	s.mu.Lock()
	events, bytes := s.events, s.bytes
	s.mu.Unlock()
	l = core.Limit{Events: int(min(events, int64(s.maxBatch))), Bytes: maxEventsText}
	if s.conn.bin {
		l.Bytes = maxEventsFrame
	}
	l.Bytes = s.conn.out.piece(int(min(bytes, int64(l.Bytes))))
	return l, events > 0 && bytes > 0
}

// send sends a parcel, and returns the cursor after it. allowed says how much the
// next message may have.
func (s *sub) send(p *parcel, allowed func() (core.Limit, error)) (cursor string, err error) {
	if p.Count > 0 {
		s.conn.config.Metrics.Read(p.Count)
		if s.conn.bin {
			s.sendFrame(p)
		} else if err := s.sendText(p, allowed); err != nil {
			return "", err
		}
	}
	cursor = s.cursor(p.cursor)
	if p.status != nil {
		p.status.Sub, p.status.Cursor = s.num, cursor
		s.conn.out.subText(s, wire.Encode(nil, p.status))
	}
	return cursor, nil
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

// sendFrame sends a parcel as one EVENTS frame.
func (s *sub) sendFrame(p *parcel) {
	var space [64]byte
	s.spend(p.Count, len(p.Block))
	header, block := s.conn.deliveriesFrame(space[:0], s.num, p)
	s.conn.out.subFrame(s, header, block)
}

// sendText sends a parcel in as many messages as the bound and the credit ask
// for: in JSON it may be larger than it was.
func (s *sub) sendText(p *parcel, allowed func() (core.Limit, error)) error {
	for rest := *p; rest.Count > 0; {
		limit, err := allowed()
		if err != nil {
			return err
		}
		message := requests.NewBuffer()
		var count int
		var last uint64
		message.B, count, last = s.appendText(message.B, &rest, limit)
		if count == rest.Count || p.attempts != nil {
			last = p.cursor
		}
		message.B = append(message.B, `],"cursor":"`...)
		message.B = append(message.B, s.cursor(last)...)
		message.B = append(message.B, '"', '}')
		s.spend(count, len(message.B))
		s.conn.out.subText(s, message.B)
		message.Free()
		_, rest.Batch = rest.Cut(core.Limit{Events: count, Bytes: math.MaxInt})
		if p.attempts != nil {
			rest.attempts = rest.attempts[count:]
		}
	}
	return nil
}

// appendText begins a message with as many events as limit allows, at least one.
func (s *sub) appendText(dst []byte, p *parcel, limit core.Limit) (text []byte, count int, last uint64) {
	dst = append(dst, `{"op":"events","sub":`...)
	dst = strconv.AppendUint(dst, s.num, 10)
	dst = append(dst, `,"events":[`...)
	for e := range p.Events() {
		before := len(dst)
		if count > 0 {
			dst = append(dst, ',')
		}
		dst = wire.AppendEventJSON(dst, &e)
		if p.attempts != nil {
			dst = wire.AppendAttempt(dst, p.attempts[count], p.replay)
		}
		if count == limit.Events || count > 0 && len(dst) > limit.Bytes {
			return dst[:before], count, last
		}
		count++
		last = e.Position
	}
	return dst, count, last
}
