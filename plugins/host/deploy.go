package host

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
)

// Deploy makes a binding, or changes one: then at a batch boundary, and a binding that has
// stopped goes on. It is a success only if the version is ready to run here; an error has
// changed nothing. The errors are those of Versions and Programs, invalid_request,
// invalid_plugin_config, subscription_in_use if there is a subscription of the name, and
// record_conflict if somebody else has changed the binding meanwhile.
//
// A binding that was deleted and is deployed again is a new one, also while what is left of the
// other is being swept: its state, its log and its totals are empty, and its generation is
// behind those that there were.
func (h *Host) Deploy(ctx context.Context, name string, d plugins.Deploy) (plugins.Status, error) {
	old, err := h.present(ctx, name)
	if err != nil {
		return plugins.Status{}, err
	}
	for try := 1; ; try++ {
		err := h.deploy(ctx, name, old, &d)
		if err == nil {
			return h.Status(ctx, name)
		}
		if !errors.Is(err, core.CodeRecordConflict) || try == maxDeploys {
			return plugins.Status{}, err
		}
		// Unless the binding has changed, another binding has come to hold the version.
		now, readErr := h.present(ctx, name)
		if readErr != nil {
			return plugins.Status{}, readErr
		}
		if now.at() != old.at() {
			return plugins.Status{}, err
		}
	}
}

// maxDeploys bounds the tries of a deploy, one of which succeeds whenever others fail.
const maxDeploys = 100

// present is a binding, or nil if there is none.
func (h *Host) present(ctx context.Context, name string) (*binding, error) {
	b, err := h.binding(ctx, name)
	if errors.Is(err, core.CodeBindingNotFound) {
		return nil, nil
	}
	return b, err
}

// at is the revision of a binding; 0 of none.
func (b *binding) at() uint64 {
	if b == nil {
		return 0
	}
	return b.revision
}

// deploy makes a binding, or changes old.
func (h *Host) deploy(ctx context.Context, name string, old *binding, d *plugins.Deploy) error {
	var was *plugins.Binding
	if old != nil {
		was = &old.Binding
	}
	next, hold, err := h.resolve(ctx, name, was, d)
	if err != nil {
		return err
	}
	if old == nil {
		return h.create(ctx, next, hold)
	}
	return h.change(ctx, old, next, hold)
}

// resolve makes the binding that a deploy asks for, and proves that it is ready to run. hold
// keeps its version from being deleted meanwhile.
func (h *Host) resolve(ctx context.Context, name string, old *plugins.Binding, d *plugins.Deploy) (b *plugins.Binding, hold core.RecordOp, err error) {
	plugin, version, err := d.Which(name, old)
	if err != nil {
		return nil, hold, err
	}
	v, err := h.config.Versions.Version(ctx, plugin, version)
	if err != nil {
		return nil, hold, err
	}
	next, err := d.Resolve(name, old, &v)
	if err == nil && next.Kind == plugins.KindValidate {
		err = core.Errorf(core.CodeInvalidRequest, "plugin %q is a validator, which has no subscription", v.Plugin)
	}
	if err != nil {
		return nil, hold, err
	}
	if d.Admit != nil {
		if err := d.Admit(old, &next); err != nil {
			return nil, hold, err
		}
	}
	if err := h.config.Versions.CheckConfig(&v, next.Config); err != nil {
		return nil, hold, err
	}
	if hold, err = h.config.Versions.Hold(&v); err != nil {
		return nil, hold, err
	}
	program, err := h.config.Programs.Load(ctx, v)
	if err != nil {
		return nil, hold, err
	}
	next.Deployed, next.Stopped = time.Now().UTC().Truncate(time.Microsecond), ""
	if old == nil {
		next.Created = next.Deployed
	} else if old.Plugin != next.Plugin {
		next.Previous = ""
	} else if old.Version != next.Version {
		next.Previous = old.Version
	}
	return &next, hold, program.Close()
}

// create stores a new binding with its subscription, in one Commit.
func (h *Host) create(ctx context.Context, next *plugins.Binding, hold core.RecordOp) error {
	last, err := h.lastGeneration(ctx, next.Name)
	if err != nil {
		return err
	}
	next.Generation, next.FirstGeneration = last+1, last+1
	d, err := h.definition(next)
	if err != nil {
		return err
	}
	_, err = h.config.Subscriptions.Bind(ctx, next.Subscription, &d, "", func(i subscriptions.Incarnation) ([]core.RecordOp, error) {
		b := &binding{Binding: *next, Incarnation: i.ID, Start: i.Start}
		noValidator := core.RecordOp{Table: plugins.ValidatorsTable, Key: b.Name, Expect: core.NoStream, Action: core.CheckRecord}
		return []core.RecordOp{put(bindingsTable, b.Name, core.NoStream, b), hold, noValidator}, nil
	})
	h.poke(next.Name)
	return err
}

