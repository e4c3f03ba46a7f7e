package host

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
)

const (
	// mostTries bounds retry.
	mostTries = 3
	// nearEnough is how many positions a generation beside may be behind for a switch to begin:
	// the live one stops until it has handled them.
	nearEnough = 1000
	// switchWithin bounds how long the live generation stops for that.
	switchWithin = 2 * time.Second
)

// Switch makes the generation beside the live one, which is kept as the generation before. Both
// have handled the same events then. If there is none, it deploys the version that runs in the
// shadow, at a batch boundary: it goes on with the state that is stored. The errors are those of
// Deploy, no_rebuild and rebuild_behind.
func (h *Host) Switch(ctx context.Context, name string) (plugins.Status, error) {
	return h.again(ctx, name, func() error {
		g, err := h.generations(ctx, name)
		switch {
		case err != nil:
			return err
		case g.beside == nil && g.live.Shadow != nil:
			return h.deployOver(ctx, name, g.live, &plugins.Deploy{Version: g.live.Shadow.Version})
		case g.beside == nil:
			return noRebuild(name)
		}
		_, err = h.switchOver(ctx, g.live, g.beside)
		return err
	})
}

// Rollback undoes the last change: it goes back to the version before, in the same generation, or
// to the generation before the last switch, which goes on from its own checkpoint with its own
// state. Again, it goes forward. The errors are those of Deploy, and nothing_before.
func (h *Host) Rollback(ctx context.Context, name string, r plugins.Rollback) (plugins.Status, error) {
	if err := r.Validate(); err != nil {
		return plugins.Status{}, err
	}
	return h.again(ctx, name, func() error { return h.rollback(ctx, name, &r) })
}

func (h *Host) rollback(ctx context.Context, name string, r *plugins.Rollback) error {
	g, err := h.generations(ctx, name)
	switch {
	case err != nil:
		return err
	case g.beside != nil:
		return underWay(g.beside)
	}
	live, before, to := g.live, g.before, r.To
	if to == "" {
		to = g.undo()
	}
	switch {
	case to == plugins.ToVersion && live.Previous != "":
		return h.deployOver(ctx, name, live, &plugins.Deploy{Plugin: live.Plugin, Version: live.Previous})
	case to == plugins.ToGeneration && before != nil:
		return h.goBack(ctx, name, before.Generation, r.Admit)
	case r.To != "":
		return core.Errorf(core.CodeNothingBefore, "binding %q has no %s before", core.Clip(name), r.To)
	}
	return core.Errorf(core.CodeNothingBefore, "binding %q has had no version before %q, and has no generation before", core.Clip(name), live.Version)
}

// undo is what a rollback goes back to; "" if there is nothing.
func (g *generations) undo() plugins.RollbackTo {
	switch {
	case g.before != nil && !g.live.Redeployed:
		return plugins.ToGeneration
	case g.live.Previous != "":
		return plugins.ToVersion
	case g.before != nil:
		return plugins.ToGeneration
	}
	return ""
}

// goBack makes a generation the live one that was it before.
func (h *Host) goBack(ctx context.Context, name string, generation uint64, admit func(was, is *plugins.Binding) error) error {
	g, err := h.generations(ctx, name)
	switch {
	case err != nil:
		return err
	case g.beside != nil:
		return underWay(g.beside)
	case g.before == nil || g.before.Generation != generation:
		return core.Errorf(core.CodeNothingBefore, "generation %d of binding %q is not the one before any more", generation, core.Clip(name))
	}
	if admit != nil {
		if err := admit(&g.live.Binding, &g.before.Binding); err != nil {
			return err
		}
	}
	program, err := h.load(ctx, g.before)
	if err != nil {
		return err
	}
	return errors.Join(program.Close(), h.swap(ctx, g.live, g.before, nil))
}

// generations reads those of a binding. The error is binding_not_found if none is live, or that the
// node does not own the binding.
func (h *Host) generations(ctx context.Context, name string) (g generations, err error) {
	if g.live, err = h.binding(ctx, name); err != nil {
		return g, err
	}
	if err := h.config.Subscriptions.Owned(g.live.Subscription); err != nil {
		return g, err
	}
	g.beside, g.before, err = h.others(ctx, name)
	return g, err
}

// again is retry, and returns how the binding is then.
func (h *Host) again(ctx context.Context, name string, do func() error) (plugins.Status, error) {
	if err := retry(do); err != nil {
		return plugins.Status{}, err
	}
	return h.Status(ctx, name)
}

// retry does something again that met a switch, a change of the binding or a late Commit.
func retry(do func() error) (err error) {
	for range mostTries {
		err = do()
		met := errors.Is(err, core.CodeSubscriptionInterrupted) || errors.Is(err, core.CodeSubscriptionNotFound) || errors.Is(err, core.CodeRecordConflict)
		if !met {
			break
		}
	}
	return err
}

// switchOver makes the generation beside the live one, if it has caught up. begun says that the
// live one was stopped for it.
func (h *Host) switchOver(ctx context.Context, live, beside *binding) (begun bool, err error) {
	if err := h.isNear(ctx, live, beside); err != nil {
		return false, err
	}
	return true, h.swap(ctx, live, beside, func(ctx context.Context) error { return h.awaitCaughtUp(ctx, live, beside) })
}

