package host

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
)

// published is what a lane tells others about itself.
type published struct {
	mu     sync.Mutex // protects the fields below
	status plugins.LaneStatus
	state  plugins.State // Blocked or Broken, or ""
	bytes  int64

	memory  atomic.Int64 // of the handler
	*totals              // of the driver
}

// totals count since the driver began.
type totals struct {
	batches, events, appended, writes, failures, parked, starts, fuel atomic.Uint64
	nanoseconds                                                       atomic.Int64

	calls, callsFailed atomic.Uint64
	callsNanoseconds   atomic.Int64
}

// publish tells others how the lane is.
func (l *lane) publish(s plugins.State, reason string) {
	p := &l.shown
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
	p.bytes = l.made.StateBytes
	if reason == "" {
		reason = l.made.Reason
	}
	p.status = plugins.LaneStatus{Lane: l.number, Checkpoint: l.made.Checkpoint, Attempts: l.made.Attempts, Reason: reason}
}

// handled counts a call of a handler.
func (t *totals) handled(took time.Duration, fuel int64) {
	t.nanoseconds.Add(int64(took))
	t.fuel.Add(uint64(max(fuel, 0)))
}

// called counts a call of another server.
func (t *totals) called(took time.Duration, failed bool) {
	t.calls.Add(1)
	t.callsNanoseconds.Add(int64(took))
	if failed {
		t.callsFailed.Add(1)
	}
}

// committed counts a batch that was committed.
func (t *totals) committed(events int, s *effects.Staged) {
	t.batches.Add(1)
	t.events.Add(uint64(events))
	t.appended.Add(uint64(s.Count()))
	t.writes.Add(uint64(s.Writes()))
}

func (t *totals) snapshot() plugins.Totals {
	return plugins.Totals{
		Batches: t.batches.Load(), Events: t.events.Load(), Appended: t.appended.Load(), Writes: t.writes.Load(),
		Failures: t.failures.Load(), Parked: t.parked.Load(), Starts: t.starts.Load(), Fuel: t.fuel.Load(),
		Seconds: time.Duration(t.nanoseconds.Load()).Seconds(),
		Calls:   t.calls.Load(), CallsFailed: t.callsFailed.Load(), CallSeconds: time.Duration(t.callsNanoseconds.Load()).Seconds(),
	}
}

// Status returns a binding and how it is doing. The error is binding_not_found, or, at a node
// that does not own its subscription, not_owner.
func (h *Host) Status(ctx context.Context, name string) (plugins.Status, error) {
	g, err := h.generations(ctx, name)
	if err != nil {
		return plugins.Status{}, err
	}
	return h.status(ctx, &g)
}

// Binding returns a binding as it is stored, at any node. The error is binding_not_found.
func (h *Host) Binding(ctx context.Context, name string) (plugins.Binding, error) {
	b, err := h.binding(ctx, name)
	if err != nil {
		return plugins.Binding{}, err
	}
	return b.Binding, nil
}

// List returns bindings in the order of their names. Of one that another node runs, it says
// what is stored. One that cannot be read is Broken, and stops no other from being listed.
func (h *Host) List(ctx context.Context, r plugins.ListRequest) (plugins.BindingPage, error) {
	if err := core.ValidateListing(r.Prefix, r.After); err != nil {
		return plugins.BindingPage{}, err
	}
	limit := r.Limit
	if limit <= 0 || limit > core.MaxReadEvents {
		limit = core.MaxReadEvents
	}
	page := plugins.BindingPage{Bindings: []plugins.Status{}, End: true}
	err := h.scan(ctx, bindingsTable, r.Prefix, r.After, func(r *core.Record) (bool, error) {
		if len(page.Bindings) == limit {
			page.End = false
			return false, nil
		}
		s, err := h.listed(ctx, r)
		if err == nil {
			page.Bindings = append(page.Bindings, s)
		}
		return true, err
	})
	return page, err
}

