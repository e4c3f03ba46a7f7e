package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// hostStore is the Store of the subscriptions that a node hosts. Its Commits are made under
// the epoch of the newest view while the node may finish what it hosts. A Commit that is
// refused with stale_epoch goes again under the next view: a view change does not pause
// what does not move. A subscription's progress has one Commit under way, which none overtakes.
// Those of a plugin's lane expect each other, so one that overtakes is refused.
//
// Until the node has released a subscription, nobody else hosts it. If the node is wrong
// about its time, the revision of the record decides (P9).
type hostStore struct {
	subscriptions.Store
	ring    Ring
	running sync.WaitGroup // Commits that wait for a view
}

// Submit is core.Store.Submit.
func (s *hostStore) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	state := s.ring.State()
	if !state.finishes(time.Now()) {
		done(core.Result{}, gateClosed(state))
		return
	}
	c.Epoch = state.epoch()
	s.Store.Submit(ctx, c, func(r core.Result, err error) {
		if !errors.Is(err, core.CodeStaleEpoch) {
			done(r, err)
			return
		}
		s.running.Go(func() {
			if s.awaitEpoch(ctx, c.Epoch, err) {
				s.Submit(ctx, c, done)
				return
			}
			done(r, err)
		})
	})
}

// Append is core.Store.Append.
func (s *hostStore) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	for {
		state := s.ring.State()
		if !state.finishes(time.Now()) {
			return core.Result{}, gateClosed(state)
		}
		c.Epoch = state.epoch()
		r, err := s.Store.Append(ctx, c)
		if !errors.Is(err, core.CodeStaleEpoch) || !s.awaitEpoch(ctx, c.Epoch, err) {
			return r, err
		}
	}
}

// awaitEpoch waits until this node knows a view after an epoch that stale names as over,
// and reports whether it does.
func (s *hostStore) awaitEpoch(ctx context.Context, epoch uint64, stale error) bool {
	s.ring.Learn(max(epoch+1, core.AsError(stale).Epoch))
	late := time.NewTimer(learnFor)
	defer late.Stop()
	for {
		state := s.ring.State()
		if state.epoch() > epoch {
			return true
		}
		select {
		case <-state.Changed:
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
