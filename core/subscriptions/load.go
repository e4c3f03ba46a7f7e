package subscriptions

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

const (
	// leastWindow and mostWindow bound the events that a machine has read and not
	// finished; between them it is twice what all subscribers can have in flight.
	// Several times as many may be finished and not stored: at the lower one a node
	// that stores checkpoints twenty times a second delivers two million events a second with it.
	leastWindow = 1 << 15
	mostWindow  = 1 << 16
)

// windowOf is the window of a machine.
func windowOf(o *delivery.Options) core.Limit {
	return core.Limit{Events: min(max(2*o.ConcurrencyLimit*o.BufferSize, leastWindow), mostWindow)}
}

// newHost begins what is stored of a subscription. Its goroutines are started as they
// are needed.
func (o *Owner) newHost(ctx context.Context, l *loaded) (*host, error) {
	if err := o.check(ctx, &l.Definition); err != nil {
		return nil, err
	}
	p := l.progress
	state, err := o.stateAt(ctx, p.Checkpoint)
	if err != nil {
		return nil, err
	}
	if !state.Reached(p.Log, p.Checkpoint) {
		return nil, core.Errorf(core.CodeLogChanged,
			"the checkpoint of subscription %q is %d of log %q, this is log %q with the head %d; reset it", core.Clip(l.key.name), p.Checkpoint, p.Log, state.Log, state.Head)
	}
	p.Log = state.Log // a log that was restored has another than it had
	now := time.Now()
	h := &host{owner: o, incarnation: l.incarnation, began: now, read: make(chan struct{}, 1), subs: map[delivery.Lease]*subscriber{}}
	h.saver, h.replayer = makeSaver(h, p, l.revision), makeReplayer(h, l.replays)
	h.expiry.known = o.store.Removals()
	h.ctx, h.cancel = context.WithCancel(o.ctx)
	options := l.Definition.Options
	options.Paused = p.Mode == paused
	h.machine = delivery.New(now, delivery.Config{
		Options: options, Checkpoint: p.Checkpoint, Parked: l.parked, Ahead: p.ahead(), Failed: l.failed,
		Lease:  delivery.Lease(now.UnixMicro()), // which a number of JSON can hold
		Window: windowOf(&options),
		Bound:  l.Bound,
	})
	if p.Mode == stopped {
		h.machine.Stop(p.Reason)
	}
	h.idleSince(now)
	h.advance(now)
	return h, nil
}
