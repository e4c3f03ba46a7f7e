package host

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/trial"
)

// Poisoned lists the events that a binding has parked, at any node. The error is binding_not_found.
func (h *Host) Poisoned(ctx context.Context, name string, r plugins.PoisonRequest) (plugins.PoisonPage, error) {
	page := plugins.PoisonPage{Poison: []plugins.Poison{}}
	b, err := h.binding(ctx, name)
	if err != nil {
		return page, err
	}
	if r.Limit <= 0 || r.Limit > core.MaxReadEvents {
		r.Limit = core.MaxReadEvents
	}
	found, err := h.traces(ctx, b.Incarnation, r.After, math.MaxUint64, r.Limit+1)
	if err != nil {
		return page, err
	}
	page.End = len(found) <= r.Limit
	for i := range found[:min(len(found), r.Limit)] {
		p := found[i].poison()
		if _, err := h.eventOf(ctx, b, &p); err != nil {
			return page, err
		}
		page.Poison = append(page.Poison, p)
	}
	return page, nil
}

// Poison is all that is known of an event that a binding has parked, at any node. The errors are
// binding_not_found and event_not_parked.
func (h *Host) Poison(ctx context.Context, name string, position uint64) (plugins.PoisonEvent, error) {
	b, t, err := h.parkedAt(ctx, name, position)
	if err != nil {
		return plugins.PoisonEvent{}, err
	}
	p := plugins.PoisonEvent{
		Poison: t.poison(), Stack: t.Stack, Fuel: t.Fuel, Seconds: (time.Duration(t.Micros) * time.Microsecond).Seconds(), Steps: t.Steps, History: t.History,
	}
	if p.Steps.List == nil {
		p.Steps.List = []plugins.Step{}
	}
	if p.History == nil {
		p.History = []plugins.Attempt{}
	}
	p.Event, err = h.eventOf(ctx, b, &p.Poison)
	return p, err
}

// poison is a trace as it is listed.
func (t *trace) poison() plugins.Poison {
	return plugins.Poison{Position: t.Position, Lane: t.Lane, At: t.At, Attempts: t.Attempts, Reason: t.Reason, Carried: t.Carried}
}

// eventOf reads a parked event, and fills in what a list has of it. It is nil if the log has it no
// longer.
func (h *Host) eventOf(ctx context.Context, b *binding, p *plugins.Poison) (*core.Event, error) {
	batch, ok, err := h.storedEvent(ctx, b, p.Position)
	if err != nil || !ok {
		return nil, err
	}
	e := batch.Slice()[0]
	p.Stream, p.Type = e.Stream, e.Type
	return &e, nil
}

func (h *Host) storedEvent(ctx context.Context, b *binding, position uint64) (batch core.Batch, ok bool, err error) {
	d, err := b.Input.Definition()
	if err != nil {
		return batch, false, err
	}
	return subscriptions.EventAt(ctx, h.config.Store, d.Stream, position)
}

