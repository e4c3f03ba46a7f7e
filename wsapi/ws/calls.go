package ws

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
)

// call is a request that waits for its answer, and the context of what it does. It ends
// with its deadline, with op cancel or with the connection. Whoever takes it out of calls
// first answers it, and then settles it: the Store, its deadline, or op cancel.
type call struct {
	calls    *calls
	id       uint64
	deadline time.Time
	isAppend bool
	share    *requests.Share // that it counts for
	claim    core.Claim

	ended atomic.Pointer[error] // nil while it has not
	done  chan struct{}         // protected by calls.mu; nil until somebody asks
	begun bool                  // protected by calls.mu: only its outcome answers it now
}

var _ context.Context = (*call)(nil)

// What a call ends with: variables, so that a call can point to them.
var (
	errDeadline error = context.DeadlineExceeded
	errCanceled error = context.Canceled
)

// Deadline is part of context.Context.
func (c *call) Deadline() (time.Time, bool) { return c.deadline, true }

// Done is part of context.Context.
func (c *call) Done() <-chan struct{} {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended.Load() != nil {
			close(c.done)
		}
	}
	return c.done
}

// Err is part of context.Context.
func (c *call) Err() error {
	if err := c.ended.Load(); err != nil {
		return *err
	}
	return nil
}

// Value is part of context.Context.
func (c *call) Value(key any) any {
	if v := c.claim.Value(key); v != nil {
		return v
	}
	return c.calls.whom.Value(key)
}

// givenUp is the answer to a call that has ended without another.
func (c *call) givenUp() *core.Error {
	err := c.claim.GivenUp(c.Err())
	if !c.isAppend && (err.Code == core.CodeTimeout || err.Code == core.CodeCanceled) {
		return core.AsError(c.Err()) // which speaks of no write
	}
	return err
}

// calls are the requests of one connection that wait for their answers.
type calls struct {
	limit int
	kick  func() // called when the next deadline comes closer
	// settles is set for links: an append that has begun is answered with its outcome,
	// however long that takes, since the other node has to know it.
	settles bool
	whom    whom
	gates   *requests.Gates

	mu   sync.Mutex // protects the fields below
	byID map[uint64]*call
	next time.Time     // when to look for late calls: no deadline is before it; zero = never
	idle chan struct{} // closed when the last call is settled; nil if nobody waits
	// answering counts the calls that were taken out and are not settled yet.
	answering int
}

func newCalls(limit int, gates *requests.Gates, kick func()) *calls {
	cs := &calls{limit: limit, gates: gates, kick: kick, byID: map[uint64]*call{}}
	cs.whom.principal.Store(access.Nobody())
	cs.whom.unwatch = func() bool { return true }
	cs.whom.greeted = func() {}
	return cs
}

// add takes a call in, if its id is free and there is room, on the connection and at the node.
func (cs *calls) add(c *call) error {
	if c.id == 0 {
		return core.Errorf(core.CodeInvalidRequest, "a request has an id from 1 to 2^53-1")
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, ok := cs.byID[c.id]; ok {
		return core.Errorf(core.CodeDuplicateRequest, "request %d is not answered yet", c.id)
	}
	if len(cs.byID) >= cs.limit {
		e := core.Errorf(core.CodeTooManyRequests, "%d requests wait for an answer", len(cs.byID))
		e.Limit = int64(cs.limit)
		return e
	}
	if err := cs.gates.Requests.Enter(c.share); err != nil {
		return err
	}
	c.calls = cs
	cs.byID[c.id] = c
	if cs.next.IsZero() || c.deadline.Before(cs.next) {
		cs.next = c.deadline
		cs.kick()
	}
	return nil
}

// finish reports whether c is the caller's to answer, and frees its id.
func (cs *calls) finish(c *call) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.byID[c.id] != c {
		return false
	}
	cs.remove(c)
	return true
}

// cancel takes out a call that its client has canceled; nil if there is none, or if it has
// to be waited for.
func (cs *calls) cancel(id uint64) *call {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.byID[id]
	if c == nil || !cs.giveUp(c, &errCanceled) {
		return nil
	}
	return c
}

// giveUp ends a call without an outcome, and takes it out unless that has to be waited
// for. mu is held.
func (cs *calls) giveUp(c *call, why *error) bool {
	cs.end(c, why)
	if cs.settles && c.isAppend && !c.claim.Withdraw() {
		c.begun = true
		return false
	}
	cs.remove(c)
	return true
}

// interrupt ends what a call does; whoever does it answers.
func (cs *calls) interrupt(c *call) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.end(c, &errCanceled)
}

// interruptAll ends what all calls do that are not answered: the connection is over.
func (cs *calls) interruptAll() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.byID {
		cs.end(c, &errCanceled)
	}
}

// end is called with mu held.
func (cs *calls) end(c *call, why *error) {
	if c.ended.CompareAndSwap(nil, why) && c.done != nil {
		close(c.done)
	}
}

// remove is called with mu held.
func (cs *calls) remove(c *call) {
	delete(cs.byID, c.id)
	cs.answering++
	cs.gates.Requests.Leave(c.share, time.Time{})
}

// settle says that the answer to a call that was taken out is in the outbox.
func (cs *calls) settle() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.answering--
	if len(cs.byID) == 0 && cs.answering == 0 && cs.idle != nil {
		close(cs.idle)
		cs.idle = nil
	}
}

// nextDeadline is a time before which no deadline passes. It stays when calls are
// answered: to look once in vain is cheaper than to set a timer for every call.
func (cs *calls) nextDeadline() time.Time {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.next
}

// expired takes out the calls whose deadline has passed.
func (cs *calls) expired(now time.Time) []*call {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var late []*call
	cs.next = time.Time{}
	for _, c := range cs.byID {
		switch {
		case c.begun:
		case !c.deadline.After(now):
			late = append(late, c)
		case cs.next.IsZero() || c.deadline.Before(cs.next):
			cs.next = c.deadline
		}
	}
	return slices.DeleteFunc(late, func(c *call) bool { return !cs.giveUp(c, &errDeadline) })
}

// wait waits until all calls are answered.
func (cs *calls) wait(ctx context.Context) {
	cs.mu.Lock()
	if len(cs.byID) == 0 && cs.answering == 0 {
		cs.mu.Unlock()
		return
	}
	if cs.idle == nil {
		cs.idle = make(chan struct{})
	}
	idle := cs.idle
	cs.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
