package sdk

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// call is a request that waits for its answer. Whatever removes it from Client.calls
// finishes it.
type call struct {
	id      uint64
	binary  bool
	message []byte // encoded, to be sent again on the next connection
	// coded is message compressed, for a connection on which codec was agreed; nil if
	// that is not worth it.
	coded    []byte
	codec    wire.Codec
	deadline time.Time // zero is none
	isAppend bool
	moves    bool // an append that does nothing but move a progress
	once     bool // an append that is not recognized when it is sent again, and so is not
	// bound is one that has a meaning on its connection only, such as a subscribe: it
	// takes no room, and is not sent again. done is called with the loss of the
	// connection if answered is set, and never otherwise.
	bound    bool
	answered bool
	needs    []feature
	watched  bool // ends with its context without a waiting caller
	tries    int  // connections that it was sent on, without those that have refused it unread
	refused  bool // unread, by the present connection
	stop     func() bool
	batch    core.Batch // of a read: the events that came ahead of the ok
	done     func(answer)
}

// answer is the answer to a request: one of the fields.
type answer struct {
	err    error
	ok     *wire.OK
	batch  core.Batch  // with the ok of a read
	result core.Result // of an append, on a binary connection
}

// lost is the error of a call that will get no answer because of cause.
func (k *call) lost(cause *core.Error) *core.Error {
	if k.isAppend {
		return core.Errorf(core.CodeUnknownOutcome, "the append was not answered: %w", cause)
	}
	return cause
}

// bytes is what a call counts for among those in flight.
func (k *call) bytes() int { return len(k.message) + len(k.coded) }

// sendOn queues the call on a connection.
func (k *call) sendOn(s *session) {
	k.tries++
	if k.coded != nil && k.codec == s.codec {
		s.sendCoded(true, k.coded, len(k.message))
	} else {
		s.send(k.binary, k.message)
	}
}

func (k *call) finish(c *Client, a answer) {
	if k.stop != nil {
		k.stop()
	}
	if !k.bound {
		c.window.release(k.bytes())
	}
	k.done(a)
}

// wait sends a request and waits for its answer, or for the end of ctx.
func (c *Client) wait(ctx context.Context, k *call) answer {
	answers := make(chan answer, 1)
	k.done = func(a answer) { answers <- a }
	c.start(ctx, k)
	select {
	case a := <-answers:
		return a
	case <-ctx.Done():
		c.abandon(k, core.AsError(ctx.Err()))
		return <-answers
	}
}

// watch ends a call with ctx, without a waiting caller.
func (c *Client) watch(ctx context.Context, k *call) {
	if ctx.Done() != nil {
		k.stop = context.AfterFunc(ctx, func() { c.abandon(k, core.AsError(ctx.Err())) })
	}
}

// start sends a request, once there is room for it.
func (c *Client) start(ctx context.Context, k *call) {
	k.deadline = time.Now().Add(requestTimeout)
	if d, ok := ctx.Deadline(); ok {
		k.deadline = d.Add(time.Second) // ctx itself is more precise
	}
	if err := c.window.acquire(ctx, k.deadline, k.bytes()); err != nil {
		c.mu.Lock()
		e := c.explained(core.AsError(err))
		c.mu.Unlock()
		k.done(answer{err: e})
		return
	}
	c.mu.Lock()
	failed := c.failed
	if failed == nil {
		failed = c.missing(k)
	}
	if failed != nil {
		c.mu.Unlock()
		k.finish(c, answer{err: failed})
		return
	}
	c.calls[k.id] = k
	if k.watched {
		c.watch(ctx, k)
	}
	flushed := k.watched && c.options.Peer != nil // by the caller
	s, direct := c.session, len(c.calls) == 1 && len(k.message) <= maxDirect && k.coded == nil && !flushed
	switch {
	case s == nil:
	case direct:
		k.tries++
	case flushed:
		k.tries++
		s.add(k.binary, k.message, len(k.message))
	default:
		k.sendOn(s)
	}
	c.mu.Unlock()
	if s != nil && direct {
		by := k.deadline
		if soon := time.Now().Add(time.Second); by.Before(soon) { // a call that is late is no reason to end the connection
			by = soon
		}
		s.sendNow(by, k.binary, k.message)
	}
}

// explained is why a request ended without an answer: where there is no
// connection, the reason for that, too. c.mu is held.
func (c *Client) explained(cause *core.Error) *core.Error {
	if c.down == nil {
		return cause
	}
	e := *cause
	e.Detail += "; there is no connection: " + c.down.Detail
	return &e
}

