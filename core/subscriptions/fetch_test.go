package subscriptions_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// fetch is a subscriber without a connection that has taken its events.
func (n *node) fetch(name string, credit delivery.Credit, limit core.Limit) (*consumer, subscriptions.Delivery) {
	n.t.Helper()
	s, err := subscriptions.JoinWaiting(n.t.Context(), n, subscriptions.JoinRequest{
		Name: name, Detached: true, Wait: 10 * time.Second, Credit: credit,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	for {
		d, err := s.Next(n.t.Context(), limit)
		if err != nil {
			n.t.Fatal(err)
		}
		if d.Count > 0 {
			return &consumer{t: n.t, Waiting: s}, d
		}
	}
}

// What a fetch does not return was never sent: one attempt for each event, however the
// log was read and however small the page is, and nothing is left in flight.
func TestFetchChargesWhatItReturns(t *testing.T) {
	const events, size = 200, 2700
	anything := core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes}
	for _, c := range []struct {
		name   string
		limit  core.Limit
		credit delivery.Credit
		change func(*subscriptions.Definition)
		want   int
	}{
		{"stream", anything, unlimited, func(d *subscriptions.Definition) { d.Stream = "s-0" }, events},
		{"all", anything, unlimited, nil, 2 * events},
		{"types", anything, unlimited, func(d *subscriptions.Definition) { d.Filter.Types = []string{"T1"} }, events},
		{"keys", anything, unlimited, func(d *subscriptions.Definition) { d.PartitionBy = subscriptions.ByMetadata + "k" }, 2 * events},
		{"small page", core.Limit{Events: 1000, Bytes: 10_000}, unlimited, nil, 2 * events},
		{"few", core.Limit{Events: 7, Bytes: core.MaxPageBytes}, unlimited, nil, 2 * events},
		{"small credit", anything, delivery.Credit{Events: 50, Bytes: 20_000}, nil, 2 * events},
	} {
		t.Run(c.name, func(t *testing.T) {
			overEngines(t, func(t *testing.T, n *node) {
				var commit core.Commit
				for i := range 2 * events {
					data := fmt.Appendf(nil, `{"n":%d,"pad":"%0*d"}`, i, size, 0)
					commit.Appends = append(commit.Appends, core.Append{
						Stream: fmt.Sprintf("s-%d", i/events), Expect: core.AnyVersion,
						Events: []core.NewEvent{{Type: fmt.Sprintf("T%d", i%2), Data: data, Metadata: fmt.Appendf(nil, `{"k":"%d"}`, i%90)}},
					})
				}
				if _, err := n.store.Append(t.Context(), commit); err != nil {
					t.Fatal(err)
				}
				n.put("s", func(d *subscriptions.Definition) {
					d.Retry = delivery.Retry{Max: 1, Then: delivery.ThenSkip}
					if c.change != nil {
						c.change(d)
					}
				})
				seen := map[uint64]bool{}
				for len(seen) < c.want {
					s, d := n.fetch("s", c.credit, c.limit)
					for i, e := range d.Batch.Slice() {
						if seen[e.Position] || d.Attempts[i] != 1 {
							t.Fatalf("event %d came again, or as attempt %d", e.Position, d.Attempts[i])
						}
						seen[e.Position] = true
						if err := s.Ack([]uint64{e.Position}); err != nil {
							t.Fatal(err)
						}
					}
				}
				if i := n.info("s"); i.Totals.Sent != uint64(c.want) || i.Totals.Skipped+i.Totals.Failed > 0 || i.InFlight > 0 {
					t.Errorf("%+v", i)
				}
			})
		})
	}
}

// Events that come back lie elsewhere than new ones: a fetch returns them all together.
func TestFetchOfEventsThatComeBack(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(20, 2)
		n.put("s", func(d *subscriptions.Definition) {
			d.BufferSize, d.Retry = 8, delivery.Retry{Max: 2, Then: delivery.ThenSkip}
		})
		all := core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes}
		first, d := n.fetch("s", unlimited, all)
		if d.Count != 8 {
			t.Fatalf("%d events", d.Count)
		}
		if err := first.Nack([]uint64{2, 5, 7}, delivery.Nack{Action: delivery.ActionRetry, Delay: 0}); err != nil {
			t.Fatal(err)
		}
		if err := first.Ack([]uint64{1, 3, 4, 6, 8}); err != nil {
			t.Fatal(err)
		}
		second, d := n.fetch("s", unlimited, all)
		var positions []uint64
		for e := range d.Events() {
			positions = append(positions, e.Position)
		}
		wantPositions(t, positions, []uint64{2, 5, 7, 9, 10, 11, 12, 13})
		wantPositions(t, d.Attempts, []uint64{2, 2, 2, 1, 1, 1, 1, 1})
		if err := second.AckUpTo(13); err != nil {
			t.Fatal(err)
		}
		if i := n.info("s"); i.Totals.Sent != 16 || i.Totals.Skipped > 0 || i.Totals.Failed != 3 || i.InFlight > 0 {
			t.Errorf("%+v", i)
		}
	})
}

// A subscriber whose connection is lost has failed the first event that it took, and nothing
// else.
func TestLostSubscriberFailsWhatItBegan(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(10, 1)
		n.put("s", func(d *subscriptions.Definition) { d.Retry = delivery.Retry{Max: 1, Then: delivery.ThenSkip} })
		c := n.join("s", unlimited)
		wantPositions(t, c.take(2), numbers(1, 2))
		c.Leave(false)
		c = n.join("s", unlimited)
		wantPositions(t, c.take(9), numbers(2, 10))
		if i := n.info("s"); i.Totals.Failed != 1 || i.Totals.Sent != 11 || i.Totals.Redelivered != 1 {
			t.Errorf("%+v", i)
		}
	})
}

// A fetch waits for a place as long as for events.
func TestFetchWaitsForAPlace(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(2, 1)
		n.put("s", func(d *subscriptions.Definition) { d.BufferSize = 1 })
		all := core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes}
		first, d := n.fetch("s", unlimited, all)
		_, err := n.Join(t.Context(), subscriptions.JoinRequest{Name: "s", Detached: true, Wait: time.Millisecond, Credit: unlimited})
		n.wants(err, core.CodeSubscriptionInUse)
		_, err = n.Join(t.Context(), subscriptions.JoinRequest{Name: "s", Credit: unlimited}) // which does not wait
		n.wants(err, core.CodeSubscriptionInUse)
		second := make(chan uint64)
		go func() {
			s, err := subscriptions.JoinWaiting(t.Context(), n, subscriptions.JoinRequest{
				Name: "s", Detached: true, Wait: time.Minute, Credit: unlimited,
			})
			for err == nil {
				var d subscriptions.Delivery
				if d, err = s.Next(t.Context(), all); d.Count > 0 {
					second <- d.First
					return
				}
			}
			t.Error(err)
			second <- 0
		}()
		first.ack(d.First)
		if got := <-second; got != 2 {
			t.Errorf("the second has %d", got)
		}
	})
}
