package postgres

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
)

// The pause before something is sent again to a server that did not take it grows
// from the first to the last.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// retry says for how long something is tried again.
type retry struct {
	until time.Time
	pause time.Duration // before the next try
}

// wait pauses before the next try. It is false where there is none: the time is
// over before it, or one of the contexts ends.
func (r *retry) wait(ctx, closing context.Context) bool {
	next := time.Now().Add(r.pause)
	if deadline, ok := ctx.Deadline(); next.After(r.until) || ok && next.After(deadline) {
		return false
	}
	timer := time.NewTimer(r.pause)
	defer timer.Stop()
	select {
	case <-closing.Done():
		return false
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	r.pause = min(2*r.pause, lastPause)
	return true
}

// outage is when the server went away, or began to take no writes.
type outage struct{ begun atomic.Pointer[time.Time] }

// begin notes that it is so, and says since when.
func (o *outage) begin() time.Time {
	now := time.Now()
	for {
		if begun := o.begun.Load(); begun != nil {
			return *begun
		}
		if o.begun.CompareAndSwap(nil, &now) {
			return now
		}
	}
}

// end notes that the server has answered.
func (o *outage) end() {
	if o.begun.Load() != nil {
		o.begun.Store(nil)
	}
}

// readTries is how often a read is sent whose connection breaks under it. The first
// may have been broken before. A read that the server breaks at has to end.
const readTries = 3

// reread decides whether a read is tried again. Nothing of a read is given out before it
// succeeds.
type reread struct {
	engine *Engine
	retry  retry
	sent   int // tries that may have reached a server
}

// again reports whether a read that failed with err may be tried again now.
func (r *reread) again(ctx context.Context, err error) bool {
	e := r.engine
	if ctx.Err() != nil {
		return false
	}
	var lost *lostError
	if errors.As(err, &lost) {
		// The other idle connections are broken as well, if the server went away. Those
		// that are made now are not.
		e.reads.Reset()
		r.sent++
		return r.sent < readTries
	}
	if e.lostStatement(err) {
		r.sent++
		return r.sent < readTries
	}
	if !isAway(err) {
		return false
	}
	// All readers wait for the same end, so that a later one waits for less, or not at
	// all.
	r.retry.until = e.log.outage.begin().Add(e.config.ReadRetryFor)
	return r.retry.wait(ctx, e.closing)
}

// isAway reports whether err says that there is no server to connect to, or none that
// takes writes, for now.
func isAway(err error) bool {
	var a *acquireError
	if !errors.As(err, &a) {
		return false
	}
	code := asError(err).Code
	return code == core.CodeStoreUnavailable || code == core.CodeStoreReadOnly
}
