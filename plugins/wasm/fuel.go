package wasm

import (
	"context"
	"errors"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// sliceFuel is how much fuel a guest gets at a time. While it runs on a slice, about a
// quarter of a millisecond, the garbage collector cannot stop its thread.
const sliceFuel = 250_000

// tank holds the fuel of one call, and its slot of the host. The time is looked at with each
// slice, so that a guest stops within a slice of its deadline.
type tank struct {
	host     *Host
	held     bool              // there is a slot
	left     int64             // not handed out to the guest
	guest    api.MutableGlobal // what the guest has left, negative if it owes; nil before there is a module
	since    int64             // used by imports since the time was looked at
	deadline time.Time
	ctx      context.Context // of the caller; only while the call runs
}

// enter waits for a slot. Whoever calls it calls leave, too.
func (t *tank) enter(ctx context.Context) error {
	err := t.host.enter(ctx)
	t.held = err == nil
	return err
}

// leave ends a call.
func (t *tank) leave() {
	if t.held {
		t.host.leave()
	}
	t.held, t.ctx = false, nil
}

// yield lets another guest have the slot, if one waits, and waits behind it. The time that
// this takes is not the guest's.
func (t *tank) yield() {
	if t.host.waiting.Load() > 0 {
		t.away(func(time.Duration) {})
	}
}

// away does something without the slot, within the time that is left. What that takes is the
// guest's time; what it waits for a slot then is not.
func (t *tank) away(do func(within time.Duration)) {
	t.host.leave()
	t.held = false
	do(t.deadline.Sub(t.host.now()))
	since := t.host.now()
	if err := t.enter(t.ctx); err != nil {
		t.check()
		stop(Canceled, "the caller gave up: %v", err)
	}
	t.deadline = t.deadline.Add(t.host.now().Sub(since))
	t.check()
}

// fill begins a call.
func (t *tank) fill(ctx context.Context, fuel int64, limit time.Duration) {
	t.left, t.since, t.ctx = fuel, 0, ctx
	t.deadline = t.host.now().Add(limit)
}

// takeBack takes what the guest has left.
func (t *tank) takeBack() {
	t.left += int64(t.guest.Get())
	t.guest.Set(0)
}

// refuel takes what a guest has left, and returns its next slice. It stops a guest that has used
// its fuel or its time.
func (t *tank) refuel(left int64) int64 {
	if t.guest == nil {
		t.left += left
	} else {
		t.takeBack() // an import may have taken it
	}
	t.check()
	t.yield()
	next := min(sliceFuel, t.left)
	t.left -= next
	return next
}

// charge takes what an import costs.
func (t *tank) charge(cost int64) {
	t.left -= cost
	if t.since += cost; t.since >= sliceFuel || t.left <= 0 {
		t.check()
	}
}

// spend is charge for what an import does for long: other guests get their turns meanwhile.
func (t *tank) spend(cost int64) {
	if t.charge(cost); t.since == 0 {
		t.yield()
	}
}

// check stops a guest that has used its fuel, with what it was handed out, or its time.
func (t *tank) check() {
	t.since = 0
	if t.left <= 0 && t.guest != nil {
		t.takeBack()
	}
	switch err := t.ctx.Err(); {
	case errors.Is(err, context.Canceled):
		stop(Canceled, "the caller canceled the call")
	case err != nil || t.host.now().After(t.deadline):
		stop(TimedOut, "raise the binding's time limit, or handle fewer events in a batch")
	case t.left <= 0:
		stop(OutOfFuel, "raise the binding's fuel limit, or handle fewer events in a batch")
	}
}
