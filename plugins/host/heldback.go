package host

import (
	"context"
	"math"
	"slices"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// maxExcepted bounds the events that a generation has parked when another becomes live: their
// appends are made later than others before EmitAfter, and a Commit names them.
const maxExcepted = 9_000

// unappended are the events that a live generation has parked, so nothing was appended for them.
// The error is invalid_request if there are too many, or if the generation to never comes to one.
func (h *Host) unappended(ctx context.Context, live, to *binding) ([]trace, error) {
	parked, err := h.traces(ctx, live.Incarnation, 0, math.MaxUint64, maxExcepted+1)
	switch {
	case err != nil:
		return nil, err
	case len(parked) > maxExcepted:
		return nil, core.Errorf(core.CodeInvalidRequest,
			"more than %d events of binding %q are parked: replay or drop them before", maxExcepted, core.Clip(live.Name))
	case len(parked) > 0 && parked[0].Position <= to.Start:
		return nil, core.Errorf(core.CodeInvalidRequest,
			"the event at position %d is parked in generation %d of binding %q, and the other begins behind position %d and would lose it: replay or drop what is parked up to there before",
			parked[0].Position, live.Generation, core.Clip(live.Name), to.Start)
	}
	return parked, nil
}

// appended are, lane by lane, the events whose appends were made by the time a generation stops
// being live: by it, or by those before it. Nothing was appended for what it has parked.
func (b *binding) appended(lanes []storedLane, parked []trace) []heldBack {
	next := make([]heldBack, len(lanes))
	for i, l := range lanes {
		next[i].UpTo = l.Checkpoint
		if i < len(b.HeldBack) { // it may not have caught up with its own
			before := &b.HeldBack[i]
			next[i].UpTo = max(l.Checkpoint, before.UpTo)
			for _, p := range before.Except {
				if p <= b.Start || p > l.Checkpoint { // it has not handled it
					next[i].Except = append(next[i].Except, p)
				}
			}
		}
	}
	for _, t := range parked {
		if t.Lane < len(next) && (t.Lane >= len(b.HeldBack) || !b.HeldBack[t.Lane].has(t.Position)) {
			next[t.Lane].Except = append(next[t.Lane].Except, t.Position)
		}
	}
	for i := range next {
		slices.Sort(next[i].Except)
	}
	return next
}

// tracesPage bounds a read of traces: each has up to maxTraceBytes.
const tracesPage = 64

// traces are the first traces of an incarnation behind a position up to another, as many as most,
// without what is known of the attempts.
func (h *Host) traces(ctx context.Context, incarnation string, after, upTo uint64, most int) (all []trace, err error) {
	table, first := subscriptions.TraceOf(incarnation, after)
	_, last := subscriptions.TraceOf(incarnation, min(upTo, math.MaxUint64-1)+1)
	for len(all) < most {
		page, err := h.config.Store.Records(ctx, core.RecordsRequest{
			Table: table, Ranges: []core.KeyRange{{After: first, Before: last}}, Limit: tracesPage,
		})
		if err != nil {
			return nil, err
		}
		for i := range page {
			var t trace
			if err := decode(table, &page[i], &t); err != nil {
				return nil, err
			}
			t.Stack, t.History, t.tried = "", nil, tried{}
			all = append(all, t)
		}
		if len(page) < tracesPage {
			break
		}
		first = page[len(page)-1].Key
	}
	return all, nil
}
