package subscriptions_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// joinTransient joins a transient subscription.
func (n *node) joinTransient(name string, change func(*subscriptions.Definition)) *consumer {
	n.t.Helper()
	s, err := subscriptions.JoinWaiting(n.t.Context(), n, subscriptions.JoinRequest{Name: name, Definition: definition(change), Transient: true, Credit: unlimited})
	if err != nil {
		n.t.Fatal(err)
	}
	return &consumer{t: n.t, Waiting: s}
}

// transient lists the transient subscriptions.
func (n *node) transient() []subscriptions.Info {
	n.t.Helper()
	page, err := n.List(n.t.Context(), subscriptions.ListRequest{Transient: true})
	if err != nil || !page.End {
		n.t.Fatalf("%+v, %v", page, err)
	}
	return page.Subscriptions
}

// G17: a transient subscription begins at its start each time, stores nothing, and does not
// disturb a stored one of its name, nor that it.
func TestTransient(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(10, 2)
		n.put("s", nil)
		stored := n.join("s", unlimited)
		wantPositions(t, stored.take(10), numbers(1, 10))
		stored.ack(1, 2, 3)
		n.stored("s", 3)
		for range 2 {
			c := n.joinTransient("s", nil)
			wantPositions(t, c.take(10), numbers(1, 10))
			c.ack(numbers(1, 10)...)
			c.until(delivery.Live)
			eventually(t, func() error {
				if got := n.transient(); len(got) != 1 || !got[0].Transient || got[0].Name != "s" || got[0].Checkpoint != 10 || got[0].Lag != 0 {
					return fmt.Errorf("%+v", got)
				}
				return nil
			})
			c.Leave(true)
			c.ends(core.CodeCanceled)
			if got := n.transient(); len(got) != 0 {
				t.Errorf("after its last subscriber: %+v", got)
			}
		}
		from := n.joinTransient("t", func(d *subscriptions.Definition) { d.From = core.From{Kind: core.AfterPosition, N: 7} })
		end := n.joinTransient("u", func(d *subscriptions.Definition) { d.From = core.From{Kind: core.FromEnd} })
		wantPositions(t, from.take(3), numbers(8, 10))
		end.until(delivery.Live)
		n.fill(2, 1)
		wantPositions(t, from.take(2), numbers(11, 12))
		wantPositions(t, end.take(2), numbers(11, 12))

		eventually(t, func() error {
			if got := n.info("s"); got.Checkpoint != 3 || got.InFlight != 9 || got.Transient {
				return fmt.Errorf("the stored one: %+v", got)
			}
			return nil
		})
		for table, want := range map[string]int{"subscriptions": 1, "subscription_state": 1, "subscription_parked": 0} {
			if err := n.records(table, want); err != nil {
				t.Error(err)
			}
		}
		n.wants(n.Delete(t.Context(), "t"), core.CodeSubscriptionNotFound)
		_, err := n.Info(t.Context(), "t")
		n.wants(err, core.CodeSubscriptionNotFound)
		n.fill(1, 1)
		wantPositions(t, from.take(1), []uint64{13})
		n.close(n.Owner)
		from.ends(core.CodeShuttingDown)
		n.own()
	})
}

// Several subscribers of one share its events; who comes later joins it where it is, and
// it goes on as long as one is there.
func TestTransientCompeting(t *testing.T) {
	n := newNode(t, memory.New())
	n.fill(12, 3)
	two := func(d *subscriptions.Definition) {
		d.ConcurrencyLimit, d.BufferSize, d.PartitionBy = 2, 2, subscriptions.ByStream
		d.Filter.Streams = []string{"s-0", "s-1"}
	}
	a := n.joinTransient("s", two)
	wantPositions(t, a.take(2), []uint64{1, 2})
	b := n.joinTransient("s", func(d *subscriptions.Definition) {
		two(d)
		d.From = core.From{Kind: core.FromEnd}
	})
	a.ack(1)
	wantPositions(t, b.take(2), []uint64{4, 7}) // the key has moved
	_, err := n.Join(t.Context(), subscriptions.JoinRequest{Name: "s", Transient: true, Definition: definition(nil), Credit: unlimited})
	n.wants(err, core.CodeSubscriptionOptionsDiffer)
	_, err = n.Join(t.Context(), subscriptions.JoinRequest{Name: "s", Transient: true, Credit: unlimited})
	n.wants(err, core.CodeTooManySubscribers)
	a.Leave(false)
	b.ack(4)
	wantPositions(t, b.take(1), []uint64{2})
	b.Leave(true)
	wantPositions(t, n.joinTransient("s", two).take(2), []uint64{1, 2})
}

