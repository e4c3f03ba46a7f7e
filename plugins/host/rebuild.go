package host

import (
	"context"
	"math"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
)

// Rebuild begins a generation beside the live one, in one Commit (L9): its events from a place on
// are handled anew, with fresh state and new ids. The live generation goes on. When the other has
// caught up it is switched to, unless the request holds it. What was live before the last switch is
// dropped. The errors are those of Deploy, invalid_cursor, log_changed, and rebuild_under_way.
func (h *Host) Rebuild(ctx context.Context, name string, r plugins.Rebuild) (plugins.Status, error) {
	return h.again(ctx, name, func() error { return h.rebuild(ctx, name, &r) })
}

func (h *Host) rebuild(ctx context.Context, name string, r *plugins.Rebuild) error {
	live, err := h.binding(ctx, name)
	if err != nil {
		return err
	}
	beside, before, err := h.others(ctx, name)
	switch {
	case err != nil:
		return err
	case beside != nil:
		return underWay(beside)
	}
	resolved, hold, err := h.resolve(ctx, name, &live.Binding, &plugins.Deploy{Version: r.Version, Admit: r.Admit})
	if err != nil {
		return err
	}
	if !h.holds(ruleGeneration) {
		return h.rebuildInPlace(ctx, live)
	}
	d, err := h.definition(resolved)
	if err != nil {
		return err
	}
	d.From = r.From
	resolved.Paused, resolved.Previous, resolved.EmitAfter, resolved.FormerGrants = false, "", 0, nil
	next := &binding{
		Binding: *resolved, role: roleBeside,
		Rebuild: &rebuild{Began: time.Now().UTC().Truncate(time.Microsecond), Hold: r.Hold, EmitAgain: r.EmitAgain},
	}
	replaces := ""
	if before != nil {
		replaces = before.Incarnation
	}
	_, err = h.config.Subscriptions.BindUnnamed(ctx, live.Subscription, &d, replaces, func(i subscriptions.Incarnation) ([]core.RecordOp, error) {
		next.Incarnation, next.Start = i.ID, i.Start
		ops, err := h.begin(ctx, live, before, next)
		return append(ops, hold), err
	})
	h.poke(name)
	return err
}

// rebuildInPlace has a generation begin where the one before was, which L9 is against.
func (h *Host) rebuildInPlace(ctx context.Context, live *binding) error {
	next := *live
	next.Generation++
	_, err := h.config.Store.Append(ctx, core.Commit{Records: []core.RecordOp{next.put()}})
	h.poke(live.Name)
	return err
}

func underWay(beside *binding) error {
	return core.Errorf(core.CodeRebuildUnderWay, "generation %d of binding %q, of version %q, is being built", beside.Generation, core.Clip(beside.Name), beside.Version)
}

// begin is what the Commit of a generation beside has, but for its subscription. It appends nothing
// of what the live one has passed or will pass before the switch, so that is all.
func (h *Host) begin(ctx context.Context, live, before, next *binding) ([]core.RecordOp, error) {
	switch other, _, err := h.others(ctx, live.Name); {
	case err != nil:
		return nil, err
	case other != nil: // it was begun meanwhile
		return nil, underWay(other)
	}
	count, err := h.record(ctx, generationsTable, live.Name)
	if err != nil {
		return nil, err
	}
	last, err := generationIn(count)
	if err != nil {
		return nil, err
	}
	revision := uint64(0)
	if count != nil {
		revision = count.Revision
	}
	next.Generation = max(last, live.Generation) + 1
	next.HeldBack = nil
	if !next.Rebuild.EmitAgain {
		next.HeldBack = make([]heldBack, next.Lanes)
		for i := range next.HeldBack {
			next.HeldBack[i].UpTo = math.MaxUint64
		}
	}
	if _, err := h.unappended(ctx, live, next); err != nil {
		return nil, err
	}
	ops := []core.RecordOp{live.check(), next.put(), countGeneration(live.Name, next.Generation, at(revision))}
	if before != nil {
		ops = append(ops, before.remove(), endGeneration(before.Name, before.Generation))
	}
	return ops, nil
}

// CancelRebuild drops the generation beside. The live one is as it was. The errors are those of
// Pause, and no_rebuild.
func (h *Host) CancelRebuild(ctx context.Context, name string) (plugins.Status, error) {
	return h.drop(ctx, name, func(beside, _ *binding) (*binding, error) {
		if beside == nil {
			return nil, noRebuild(name)
		}
		return beside, nil
	})
}

// DropBefore drops the generation before the last switch. The errors are those of Pause, and
// nothing_before.
func (h *Host) DropBefore(ctx context.Context, name string) (plugins.Status, error) {
	return h.drop(ctx, name, func(_, before *binding) (*binding, error) {
		if before == nil {
			return nil, core.Errorf(core.CodeNothingBefore, "binding %q has no generation before", core.Clip(name))
		}
		return before, nil
	})
}

func noRebuild(name string) error {
	return core.Errorf(core.CodeNoRebuild, "binding %q has no generation beside the live one", core.Clip(name))
}

// drop drops a generation that is not live.
func (h *Host) drop(ctx context.Context, name string, which func(beside, before *binding) (*binding, error)) (plugins.Status, error) {
	return h.again(ctx, name, func() error {
		g, err := h.generations(ctx, name)
		if err != nil {
			return err
		}
		b, err := which(g.beside, g.before)
		if err != nil {
			return err
		}
		err = h.config.Subscriptions.UnbindUnnamed(ctx, b.Subscription, b.Incarnation, []core.RecordOp{
			b.remove(), endGeneration(name, b.Generation), remove(runsTable, b.runKey(), core.AnyVersion),
		})
		h.poke(name)
		return err
	})
}
