package host

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
	"github.com/gyre-events/gyre/plugins/trial"
)

// shadowCounts are what came of a batch.
type shadowCounts struct {
	events, dropped, callsOut, outputs, writes, fates uint64
	why                                               string // they were dropped
	fuel                                              int64
	took                                              time.Duration
	differences                                       []plugins.Difference
}

// follower is a lane of a shadow. It belongs to the goroutine of the lane.
type follower struct {
	lane    *lane
	shadow  *shadow
	version *trial.Version
	// overlay has the keys whose values differ from the lane's behind its last batch.
	overlay map[string]effects.Value
	pending map[string]effects.Value // what the version has changed in this batch
	size    int                      // of pending
	// Of the batch: what the lane did with each event, and the first that the version has not
	// settled.
	primary []trial.Settled
	next    int
	shadowCounts
	skip, misses int // batches that it is not given, and that it missed one after the other
}

// followed is a batch that a shadow has handled, whose Commit is under way.
type followed struct {
	shadowCounts
	undo []overlaid // what the overlay was before, of the keys that have changed
}

// overlaid is an entry of an overlay, or that there is none.
type overlaid struct {
	key string
	effects.Value
	is bool // in the overlay
}

// follower is that of the lane; nil if there is no shadow that is given batches.
func (l *lane) follower() *follower {
	s := l.shadow
	if !s.runs() {
		return nil
	}
	if l.following == nil {
		f := &follower{lane: l, shadow: s, overlay: map[string]effects.Value{}, pending: map[string]effects.Value{}}
		f.version = trial.New(trial.Config{
			Binding: &s.binding, Program: s.program, Watch: f.settled,
			Elsewhere: &trial.Elsewhere{Lane: l.number, Ground: f, Set: f.change},
		})
		l.following = f
		s.mu.Lock()
		if at := l.stored.Checkpoint; !s.begun || at < s.status.Since {
			s.begun, s.status.Since = true, at
		}
		s.mu.Unlock()
	}
	return l.following
}

// shadowBatch has the shadow handle the events that the lane has handled and is about to commit.
func (l *lane) shadowBatch(ctx context.Context, events []queued) *followed {
	f := l.follower()
	if f == nil {
		return nil
	}
	f.primary = f.primary[:0]
	for i, deed := range l.stage.Of(len(events)) {
		s := trial.Settled{Event: &l.batch.Events[i], Lane: l.number, Fate: plugins.Acked, Deed: deed}
		if l.stage.Skipped(i) {
			s.Fate = plugins.Skipped
		}
		f.primary = append(f.primary, s)
	}
	return f.follow(ctx, events, maps.Collect(l.stage.Changes()))
}

// shadowParked has the shadow handle an event that the lane has parked.
func (l *lane) shadowParked(ctx context.Context, event *queued, reason string) {
	f := l.follower()
	if f == nil || event.fault != "" {
		return
	}
	var e core.Event
	if _, err := core.DecodeEvent(event.raw, &e); err != nil {
		return // no version can be given it
	}
	f.primary = append(f.primary[:0], trial.Settled{Event: &e, Lane: l.number, Fate: plugins.Parked, Failure: &effects.Failure{Reason: reason}})
	if done := f.follow(ctx, []queued{*event}, nil); done != nil {
		f.shadow.count(&done.shadowCounts)
	}
}

// follow has the version handle what the lane did, which has changed what is in changes. The lane
// stands before that. nil says that ctx has ended.
func (f *follower) follow(ctx context.Context, events []queued, changes map[string]effects.Value) *followed {
	f.shadowCounts, f.next, f.size = shadowCounts{}, 0, 0
	clear(f.pending)
	switch {
	case f.lane.suspects > 0 || f.lane.wary > 0: // what ends the process is to be looked for in the lane alone
		return f.drop(len(events), "the node had stopped uncleanly, and the binding went first")
	case f.skip > 0:
		f.skip--
		return f.drop(len(events), "")
	}
	items := make([]delivery.Item, len(events))
	for i := range events {
		items[i] = delivery.Item{Position: events[i].position, Raw: events[i].raw}
	}
	fuel, took := f.version.Fuel(), f.version.Took()
	limited, cancel := context.WithTimeout(ctx, f.within())
	defer cancel()
	err := f.version.Handle(limited, items)
	if err == nil {
		err = f.version.Flush(limited)
	}
	f.fuel, f.took = f.version.Fuel()-fuel, f.version.Took()-took
	var undo []overlaid
	if err == nil {
		undo, err = f.merge(limited, changes)
	}
	var stopped *trial.Stopped
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.As(err, &stopped):
		f.shadow.end("it has stopped at event " + utoa(stopped.Event.Position) + ": " + stopped.Reason)
		return f.drop(len(events), stopped.Reason)
	case errors.Is(err, errOverlay):
		f.shadow.end(errOverlay.Error())
		return f.drop(len(events), errOverlay.Error())
	case err != nil:
		return f.miss(len(events), err, limited.Err() != nil)
	}
	f.misses = 0
	f.events = uint64(len(events)) - f.callsOut
	return &followed{f.shadowCounts, undo}
}

// within is how long the lane waits for the version: as long as it would for a handler of its own.
func (f *follower) within() time.Duration {
	limits := &f.shadow.binding.Limits
	if f.version.IsFresh() {
		return limits.Time() + limits.InitTime()
	}
	return limits.Time()
}

// drop is a batch that the version has not handled.
func (f *follower) drop(events int, why string) *followed {
	return &followed{shadowCounts: shadowCounts{dropped: uint64(events), why: why, fuel: f.fuel, took: f.took}}
}

