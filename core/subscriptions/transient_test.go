package subscriptions_test

import (
	"fmt"
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

		if got := n.info("s"); got.Checkpoint != 3 || got.InFlight != 9 || got.Transient {
			t.Errorf("the stored one: %+v", got)
		}
		for table, want := range map[string]int{"subscriptions": 1, "subscription_state": 1, "subscription_parked": 0} {
			if err := n.records(table, want); err != nil {
				t.Error(err)
			}
		}
		if err := n.Delete(t.Context(), "t"); err != nil {
			t.Error(err)
		}
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
	wantPositions(t, b.take(1), []uint64{4})
	_, err := n.Join(t.Context(), subscriptions.JoinRequest{Name: "s", Transient: true, Definition: definition(nil), Credit: unlimited})
	n.wants(err, core.CodeSubscriptionOptionsDiffer)
	_, err = n.Join(t.Context(), subscriptions.JoinRequest{Name: "s", Transient: true, Credit: unlimited})
	n.wants(err, core.CodeTooManySubscribers)
	a.Leave(false)
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
	n.fill(1, 1)
	wantPositions(t, c.take(1), []uint64{6})
	if err := c.Nack([]uint64{6}, delivery.Nack{Action: delivery.ActionStop, Reason: "enough"}); err != nil {
		t.Error(err)
	}
	c.until(delivery.Stopped)
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