// What would be parked is passed over and counted; retries and the time to ack are kept.
func TestTransientParksNothing(t *testing.T) {
	n := newNode(t, memory.New())
	n.fill(5, 1)
	c := n.joinTransient("s", func(d *subscriptions.Definition) { d.Retry.Max, d.Retry.MinMs, d.AckTimeoutMs = 2, 0, 50 })
	wantPositions(t, c.take(5), numbers(1, 5))
	c.park(2)
	c.ack(1, 4, 5)
	wantPositions(t, c.take(1), []uint64{3}) // its time is over, and then once more
	eventually(t, func() error {
		i := n.transient()[0]
		if i.Checkpoint != 5 || i.Totals.Parked != 2 || i.Totals.Failed != 3 || i.Parked != 0 {
			return fmt.Errorf("%+v", i)
		}
		return nil
	})
	if err := n.records("subscription_parked", 0); err != nil {
		t.Error(err)
	}
}

// A transient subscription that stops itself is over, since nobody could resume it: its
// subscribers are told why, nothing is left of it, and who joins begins anew.
func TestTransientStops(t *testing.T) {
	two := func(d *subscriptions.Definition) {
		d.ConcurrencyLimit, d.BufferSize, d.AckTimeoutMs = 2, 2, 10_000
		d.Retry = delivery.Retry{Max: 2, Then: delivery.ThenStop}
	}
	quick := func(d *subscriptions.Definition) { two(d); d.AckTimeoutMs, d.Retry.Max = 200, 1 }
	for name, c := range map[string]struct {
		define func(*subscriptions.Definition)
		stop   func(*consumer) error
		why    string
	}{
		"asked to": {two, func(a *consumer) error {
			return a.Nack([]uint64{2}, delivery.Nack{Action: delivery.ActionStop, Reason: "enough"})
		}, `subscription "s" has stopped: enough`},
		"of failures": {two, func(a *consumer) error {
			if err := a.Nack([]uint64{2}, delivery.Nack{Action: delivery.ActionRetry, Reason: "bad"}); err != nil {
				return err
			}
			if got := a.take(1); got[0] != 2 {
				return fmt.Errorf("then came position %d", got[0])
			}
			return a.Nack([]uint64{2}, delivery.Nack{Action: delivery.ActionRetry, Reason: "bad"})
		}, `subscription "s" has stopped: event 2 failed 2 times, the last time: nack: bad`},
		"of time": {quick, func(*consumer) error { return nil }, `subscription "s" has stopped: event `},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, memory.New())
			n.fill(6, 1)
			a := n.joinTransient("s", c.define)
			wantPositions(t, a.take(2), []uint64{1, 2})
			b := n.joinTransient("s", c.define)
			wantPositions(t, b.take(2), []uint64{3, 4})
			if err := c.stop(a); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*consumer{a, b} {
				s.ends(core.CodeSubscriptionStopped)
				_, err := s.Next(t.Context(), core.Limit{})
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("it ended with %v", err)
				}
				n.wants(s.Ack([]uint64{3}), core.CodeLeaseLost)
				s.Leave(true)
			}
			if got := n.transient(); len(got) != 0 {
				t.Errorf("it is still there: %+v", got)
			}
			again := n.joinTransient("s", nil)
			wantPositions(t, again.take(6), numbers(1, 6))
			again.Leave(true)
			for _, table := range []string{"subscriptions", "subscription_state", "subscription_parked", "subscription_replays"} {
				if err := n.records(table, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestTransientRefused(t *testing.T) {
	n := newNode(t, memory.New())
	n.close(n.Owner)
	var err error
	if n.Owner, err = subscriptions.New(subscriptions.Config{Store: n.store, MaxActive: 2}); err != nil {
		t.Fatal(err)
	}
	defer n.close(n.Owner)
	for _, r := range []subscriptions.JoinRequest{
		{Detached: true, Wait: time.Second},
		{Definition: definition(func(d *subscriptions.Definition) { d.Paused = true })},
		{Definition: definition(func(d *subscriptions.Definition) { d.OnPark, d.PartitionBy = delivery.HoldKey, subscriptions.ByStream })},
		{Definition: definition(func(d *subscriptions.Definition) { d.BufferSize = 0 })},
	} {
		r.Name, r.Transient, r.Credit = "s", true, unlimited
		_, err := n.Join(t.Context(), r)
		n.wants(err, core.CodeInvalidRequest)
	}
	a := n.joinTransient("a", nil)
	b := n.joinTransient("b", nil)
	page, err := n.List(t.Context(), subscriptions.ListRequest{Transient: true, Limit: 1})
	if err != nil || page.End || len(page.Subscriptions) != 1 || page.Subscriptions[0].Name != "a" {
		t.Errorf("%+v, %v", page, err)
	}
	page, err = n.List(t.Context(), subscriptions.ListRequest{Transient: true, After: "a"})
	if err != nil || !page.End || len(page.Subscriptions) != 1 || page.Subscriptions[0].Name != "b" {
		t.Errorf("%+v, %v", page, err)
	}
	_, err = n.Join(t.Context(), subscriptions.JoinRequest{Name: "c", Transient: true, Credit: unlimited})
	n.wants(err, core.CodeOverloaded)
	a.Leave(true)
	b.Leave(true)
	eventually(t, func() error {
		s, err := n.Join(t.Context(), subscriptions.JoinRequest{Name: "c", Transient: true, Credit: unlimited})
		if err == nil {
			s.Leave(true)
		}
		return err
	})
}
