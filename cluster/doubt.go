package cluster

import (
	"context"
	"errors"
	"sync"
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
		found, complete := make([]*core.Result, len(doubts)), true
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

// lookUp returns the places of entries that are in the log, and whether all are known.
func (r *Router) lookUp(entries []*entry) (found []*core.Result, complete bool) {
	ctx, cancel := context.WithTimeout(r.closing, lookWithin)
	defer cancel()
	found = make([]*core.Result, len(entries))
	failed := false
	var mu sync.Mutex // protects found and failed
	var looks sync.WaitGroup
	for i, e := range entries {
		c := e.commit
		c.Epoch, c.Lazy = overEpoch, false
		looks.Add(1)
		go func() {
			defer looks.Done()
			result, err := r.config.Store.Append(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				found[i] = &result
			case !errors.Is(err, core.CodeStaleEpoch):
				failed = true
			}
		}()
	}
	looks.Wait()
	return found, !failed
}

// resolved settles the entries that were found in the log, and those that were not, but
// that a later one of an order of theirs has overtaken. The others are clean again.
func (r *Router) resolved(p *path, doubts []*entry, found []*core.Result) {
	r.mu.Lock()
	defer r.unlock()
	r.counted.resolved.Add(uint64(len(doubts)))
	for i, e := range doubts {
		if e.state == doubtful && found[i] != nil {
			found[i].Node = p.node()
			r.decided(e, *found[i], nil)
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