// parkedAt reads a binding, and its trace of an event. The errors are binding_not_found and
// event_not_parked.
func (h *Host) parkedAt(ctx context.Context, name string, position uint64) (*binding, *trace, error) {
	b, err := h.binding(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	t, err := h.traceAt(ctx, b, position)
	if err == nil && t == nil {
		err = core.Errorf(core.CodeEventNotParked, "binding %q has not parked the event at position %d", core.Clip(name), position)
	}
	return b, t, err
}

// traceAt reads the trace of an event; nil if there is none.
func (h *Host) traceAt(ctx context.Context, b *binding, position uint64) (*trace, error) {
	table, key := subscriptions.TraceOf(b.Incarnation, position)
	r, err := h.record(ctx, table, key)
	if err != nil || r == nil {
		return nil, err
	}
	t := &trace{}
	return t, decode(table, r, t)
}

// RunPoison has a version handle a parked event alone, on the state that its lane has now, and
// writes nothing. It is a dry run, of which there are so many at a time. The errors are those of
// Poison and of DryRun.
func (h *Host) RunPoison(ctx context.Context, name string, position uint64, run plugins.PoisonRun) (plugins.PoisonTrial, error) {
	ctx, leave, err := h.enterDryRun(ctx)
	if err != nil {
		return plugins.PoisonTrial{}, err
	}
	defer leave()
	b, t, err := h.parkedAt(ctx, name, position)
	if err != nil {
		return plugins.PoisonTrial{}, err
	}
	r := &dryRun{Host: h, DryRun: plugins.DryRun{Admit: run.Admit}, name: name, old: b}
	defer r.close()
	is, v, err := r.resolve(ctx, run.Version)
	if err != nil {
		return plugins.PoisonTrial{}, err
	}
	item, err := r.parkedItem(ctx, is, position)
	if err != nil {
		return plugins.PoisonTrial{}, err
	}
	program, err := h.config.Programs.Load(ctx, v)
	if err != nil {
		return plugins.PoisonTrial{}, err
	}
	r.closes = append(r.closes, func() { _ = program.Close() }) // it frees memory only
	a := trial.Alone{Binding: is, Program: program, Read: h.config.Store.Read, Base: &stored{h, b, t.Lane}, Lane: t.Lane, Item: item, Attempt: t.Attempts + 1}
	return h.runAlone(ctx, b, &a)
}

// runAlone runs it again while the lane goes on, a few times.
func (h *Host) runAlone(ctx context.Context, b *binding, a *trial.Alone) (t plugins.PoisonTrial, err error) {
	for range copyTries {
		before, err := h.lanes(ctx, b)
		if err != nil {
			return t, err
		}
		a.StateBytes = 0
		for i := range before {
			a.StateBytes += before[i].StateBytes
		}
		if t, err = a.Run(ctx); err != nil {
			return t, core.AsError(err)
		}
		after, err := h.lanesFrom(ctx, b, a.Lane, a.Lane+1)
		if err != nil {
			return t, err
		}
		if t.Moved = after[0].revision != before[a.Lane].revision; !t.Moved {
			break
		}
	}
	return t, nil
}

// parkedItem is a parked event as it is delivered.
func (r *dryRun) parkedItem(ctx context.Context, b *plugins.Binding, position uint64) (delivery.Item, error) {
	source, err := r.events(ctx, b, position, position)
	if err != nil {
		return delivery.Item{}, err
	}
	items, err := source.Next(ctx, nil)
	switch {
	case err == nil:
		return items[0], nil
	case !errors.Is(err, io.EOF):
		return delivery.Item{}, err
	}
	batch, ok, err := r.storedEvent(ctx, r.old, position) // its filter does not want it any more
	if err == nil && !ok {
		err = core.Errorf(core.CodeEventNotFound, "the log has no event at position %d any more", position)
	}
	return delivery.Item{Position: position, Raw: batch.Block}, err
}

// DropPoison forgets a parked event, which stays in the log. The errors are those of Poison, and
// not_owner at a node that does not own the binding.
func (h *Host) DropPoison(ctx context.Context, name string, position uint64) error {
	_, _, err := h.parkedAt(ctx, name, position)
	if err != nil {
		return err
	}
	_, err = h.config.Subscriptions.Drop(ctx, name, subscriptions.Selection{Positions: []uint64{position}})
	return notParked(name, position, err)
}

// notParked has the error of a subscription be that of its binding.
func notParked(name string, position uint64, err error) error {
	if errors.Is(err, core.CodeEventNotFound) {
		err = core.Errorf(core.CodeEventNotParked, "the event at position %d of binding %q is being parked, or is not any more; try again", position, core.Clip(name))
	}
	return err
}

// retryLook is how often is looked what came of a replay, if nothing says so before.
const retryLook = time.Second

// RetryPoison gives a parked event back: it is handled again, in its lane. It waits for what comes
// of that, up to shortly before ctx ends. The errors are those of DropPoison.
func (h *Host) RetryPoison(ctx context.Context, name string, position uint64) (plugins.PoisonRetry, error) {
	b, t, err := h.parkedAt(ctx, name, position)
	if err != nil {
		return plugins.PoisonRetry{}, err
	}
	woken := make(chan struct{}, 1)
	defer h.observe(name, func(*change) { wake(woken) })()
	if _, err := h.config.Subscriptions.Replay(ctx, name, subscriptions.Selection{Positions: []uint64{position}}); err != nil {
		return plugins.PoisonRetry{}, notParked(name, position, err)
	}
	waiting := plugins.PoisonRetry{Position: position, Outcome: plugins.StillWaiting, Attempts: t.Attempts}
	switch {
	case b.Stopped != "":
		waiting.Reason = "the binding has stopped: " + b.Stopped
	case b.Paused:
		waiting.Reason = "the binding is paused"
	default:
		return h.awaitRetry(ctx, b, waiting, woken)
	}
	return waiting, nil
}

// awaitRetry waits until an event was handled, or parked again.
func (h *Host) awaitRetry(ctx context.Context, b *binding, waiting plugins.PoisonRetry, woken <-chan struct{}) (plugins.PoisonRetry, error) {
	late := make(<-chan time.Time)
	if by, ok := ctx.Deadline(); ok {
		late = time.After(time.Until(by) * 9 / 10) // the answer takes time, too
	}
	tick := time.NewTicker(retryLook)
	defer tick.Stop()
	for {
		switch t, err := h.traceAt(ctx, b, waiting.Position); {
		case err != nil:
			return waiting, err
		case t == nil:
			return plugins.PoisonRetry{Position: waiting.Position, Outcome: plugins.HandledAgain, Attempts: waiting.Attempts}, nil
		case t.Attempts > waiting.Attempts:
			return plugins.PoisonRetry{Position: waiting.Position, Outcome: plugins.ParkedAgain, Attempts: t.Attempts, Reason: t.Reason}, nil
		}
		select {
		case <-woken:
		case <-tick.C:
		case <-late:
			waiting.Reason = "the binding has not come to it yet"
			return waiting, nil
		case <-ctx.Done():
			return waiting, core.AsError(ctx.Err())
		case <-h.ctx.Done():
			return waiting, core.Errorf(core.CodeShuttingDown, "the node shuts down")
		}
	}
}