// miss is a batch that the version could not handle, or not in time. It is not given the next ones,
// more each time.
func (f *follower) miss(events int, err error, late bool) *followed {
	f.version.Discard()
	f.misses++
	f.skip = min(1<<min(f.misses-1, 10), mostSkipped)
	why := core.AsError(err).Error()
	if late {
		why = "it took longer than " + f.shadow.binding.Limits.Time().String() + ", which a batch has"
	}
	return f.drop(events, why)
}

// settled compares what the version did with an event with what the lane did.
func (f *follower) settled(s *trial.Settled) {
	primary := &f.primary[f.next]
	f.next++
	if s.Withheld { // it would have done something else
		f.callsOut++
		return
	}
	outputs, writes, fates := trial.DeedOf(s).Differs(trial.DeedOf(primary))
	if !outputs && !writes && !fates {
		return
	}
	f.outputs += one(outputs)
	f.writes += one(writes)
	f.fates += one(fates)
	d, _ := trial.Describe(s, maxShownBytes)
	against, _ := trial.Describe(primary, maxShownBytes)
	d.Against = against.Tried
	f.differences = append(f.differences, d)
}

func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

// merge has the overlay be what differs behind the batch, and returns what it was. An error has
// changed nothing.
func (f *follower) merge(ctx context.Context, changes map[string]effects.Value) (undo []overlaid, err error) {
	var next []overlaid
	look := func(key string) error {
		mine, err := f.Get(ctx, key) // what the version has
		if err != nil {
			return err
		}
		primary, changed := changes[key]
		if !changed {
			if primary, err = f.lane.ground.Get(ctx, key); err != nil {
				return err
			}
		}
		differs := mine.OK != primary.OK || string(mine.Bytes) != string(primary.Bytes)
		next = append(next, overlaid{key, mine, differs})
		return nil
	}
	for key := range f.pending {
		if err := look(key); err != nil {
			return nil, err
		}
	}
	for key := range changes {
		if _, both := f.pending[key]; !both {
			if err := look(key); err != nil {
				return nil, err
			}
		}
	}
	for _, o := range next {
		was, is := f.overlay[o.key]
		undo = append(undo, overlaid{o.key, was, is})
		if o.is {
			o.Bytes = slices.Clone(o.Bytes)
		}
		f.set(o)
	}
	clear(f.pending)
	if f.shadow.overlaid.Load() > maxOverlayBytes {
		f.shadow.end(errOverlay.Error())
	}
	return undo, nil
}

// errOverlay ends a shadow whose state has become another.
var errOverlay = errors.New("its state differs from that of the binding by more than " + itoa(maxOverlayBytes) + " bytes")

// change takes a change that the version has made.
func (f *follower) change(key string, v effects.Value) error {
	if f.size += len(key) + len(v.Bytes) + perOverlaid; f.size > maxOverlayBytes {
		return errOverlay
	}
	f.pending[key] = v
	return nil
}

// set changes an entry of the overlay.
func (f *follower) set(o overlaid) {
	size := func(key string, v effects.Value) int64 { return int64(len(key) + len(v.Bytes) + perOverlaid) }
	if was, is := f.overlay[o.key]; is {
		f.shadow.overlaid.Add(-size(o.key, was))
		delete(f.overlay, o.key)
	}
	if o.is {
		f.overlay[o.key] = o.Value
		f.shadow.overlaid.Add(size(o.key, o.Value))
	}
}

// landed takes notice of a Commit that was made.
func (f *follower) landed(done *followed) {
	if f != nil && done != nil {
		f.shadow.count(&done.shadowCounts)
	}
}

// lost goes back before the Commits under way, the first of which was not made.
func (f *follower) lost(flights []*flight) {
	if f == nil {
		return
	}
	for _, flight := range slices.Backward(flights) {
		if flight.followed == nil {
			continue
		}
		for _, o := range slices.Backward(flight.followed.undo) {
			f.set(o)
		}
	}
	f.version.Discard()
}

// close frees the handler.
func (f *follower) close() {
	if f != nil {
		f.version.Close()
	}
}

// Peek is effects.Ground's.
func (f *follower) Peek(key string) (v effects.Value, known bool) {
	if v, known = f.pending[key]; known {
		return v, true
	}
	if v, known = f.overlay[key]; known {
		return v, true
	}
	return f.lane.ground.Peek(key)
}

// Get is effects.Ground's.
func (f *follower) Get(ctx context.Context, key string) (effects.Value, error) {
	if v, known := f.Peek(key); known {
		return v, nil
	}
	return f.lane.ground.Get(ctx, key)
}

// Sizes is effects.Ground's.
func (f *follower) Sizes(ctx context.Context, keys []string) (int64, error) {
	return f.lane.ground.Sizes(ctx, keys)
}

// Page is effects.Ground's.
func (f *follower) Page(ctx context.Context, prefix, after string) ([]effects.Entry, error) {
	s := effects.NewScan(f.lane.ground.Page, prefix, after)
	for key, v := range f.overlay {
		if _, again := f.pending[key]; !again {
			s.Over(key, v)
		}
	}
	for key, v := range f.pending {
		s.Over(key, v)
	}
	return s.Page(ctx)
}

// StateBytes is effects.Ground's.
func (f *follower) StateBytes() int64 { return f.lane.ground.StateBytes() }

// HoldsBack is effects.Ground's.
func (f *follower) HoldsBack(position uint64) bool { return f.lane.ground.HoldsBack(position) }

// Read is effects.Ground's. It waits for no Commit.
func (f *follower) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	return f.lane.host.config.Store.Read(ctx, r)
}