// change stores a binding in place of an old one, in one Commit with other records.
func (h *Host) change(ctx context.Context, old *binding, next *plugins.Binding, with ...core.RecordOp) error {
	if err := h.config.Subscriptions.Owned(old.Subscription); err != nil {
		return err
	}
	b := *old
	b.Binding = *next
	_, err := h.config.Store.Append(ctx, core.Commit{Records: append(with, put(bindingsTable, b.Name, at(old.revision), &b))})
	h.poke(b.Name)
	return err
}

// Pause stops a binding at a batch boundary, until Resume. The errors are binding_not_found
// and record_conflict.
func (h *Host) Pause(ctx context.Context, name string) (plugins.Status, error) {
	return h.edit(ctx, name, func(b *plugins.Binding) error {
		b.Paused = true
		return nil
	})
}

// Resume ends Pause, and the stop of a binding that has stopped. The errors are those of
// Pause.
func (h *Host) Resume(ctx context.Context, name string) (plugins.Status, error) {
	return h.edit(ctx, name, func(b *plugins.Binding) error {
		b.Paused, b.Stopped = false, ""
		return nil
	})
}

// Rollback goes back to the version before. Again, it goes forward. The errors are those of
// Deploy, and version_not_found if there was none.
func (h *Host) Rollback(ctx context.Context, name string) (plugins.Status, error) {
	b, err := h.binding(ctx, name)
	if err != nil {
		return plugins.Status{}, err
	}
	if b.Previous == "" {
		return plugins.Status{}, core.Errorf(core.CodeVersionNotFound, "binding %q has had no version before %q", clip(name), b.Version)
	}
	return h.Deploy(ctx, name, plugins.Deploy{Plugin: b.Plugin, Version: b.Previous})
}

// edit changes a binding.
func (h *Host) edit(ctx context.Context, name string, change func(*plugins.Binding) error) (plugins.Status, error) {
	old, err := h.binding(ctx, name)
	if err != nil {
		return plugins.Status{}, err
	}
	next := old.Binding
	if err := change(&next); err != nil {
		return plugins.Status{}, err
	}
	if err := h.change(ctx, old, &next); err != nil {
		return plugins.Status{}, err
	}
	return h.Status(ctx, name)
}

// Rebuild starts a new generation of a binding, in one Commit (L9): its events from a place
// on are handled anew, with fresh state and new ids. The errors are those of Pause,
// invalid_cursor and log_changed.
func (h *Host) Rebuild(ctx context.Context, name string, r plugins.Rebuild) (plugins.Status, error) {
	old, err := h.binding(ctx, name)
	if err != nil {
		return plugins.Status{}, err
	}
	d, err := h.definition(&old.Binding)
	if err != nil {
		return plugins.Status{}, err
	}
	d.From = r.From
	next := &binding{Binding: old.Binding}
	next.Generation++
	next.Stopped = ""
	if !h.holds(ruleGeneration) {
		next.Incarnation = old.Incarnation
		_, err := h.config.Store.Append(ctx, core.Commit{Records: []core.RecordOp{put(bindingsTable, name, at(old.revision), next)}})
		h.poke(name)
		return plugins.Status{}, err
	}
	_, err = h.config.Subscriptions.Bind(ctx, old.Subscription, &d, old.Incarnation, func(i subscriptions.Incarnation) ([]core.RecordOp, error) {
		next.Incarnation, next.Start = i.ID, i.Start
		return h.succeed(ctx, old, next, r.EmitAgain)
	})
	h.poke(name)
	if err != nil {
		return plugins.Status{}, err
	}
	return h.Status(ctx, name)
}

// succeed is what the Commit of a new generation has beside the subscription's.
func (h *Host) succeed(ctx context.Context, old, next *binding, emitAgain bool) ([]core.RecordOp, error) {
	ops := endGeneration(old.Name, old.Generation)
	next.EmitAfter, next.HeldBack = 0, nil
	if !emitAgain {
		lanes, err := h.lanes(ctx, old)
		if err != nil {
			return nil, err
		}
		for i, l := range lanes {
			ops = append(ops, core.RecordOp{
				Table: lanesTable, Key: laneKey(old.Name, old.Generation, i), Expect: at(l.revision), Action: core.CheckRecord,
			})
		}
		if next.HeldBack, err = h.heldBack(ctx, old, lanes); err != nil {
			return nil, err
		}
		for i := range next.HeldBack {
			next.EmitAfter = max(next.EmitAfter, next.HeldBack[i].UpTo)
		}
	}
	return append(ops, put(bindingsTable, next.Name, at(old.revision), next)), nil
}

// maxExcepted bounds the events whose appends are made after a rebuild, before EmitAfter.
const maxExcepted = 10_000

