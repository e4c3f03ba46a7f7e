package subscriptions_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// What a nack has parked is listed and replayed as soon as the nack is done: also where
// the retries were too many, and where other events of the key are parked with it.
func TestParkedWhenDone(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(20, 2)
		n.put("s", func(d *subscriptions.Definition) {
			d.Retry = delivery.Retry{Max: 1, Then: delivery.ThenPark}
			d.PartitionBy, d.OnPark = subscriptions.ByStream, delivery.HoldKey
		})
		c := n.join("s", unlimited)
		c.take(1)
		c.park(1)
		wantPositions(t, n.parked("s"), []uint64{1, 3, 5, 7, 9, 11, 13, 15, 17, 19})
		if got := n.info("s").Parked; got != 10 {
			t.Errorf("%d are counted", got)
		}
		if got, err := n.Replay(ctx, "s", subscriptions.Selection{All: true}); got != 10 || err != nil {
			t.Errorf("%d are replayed, %v", got, err)
		}
		c.Leave(true)

		n.put("t", func(d *subscriptions.Definition) { d.Retry = delivery.Retry{Max: 1, Then: delivery.ThenPark} })
		c = n.join("t", unlimited)
		c.take(20)
		if err := c.Nack([]uint64{4, 99}, delivery.Nack{Action: delivery.ActionRetry}); !errors.Is(err, core.CodeUnexpectedAck) {
			t.Errorf("nack: %v", err)
		}
		wantPositions(t, n.parked("t"), []uint64{4})
	})
}

// A durable ack is done when the checkpoint is stored that has passed the events, whatever
// the subscription's own pace is.
func TestDurableAck(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(10, 1)
		n.put("s", func(d *subscriptions.Definition) { d.CheckpointThreshold = 1000 })
		c := n.join("s", unlimited)
		c.take(10)
		durable := func(a subscriptions.Answer) error {
			a.Durable = true
			return c.Do(ctx, a)
		}
		if err := durable(subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: 3}); err != nil {
			t.Fatal(err)
		}
		if got := n.info("s").Checkpoint; got != 3 {
			t.Errorf("the checkpoint is %d", got)
		}
		// It waits for an earlier event.
		done := make(chan error, 1)
		c.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{5, 6}, Durable: true}, func(err error) { done <- err })
		c.ack(7)
		select {
		case err := <-done:
			t.Fatalf("done with %v before 4 is", err)
		default:
		}
		c.ack(4)
		if err := <-done; err != nil || n.info("s").Checkpoint < 6 {
			t.Errorf("%v, the checkpoint is %d", err, n.info("s").Checkpoint)
		}
		if err := durable(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{99}}); !errors.Is(err, core.CodeUnexpectedAck) {
			t.Errorf("ack of 99: %v", err)
		}
		// A parked event is no longer, when the ack of its replay is done.
		c.park(8)
		if _, err := n.Replay(ctx, "s", subscriptions.Selection{All: true}); err != nil {
			t.Fatal(err)
		}
		wantPositions(t, c.take(1), []uint64{8})
		if err := durable(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{8}}); err != nil {
			t.Fatal(err)
		}
		wantPositions(t, n.parked("s"), nil)
		// The end of the subscription is the end of what waits.
		c.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{10}, Durable: true}, func(err error) { done <- err })
		if err := n.Delete(ctx, "s"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, core.CodeLeaseLost) {
			t.Errorf("ended with %v", err)
		}
	})
}

// A durable ack of a transient subscription is done at once: nothing of it is stored.
func TestDurableAckOfTransient(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(3, 1)
		s, err := subscriptions.JoinWaiting(t.Context(), n, subscriptions.JoinRequest{Name: "s", Transient: true, Credit: unlimited})
		if err != nil {
			t.Fatal(err)
		}
		c := &consumer{t: t, Waiting: s}
		c.take(3)
		if err := c.Do(t.Context(), subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: 3, Durable: true}); err != nil {
			t.Fatal(err)
		}
		if err := c.Nack(c.take(0), delivery.Nack{Action: delivery.ActionPark}); err != nil {
			t.Fatal(err)
		}
	})
}

// Many durable acks at once, in any order, are all done.
func TestManyDurableAcks(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		const events = 200
		n.fill(events, 3)
		n.put("s", func(d *subscriptions.Definition) { d.BufferSize, d.CheckpointThreshold = events, 7 })
		c := n.join("s", unlimited)
		done := make(chan error, events)
		for _, p := range c.take(events) {
			p = events + 1 - p // the last first
			go c.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{p}, Durable: true}, func(err error) {
				done <- err
			})
		}
		for range events {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(time.Minute):
				t.Fatal("an ack is never done")
			}
		}
		if got := n.info("s").Checkpoint; got != events {
			t.Errorf("the checkpoint is %d", got)
		}
	})
}
