package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/gyre-events/gyre/cluster/ringtest"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// The consumers of the simulation: one at each node, of one subscription to $all that keeps
// the events of a stream in order.
const (
	simSubscription = "audit"
	simHandling     = 5 * time.Millisecond // of an event, at most
	// simSettles is how long a fault may be seen in the order of deliveries after the
	// ring is whole again: consumers join again, and get what was in flight.
	simSettles = 5 * time.Second
)

// simConsumers is what consumers have handled.
type simConsumers struct {
	mu      sync.Mutex // protects the fields below
	handled ringtest.Deliveries
	faulty  []ringtest.Span // when nodes failed
}

func (r *simulation) definition() *subscriptions.Definition {
	d := subscriptions.DefaultDefinition()
	d.PartitionBy, d.ConcurrencyLimit = subscriptions.ByStream, 4*len(r.nodes)
	d.Retry.Max, d.CheckpointThreshold, d.CheckpointAfterMs = delivery.NoLimit, 10, 200
	return &d
}

// consume joins at a node until ctx ends, and again when the lease or the process has ended.
func (r *simulation) consume(ctx context.Context, n *simulated) {
	random := r.newRand()
	for ctx.Err() == nil {
		p := n.running()
		if p == nil || !p.begin() {
			r.pause(random, 100*time.Millisecond)
			continue
		}
		err := r.consumeAt(ctx, p, random)
		p.done()
		if !p.isDead() && ctx.Err() == nil && err != nil && !core.AsError(err).Info().Retryable && !errors.Is(err, core.CodeLeaseLost) {
			r.fail("at %v: the consumer at %s ended with %v", r.history.now(), n.name, err)
		}
		r.pause(random, 100*time.Millisecond)
	}
}

func (r *simulation) consumeAt(ctx context.Context, p *simProcess, random *rand.Rand) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.died:
		case <-p.stopping:
		case <-ctx.Done():
		}
		cancel()
	}()
	s, err := subscriptions.JoinWaiting(ctx, p.router, subscriptions.JoinRequest{
		Name: simSubscription, Definition: r.definition(), AnyOptions: true, Consumer: p.node.name,
		Credit: delivery.Credit{Events: 10, Bytes: 1 << 20},
	})
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer s.Leave(true)
	for {
		d, err := s.Next(ctx, core.Limit{Events: 5, Bytes: 1 << 20})
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		for e := range d.Events() {
			if ctx.Err() != nil {
				return nil
			}
			r.handle(p, s, e.Stream, e.Position, random)
			if err := s.Credit(delivery.Credit{Events: 1, Bytes: int64(len(e.Raw))}); err != nil {
				return err
			}
		}
	}
}

// ignoreEnd drops an error that is there because ctx has ended.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// handle handles an event and acks it.
func (r *simulation) handle(p *simProcess, s *subscriptions.Waiting, key string, position uint64, random *rand.Rand) {
	h := ringtest.Handled{Consumer: p.node.name, Key: key, Position: position, Began: r.history.now()}
	r.pause(random, simHandling)
	h.Done = r.history.now()
	ctx, cancel := context.WithTimeout(context.Background(), simDeadline)
	defer cancel()
	// The ack may be done though its outcome was lost.
	_ = s.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{position}})
	r.consumers.mu.Lock()
	defer r.consumers.mu.Unlock()
	r.consumers.handled = append(r.consumers.handled, h)
}

// awaitConsumed waits until every event was handled.
func (r *simulation) awaitConsumed() error {
	head := r.view.State().Head
	for deadline := time.Now().Add(simDeadline); ; time.Sleep(simSample) {
		handled := map[uint64]bool{}
		r.consumers.mu.Lock()
		for _, h := range r.consumers.handled {
			handled[h.Position] = true
		}
		r.consumers.mu.Unlock()
		switch {
		case uint64(len(handled)) == head:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%d of %d events are handled", len(handled), head)
		}
	}
}

// checkConsumers checks what was delivered, and in which order.
func (r *simulation) checkConsumers(log []core.Event) {
	c := &r.consumers
	slices.SortStableFunc(c.handled, func(a, b ringtest.Handled) int { return int(a.Began - b.Began) })
	r.check("deliveries", c.handled.CheckAll(log))
	r.check("keys", c.handled.CheckKeys(c.faulty))
	r.logf("%d events were handled %d times", len(log), len(c.handled))
}
