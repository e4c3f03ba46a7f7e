package ws

import (
	"context"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
)

// call is a request that waits for its answer. Whoever takes it out of calls
// first answers it, and then settles it: the Store, its deadline, or op cancel.
type call struct {
	id       uint64
	deadline time.Time
	isAppend bool
	cancel   context.CancelFunc // nil for an append: what the Store has taken goes on
}

// timedOut is the answer for a call whose deadline has passed.
func (c *call) timedOut() *core.Error {
	if c.isAppend {
		return core.Errorf(core.CodeUnknownOutcome, "the deadline passed before the append was answered; it may still be written")
	}
	return core.Errorf(core.CodeTimeout, "the deadline passed before the answer was there")
}

// calls are the requests of one connection that wait for their answers.
type calls struct {
	limit int
	kick  func() // called when the next deadline comes closer

	mu   sync.Mutex // protects the fields below
	byID map[uint64]*call
	next time.Time     // when to look for late calls: no deadline is before it; zero = never
	idle chan struct{} // closed when the last call is settled; nil if nobody waits
	// answering counts the calls that were taken out and are not settled yet.
	answering int
}

func newCalls(limit int, kick func()) *calls {
	return &calls{limit: limit, kick: kick, byID: map[uint64]*call{}}
}

// add takes a call in, if its id is free and there is room.
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

// take is finish by id.
func (cs *calls) take(id uint64) *call {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.byID[id]
	if c != nil {
		cs.remove(c)
	}
	return c
}

// remove is called with mu held.
func (cs *calls) remove(c *call) {
	delete(cs.byID, c.id)
	cs.answering++
}

// settle tells that the answer to a call that was taken out is in the outbox.
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
		case !c.deadline.After(now):
			late = append(late, c)
		case cs.next.IsZero() || c.deadline.Before(cs.next):
			cs.next = c.deadline
		}
	}
	for _, c := range late {
		cs.remove(c)
	}
	return late
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
