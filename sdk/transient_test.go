package sdk_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
)

// TestTransientOutlivesItsServer takes the connection away again and again, and with it
// the subscription. It begins anew where it was: nothing is left out, and no more comes
// again than was in flight.
func TestTransientOutlivesItsServer(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			const events, buffer, restarts = 300, 8, 2
			n := startNode(t)
			n.fill(t, events, 3)
			c := dial(t, n.addr, o)
			s := subscribe(t, c, "cache", sdk.SubscribeOptions{Transient: true, Definition: definition(func(d *subscriptions.Definition) {
				d.From, d.BufferSize = core.From{Kind: core.AfterPosition, N: 10}, buffer
			})})
			last, again := uint64(10), 0
			ctx, cancel := context.WithCancel(within(t))
			err := s.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
				switch {
				case d.Position > last+1:
					t.Errorf("position %d came after %d", d.Position, last)
				case d.Position <= last:
					again++
				case d.Position%(events/(restarts+1)) == 0:
					n.stop(within(t))
					n.start()
				}
				if last = max(last, d.Position); last == events {
					cancel()
				}
				return nil
			})
			if !errors.Is(err, core.CodeCanceled) || last != events {
				t.Errorf("ended at %d with %v", last, err)
			}
			// What the server sent before it knew of the acks, and what it held them for.
			if again > restarts*2*buffer {
				t.Errorf("%d events came again over %d restarts", again, restarts)
			}
			if err := s.Close(within(t)); err != nil {
				t.Error(err)
			}
			if page, err := n.owner.List(t.Context(), subscriptions.ListRequest{}); err != nil || len(page.Subscriptions) != 0 {
				t.Errorf("stored are %+v, %v", page.Subscriptions, err)
			}
		})
	}
}

// TestTransientFromEnd loses the connection before anything was sent: what comes meanwhile
// is not missed.
func TestTransientFromEnd(t *testing.T) {
	n := startNode(t)
	n.fill(t, 5, 1)
	c := dial(t, n.addr, sdk.Options{})
	s := subscribe(t, c, "cache", sdk.SubscribeOptions{Transient: true, Definition: definition(func(d *subscriptions.Definition) {
		d.From.Kind = core.FromEnd
	})})
	n.stop(within(t))
	n.fill(t, 3, 1)
	n.start()
	next := uint64(6)
	for d, err := range s.Events(within(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Position != next {
			t.Errorf("position %d, want %d", d.Position, next)
		}
		if next++; next > 8 {
			break
		}
	}
	list, err := c.Subscriptions().List(within(t), subscriptions.ListRequest{Transient: true, Prefix: "cache"})
	if err != nil || len(list.Subscriptions) != 1 || !list.Subscriptions[0].Transient || list.Subscriptions[0].State != delivery.Live {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := c.Subscriptions().Info(within(t), "cache"); !errors.Is(err, core.CodeSubscriptionNotFound) {
		t.Errorf("a stored one: %v", err)
	}
}

// TestTransientStops: one that stops itself ends with the reason, and does not come back by
// itself to meet the same event again.
func TestTransientStops(t *testing.T) {
	n := startNode(t)
	n.fill(t, 3, 1)
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			c := dial(t, n.addr, o)
			s := subscribe(t, c, "cache", sdk.SubscribeOptions{Transient: true, Definition: definition(func(d *subscriptions.Definition) {
				d.Retry.Max, d.Retry.Then = 1, delivery.ThenStop
			})})
			tries := 0
			err := s.Consume(within(t), func(_ context.Context, d sdk.Delivery) error {
				if d.Position == 2 {
					tries++
					return errors.New("it is bad")
				}
				return nil
			})
			if !errors.Is(err, core.CodeSubscriptionStopped) || !strings.Contains(err.Error(), "event 2 failed 1 times, the last time: nack: it is bad") || tries != 1 {
				t.Errorf("after %d tries: %v", tries, err)
			}
			if _, err := s.Next(within(t), core.Limit{}); !errors.Is(err, core.CodeSubscriptionStopped) {
				t.Errorf("and then: %v", err)
			}
			if err := s.Close(within(t)); err != nil {
				t.Error(err)
			}
			list, err := c.Subscriptions().List(within(t), subscriptions.ListRequest{Transient: true})
			if err != nil || len(list.Subscriptions) != 0 {
				t.Errorf("%+v, %v", list, err)
			}
		})
	}
}