// heldBack is what the next generation of a binding holds back: what this one has appended,
// or has held back itself.
func (h *Host) heldBack(ctx context.Context, old *binding, lanes []storedLane) ([]heldBack, error) {
	next := make([]heldBack, len(lanes))
	for i, l := range lanes {
		next[i].UpTo = l.Checkpoint
		if i < len(old.HeldBack) { // it may not have caught up with its own
			before := &old.HeldBack[i]
			next[i].UpTo = max(l.Checkpoint, before.UpTo)
			for _, p := range before.Except {
				if p <= old.Start || p > l.Checkpoint { // it has not handled it
					next[i].Except = append(next[i].Except, p)
				}
			}
		}
	}
	parked, err := h.traces(ctx, old.Incarnation, maxExcepted+1)
	if err != nil {
		return nil, err
	}
	if len(parked) > maxExcepted {
		return nil, core.Errorf(core.CodeInvalidRequest,
			"more than %d events of binding %q are parked: replay or drop them before a rebuild, or have it emit everything again", maxExcepted, clip(old.Name))
	}
	for _, t := range parked {
		if t.Lane < len(next) && (t.Lane >= len(old.HeldBack) || !old.HeldBack[t.Lane].has(t.Position)) {
			next[t.Lane].Except = append(next[t.Lane].Except, t.Position)
		}
	}
	for i := range next {
		slices.Sort(next[i].Except)
	}
	return next, nil
}

// traces are the first traces of an incarnation, as many as most.
func (h *Host) traces(ctx context.Context, incarnation string, most int) (all []trace, err error) {
	table, first := subscriptions.TraceOf(incarnation, 0)
	_, last := subscriptions.TraceOf(incarnation, math.MaxUint64)
	for len(all) < most {
		page, err := h.config.Store.Records(ctx, core.RecordsRequest{
			Table: table, Ranges: []core.KeyRange{{After: first, Before: last}}, Limit: core.MaxReadEvents,
		})
		if err != nil {
			return nil, err
		}
		for i := range page {
			var t trace
			if err := decode(table, &page[i], &t); err != nil {
				return nil, err
			}
			all = append(all, t)
		}
		if len(page) < core.MaxReadEvents {
			break
		}
		first = page[len(page)-1].Key
	}
	return all, nil
}

// lastGeneration is that of the binding of a name that was deleted last; 0 if there was none.
func (h *Host) lastGeneration(ctx context.Context, name string) (uint64, error) {
	r, err := h.record(ctx, generationsTable, name)
	if err != nil || r == nil {
		return 0, err
	}
	last, err := strconv.ParseUint(string(r.Value), 10, 64)
	if err != nil {
		return 0, core.Errorf(core.CodeInternal, "the record %s/%s: %w", generationsTable, name, err)
	}
	return last, nil
}

// Delete deletes a binding with its subscription, its state and what it has parked. What it
// has appended stays. A binding whose record cannot be read is deleted, too. The error is
// binding_not_found.
func (h *Host) Delete(ctx context.Context, name string) error {
	r, err := h.bindingRecord(ctx, name)
	if err != nil {
		return err
	}
	var ops []core.RecordOp
	b, err := decodeBinding(r)
	if err != nil {
		if b, ops, err = h.remains(ctx, r); err != nil {
			return err
		}
	}
	ops = append(append(ops, endGeneration(name, b.Generation)...),
		remove(bindingsTable, name, at(b.revision)),
		remove(runsTable, name, core.AnyVersion),
		core.RecordOp{Table: generationsTable, Key: name, Expect: core.AnyVersion, Value: strconv.AppendUint(nil, b.Generation, 10)})
	err = h.config.Subscriptions.Unbind(ctx, name, b.Incarnation, ops)
	h.unreadable.Delete(name)
	h.poke(name)
	return err
}

// remains is what there is of a binding whose record cannot be read: its last generation, by the
// lanes that have committed, and what ends the others.
func (h *Host) remains(ctx context.Context, r *core.Record) (b *binding, others []core.RecordOp, err error) {
	name := r.Key
	b = &binding{revision: r.Revision}
	if b.Generation, err = h.lastGeneration(ctx, name); err != nil {
		return nil, nil, err
	}
	prefix, after := name+"/", ""
	for {
		page, err := h.config.Store.Records(ctx, core.RecordsRequest{Table: lanesTable, Prefix: prefix, After: after, Limit: core.MaxReadEvents})
		if err != nil {
			return nil, nil, err
		}
		for i := range page {
			after = page[i].Key
			generation, _, _ := strings.Cut(after[len(prefix):], "/")
			n, err := strconv.ParseUint(generation, 16, 64)
			if err == nil && n > b.Generation {
				others = append(others, endGeneration(name, b.Generation)...)
				b.Generation = n
			}
		}
		if len(page) < core.MaxReadEvents {
			return b, others, nil
		}
	}
}

// endGeneration notes that what is left of a generation is to be swept.
func endGeneration(name string, generation uint64) []core.RecordOp {
	return []core.RecordOp{{Table: sweepsTable, Key: generationKey(name, generation), Expect: core.AnyVersion}}
}
