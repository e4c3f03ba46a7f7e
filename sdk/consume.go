package sdk

import (
	"context"
	"errors"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Handler handles an event. If it returns nil the event is acked; if a *Refusal, what
// that says becomes of it; and after any other error it is sent again, as the
// subscription's policy says.
type Handler func(ctx context.Context, d Delivery) error

// Refusal is the error of a Handler that says what is to become of the event, as
// Delivery.Nack does.
type Refusal delivery.Nack

// Error is part of error.
func (r *Refusal) Error() string { return string(r.Action) + ": " + r.Reason }

// Consume handles events, by as many workers as SubscribeOptions say, until ctx ends or the
// subscription does, and returns why. Handlers that run then may finish, and their events
// are acked: their context has the values of ctx, and does not end with it.
//
// With partitions, events of a key are handled in order whatever the number of workers.
// Without, they are in order with one worker only.
//
// An event that is sent again because its connection was lost may be handled while the
// handler of the earlier time still runs. So may an event be handled whose key had a
// failure before it: it comes again behind the one that failed.
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

// reply answers a delivery as its handler says. That the lease is lost is no concern of
// the loop: the event comes again.
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
