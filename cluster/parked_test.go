package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// What was parked at a node that dies, and is removed before another one owns its subscription,
// leaves when that one does.
func TestParkedEventsAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, time.Millisecond)
		owner := w.awaitOwner("moving")
		next := w.nodes[2-owner.self.Session]
		ctx := t.Context()
		s, err := subscriptions.JoinWaiting(ctx, owner.router, subscriptions.JoinRequest{
			Name: "moving", Definition: keyed(), Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
		})
		if err != nil {
			t.Fatal(err)
		}
		next.append(ctx, 0, 1)
		d := nextEvent(t, s)
		nack := subscriptions.Answer{Kind: subscriptions.Nack, Positions: []uint64{d.First}, Nack: delivery.Nack{Action: delivery.ActionPark}}
		if err := s.Do(ctx, nack); err != nil {
			t.Fatal(err)
		}
		owner.stop()
		remove := core.StreamOp{Stream: "s-0", Expect: core.AnyVersion, Action: core.RemoveStream}
		if _, err := next.hosting.store.Append(ctx, core.Commit{Streams: []core.StreamOp{remove}}); err != nil {
			t.Fatal(err)
		}
		parked := func(want int) {
			t.Helper()
			synctest.Wait()
			if err := next.owner.AwaitExpired(ctx); err != nil {
				t.Fatal(err)
			}
			if got, err := next.store.Records(ctx, core.RecordsRequest{Table: "subscription_parked", Limit: 10}); err != nil || len(got) != want {
				t.Errorf("%d events are parked, want %d; %v", len(got), want, err)
			}
		}
		parked(1)
		w.setView(next)
		w.awaitOwner("moving")
		parked(0)
	})
}
