package subscriptions

import (
	"context"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// replayer gives the machine of one host the parked events that are to be delivered again.
// The request to replay is itself stored (replaysTable), so it can be made while nobody is
// subscribed. It runs as a goroutine of the host while there may be something to replay.
type replayer struct {
	host  *host
	woken chan struct{} // holds 1: the machine may have room

	// host.mu protects the fields below.

	// given are the parked events that the machine was given, to replay or to drop,
	// and that are still parked as far as is known.
	given map[uint64]struct{}
	// stale are those whose records changed since the replayer began to read a page: what
	// it has read of them is out of date.
	stale  map[uint64]struct{}
	wanted bool   // there may be more to give
	sought bool   // seek was called since the replayer began to read a page
	active bool   // the goroutine runs
	early  bool   // an event that is to be replayed is not stored as parked yet
	next   uint64 // the position behind which it looks
}

// makeReplayer makes the replayer of a host. wanted says that there may be something to
// replay.
func makeReplayer(h *host, wanted bool) replayer {
	return replayer{host: h, woken: make(chan struct{}, 1), given: map[uint64]struct{}{}, wanted: wanted}
}

// known reports whether the machine has a parked event still. host.mu is held.
func (r *replayer) known(position uint64) bool {
	_, ok := r.given[position]
	return ok
}

// hasAny reports whether the machine has any of some parked events still. host.mu is held.
func (r *replayer) hasAny(refs []delivery.ParkedRef) bool {
	return slices.ContainsFunc(refs, func(ref delivery.ParkedRef) bool { return r.known(ref.Position) })
}

// stored forgets the events of a Store that was made. A replay that has failed may have been
// asked for again since the Commit, and been passed over because it was not forgotten yet; or
// an event that is parked now was to be replayed already, as a Swap can have it, and the page that
// is being read has it as it was: so the replayer looks again. host.mu is held.
func (r *replayer) stored(store *delivery.Store) {
	again := (r.early || r.active) && len(store.Park) > 0
	for i := range store.Park {
		again = again || r.known(store.Park[i].Position)
		r.forget(store.Park[i].Position)
	}
	if again {
		defer r.seek()
	}
	for _, ref := range store.Remove {
		r.forget(ref.Position)
	}
}

func (r *replayer) forget(position uint64) {
	delete(r.given, position)
	if r.active {
		r.stale[position] = struct{}{}
	}
}

// seek looks for events to replay from the first on. host.mu is held.
func (r *replayer) seek() {
	r.wanted, r.sought, r.early, r.next = true, true, false, 0
	r.start()
}

// start starts the goroutine, if there may be something to replay. host.mu is held.
func (r *replayer) start() {
	if r.wanted && !r.active && r.host.ended == nil {
		r.active, r.stale = true, map[uint64]struct{}{}
		r.host.run(r.run)
	}
}

// wake has the goroutine look whether the machine has room. host.mu is held.
func (r *replayer) wake() {
	if r.wanted {
		wake(r.woken)
	}
}

// replayPage bounds the parked events that are read at a time. So does maxMappedBytes.
const replayPage = 100

// run gives the machine what is to be replayed, as it has room, until there is nothing more.
func (r *replayer) run() {
	r.host.work("replaying", func(sel *selector) (more bool, err error) {
		if more, err = r.givePage(sel); err == nil && !more {
			more = !r.end()
		}
		return more, err
	})
}

// end ends the goroutine, unless more was asked for meanwhile.
func (r *replayer) end() bool {
	r.host.mu.Lock()
	defer r.host.mu.Unlock()
	r.active = r.wanted
	return !r.active
}

// givePage gives the machine one page. more reports whether there may be another.
func (r *replayer) givePage(sel *selector) (more bool, err error) {
	h := r.host
	after, err := r.awaitRoom()
	if err != nil {
		return false, err
	}
	marks, err := h.owner.store.Records(h.ctx, core.RecordsRequest{
		Table: replaysTable, Prefix: h.incarnation.ID + "/", After: positionKey(h.incarnation.ID, after), Limit: replayPage,
	})
	if err != nil {
		return false, err
	}
	known := h.owner.store.Removals()
	var events []delivery.Replay
	size, all, missing := 0, len(marks) < replayPage, false
	for i := range marks {
		if size > maxMappedBytes {
			marks, all = marks[:i], false
			break
		}
		e, ok, err := r.load(h.ctx, sel, marks[i].Key)
		if err != nil {
			return false, err
		}
		if !ok {
			missing = true
			continue
		}
		events = append(events, e)
		size += len(e.Raw)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.sought {
		return true, nil // the page may be older than the request
	}
	r.early = r.early || missing
	events = slices.DeleteFunc(events, func(e delivery.Replay) bool {
		_, stale := r.stale[e.Position]
		return stale
	})
	h.expiry.took(known)
	if taken := r.give(events); taken < len(events) {
		return true, nil
	}
	if all {
		r.wanted = false
		return false, nil
	}
	r.next, err = keyPosition(marks[len(marks)-1].Key)
	return true, err
}

// give gives the machine what it has room for. host.mu is held.
func (r *replayer) give(events []delivery.Replay) (taken int) {
	h := r.host
	if h.ended != nil {
		return len(events)
	}
	taken = h.machine.Replay(events)
	for i := range events[:taken] {
		r.given[events[i].Position] = struct{}{}
		r.next = events[i].Position
	}
	h.advance(time.Now())
	return taken
}

// drop has the machine forget parked events, as many as it has room for. host.mu is held.
func (r *replayer) drop(refs []delivery.ParkedRef, by func([]delivery.ParkedRef) int) (taken int) {
	taken = by(refs)
	for _, ref := range refs[:taken] {
		r.given[ref.Position] = struct{}{}
	}
	r.host.advance(time.Now())
	return taken
}

// awaitRoom waits until the machine has room and there is a subscriber. after is the
// position behind which to look.
func (r *replayer) awaitRoom() (after uint64, err error) {
	h := r.host
	for {
		h.mu.Lock()
		room := h.machine.ReplayRoom()
		ready := room.Events > 0 && len(h.subs) > 0
		after, r.sought = r.next, false
		clear(r.stale)
		h.mu.Unlock()
		if ready {
			return after, nil
		}
		select {
		case <-r.woken:
		case <-h.ctx.Done():
			return 0, core.AsError(h.ctx.Err())
		}
	}
}

// load reads a parked event that is to be replayed. ok is false if there is nothing to
// deliver.
func (r *replayer) load(ctx context.Context, sel *selector, key string) (e delivery.Replay, ok bool, err error) {
	position, err := keyPosition(key)
	if err != nil {
		return e, false, err
	}
	owner := r.host.owner
	p, err := owner.records.parked(ctx, key)
	if err != nil || p == nil {
		return e, false, err
	}
	b, ok, err := owner.records.event(ctx, r.host.incarnation.Definition.Stream, position)
	if err != nil || !ok {
		return e, false, err
	}
	items, _, err := sel.items(ctx, nil, b)
	if err != nil {
		return e, false, err
	}
	if len(items) == 0 { // its filter had failed, and does not want it now
		items = []delivery.Item{{Position: position, Raw: b.Block}}
	}
	e = delivery.Replay{Item: items[0], Attempts: p.Attempts, Failures: p.Failures}
	e.Key = p.Key
	return e, true, nil
}