// listed is how the binding of a record is in a list. Of one whose own record cannot be read, only the
// name is known.
func (h *Host) listed(ctx context.Context, r *core.Record) (plugins.Status, error) {
	live, err := decodeBinding(bindingsTable, r)
	if err != nil {
		unknown := plugins.Binding{Name: r.Key, Kind: plugins.KindHandler, Subscription: r.Key, Grants: []string{}}
		return broken(unknown, err), nil
	}
	g := generations{live: live}
	if g.beside, g.before, err = h.others(ctx, live.Name); errors.Is(err, core.CodeStoreCorrupt) {
		return broken(live.Binding, err), nil
	}
	if err != nil {
		return plugins.Status{}, err
	}
	return h.status(ctx, &g)
}

// broken is how a binding is of which something cannot be read.
func broken(b plugins.Binding, why error) plugins.Status {
	return plugins.Status{Binding: b, State: plugins.Broken, Reason: core.AsError(why).Detail}
}

// MaxOwned bounds the bindings that Owned returns, the first by name.
const MaxOwned = 500

// Owned returns the bindings that this node owns, as the supervisor has seen them within the
// last second or so. The bindings are not listed again for it.
func (h *Host) Owned(ctx context.Context) ([]plugins.Status, error) {
	seen := h.owned.Load()
	if seen == nil {
		return nil, nil
	}
	list := make([]plugins.Status, 0, len(*seen))
	for _, g := range *seen {
		s, err := h.status(ctx, &g)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// status is how a binding is: what is stored, and what its driver knows if it is here.
func (h *Host) status(ctx context.Context, g *generations) (plugins.Status, error) {
	b := g.live
	s := plugins.Status{Binding: b.Binding, State: plugins.Starting}
	// The subscription is read before the lanes, which are ahead of it.
	info, err := h.config.Subscriptions.Info(ctx, b.Subscription)
	here := !isElsewhere(err)
	if here && err != nil {
		return s, err
	}
	switch {
	case b.Stopped != "":
		s.State, s.Reason = plugins.Stopped, b.Stopped
	case b.Paused:
		s.State = plugins.Paused
	case h.config.Subscriptions.Owned(b.Subscription) != nil:
		s.State = plugins.Running
	}
	if is := b.Shadow; is != nil {
		s.Shadow = &plugins.ShadowStatus{Version: is.Version, SHA256: is.SHA256, Began: is.Began}
	}
	if k := h.driver(b.Name, b.role); k != nil {
		k.describe(b, &s)
	}
	h.describeOutside(&b.Binding, &s)
	if err := h.describeLanes(ctx, b, &s); err != nil {
		return s, err
	}
	if here {
		describeProgress(&info, &s)
	} else {
		h.describeElsewhere(&s)
	}
	return s, h.describeOthers(ctx, g, &s)
}

// describeOthers adds the generations that are not live, and what a rollback would do.
func (h *Host) describeOthers(ctx context.Context, g *generations, s *plugins.Status) (err error) {
	if b := g.before; b != nil && b.Rest != nil {
		s.Before = &plugins.Before{
			Generation: b.Generation, Version: b.Version, Until: b.Rest.Until, Checkpoint: b.Rest.Checkpoint, StateBytes: b.Rest.StateBytes, Previous: b.Previous,
		}
	}
	if g.beside != nil { // nothing is rolled back meanwhile
		s.Beside, err = h.besideStatus(ctx, g.beside, s.Checkpoint)
		return err
	}
	switch to := g.undo(); to {
	case plugins.ToVersion:
		s.Rollback = &plugins.RollbackPlan{To: to, Generation: g.live.Generation, Version: g.live.Previous}
	case plugins.ToGeneration:
		s.Rollback = &plugins.RollbackPlan{To: to, Generation: g.before.Generation, Version: g.before.Version, HeldBackTo: max(s.Checkpoint, g.live.EmitAfter)}
		if s.Before != nil {
			s.Rollback.Checkpoint = s.Before.Checkpoint
		}
	}
	return nil
}

// besideStatus is how a generation beside is, whose live one is at target.
func (h *Host) besideStatus(ctx context.Context, b *binding, target uint64) (*plugins.Beside, error) {
	s := plugins.Status{Binding: b.Binding, State: plugins.Starting}
	switch {
	case b.Stopped != "":
		s.State, s.Reason = plugins.Stopped, b.Stopped
	case h.config.Subscriptions.Owned(b.Subscription) != nil:
		s.State = plugins.Running
	}
	is := &plugins.Beside{
		Generation: b.Generation, Version: b.Version, Began: b.Rebuild.Began, Hold: b.Rebuild.Hold, EmitAgain: b.Rebuild.EmitAgain,
		Start: b.Start, Target: target, Percent: 100,
	}
	info, err := h.config.Subscriptions.UnnamedInfo(ctx, b.Subscription, b.Incarnation) // before the lanes, as in status
	here := !isElsewhere(err)
	if here && err != nil {
		return nil, err
	}
	if k := h.driver(b.Name, roleBeside); k != nil {
		k.describe(b, &s)
		is.Rate = float64(s.Totals.Events) / time.Since(k.began).Seconds()
		k.mu.Lock()
		is.Reason = k.waits
		k.mu.Unlock()
	}
	if err := h.describeLanes(ctx, b, &s); err != nil {
		return nil, err
	}
	s.Checkpoint = lowest(s.LaneStatus)
	if here {
		s.Checkpoint, s.Parked = info.Checkpoint, info.Parked
	}
	is.State, is.Reason, is.StateBytes, is.Parked = s.State, cmp.Or(s.Reason, is.Reason), s.StateBytes, s.Parked
	if is.Checkpoint = max(s.Checkpoint, b.Start); target > is.Checkpoint {
		is.Percent = 100 * float64(is.Checkpoint-b.Start) / float64(target-b.Start)
	}
	return is, nil
}

// describeLanes adds the lanes as they are stored, if no runner knows better.
func (h *Host) describeLanes(ctx context.Context, b *binding, s *plugins.Status) error {
	if s.LaneStatus != nil {
		return nil
	}
	stored, err := h.lanes(ctx, b)
	for i, l := range stored {
		s.LaneStatus = append(s.LaneStatus, plugins.LaneStatus{Lane: i, Checkpoint: l.Checkpoint, Attempts: l.Attempts, Reason: l.Reason})
		s.StateBytes += l.StateBytes
	}
	return err
}

// lowest is the lowest checkpoint of lanes.
func lowest(lanes []plugins.LaneStatus) uint64 {
	least := lanes[0].Checkpoint
	for _, l := range lanes {
		least = min(least, l.Checkpoint)
	}
	return least
}

// isElsewhere reports whether an error says that another node knows how a subscription is.
func isElsewhere(err error) bool {
	return errors.Is(err, core.CodeNotOwner) || errors.Is(err, core.CodeNotServing) || errors.Is(err, core.CodeSubscriptionNotFound)
}

// describeElsewhere adds how far a binding is that another node owns.
func (h *Host) describeElsewhere(s *plugins.Status) {
	s.Checkpoint = lowest(s.LaneStatus)
	head := h.config.Store.State().Head
	s.Lag = head - min(s.Checkpoint, head)
}

// describeProgress adds what the subscription knew before the lanes were read.
func describeProgress(is *subscriptions.Info, s *plugins.Status) {
	s.Checkpoint, s.Lag, s.Parked = is.Checkpoint, is.Lag, is.Parked
	if least := lowest(s.LaneStatus); least > s.Checkpoint { // until the runner has moved the subscription there
		s.Lag -= min(s.Lag, least-s.Checkpoint)
		s.Checkpoint = least
	}
}

// describe adds what the driver knows.
func (k *driver) describe(b *binding, s *plugins.Status) {
	k.mu.Lock()
	last, runner, state, reason := k.last, k.runner, k.state, k.reason
	k.mu.Unlock()
	if last != nil && last.FirstGeneration != b.FirstGeneration { // the driver of a deleted binding is about to end
		if b.runs() {
			s.State = plugins.Starting
		}
		return
	}
	s.Totals = k.totals.snapshot()
	if !b.runs() {
		return
	}
	s.State, s.Reason = state, reason
	if runner == nil || runner.binding.Generation != b.Generation || runner.binding.revision != b.revision {
		return
	}
	if runner.shadow != nil {
		s.Shadow = new(runner.shadow.show())
	}
	for _, l := range runner.lanes {
		p := &l.shown
		p.mu.Lock()
		s.LaneStatus = append(s.LaneStatus, p.status)
		s.StateBytes += p.bytes
		s.MemoryBytes += p.memory.Load()
		if p.state != "" && s.State != plugins.Broken {
			s.State, s.Reason = p.state, p.status.Reason
		}
		p.mu.Unlock()
	}
}
