package subscriptions_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// getsNothing wants no event to come within a time.
func (c *consumer) getsNothing(within time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), within)
	defer cancel()
	for {
		d, err := c.Next(ctx, core.Limit{Events: 1000, Bytes: 1 << 20})
		if err != nil {
			if ctx.Err() == nil {
				c.t.Fatal(err)
			}
			return
		}
		if d.Count > 0 {
			c.t.Fatalf("got events %d to %d of a deleted stream", d.First, d.Last)
		}
	}
}

func (n *node) replayAll(name string) {
	n.t.Helper()
	if count, err := n.Replay(n.t.Context(), name, subscriptions.Selection{All: true}); err != nil || count != 1 {
		n.t.Fatalf("replays %d events, %v", count, err)
	}
}

// D10: nothing of what was read ahead of a deletion is handed out, and nobody misses it when the
// stream is back. A subscriber that joins meanwhile is told the state.
func TestDeletionOfWhatWasReadAhead(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(60, 2) // s-0 has the odd ones
		n.put("s", func(d *subscriptions.Definition) { d.Stream, d.ConcurrencyLimit = "s-0", 2 })
		c, d := n.fetch("s", unlimited, core.Limit{Events: 3, Bytes: core.MaxPageBytes})
		if d.First != 1 || d.Last != 5 {
			t.Fatalf("fetched %d to %d", d.First, d.Last)
		}
		n.put("all", func(d *subscriptions.Definition) { d.Filter.Streams = []string{"s-*"} })
		n.change("s-0", core.DeleteStream)
		n.join("s", unlimited).until(delivery.Live)
		wantPositions(t, n.join("all", unlimited).take(60), numbers(1, 60))
		c.ack(1, 3, 5)
		if i := n.info("s"); i.Totals.Acked != 3 || i.Totals.Expired != 0 {
			t.Errorf("while it is deleted %+v", i)
		}
	})
}

// What was read ahead of a deletion is handed out once when the stream is back, however often it
// was away.
func TestUndeletionOfWhatWasReadAhead(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(60, 2)
		n.putOver("s", "s-0")
		c := n.join("s", unlimited)
		wantPositions(t, c.take(1), []uint64{1})
		for range 3 {
			n.change("s-0", core.DeleteStream)
			if d, _, err := c.Take(core.Limit{Events: 1, Bytes: 1}); d.Count > 0 || err != nil {
				t.Errorf("took %d events, %v", d.Count, err)
			}
			n.change("s-0", core.UndeleteStream)
		}
		wantPositions(t, c.take(29), odd(3, 59))
	})
}

// odd are the odd numbers from first to last.
func odd(first, last uint64) (all []uint64) {
	for n := first; n <= last; n += 2 {
		all = append(all, n)
	}
	return all
}

// While its stream is deleted, retries and replays wait, too, and no time to ack ends. Afterwards
// everything comes once, in its order.
func TestDeletedStreamWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New())
		n.fill(40, 2)
		n.putOver("s", "s-0")
		c := n.join("s", unlimited)
		wantPositions(t, c.take(4), odd(1, 7))
		c.ack(1)
		c.fail(3, time.Minute)
		c.park(5)
		n.wantsParked("s", 5)
		n.change("s-0", core.DeleteStream)
		c.ack(7)
		c.getsNothing(10 * time.Minute)
		n.replayAll("s")
		c.getsNothing(10 * time.Minute)
		n.change("s-0", core.UndeleteStream)
		var fresh, again []uint64
		for len(fresh)+len(again) < 18 {
			d, err := c.Next(t.Context(), core.Limit{Events: 1, Bytes: 1})
			switch {
			case err != nil:
				t.Fatal(err)
			case d.Count == 0:
			case d.Attempts[0] > 1:
				again = append(again, d.First)
			default:
				fresh = append(fresh, d.First)
			}
		}
		wantPositions(t, fresh, odd(9, 39))
		slices.Sort(again)
		wantPositions(t, again, []uint64{3, 5})
		c.ack(append(fresh, again...)...)
		c.getsNothing(time.Minute)
		if i := n.info("s"); i.InFlight+i.Parked+int(i.Totals.Expired) > 0 || i.Totals.Acked != 20 || i.Totals.Failed != 2 {
			t.Errorf("afterwards %+v", i)
		}
		n.close(n.Owner)
		_ = n.store.Close()
	})
}

// A replay waits for the stream that was deleted before the subscription was hosted.
func TestReplayOfDeletedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New())
		n.fill(4, 2)
		n.putOver("s", "s-0")
		c := n.join("s", unlimited)
		wantPositions(t, c.take(2), []uint64{1, 3})
		c.park(3)
		n.wantsParked("s", 3)
		n.change("s-0", core.DeleteStream)
		n.restart()
		n.replayAll("s")
		c = n.join("s", unlimited)
		c.getsNothing(10 * time.Minute)
		n.change("s-0", core.UndeleteStream)
		got := c.take(2)
		slices.Sort(got)
		wantPositions(t, got, []uint64{1, 3})
		n.close(n.Owner)
		_ = n.store.Close()
	})
}
