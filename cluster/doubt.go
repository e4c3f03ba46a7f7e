package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Bounds of looking Commits up.
const (
	lookWithin = 5 * time.Second // for one look
	lookAgain  = 100 * time.Millisecond
	lookAtMost = 2 * time.Second // between two looks
)

// overEpoch is an epoch that is over in every ring: the first view has epoch 2. Storage
// looks at ids before it looks at the epoch (R3), so a Commit under it is answered with
// its places if it is in the log, and else with stale_epoch.
const overEpoch = 1

// resolve settles what was in doubt on a path whose copies are dead (R6), or takes it back.
func (r *Router) resolve(p *path) {
	for pause := lookAgain; ; pause = min(2*pause, lookAtMost) {
		r.mu.Lock()
		doubts := p.doubts.entries()
		r.mu.Unlock()
		found, complete := make([]finding, len(doubts)), true
		if !allGone(doubts) && !r.lacks(ruleLookUp) {
			found, complete = r.lookUp(doubts)
		}
		if complete {
			r.resolved(p, doubts, found)
			return
		}
		select {
		case <-time.After(pause):
		case <-r.closing.Done():
			return
		}
	}
}

// allGone reports whether nobody waits for any of the entries.
func allGone(entries []*entry) bool {
	for _, e := range entries {
		if e.ctx.Err() == nil {
			return false
		}
	}
	return true
}

// finding is what the log says of an entry that was in doubt. The zero finding is that the
// entry is not in it.
type finding struct {
	decided bool
	result  core.Result
	err     error
}

// lookUp returns what the log says of entries, and whether all is known.
func (r *Router) lookUp(entries []*entry) (found []finding, complete bool) {
	ctx, cancel := context.WithTimeout(r.closing, lookWithin)
	defer cancel()
	found = make([]finding, len(entries))
	var failed atomic.Bool
	var looks sync.WaitGroup
	for i, e := range entries {
		looks.Go(func() {
			var known bool
			if found[i], known = r.find(ctx, e.commit); !known {
				failed.Store(true)
			}
		})
	}
	looks.Wait()
	return found, !failed.Load()
}

// find looks one Commit up.
func (r *Router) find(ctx context.Context, c core.Commit) (f finding, known bool) {
	if c.Moves() {
		moved, err := c.Progress.Moved(ctx, r.config.Store)
		unknown := errors.Is(err, core.CodeUnknownOutcome)
		return finding{decided: moved || unknown, err: err}, err == nil || unknown
	}
	c.Epoch, c.Lazy = overEpoch, false
	result, err := r.config.Store.Append(ctx, c)
	switch {
	case err == nil, errors.Is(err, core.CodeProgressConflict), errors.Is(err, core.CodeLogChanged):
		// Its events are in the log, if not by it.
		return finding{decided: true, result: result, err: err}, true
	case errors.Is(err, core.CodeStaleEpoch), errors.Is(err, core.CodeInvalidProgress):
		return finding{}, true
	}
	return finding{}, false
}

// resolved settles the entries that the log has decided, and those that were not, but
// that a later one of an order of theirs has overtaken. The others are clean again.
func (r *Router) resolved(p *path, doubts []*entry, found []finding) {
	r.mu.Lock()
	defer r.unlock()
	r.counted.resolved.Add(uint64(len(doubts)))
	for i, e := range doubts {
		if e.state == doubtful && found[i].decided {
			result := found[i].result
			result.Node = p.node()
			// What lies above the head of before was written by this call, not by an earlier
			// try of the caller's.
			result.Duplicate = result.Duplicate && result.Position <= e.head
			r.decided(e, result, found[i].err)
		}
	}
	for _, e := range doubts {
		switch {
		case e.state != doubtful:
		case e.ctx.Err() != nil:
			r.forget(e)
		case e.overtaken() && !r.lacks(ruleOvertaken):
			r.settle(e, core.Result{}, core.Errorf(core.CodeUnknownOutcome,
				"the connection to the owner broke; the append is not in the log, and later ones are"))
		default:
			r.comesBack(e)
		}
	}
	r.passed(p)
}
