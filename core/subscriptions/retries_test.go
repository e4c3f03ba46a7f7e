package subscriptions_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// TestLostConsumersParkNothing has ten consumers take a buffer and vanish, under the default
// policy of ten attempts.
func TestLostConsumersParkNothing(t *testing.T) {
	for by, name := range map[string]string{delivery.Unpartitioned: "plain", subscriptions.ByStream: "keys"} {
		t.Run(name, func(t *testing.T) {
			overEngines(t, func(t *testing.T, n *node) {
				n.fill(200, 8)
				n.put(name, func(d *subscriptions.Definition) { d.PartitionBy = by })
				first := n.join(name, unlimited)
				first.take(64)
				for range 10 {
					first.Leave(false)
					first = n.join(name, unlimited)
					for ok := true; ok; { // what may be sent at once
						var err error
						if _, ok, err = first.Take(core.Limit{Events: 1000, Bytes: 1 << 20}); err != nil {
							t.Fatal(err)
						}
					}
				}
				first.Leave(false)
				if i := n.info(name); i.Parked > 0 || i.Totals.Parked > 0 || i.Checkpoint > 0 {
					t.Errorf("%s: after ten lost consumers: %+v", by, i)
				}
				c := n.join(name, unlimited)
				for handled := 0; handled < 200; {
					positions := c.take(1)
					if err := c.Ack(positions); err != nil {
						t.Fatal(err)
					}
					handled += len(positions)
				}
			})
		})
	}
}

// twice parks what failed twice.
func twice(d *subscriptions.Definition) { d.Retry = delivery.Retry{Max: 2, Then: delivery.ThenPark} }

// attempt waits for one event and returns which attempt it is.
func (c *consumer) attempt(position uint64) uint64 {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	for {
		d, err := c.Next(ctx, core.Limit{Events: 1, Bytes: 1})
		if err != nil {
			c.t.Fatalf("event %d does not come: %v", position, err)
		}
		if d.Count > 0 {
			wantPositions(c.t, []uint64{d.First}, []uint64{position})
			return d.Attempts[0]
		}
	}
}

func (c *consumer) fail(position uint64, delay time.Duration) {
	c.t.Helper()
	n := delivery.Nack{Action: delivery.ActionRetry, Delay: delay, Reason: "it is bad"}
	if err := c.Do(c.t.Context(), subscriptions.Answer{Kind: subscriptions.Nack, Positions: []uint64{position}, Nack: n}); err != nil {
		c.t.Fatal(err)
	}
}

// restart closes the owner, and makes another as the next process would.
func (n *node) restart() {
	n.t.Helper()
	n.close(n.Owner)
	n.own()
}

// An event that fails at one owner and at the next is parked when both failures together
// are as many as may be, also if it is its consumer that ends.
func TestAttemptsOutliveOwners(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(2, 1)
		for name, fail := range map[string]func(*consumer){
			"nacked": func(c *consumer) { c.fail(1, 0); c.Leave(true) },
			"killed": func(c *consumer) { c.Leave(false) },
		} {
			n.put(name, twice)
			for attempt := uint64(1); attempt <= 2; attempt++ {
				c := n.join(name, delivery.Credit{Events: 1, Bytes: 1})
				if got := c.attempt(1); got != attempt {
					t.Errorf("%s: attempt %d, want %d", name, got, attempt)
				}
				fail(c)
				n.restart()
			}
			page, err := n.Parked(t.Context(), name, subscriptions.ParkedRequest{})
			if err != nil || len(page.Parked) != 1 {
				t.Fatalf("%s: parked %+v, %v", name, page.Parked, err)
			}
			if p := page.Parked[0]; p.Position != 1 || p.Attempts != 2 || len(p.Failures) != 2 || p.Cause != delivery.CauseRetries {
				t.Errorf("%s: parked %+v", name, p)
			}
		}
		if err := n.records("subscription_failed", 0); err != nil {
			t.Error(err)
		}
	})
}

// A replayed event that kills its consumers is given up, too.
func TestAttemptsOfReplaysOutliveOwners(t *testing.T) {
	n := newNode(t, memory.New())
	n.fill(1, 1)
	n.put("s", twice)
	c := n.join("s", unlimited)
	c.attempt(1)
	c.park(1)
	if replayed, err := n.Replay(t.Context(), "s", subscriptions.Selection{All: true}); err != nil || replayed != 1 {
		t.Fatalf("%d replayed, %v", replayed, err)
	}
	for attempt := uint64(2); attempt <= 3; attempt++ {
		if got := c.attempt(1); got != attempt {
			t.Errorf("attempt %d, want %d", got, attempt)
		}
		c.Leave(false)
		n.restart()
		c = n.join("s", unlimited)
	}
	eventually(t, func() error { return n.records("subscription_replays", 0) })
	eventually(t, func() error { return n.records("subscription_failed", 0) })
	if i := n.info("s"); i.Parked != 1 {
		t.Errorf("%+v", i)
	}
}

// A backoff of an hour is an hour, whoever hosts the subscription meanwhile; resetting or
// deleting the subscription ends it.
func TestBackoffOutlivesOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New())
		n.fill(1, 1)
		for _, name := range []string{"s", "reset", "deleted"} {
			n.put(name, twice)
			c := n.join(name, unlimited)
			c.attempt(1)
			c.fail(1, time.Hour)
			c.Leave(true)
		}
		for range 4 {
			time.Sleep(6 * time.Second) // the host is gone
			c := n.join("s", unlimited)
			c.until(delivery.Live)
			if i := n.info("s"); i.Retrying != 1 || i.InFlight > 0 {
				t.Errorf("%+v", i)
			}
			c.Leave(true)
		}
		n.restart()
		if err := n.Reset(t.Context(), "reset", core.From{}); err != nil {
			t.Fatal(err)
		}
		anew := n.join("reset", unlimited)
		if got := anew.attempt(1); got != 1 {
			t.Errorf("attempt %d after the reset", got)
		}
		anew.ack(1)
		if err := n.Delete(t.Context(), "deleted"); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return n.records("subscription_failed", 1) })
		time.Sleep(59 * time.Minute)
		c := n.join("s", unlimited)
		c.until(delivery.Live)
		time.Sleep(time.Minute)
		if got := c.attempt(1); got != 2 {
			t.Errorf("attempt %d after an hour", got)
		}
		c.ack(1)
		n.stored("s", 1)
		if err := n.records("subscription_failed", 0); err != nil {
			t.Error(err)
		}
	})
}

// An operator sees what waits for a retry also while nobody is subscribed: on the node that
// has sent it, and after a restart.
func TestRetryingWhileIdle(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(4, 1)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.take(4)
		c.ack(1)
		c.fail(2, time.Hour)
		c.fail(4, time.Hour)
		c.park(3)
		if _, err := n.Replay(t.Context(), "s", subscriptions.Selection{All: true}); err != nil {
			t.Fatal(err)
		}
		c.attempt(3)
		c.fail(3, time.Hour)
		c.Leave(true)
		for range 2 {
			if i := n.info("s"); i.State != delivery.Idle || i.Retrying != 3 {
				t.Errorf("%+v", i)
			}
			n.restart()
		}
	})
}
