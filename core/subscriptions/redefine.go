package subscriptions

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Redefine gives a subscription another definition. It keeps its incarnation, place and
// parked events. From and Paused are about its creation: From has to be the same, Paused
// is ignored.
//
// Sending stops, and what is in flight may be answered until its deadline. Subscribers
// are then ended with subscription_interrupted, and may join again. If something is in
// flight or to be stored still, because its time was extended or ctx ends, the subscription
// goes on unchanged, and the error is subscription_in_use. The others are
// subscription_not_found, and those of Put about a definition.
func (o *Owner) Redefine(ctx context.Context, name string, d *Definition) error {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return err
	}
	defer o.leave(lock)
	l, err := o.records.incarnation(ctx, name)
	if err != nil {
		return err
	}
	if err := l.Definition.Same(d); err == nil {
		return nil
	}
	if err := l.unbound("deploy"); err != nil {
		return err
	}
	if err := o.redefinable(ctx, l, d); err != nil {
		return err
	}
	if h := lock.host; h != nil && h.ctx.Err() == nil {
		defer h.undrain() // it does nothing to a host that has ended
		if err := h.drain(ctx); err != nil {
			return err
		}
		switch err := h.awaitSettled(ctx); {
		case errors.Is(err, core.CodeUnknownOutcome):
			return core.Errorf(core.CodeSubscriptionInUse, "what was in flight is not stored yet; nothing was changed")
		case err != nil:
			return err
		}
	}
	changed := *l
	changed.Definition = *d
	changed.Definition.Paused = l.Definition.Paused
	op, err := put(definitionsTable, name, core.Expect(l.revision), &changed)
	if err != nil {
		return err
	}
	if err := o.commitDefinition(ctx, d, op); err != nil {
		return err
	}
	return o.unhost(lock, core.Errorf(core.CodeSubscriptionInterrupted, "subscription %q has another definition now", core.Clip(name)))
}

// redefinable checks that a subscription can have another definition.
func (o *Owner) redefinable(ctx context.Context, l *incarnation, d *Definition) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if err := o.check(ctx, d); err != nil {
		return err
	}
	if has, asks := text(l.Definition.From), text(d.From); has != asks {
		return core.Errorf(core.CodeInvalidRequest,
			"from is %s, not %s: it says where the subscription began; a reset moves it", core.Clip(has), core.Clip(asks))
	}
	if d.OnPark != delivery.HoldKey || d.PartitionBy == l.Definition.PartitionBy {
		return nil
	}
	p, _, err := o.records.progress(ctx, l.ID)
	if err == nil && p.Parked > 0 {
		err = core.Errorf(core.CodeInvalidRequest,
			"%d events are parked, and with onPark hold_key they hold their keys of before: replay or drop them before partitionBy changes", p.Parked)
	}
	return err
}

// drain stops sending, and waits until nothing is in flight. The error is
// subscription_in_use if something is after its deadline, or when ctx ends.
func (h *host) drain(ctx context.Context) error {
	h.mu.Lock()
	deadline := h.machine.Drain()
	empty := h.waiting.forEmpty()
	h.advance(time.Now())
	h.mu.Unlock()
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	select {
	case <-empty:
	case <-h.ctx.Done():
	case <-late.C:
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return h.ended
	}
	h.machine.Flush()
	h.advance(time.Now()) // what is late fails now
	if n := h.machine.InFlight(); n > 0 {
		return core.Errorf(core.CodeSubscriptionInUse, "%d events are in flight still; nothing was changed", n)
	}
	return nil
}

// undrain ends drain.
func (h *host) undrain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended == nil {
		h.machine.Undrain()
		h.advance(time.Now())
	}
}
