package host

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Delete deletes a binding with its subscription, its state and what it has parked. What it
// has appended stays. A binding whose record cannot be read is deleted, too. The error is
// binding_not_found.
func (h *Host) Delete(ctx context.Context, name string) error {
	return retry(func() error { return h.delete(ctx, name) })
}

func (h *Host) delete(ctx context.Context, name string) error {
	r, err := h.bindingRecord(ctx, name)
	if err != nil {
		return err
	}
	var generations []uint64
	b, err := decodeBinding(bindingsTable, r)
	if err != nil { // its generations are those that have committed
		b = &binding{revision: r.Revision}
		if generations, err = h.committed(ctx, name); err != nil {
			return err
		}
	}
	ops, others, err := h.endOthers(ctx, name)
	if err != nil {
		return err
	}
	last, err := h.lastGeneration(ctx, name)
	if err != nil {
		return err
	}
	generations = append(append(generations, others...), b.Generation, last)
	slices.Sort(generations)
	for _, n := range slices.Compact(generations) {
		if n > 0 {
			ops = append(ops, endGeneration(name, n))
		}
	}
	last = slices.Max(generations)
	ops = append(ops, remove(bindingsTable, name, at(b.revision)), remove(runsTable, name, core.AnyVersion),
		countGeneration(name, last, core.AnyVersion))
	err = h.config.Subscriptions.Unbind(ctx, name, b.Incarnation, ops)
	h.unreadable.Delete(name)
	h.poke(name)
	return err
}

// endOthers ends the generations of a binding that are not live, whatever their records have.
func (h *Host) endOthers(ctx context.Context, name string) (ops []core.RecordOp, generations []uint64, err error) {
	for _, is := range []role{roleBeside, roleBefore} {
		table, key := is.record(name)
		r, err := h.record(ctx, table, key)
		switch {
		case err != nil:
			return nil, nil, err
		case r == nil:
			continue
		}
		ops = append(ops, remove(table, key, at(r.Revision)))
		if b, err := decodeBinding(table, r); err == nil {
			generations = append(generations, b.Generation)
			ops = append(ops, remove(runsTable, b.runKey(), core.AnyVersion))
		}
	}
	return ops, generations, nil
}

// countGeneration stores the last generation that a binding of a name has had.
func countGeneration(name string, last uint64, expect core.Expect) core.RecordOp {
	return core.RecordOp{Table: generationsTable, Key: name, Expect: expect, Value: strconv.AppendUint(nil, last, 10)}
}

// committed are the generations of a name that have lanes: those that have committed something, and
// are not swept.
func (h *Host) committed(ctx context.Context, name string) (generations []uint64, err error) {
	prefix, after := name+"/", ""
	for {
		page, err := h.config.Store.Records(ctx, core.RecordsRequest{Table: lanesTable, Prefix: prefix, After: after, Limit: core.MaxReadEvents})
		if err != nil {
			return nil, err
		}
		for i := range page {
			after = page[i].Key
			generation, _, _ := strings.Cut(after[len(prefix):], "/")
			if n, err := strconv.ParseUint(generation, 16, 64); err == nil && !slices.Contains(generations, n) {
				generations = append(generations, n)
			}
		}
		if len(page) < core.MaxReadEvents {
			return generations, nil
		}
	}
}

// endGeneration notes that what is left of a generation is to be swept.
func endGeneration(name string, generation uint64) core.RecordOp {
	return core.RecordOp{Table: sweepsTable, Key: generationKey(name, generation), Expect: core.AnyVersion}
}

// lastGeneration is the last that a binding of a name has had, if one was deleted or rebuilt;
// else it is 0.
func (h *Host) lastGeneration(ctx context.Context, name string) (uint64, error) {
	r, err := h.record(ctx, generationsTable, name)
	if err != nil {
		return 0, err
	}
	return generationIn(r)
}

// generationIn is the generation in its record; 0 without one.
func generationIn(r *core.Record) (uint64, error) {
	if r == nil {
		return 0, nil
	}
	last, err := strconv.ParseUint(string(r.Value), 10, 64)
	if err != nil {
		return 0, core.Errorf(core.CodeInternal, "the record %s/%s: %w", generationsTable, r.Key, err)
	}
	return last, nil
}