// abandon ends a call without its answer.
func (c *Client) abandon(k *call, cause *core.Error) {
	c.mu.Lock()
	if c.calls[k.id] != k {
		c.mu.Unlock()
		return
	}
	if k.isAppend && c.options.Peer != nil {
		k.deadline = time.Time{}
		if c.session != nil {
			c.session.send(false, wire.Encode(nil, &wire.Cancel{ID: k.id}))
		}
		c.mu.Unlock()
		return
	}
	delete(c.calls, k.id)
	if c.session != nil {
		c.session.send(false, wire.Encode(nil, &wire.Cancel{ID: k.id}))
	}
	cause = c.explained(cause)
	leave := c.mayLeave()
	c.mu.Unlock()
	k.finish(c, answer{err: k.lost(cause)})
	leave()
}

// answered finishes the call of an answer. One that is not known was abandoned.
func (c *Client) answered(id uint64, a answer) {
	c.mu.Lock()
	k := c.calls[id]
	if k == nil {
		c.mu.Unlock()
		return
	}
	refused := !k.bound && !c.options.Once && isGoodbye(a.err)
	if refused {
		k.refused = true // a node that shuts down has not taken it: the next connection will
		k.tries--
		if c.session != nil {
			c.session.goAway(0)
		}
	} else {
		delete(c.calls, id)
		a.batch = k.batch
		a.err = k.certain(a.err)
	}
	leave := c.mayLeave()
	c.mu.Unlock()
	if !refused {
		k.finish(c, a)
	}
	leave()
}

// certain returns what a caller may be told of an answer. An append that was sent again may
// be refused while its first try is still to be written: only a refusal that holds for both
// is certain (RING R9).
func (k *call) certain(err error) error {
	if err == nil || !k.isAppend || k.tries < 2 || k.isFinal(core.AsError(err)) {
		return err
	}
	return core.Errorf(core.CodeUnknownOutcome, "the append was sent again after the connection broke, and refused: %w", err)
}

// isFinal reports whether a refused append was not and can never be written, whatever else
// is. A version is not reached twice while a try is under way, an id stays where it is, and a
// progress moves forward: but a move without events may have been made, and followed by another.
func (k *call) isFinal(e *core.Error) bool {
	switch e.Code {
	case core.CodeDuplicateEvent:
		return true
	case core.CodeProgressConflict:
		return !k.moves && e.Expected != nil && e.Actual != nil && *e.Actual > uint64(*e.Expected)
	case core.CodeWrongExpectedVersion:
		x, actual := e.Expected, e.Actual
		return x != nil && actual != nil && (*x == core.NoStream || *x >= 0 && *actual > uint64(*x))
	}
	return false
}

func isGoodbye(err error) bool {
	return err != nil && core.AsError(err).Code == core.CodeShuttingDown
}

// page notes events that answer a read.
func (c *Client) page(id uint64, b core.Batch) {
	c.mu.Lock()
	if k := c.calls[id]; k != nil {
		k.batch = b
	}
	c.mu.Unlock()
}

// ok takes an answer in JSON.
func (c *Client) ok(m *wire.OK) error {
	a := answer{ok: m}
	if len(m.Events) > 0 {
		b, err := m.Batch()
		if err != nil {
			return err
		}
		c.page(m.ID, b)
	}
	c.answered(m.ID, a)
	return nil
}

// inOrder are the calls in the order they were made. c.mu is held.
func (c *Client) inOrder() []*call {
	return slices.SortedFunc(maps.Values(c.calls), func(a, b *call) int { return cmp.Compare(a.id, b.id) })
}

// watchDeadlines ends calls that wait for longer than they may.
func (c *Client) watchDeadlines() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.closing.Done():
			return
		}
		now := time.Now()
		var late []*call
		c.mu.Lock()
		for _, k := range c.calls {
			if !k.deadline.IsZero() && k.deadline.Before(now) {
				late = append(late, k)
			}
		}
		c.mu.Unlock()
		for _, k := range late {
			c.abandon(k, core.Errorf(core.CodeTimeout, "no answer in %s", requestTimeout))
		}
	}
}

// ServerEarly is how much less time than the caller has the server gets, and at most a
// tenth: its answer at the deadline says whether something was written.
const ServerEarly = 50 * time.Millisecond

// timeoutMs is the time that the server has for a request with ctx; 0 = its default.
func timeoutMs(ctx context.Context) int64 {
	d, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	left := time.Until(d)
	return max(1, (left - min(left/10, ServerEarly)).Milliseconds())
}
