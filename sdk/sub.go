package sdk

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// sub is what a server sends events for: a follower or a Subscriber. It outlives
// connections. None of its methods blocks.
type sub interface {
	// request returns the subscribe for a new session, without the id. Client.mu is held.
	request(s *session) *wire.Subscribe
	// answered takes the answer of a node that has that log.
	answered(ok *wire.OK, log string)
	receive(p parcel)
	reported(m *wire.Status)
	// disconnected takes the loss of its connection, and returns whether to subscribe
	// again on the next.
	disconnected(err *core.Error) (again bool)
	// interrupted takes an end or a refusal of the server, and returns whether to
	// subscribe again.
	interrupted(err *core.Error) (again bool)
	// end is the last call.
	end(err error)
}

// parcel is the events of one frame or message.
type parcel struct {
	batch    core.Batch
	attempts []uint64     // of deliveries in a frame
	replay   bool         // of deliveries in a frame
	message  *wire.Events // that it is of; nil for a frame
	cursor   uint64
	bytes    int // of credit that they took
}

// start is the time until the first answer to a subscribe.
type start struct {
	begun  chan struct{} // closed by done: the server has answered, or never will
	done   func()
	caller context.Context // of who waits for the answer; Client.mu protects it
}

func newStart() start {
	begun := make(chan struct{})
	return start{begun: begun, done: sync.OnceFunc(func() { close(begun) })}
}

// timeoutMs is the time that the server has for its first answer. It has its default for
// later ones, since nobody waits for these. Client.mu is held.
func (s *start) timeoutMs() int64 {
	select {
	case <-s.begun:
		return 0
	default:
		return timeoutMs(s.caller)
	}
}

// begin begins a sub, and blocks until it is answered. The sub knows whether it was
// accepted.
func (c *Client) begin(ctx context.Context, num uint64, f sub, first *start) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTimeout)
		defer cancel()
	}
	c.mu.Lock()
	if c.failed != nil {
		defer c.mu.Unlock()
		return c.failed
	}
	first.caller = ctx
	c.subs[num] = f
	if c.session != nil {
		c.subscribe(f)
	}
	c.mu.Unlock()
	select {
	case <-first.begun:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.remove(num); s != nil {
		s.send(false, wire.Encode(nil, &wire.Unsubscribe{ID: c.lastID.Add(1) + 1, Sub: num}))
	}
	return c.explained(core.AsError(ctx.Err()))
}

// remove forgets a sub, and returns the session that knows it still, if any. c.mu is
// held.
func (c *Client) remove(num uint64) *session {
	if c.subs[num] == nil {
		return nil
	}
	delete(c.subs, num)
	return c.session
}

// leave forgets the sub that m names, and unsubscribes on the session that knows it still,
// if any. done gets the answer, unless the connection is lost first.
func (c *Client) leave(m *wire.Unsubscribe, done func(answer)) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.remove(m.Sub)
	if s != nil {
		m.ID = c.lastID.Add(1) + 1
		c.calls[m.ID] = &call{id: m.ID, bound: true, deadline: time.Now().Add(requestTimeout), done: done}
		s.send(false, wire.Encode(nil, m))
	}
	return s
}

// subscribe sends a subscribe for f. c.mu is held, and there is a session.
func (c *Client) subscribe(f sub) {
	m := f.request(c.session)
	m.ID = c.lastID.Add(1) + 1
	num, log := m.Sub, c.session.welcome.Log
	k := &call{id: m.ID, bound: true, deadline: time.Now().Add(requestTimeout), message: wire.Encode(nil, m)}
	k.done = func(a answer) {
		if a.err != nil || a.ok == nil {
			c.ended(num, core.AsError(a.err))
			return
		}
		f.answered(a.ok, log)
	}
	c.calls[m.ID] = k
	c.session.send(false, k.message)
}

// ended takes the server's end of a sub. One that is subscribed again is, after a pause.
func (c *Client) ended(num uint64, err *core.Error) {
	f := c.sub(num)
	if f == nil {
		return
	}
	if !f.interrupted(err) || c.options.Once {
		c.forget(num, f, err)
		return
	}
	if err.Code == core.CodeShuttingDown {
		return // the next connection will do it
	}
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	time.AfterFunc(minBackoff+rand.N(5*minBackoff), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.subs[num] == f && c.session == s && s != nil {
			c.subscribe(f)
		}
	})
}

// forget ends a sub, unless that was done.
func (c *Client) forget(num uint64, f sub, err error) {
	c.mu.Lock()
	known := c.subs[num] == f
	if known {
		delete(c.subs, num)
	}
	c.mu.Unlock()
	if known {
		f.end(err)
	}
}

// comesBack says whether a sub that outlives connections is subscribed again after its
// server's end. The first subscribe is the caller's to repeat, unless the node has not
// taken it.
func comesBack(accepted bool, err *core.Error) bool {
	return accepted && err.Info().Retryable || err.Code == core.CodeShuttingDown || err.Code == core.CodeTooManyRequests
}

// sub finds the sub of a number; nil if it is over.
func (c *Client) sub(num uint64) sub {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subs[num]
}

// receive hands on what came for a sub.
func (c *Client) receive(num uint64, p parcel) {
	if f := c.sub(num); f != nil {
		f.receive(p)
	}
}

// parcelOf is what an events message says, of so many bytes.
func parcelOf(m *wire.Events, size int) (parcel, error) {
	b, err := m.Batch()
	if err != nil {
		return parcel{}, err
	}
	cursor, err := core.ParseCursor(m.Cursor)
	if err != nil {
		return parcel{}, err
	}
	return parcel{batch: b, message: m, cursor: cursor.Position, bytes: size}, nil
}

// tries returns how often each event was sent, and whether they are replays, as the frame
// or the message has it. A message has replays only, or none.
func (p *parcel) tries() (attempts []uint64, replay bool, err error) {
	if p.message == nil {
		return p.attempts, p.replay, nil
	}
	attempts = make([]uint64, len(p.message.Events))
	for i, text := range p.message.Events {
		var d struct {
			Attempt uint64 `json:"attempt"`
			Replay  bool   `json:"replay"`
		}
		if err := wire.Unmarshal(text, &d); err != nil {
			return nil, false, err
		}
		attempts[i], replay = d.Attempt, d.Replay
	}
	return attempts, replay, nil
}
