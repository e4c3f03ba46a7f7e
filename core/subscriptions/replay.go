package subscriptions

import (
	"context"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// replays is what a host knows of parked events that are delivered again. That they
// are to be is stored (replaysTable), so that it can be asked for while nobody
// listens.
type replays struct {
	// given are the parked events that the machine was given, to replay or to drop,
	// and that are still parked as far as is known.
	given map[uint64]struct{}
	// stale are those of which something else was stored since the replayer began to
	// read a page: what it has read of them is no longer so.
	stale map[uint64]struct{}
	// wanted says that there may be more to give.
	wanted bool
	sought bool   // seek was called since the replayer began to read a page
	active bool   // there is a replayer
	next   uint64 // behind which position it looks
	cursor uint64 // up to where the machine was fed
}

func makeReplays() replays { return replays{given: map[uint64]struct{}{}} }

func (r *replays) known(position uint64) bool {
	_, ok := r.given[position]
	return ok
}

// stored takes notice of a Store that was made.
func (r *replays) stored(store *delivery.Store) {
	for i := range store.Park {
		r.done(store.Park[i].Position)
	}
	for _, ref := range store.Remove {
		r.done(ref.Position)
	}
}

func (r *replays) done(position uint64) {
	delete(r.given, position)
	if r.active {
		r.stale[position] = struct{}{}
	}
}

// seek has the replayer look from the first on.
func (r *replays) seek() { r.wanted, r.sought, r.next = true, true, 0 }

// startReplays starts a replayer if there is none and one is wanted. mu is held.
func (h *host) startReplays() {
	if h.replays.wanted && !h.replays.active && h.ended == nil {
		h.replays.active, h.replays.stale = true, map[uint64]struct{}{}
		h.run(h.replay)
	}
}

// replayPage bounds the parked events that are read at a time. So does maxMappedBytes.
const replayPage = 100

// replay is the replayer: it gives the machine what is to be replayed, as there is
// room, until there is nothing more.
func (h *host) replay() {
	sel, err := newSelector(&h.incarnation.Definition, h.owner.config.Compile)
	if err != nil {
		h.endFor(err)
		return
	}
	defer h.release(sel)
	rest := leastRest
	for {
		more, err := h.replayMore(sel)
		switch {
		case h.ctx.Err() != nil:
			return
		case err == nil && !more:
			if h.replaysDone() {
				return
			}
		case err == nil:
			rest = leastRest
		case failed(err):
			h.endFor(err)
			return
		default:
			h.owner.config.Logger.Warn("replaying for a subscription", "subscription", h.incarnation.key.name, "error", err)
			if !h.sleep(rest) {
				return
			}
			rest = min(2*rest, mostRest)
		}
	}
}

// replaysDone ends the replayer, unless more was asked for meanwhile.
func (h *host) replaysDone() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replays.active = h.replays.wanted
	return !h.replays.active
}

// replayMore gives the machine one page. more says that there may be another.
func (h *host) replayMore(sel *selector) (more bool, err error) {
	after, err := h.awaitRoom()
	if err != nil {
		return false, err
	}
	marks, err := h.owner.store.Records(h.ctx, core.RecordsRequest{
		Table: replaysTable, Prefix: h.incarnation.ID + "/", After: positionKey(h.incarnation.ID, after), Limit: replayPage,
	})
	if err != nil {
		return false, err
	}
	var events []delivery.Replay
	size, all := 0, len(marks) < replayPage
	for i := range marks {
		if size > maxMappedBytes {
			marks, all = marks[:i], false
			break
		}
		r, ok, err := h.replayOf(h.ctx, sel, marks[i].Key)
		if err != nil {
			return false, err
		}
		if ok {
			events = append(events, r)
			size += len(r.Raw)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.replays.sought {
		return true, nil // the page may be older than what it was asked for
	}
	events = slices.DeleteFunc(events, func(r delivery.Replay) bool {
		_, gone := h.replays.stale[r.Position]
		return gone
	})
	taken := h.giveReplays(events)
	if taken < len(events) {
		return true, nil
	}
	if all {
		h.replays.wanted = false
		return false, nil
	}
	h.replays.next, err = keyPosition(marks[len(marks)-1].Key)
	return true, err
}

// giveReplays gives the machine what it has room for. mu is held.
func (h *host) giveReplays(events []delivery.Replay) (taken int) {
	if h.ended != nil {
		return len(events)
	}
	taken = h.machine.Replay(events)
	for i := range events[:taken] {
		h.replays.given[events[i].Position] = struct{}{}
		h.replays.next = events[i].Position
	}
	h.advance(time.Now())
	return taken
}

// awaitRoom waits until the machine has room and somebody listens, and says behind
// which position to look.
func (h *host) awaitRoom() (after uint64, err error) {
	for {
		h.mu.Lock()
		room := h.machine.ReplayRoom()
		ready := room.Events > 0 && len(h.subs) > 0
		after, h.replays.sought = h.replays.next, false
		clear(h.replays.stale)
		h.mu.Unlock()
		if ready {
			return after, nil
		}
		select {
		case <-h.rest:
		case <-h.ctx.Done():
			return 0, core.AsError(h.ctx.Err())
		}
	}
}

// replayOf reads a parked event that is to be replayed; ok is false if there is
// nothing to deliver.
func (h *host) replayOf(ctx context.Context, sel *selector, key string) (r delivery.Replay, ok bool, err error) {
	position, err := keyPosition(key)
	if err != nil {
		return r, false, err
	}
	var p parkedEvent
	if _, ok, err = h.owner.records.get(ctx, parkedTable, key, &p); err != nil || !ok {
		return r, false, err
	}
	b, ok, err := h.owner.records.event(ctx, h.incarnation.Definition.Stream, position)
	if err != nil || !ok {
		return r, false, err
	}
	items, _, err := sel.items(ctx, nil, b)
	if err != nil {
		return r, false, err
	}
	if len(items) == 0 { // its filter had failed, and does not want it now
		items = []delivery.Item{{Position: position, Raw: b.Block}}
	}
	r = delivery.Replay{Item: items[0], Attempts: p.Attempts, Failures: p.Failures}
	r.Key = p.Key
	return r, true, nil
}
