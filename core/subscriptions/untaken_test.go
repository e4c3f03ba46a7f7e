package subscriptions_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// bubble runs a test of five events with a time to ack of a second, in time that passes
// only while everything waits.
func bubble(t *testing.T, test func(t *testing.T, n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		owner, err := subscriptions.New(subscriptions.Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		n := &node{t: t, store: store, Owner: owner}
		n.fill(5, 1)
		n.put("s", func(d *subscriptions.Definition) {
			d.BufferSize, d.AckTimeoutMs = 5, 1000
			d.Retry = delivery.Retry{Max: 1, Then: delivery.ThenPark}
		})
		test(t, n)
		n.close(owner)
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The time to ack begins when a subscriber takes an event, so a connection that is slower
// than that time is not charged for what it was not given. It ends as ever after that.
func TestUntakenEventsDoNotTimeOut(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		c := n.join("s", unlimited)
		for position := uint64(1); position <= 5; position++ {
			time.Sleep(2500 * time.Millisecond)
			wantPositions(t, c.take(1), []uint64{position})
			time.Sleep(900 * time.Millisecond)
			if position < 5 {
				c.ack(position)
			}
		}
		n.wantsParked("s")
		time.Sleep(101 * time.Millisecond)
		synctest.Wait()
		n.wantsParked("s", 5)
		if totals := n.info("s").Totals; totals.Failed != 1 || totals.Redelivered != 0 {
			t.Errorf("%d attempts failed, %d events were sent again", totals.Failed, totals.Redelivered)
		}
		c.Leave(true)
	})
}

// A fetch that takes its batch late has the whole time to ack, too.
func TestUntakenFetchDoesNotTimeOut(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		c := n.joinAs(subscriptions.JoinRequest{Name: "s", Detached: true, Wait: time.Minute, Credit: unlimited})
		time.Sleep(950 * time.Millisecond)
		wantPositions(t, c.take(5), numbers(1, 5))
		time.Sleep(900 * time.Millisecond)
		c.ack(numbers(1, 5)...)
		n.wantsParked("s")
	})
}
