package host

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
)

// runner runs a binding as it was at one revision: it is the one subscriber of its
// incarnation, and deals what it gets to the lanes. It ends when the binding has changed,
// when another node owns the subscription, or when storage does not answer; what it was
// given and has not committed is delivered again to the next.
type runner struct {
	host    *Host
	driver  *driver
	binding *binding
	terms   *effects.Terms
	program plugins.Program
	shadow  *shadow // nil if none was asked for
	sub     *subscriptions.Bound
	lanes   []*lane
	live    *binding // of a generation beside: the live one (L14)

	stateBytes atomic.Int64 // of all lanes, with the Commits under way
}

const (
	// Events that were delivered and that no lane has committed are so many batches for each
	// lane, within the bounds. As many are read ahead. A node may have many bindings, so this
	// is most of its memory. inFlightBytes bounds the bytes of those delivered, but for one
	// event.
	batchesInFlight = 8
	leastInFlight   = 512
	mostInFlight    = 4096
	inFlightBytes   = 8 << 20
	// progressEvery and progressAfter are when the subscription's progress, which follows
	// that of the lanes, is stored. It costs no more than what is looked at again after a
	// kill.
	progressEvery = 4096
	progressAfter = time.Second
)

// definition is that of the subscription of a binding. Only the lanes retry and park (L7).
func (h *Host) definition(b *plugins.Binding) (subscriptions.Definition, error) {
	d, err := b.Input.Definition()
	d.Options = delivery.Options{
		PartitionBy: d.PartitionBy, ConcurrencyLimit: 1, BufferSize: inFlight(b),
		CheckpointThreshold: progressEvery, CheckpointAfterMs: progressAfter.Milliseconds(),
		AckTimeoutMs: delivery.NoLimit, Retry: delivery.Retry{Max: delivery.NoLimit, Then: delivery.ThenPark}, OnPark: delivery.Continue,
	}
	if !h.holds(ruleOnlyLanes) {
		d.AckTimeoutMs, d.Retry.Max = 500, 1
	}
	return d, err
}

func inFlight(b *plugins.Binding) int {
	return min(max(batchesInFlight*b.Limits.BatchEvents*b.Lanes, leastInFlight), mostInFlight)
}

func newRunner(k *driver, b *binding, p plugins.Program) *runner {
	r := &runner{host: k.host, driver: k, binding: b, terms: effects.NewTerms(&b.Binding), program: p}
	for i := range b.Lanes {
		r.lanes = append(r.lanes, newLane(r, i))
	}
	r.shadow = newShadow(r)
	return r
}

// take takes the stored lanes to begin with. Until then nobody else may see the runner: its lanes
// would seem to be at the origin.
func (r *runner) take(ctx context.Context) error {
	stored, err := r.host.lanes(ctx, r.binding)
	if err != nil {
		return err
	}
	for i, l := range r.lanes {
		l.take(stored[i])
		l.began = stored[i].Checkpoint
	}
	return nil
}

// run runs the binding until ctx ends, or until something ends it, and returns why.
func (r *runner) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := r.binding
	if b.role == roleBeside {
		stop, err := r.beside(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	join := r.host.config.Subscriptions.JoinBound
	if b.role == roleBeside {
		join = r.host.config.Subscriptions.JoinUnnamed
	}
	var err error
	r.sub, err = join(ctx, subscriptions.JoinRequest{
		Name: b.Subscription, Incarnation: b.Incarnation, Consumer: "plugin " + b.Name,
		Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: inFlightBytes},
	})
	if err != nil {
		return err
	}
	defer r.sub.Leave(true)
	mark, err := r.mark(ctx)
	if err != nil {
		return err
	}
	r.driver.set(plugins.Running, "")
	var running sync.WaitGroup
	running.Go(func() { r.shadow.load(ctx) })
	for _, l := range r.lanes {
		running.Go(func() { cancel(l.run(ctx)) })
	}
	cancel(r.deal(ctx))
	running.Wait()
	r.unmark(mark)
	return errors.Join(context.Cause(ctx), r.shadow.close())
}

// deal gives each event to its lane.
func (r *runner) deal(ctx context.Context) error {
	for {
		known := r.host.config.Store.Removals()
		d, err := r.sub.Next(ctx, core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes})
		if err != nil {
			return err
		}
		i := 0
		for p := range d.Places() {
			e := queued{position: p.Position, raw: d.Block[p.At : p.At+p.Size : p.At+p.Size], replay: d.Replay, fault: d.Marks[i].Fault}
			r.lanes[effects.LaneOf(d.Marks[i].Key, len(r.lanes))].queue.push(e, known)
			i++
		}
		for _, l := range r.lanes {
			wake(l.woken)
		}
	}
}

// answered gives back the credit of events that were answered.
func (r *runner) answered(bytes int) {
	_ = r.sub.Credit(delivery.Credit{Bytes: int64(bytes)}) // whose lease has ended needs none
}
