package host

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// watch is the plugins.Watch of a binding's state.
//
// What it knows of each lane is the revision of the lane's record, which each Commit of the lane
// raises by one. So it knows which changes are in what it has listed, and which are not: it applies
// the one behind the last it knows, passes over those before, and lists again if there is a gap.
type watch struct {
	host    *Host
	request plugins.WatchRequest
	history *history

	next    uint64    // the number of the change to look at next
	live    *binding  // the generation whose state it shows, as it was read last
	place   revisions // what it knows of that
	listing *listing  // under way; nil if it is live
	ready   []*plugins.WatchMessage
	checked time.Time // when it was looked whether the binding is here
	said    time.Time // when a message was sent
	unsaid  []bool    // lanes whose position has moved since without a message
	untold  bool      // the live generation was another one at the last look
}

// revisions are those of the lanes of a generation, with their positions.
type revisions struct {
	plugins.WatchPlace
	positions []uint64
}

const (
	// watchCheck is how often it is looked whether the binding is still here.
	watchCheck = time.Second
	// sayPosition is how long a position waits for a change to be said with.
	sayPosition = time.Second
	// listed bounds a message, but for one entry; listedEntries its entries.
	listedBytes   = 64 << 10
	listedEntries = 256
)

// Watch begins a watch at the owner of a binding, which ends with Close. The errors are
// binding_not_found, invalid_request, too_many_watches, and not_owner at another node. A cursor
// that is of no use begins anew.
func (h *Host) Watch(ctx context.Context, name string, r plugins.WatchRequest) (plugins.Watch, error) {
	b, err := h.binding(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := checkKey(r.Prefix); err != nil {
		return nil, err
	}
	if r.Lane != plugins.OnlyLane && (r.Lane < 0 || r.Lane >= b.Lanes) {
		return nil, b.noLane(r.Lane)
	}
	if err := h.config.Subscriptions.Owned(b.Subscription); err != nil {
		return nil, err
	}
	of, err := h.join(name)
	if err != nil {
		return nil, err
	}
	w := &watch{host: h, request: r, history: of, checked: time.Now(), said: time.Now(), live: b}
	if err := w.begin(ctx); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Close is plugins.Watch.Close.
func (w *watch) Close() { w.host.watches.leave(w.history) }

// Next is plugins.Watch.Next. The errors are those of storage, not_owner if another node owns the
// binding now, and binding_not_found.
func (w *watch) Next(ctx context.Context, wait time.Duration) (*plugins.WatchMessage, error) {
	by := time.Now().Add(wait)
	for {
		moved, err := w.step(ctx)
		switch {
		case err != nil:
			return nil, err
		case len(w.ready) > 0:
			m := w.ready[0]
			w.ready = w.ready[1:]
			w.said = time.Now()
			return m, nil
		case !time.Now().Before(by):
			return nil, nil
		case moved == nil:
			continue
		}
		until := time.NewTimer(min(time.Until(by), watchCheck))
		select {
		case <-moved:
		case <-until.C:
		case <-ctx.Done():
		}
		until.Stop()
		if ctx.Err() != nil {
			return nil, core.AsError(ctx.Err())
		}
		if err := w.check(ctx); err != nil {
			return nil, err
		}
		w.sayPositions()
	}
}

// check checks, every now and then, that the binding is here, and is the same.
func (w *watch) check(ctx context.Context) error {
	if time.Since(w.checked) < watchCheck {
		return nil
	}
	w.checked = time.Now()
	if err := w.host.config.Subscriptions.Owned(w.live.Subscription); err != nil {
		return err
	}
	b, err := w.host.binding(ctx, w.live.Name)
	switch {
	case err != nil:
		return err
	case b.FirstGeneration != w.live.FirstGeneration:
		return noBinding(b.Name)
	case b.Generation == w.place.Generation || w.listing != nil:
		w.untold = false
		return nil
	case w.untold: // another node has switched, while it owned the binding
		return w.switchTo(ctx)
	}
	w.untold = true
	return nil
}

// begin finds where the watch begins: behind its cursor, or with the whole state.
func (w *watch) begin(ctx context.Context) error {
	if w.request.Cursor == "" {
		return w.list(ctx, nil)
	}
	place, err := w.request.Place()
	if err != nil {
		return err
	}
	goesOn, err := w.goOn(ctx, place)
	if err != nil || goesOn {
		return err
	}
	w.host.watches.resets.Add(1)
	return w.list(ctx, nil)
}

// goOn goes on behind a place, if all behind it is known.
func (w *watch) goOn(ctx context.Context, place plugins.WatchPlace) (bool, error) {
	w.place = revisions{WatchPlace: place, positions: make([]uint64, len(place.Revisions))}
	if place.Generation != w.live.Generation {
		before, err := w.before(ctx)
		if err != nil || before == nil {
			return false, err
		}
		return true, w.list(ctx, before)
	}
	stored, err := w.host.lanes(ctx, w.live)
	if err != nil || len(stored) != len(place.Revisions) {
		return false, err
	}
	w.next = w.history.end()
	for i := range stored {
		from, ok := w.history.goesOn(laneOf{place.Generation, i}, place.Revisions[i], stored[i].revision)
		if !ok {
			return false, nil
		}
		w.next = min(w.next, from)
	}
	w.unsaid = make([]bool, len(stored))
	return true, nil
}

// before is the generation of the place, if it is at rest and as the watch knows it; else nil.
func (w *watch) before(ctx context.Context) (*binding, error) {
	_, before, err := w.host.others(ctx, w.live.Name)
	if err != nil || before == nil || before.Generation != w.place.Generation || before.Lanes != len(w.place.Revisions) {
		return nil, err
	}
	stored, err := w.host.lanes(ctx, before)
	for i := range stored {
		if stored[i].revision != w.place.Revisions[i] {
			return nil, err
		}
	}
	return before, err
}

// list begins to list the live generation: its state, or how that differs from before if that is
// not nil.
func (w *watch) list(ctx context.Context, before *binding) error {
	w.next = w.history.end() // what is told before is stored, and read below
	b, err := w.host.binding(ctx, w.live.Name)
	if err != nil {
		return err
	}
	stored, err := w.host.lanes(ctx, b)
	if err != nil {
		return err
	}
	was := w.place
	w.live, w.unsaid = b, make([]bool, b.Lanes)
	w.place = revisions{plugins.WatchPlace{Generation: b.Generation, Revisions: make([]uint64, b.Lanes)}, make([]uint64, b.Lanes)}
	for i := range stored {
		w.place.Revisions[i], w.place.positions[i] = stored[i].revision, max(stored[i].Checkpoint, b.Start)
	}
	w.listing = newListing(w, before, was)
	return nil
}

// again lists all again, because what has changed is not known.
func (w *watch) again(ctx context.Context) error {
	w.host.watches.resets.Add(1)
	return w.list(ctx, nil)
}

// step does the next thing. If there is nothing to do, moved is closed when there is.
func (w *watch) step(ctx context.Context) (moved <-chan struct{}, err error) {
	if len(w.ready) > 0 {
		return nil, nil
	}
	p, lost, moved := w.history.at(w.next)
	switch {
	case lost:
		return nil, w.again(ctx)
	case p == nil && w.listing != nil:
		return w.listing.step(ctx, moved)
	case p == nil:
		return moved, nil
	}
	w.next++
	return nil, w.look(ctx, p)
}

// look looks at a change.
func (w *watch) look(ctx context.Context, p *past) error {
	switch {
	case p.switched && p.generation == w.place.Generation:
		return nil
	case p.switched && w.listing == nil:
		return w.switchTo(ctx)
	case p.switched:
		return w.list(ctx, nil)
	case p.generation != w.place.Generation || p.lane >= len(w.place.Revisions) || p.revision <= w.place.Revisions[p.lane]:
		return nil
	case p.unknown || p.revision != w.place.Revisions[p.lane]+1:
		return w.again(ctx)
	}
	w.place.Revisions[p.lane] = p.revision
	w.place.positions[p.lane] = max(p.position, w.place.positions[p.lane])
	if w.listing != nil {
		w.listing.over(p)
		return nil
	}
	if w.request.Lane != plugins.OnlyLane && w.request.Lane != p.lane {
		return nil
	}
	m := &plugins.WatchMessage{
		Kind: plugins.WatchChange, Generation: p.generation, Lane: p.lane, Position: p.position, Entries: w.matching(p.entries), Cursor: w.place.Cursor(&w.request),
	}
	if w.unsaid[p.lane] = len(m.Entries) == 0; !w.unsaid[p.lane] {
		w.ready = append(w.ready, m)
	}
	return nil
}

// switchTo goes on with the generation that is live now.
func (w *watch) switchTo(ctx context.Context) error {
	live, err := w.host.binding(ctx, w.live.Name)
	if err != nil || live.Generation == w.place.Generation { // it was switched back meanwhile
		return err
	}
	w.live = live
	before, err := w.before(ctx)
	switch {
	case err != nil:
		return err
	case before == nil:
		return w.again(ctx)
	}
	return w.list(ctx, before)
}

// matching are the entries that were asked for.
func (w *watch) matching(entries []plugins.Entry) []plugins.Entry {
	n := 0
	for i := range entries {
		if strings.HasPrefix(entries[i].Key, w.request.Prefix) {
			n++
		}
	}
	if n == len(entries) {
		return entries
	}
	list := make([]plugins.Entry, 0, n)
	for i := range entries {
		if strings.HasPrefix(entries[i].Key, w.request.Prefix) {
			list = append(list, entries[i])
		}
	}
	return list
}

// sayPositions says how far lanes are that have changed nothing which was asked for.
func (w *watch) sayPositions() {
	if w.listing != nil || len(w.ready) > 0 || time.Since(w.said) < sayPosition {
		return
	}
	for lane, unsaid := range w.unsaid {
		if unsaid {
			w.unsaid[lane] = false
			w.ready = append(w.ready, &plugins.WatchMessage{
				Kind: plugins.WatchChange, Generation: w.place.Generation, Lane: lane, Position: w.place.positions[lane], Cursor: w.place.Cursor(&w.request),
			})
		}
	}
}

// goLive ends the listing.
func (w *watch) goLive() {
	w.listing = nil
	w.ready = append(w.ready, &plugins.WatchMessage{
		Kind: plugins.WatchLive, Generation: w.place.Generation, Positions: slices.Clone(w.place.positions), Cursor: w.place.Cursor(&w.request),
	})
}
