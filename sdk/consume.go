package sdk

import (
	"context"
	"errors"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Handler handles an event. If it returns nil, the event is acked. A *Refusal decides what
// happens to the event; after any other error it is retried by the subscription's policy.
type Handler func(ctx context.Context, d Delivery) error

// Refusal is an error of a Handler that nacks the event, as Delivery.Nack does.
type Refusal delivery.Nack

// Error is part of error.
func (r *Refusal) Error() string { return string(r.Action) + ": " + r.Reason }

// Consume handles events with the Workers of SubscribeOptions until ctx or the subscription
// ends, and returns why. Running handlers finish, and their events are acked: their context
// has the values of ctx and does not end with it.
//
// With partitions, events of a key are handled in order with any number of workers; without
// partitions, events are in order with one worker only.
//
// After a lost connection, an event may be redelivered and handled while its earlier handler
// still runs. A node that shuts down waits 1.5 s for handlers first. After a failure, the events of the same key behind it may be handled, and come
// again behind the one that failed.
func (s *Subscriber) Consume(ctx context.Context, handle Handler) error {
	s.askOn()
	errs := make([]error, max(s.options.Workers, 1))
	var running sync.WaitGroup
	for i := range errs {
		running.Go(func() { errs[i] = s.work(ctx, handle) })
	}
	running.Wait()
	s.mu.Lock()
	l := s.lease
	s.mu.Unlock()
	if l != nil {
		l.flush()
	}
	return errs[0]
}

// work is one worker.
func (s *Subscriber) work(ctx context.Context, handle Handler) error {
	handling := context.WithoutCancel(ctx)
	for {
		one, err := s.next(ctx, core.Limit{Events: 1, Bytes: 1})
		if err != nil {
			return err
		}
		for d := range one.Events() {
			reply(d, handle(handling, d))
		}
		one.handled()
	}
}

// reply answers a delivery by its handler's result. It ignores a lost lease: the event comes
// again.
func reply(d Delivery, err error) {
	var refusal *Refusal
	switch {
	case err == nil:
		_ = d.Ack()
	case errors.As(err, &refusal):
		_ = d.Nack(delivery.Nack(*refusal))
	default:
		_ = d.Nack(delivery.Nack{Action: delivery.ActionRetry, Delay: delivery.ByPolicy, Reason: err.Error()})
	}
}
