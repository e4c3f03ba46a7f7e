package host

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// bounds are what a lane of a generation beside does not go beyond (L14). Nothing bounds the other
// lanes.
type bounds struct {
	moved chan struct{} // holds 1: the same lane of the live generation may have gone on
	upTo  uint64        // the position up to which that has passed its events
	// carried are the events up to there that it has parked, or had when they were looked up: nobody
	// may have appended for them. They are parked here, too, in the order of positions.
	carried []uint64
}

// beside has the lanes follow those of the live generation, until stop.
func (r *runner) beside(ctx context.Context) (stop func(), err error) {
	if r.live, err = r.host.binding(ctx, r.binding.Name); err != nil {
		return nil, err
	}
	for _, l := range r.lanes {
		if r.host.holds(ruleBehindLive) {
			l.upTo = 0
		}
		wake(l.moved)
	}
	return r.host.observe(r.binding.Name, func(c *change) {
		if c.generation == r.live.Generation && !c.switched {
			wake(r.lanes[c.lane].moved)
		}
	}), nil
}

// follow reads how far the lane of the live generation is. That only grows, and what it has parked
// up to there gets fewer, so what is read stays true enough.
func (l *lane) follow(ctx context.Context) error {
	found, err := l.host.lanesFrom(ctx, l.live, l.number, l.number+1)
	if err == nil && found[0].Checkpoint > l.upTo {
		err = l.followTo(ctx, found[0].Checkpoint)
	}
	switch {
	case err == nil:
		return nil
	case ends(err):
		return err
	}
	l.backOff(err) // the driver has it look again
	return nil
}

func (l *lane) followTo(ctx context.Context, checkpoint uint64) error {
	if l.emits() && l.holds(ruleCarry) {
		parked, err := l.host.traces(ctx, l.live.Incarnation, l.upTo, checkpoint, math.MaxInt)
		if err != nil {
			return err
		}
		for _, t := range parked {
			if t.Lane == l.number {
				l.carried = append(l.carried, t.Position)
			}
		}
	}
	l.upTo = checkpoint
	return nil
}

// emits reports whether a generation beside may append something, or call a server, which is held
// back. What was parked is not handled in its turn then, but after the switch: what it emits is not
// held back.
func (l *lane) emits() bool {
	return l.binding.Kind == plugins.KindHandler && !l.binding.Rebuild.EmitAgain && l.terms.Emits()
}

// isCarried reports whether an event is parked because the live generation has parked it.
func (l *lane) isCarried(event *queued) bool {
	_, carried := slices.BinarySearch(l.carried, event.position)
	return carried
}

// carry parks an event that the live generation has parked. The switch has it replayed.
func (l *lane) carry(ctx context.Context, event []queued) error {
	_, err := l.parkAs(ctx, event, &trace{
		Position: event[0].position, Lane: l.number, Carried: true,
		Reason: "generation " + utoa(l.live.Generation) + " has parked it: it is handled after the switch",
	})
	return err
}

// followLive has the generation beside look how far the live one is.
func (h *Host) followLive(name string) {
	k := h.driver(name, roleBeside)
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.runner == nil {
		return
	}
	for _, l := range k.runner.lanes {
		wake(l.moved)
	}
}

const (
	// switchLook is how often is looked whether a generation beside has caught up, if nothing says
	// so before.
	switchLook = time.Second
	// trySwitchWithin bounds a switch with all that it waits for.
	trySwitchWithin = 30 * time.Second
	// mostSwitchBackoff bounds the wait after a switch that was begun and not made.
	mostSwitchBackoff = 30 * time.Second
)

// switchInTime switches to the generation beside when it has caught up, unless that is held.
func (k *driver) switchInTime(ctx context.Context) {
	tick := time.NewTicker(switchLook)
	defer tick.Stop()
	notBefore, backoff := time.Time{}, switchLook
	for {
		select {
		case <-k.caughtUp:
		case <-tick.C:
			k.host.followLive(k.name) // it may have missed a Commit whose answer was lost
		case <-ctx.Done():
			return
		}
		if time.Now().Before(notBefore) {
			continue
		}
		if begun, err := k.trySwitch(); begun && err != nil {
			notBefore = time.Now().Add(backoff)
			backoff = min(2*backoff, mostSwitchBackoff)
		}
	}
}

// trySwitch switches to the generation beside if it has caught up. begun says that the live one was
// stopped for it.
func (k *driver) trySwitch() (begun bool, err error) {
	ctx, cancel := context.WithTimeout(k.host.ctx, trySwitchWithin) // the driver ends before it
	defer cancel()
	g, err := k.host.generations(ctx, k.name)
	if err != nil || g.beside == nil || g.beside.Rebuild.Hold {
		return false, err
	}
	begun, err = k.host.switchOver(ctx, g.live, g.beside)
	if begun && err != nil && ctx.Err() == nil && !errors.Is(err, core.CodeSubscriptionInterrupted) {
		k.host.config.Logger.Debug("switching to a generation of a plugin binding", "binding", k.name, "error", err)
		k.mu.Lock()
		k.waits = core.AsError(err).Error()
		k.mu.Unlock()
	}
	return begun, err
}