// isNear checks that the generation beside has little to do before it has caught up.
func (h *Host) isNear(ctx context.Context, live, beside *binding) error {
	is, err := h.config.Subscriptions.Info(ctx, live.Subscription)
	if err != nil {
		return err
	}
	will, err := h.config.Subscriptions.UnnamedInfo(ctx, live.Subscription, beside.Incarnation)
	switch {
	case err != nil:
		return err
	case beside.Stopped != "":
		return behind(beside, "has stopped: %s", beside.Stopped)
	case is.Checkpoint < beside.Start:
		return behind(beside, "begins behind position %d, which the live one has not handled: it is at %d", beside.Start, is.Checkpoint)
	case will.Checkpoint+nearEnough < is.Checkpoint:
		return behind(beside, "is at position %d, the live one is at %d", will.Checkpoint, is.Checkpoint)
	}
	return nil
}

func behind(beside *binding, format string, args ...any) error {
	return core.Errorf(core.CodeRebuildBehind, "generation %d of binding %q "+format, append([]any{beside.Generation, core.Clip(beside.Name)}, args...)...)
}

// awaitCaughtUp waits until the generation beside has handled all that the live one has, which has
// ended.
func (h *Host) awaitCaughtUp(ctx context.Context, live, beside *binding) error {
	ctx, cancel := context.WithTimeout(ctx, switchWithin)
	defer cancel()
	moved := make(chan struct{}, 1)
	defer h.observe(live.Name, func(*change) { wake(moved) })()
	h.followLive(live.Name)
	want, err := h.lanes(ctx, live)
	if err != nil {
		return err
	}
	for {
		has, err := h.lanes(ctx, beside)
		if err != nil {
			return err
		}
		lane := 0
		for lane < len(want) && want[lane].Checkpoint <= max(beside.Start, has[lane].Checkpoint) {
			lane++
		}
		if lane == len(want) {
			return nil
		}
		if err := h.config.Subscriptions.Owned(live.Subscription); err != nil {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return behind(beside, "has not handled in %s what it was behind: lane %d is at position %d, that of the live one at %d",
				switchWithin, lane, has[lane].Checkpoint, want[lane].Checkpoint)
		}
	}
}

// swap gives two generations each other's role: live is before then, and to is live. The Commit
// compares the binding, both generations and all their lanes.
func (h *Host) swap(ctx context.Context, live, to *binding, ready func(context.Context) error) error {
	err := h.config.Subscriptions.Swap(ctx, live.Subscription, subscriptions.Swap{
		From: live.Incarnation, To: to.Incarnation, Ready: ready,
		With: func(ctx context.Context) ([]core.RecordOp, error) { return h.swapRecords(ctx, live, to) },
	})
	if err == nil {
		h.tell(live.Name, &change{generation: to.Generation, switched: true})
	}
	h.poke(live.Name)
	return err
}

// swapRecords is what the Commit of a swap has, but for the subscriptions. What the live generation
// has parked, nobody has appended for: the other handles it later, or has it parked, too. It has
// what it carried over replayed.
func (h *Host) swapRecords(ctx context.Context, live, to *binding) ([]core.RecordOp, error) {
	lanes, ops, err := h.checkedLanes(ctx, live, nil)
	if err != nil {
		return nil, err
	}
	if _, ops, err = h.checkedLanes(ctx, to, ops); err != nil {
		return nil, err
	}
	parked, err := h.unappended(ctx, live, to)
	if err != nil {
		return nil, err
	}
	next, away := *to, *live
	next.role, next.revision = roleLive, live.revision
	if err := next.Regrant(live.Grants); err != nil { // they are not widened
		return nil, err
	}
	next.Paused, next.Stopped, next.Redeployed = live.Paused, "", false
	next.HeldBack, next.EmitAfter = nil, 0
	if to.Rebuild == nil || !to.Rebuild.EmitAgain {
		next.HeldBack = live.appended(lanes, parked)
		for i := range next.HeldBack {
			next.EmitAfter = max(next.EmitAfter, next.HeldBack[i].UpTo)
		}
	}
	next.Rebuild, next.Rest = nil, nil
	away.role, away.revision, away.Rest = roleBefore, 0, restOf(lanes)
	if to.role == roleBefore {
		away.revision = to.revision
	} else {
		ops = append(ops, to.remove(), remove(runsTable, to.runKey(), core.AnyVersion))
	}
	ops = append(ops, next.put(), away.put())
	carried, err := h.traces(ctx, to.Incarnation, 0, math.MaxUint64, maxExcepted)
	for i := range carried {
		if carried[i].Carried {
			table, key := subscriptions.ReplayOf(to.Incarnation, carried[i].Position)
			ops = append(ops, core.RecordOp{Table: table, Key: key, Expect: core.AnyVersion})
		}
	}
	return ops, err
}

// restOf is how a generation with lanes is now.
func restOf(lanes []storedLane) *rest {
	is := &rest{Until: time.Now().UTC().Truncate(time.Microsecond), Checkpoint: lanes[0].Checkpoint}
	for _, l := range lanes {
		is.Checkpoint = min(is.Checkpoint, l.Checkpoint)
		is.StateBytes += l.StateBytes
	}
	return is
}

// checkedLanes reads the lanes of a generation, and adds what has a Commit made only if they are as
// they were read.
func (h *Host) checkedLanes(ctx context.Context, b *binding, ops []core.RecordOp) ([]storedLane, []core.RecordOp, error) {
	lanes, err := h.lanes(ctx, b)
	for i := range lanes {
		ops = append(ops, core.RecordOp{
			Table: lanesTable, Key: laneKey(b.Name, b.Generation, i), Expect: at(lanes[i].revision), Action: core.CheckRecord,
		})
	}
	return lanes, ops, err
}
