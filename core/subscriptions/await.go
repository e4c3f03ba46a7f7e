package subscriptions

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// awaitEvery is how often Await looks at what nothing tells of: the head of the log, and a
// subscription that nobody has joined.
const awaitEvery = 50 * time.Millisecond

// Awaited is how far a subscription is.
type Awaited struct {
	Incarnation string
	Finished    uint64 // everything up to here is handled, parked, or not for it
	State       delivery.State
	Reason      string
}

// Await waits until everything of a subscription up to a position is finished. It returns how far
// it is also when ctx ends first; the error is timeout then, or that of Info. The position may be
// beyond the end of the log.
func (o *Owner) Await(ctx context.Context, name string, position uint64) (Awaited, error) {
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	var at Awaited
	for {
		moved, err := o.look(ctx, name, position, &at)
		if err != nil || at.Finished >= position {
			return at, err
		}
		select {
		case <-moved:
		case <-tick.C:
		case <-ctx.Done():
			return at, core.AsError(ctx.Err())
		}
	}
}

// look looks how far a subscription is. moved is closed when that may have changed; nil if nobody
// knows.
func (o *Owner) look(ctx context.Context, name string, position uint64, at *Awaited) (moved <-chan struct{}, err error) {
	if err := o.owned(name); err != nil {
		return nil, err
	}
	l, err := o.records.incarnation(ctx, name)
	if err != nil {
		return nil, err
	}
	h := o.hostOf(l)
	moved = h.moves()
	info, err := o.info(ctx, l, h)
	if err != nil {
		return nil, err
	}
	*at = Awaited{Incarnation: l.ID, Finished: info.Finished, State: info.State, Reason: info.Reason}
	if at.Finished < position {
		at.Finished, err = o.passOver(ctx, l, at.Finished, position)
	}
	return moved, err
}

// moves returns a channel that is closed when the position moves up to which everything is
// finished, or the host ends; nil without a host.
func (h *host) moves() <-chan struct{} {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting.moved == nil && h.ended == nil {
		h.waiting.moved = make(chan struct{})
	}
	return h.waiting.moved
}

// move wakes who waits for more to be finished.
func (w *waiting) move() {
	if w.moved != nil {
		close(w.moved)
		w.moved = nil
	}
}

// passOver returns the position before the first event of a subscription between two positions, or
// the end of the log, up to the second. The machine learns late of events that are not for it.
func (o *Owner) passOver(ctx context.Context, l *incarnation, from, to uint64) (uint64, error) {
	state, err := o.stateAt(ctx, from)
	if err != nil || state.Head <= from {
		return from, err
	}
	follower, err := o.store.Follow(ctx, core.FollowRequest{Stream: l.Definition.Stream, From: core.From{Kind: core.AfterPosition, N: from}, Filter: l.filter()})
	if err != nil {
		return from, err
	}
	defer func() { _ = follower.Close() }() // it only ends the wait
	for {
		d, err := follower.Next(ctx, core.Limit{Events: 1, Bytes: 1})
		switch {
		case err != nil:
			return from, err
		case d.Count > 0:
			return max(from, d.First-1), nil
		case d.Cursor >= to || d.Live:
			return max(from, d.Cursor), nil
		}
	}
}
