package subscriptions_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// A subscription gets another definition when nothing is in flight: it keeps its place,
// its parked events and its incarnation.
func TestRedefine(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(9, 3)
		n.wants(n.Redefine(ctx, "s", definition(nil)), core.CodeSubscriptionNotFound)
		n.put("s", func(d *subscriptions.Definition) { d.CheckpointThreshold = 100 })
		n.wants(n.Redefine(ctx, "s", definition(func(d *subscriptions.Definition) { d.BufferSize = 0 })), core.CodeInvalidRequest)
		n.wants(n.Redefine(ctx, "s", definition(func(d *subscriptions.Definition) { d.Filter.Expr = "data." })), core.CodeInvalidExpression)
		n.wants(n.Redefine(ctx, "s", definition(func(d *subscriptions.Definition) { d.From.Kind = core.FromEnd })), core.CodeInvalidRequest)
		before := n.info("s")

		c := n.join("s", unlimited)
		c.take(9)
		c.ack(1, 2)
		c.park(3)
		changed := func(d *subscriptions.Definition) {
			d.Filter.Types, d.BufferSize, d.PartitionBy = []string{"T1"}, 2, subscriptions.ByStream
		}
		redefined := make(chan error, 1)
		go func() { redefined <- n.Redefine(ctx, "s", definition(changed)) }()
		// It waits for what is in flight.
		c.ack(4, 5, 6, 7)
		select {
		case err := <-redefined:
			t.Fatalf("redefined with %v while 8 and 9 are in flight", err)
		default:
		}
		c.ack(8, 9)
		if err := <-redefined; err != nil {
			t.Fatal(err)
		}
		c.ends(core.CodeSubscriptionInterrupted)
		after := n.info("s")
		if after.BufferSize != 2 || after.Incarnation != before.Incarnation || after.Checkpoint != 9 || after.Parked != 1 {
			t.Errorf("%+v", after)
		}
		c = n.join("s", unlimited)
		n.fill(3, 3)
		wantPositions(t, c.take(1), []uint64{11}) // of type T1
		c.ack(11)
		if err := n.Redefine(ctx, "s", definition(changed)); err != nil { // as it is
			t.Fatal(err)
		}
		c.until(delivery.Live) // nobody was interrupted
		n.own()
		if info := n.info("s"); info.BufferSize != 2 {
			t.Errorf("%+v", info)
		}
		_, _, err := n.Put(ctx, "s", definition(nil))
		n.wants(err, core.CodeSubscriptionOptionsDiffer)
	})
}

// What is in flight longer than its deadline, because its time was extended or the
// request ends, leaves the subscription as it was.
func TestRedefineInUse(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(3, 1)
		n.put("s", func(d *subscriptions.Definition) { d.BufferSize, d.AckTimeoutMs = 2, 60_000 })
		c := n.join("s", unlimited)
		c.take(2)
		other := definition(func(d *subscriptions.Definition) { d.AckTimeoutMs = 1000 })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		n.wants(n.Redefine(ctx, "s", other), core.CodeSubscriptionInUse)
		if info := n.info("s"); info.AckTimeoutMs != 60_000 || info.InFlight != 2 {
			t.Errorf("%+v", info)
		}
		c.ack(1)
		wantPositions(t, c.take(1), []uint64{3}) // it goes on
		c.ack(2, 3)

		if err := n.Redefine(t.Context(), "s", other); err != nil {
			t.Fatal(err)
		}
		n.fill(1, 1)
		c = n.join("s", unlimited)
		wantPositions(t, c.take(1), []uint64{4})
		redefined := make(chan error, 1)
		go func() { redefined <- n.Redefine(t.Context(), "s", definition(nil)) }()
		// The deadline that there was when it began is passed again and again.
		for {
			select {
			case err := <-redefined:
				n.wants(err, core.CodeSubscriptionInUse)
				return
			default:
			}
			if err := c.Extend([]uint64{4}, 2*time.Second); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// What is not answered by its deadline has failed, and does not hold up a redefinition.
func TestRedefineAfterTheDeadline(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(1, 1)
		n.put("s", func(d *subscriptions.Definition) { d.AckTimeoutMs = 100 })
		c := n.join("s", unlimited)
		c.take(1)
		if err := n.Redefine(t.Context(), "s", definition(func(d *subscriptions.Definition) { d.BufferSize = 5 })); err != nil {
			t.Fatal(err)
		}
		wantPositions(t, n.join("s", unlimited).take(1), []uint64{1})
	})
}

// A consumer that fetches can answer while a redefinition waits for it.
func TestRedefineWaitsForFetched(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(1, 1)
		n.put("s", nil)
		_, d := n.fetch("s", unlimited, core.Limit{Events: 1, Bytes: core.MaxPageBytes})
		redefined := make(chan error, 1)
		go func() {
			redefined <- n.Redefine(t.Context(), "s", definition(func(d *subscriptions.Definition) { d.BufferSize = 5 }))
		}()
		s, err := n.Join(t.Context(), subscriptions.JoinRequest{Name: "s", Lease: d.Lease})
		if err != nil {
			t.Fatal(err)
		}
		if err := subscriptions.Do(t.Context(), s, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{1}}); err != nil {
			t.Fatal(err)
		}
		if err := <-redefined; err != nil {
			t.Fatal(err)
		}
		if info := n.info("s"); info.Checkpoint != 1 || info.BufferSize != 5 {
			t.Errorf("%+v", info)
		}
	})
}

// Parked events that hold their keys stand in the way of other keys.
func TestRedefineKeysOfParked(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(2, 2)
		n.put("s", func(d *subscriptions.Definition) {
			d.PartitionBy, d.OnPark = subscriptions.ByStream, delivery.HoldKey
		})
		c := n.join("s", unlimited)
		c.take(2)
		c.park(1)
		c.ack(2)
		other := definition(func(d *subscriptions.Definition) {
			d.PartitionBy, d.OnPark = subscriptions.ByCorrelation, delivery.HoldKey
		})
		n.wants(n.Redefine(t.Context(), "s", other), core.CodeInvalidRequest)
		if _, err := n.Drop(t.Context(), "s", subscriptions.Selection{All: true}); err != nil {
			t.Fatal(err)
		}
		if err := n.Redefine(t.Context(), "s", other); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(c.Do(t.Context(), subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{1}}), core.CodeLeaseLost) {
			t.Error("the lease goes on")
		}
	})
}

// A redefinition whose deadline is that of what is in flight says that nothing was changed,
// or it was.
func TestRedefineAtTheDeadline(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, memory.New())
			n.fill(10, 1)
			n.put("s", nil)
			_, d := n.fetch("s", unlimited, core.Limit{Events: 10, Bytes: core.MaxPageBytes})
			if d.Count != 10 {
				t.Fatalf("%d events", d.Count)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(definition(nil).AckTimeoutMs)*time.Millisecond)
			defer cancel()
			err := n.Redefine(ctx, "s", definition(func(d *subscriptions.Definition) { d.BufferSize = 7 }))
			switch changed := n.info("s").BufferSize == 7; {
			case err == nil && changed:
			case !changed && (errors.Is(err, core.CodeSubscriptionInUse) || errors.Is(err, core.CodeTimeout)):
			default:
				t.Errorf("%v, changed: %t", err, changed)
			}
		})
	}
}
