package subscriptions_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// streamsOf are the streams of a delivery's events, each once.
func streamsOf(d subscriptions.Delivery) (streams []string) {
	for e := range d.Events() {
		if !slices.Contains(streams, e.Stream) {
			streams = append(streams, e.Stream)
		}
	}
	return streams
}

// A fetch after a removal has nothing of what the window had read before.
func TestFetchAfterRemoval(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(60, 3)
		n.put("s", nil)
		limit := core.Limit{Events: 2, Bytes: core.MaxPageBytes}
		c, d := n.fetch("s", unlimited, limit)
		if d.First != 1 || d.Last != 2 {
			t.Fatalf("fetched %d to %d", d.First, d.Last)
		}
		n.change("s-1", core.RemoveStream)
		if err := c.Ack([]uint64{1, 2}); err != nil { // 2 is of s-1
			t.Fatal(err)
		}
		all := core.Limit{Events: 1000, Bytes: core.MaxPageBytes}
		c, d = n.fetch("s", unlimited, all)
		if got := streamsOf(d); !slices.Equal(got, []string{"s-2", "s-0"}) || d.Count != 39 {
			t.Errorf("fetched %d events of %v", d.Count, got)
		}
		if err := c.Do(t.Context(), subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: d.Last, Durable: true}); err != nil {
			t.Error(err)
		}
		if i := n.info("s"); i.Checkpoint < 60 || i.Totals.Expired < 19 || i.Totals.Expired+i.Totals.Acked != 60 {
			t.Errorf("afterwards %+v", i)
		}
	})
}

// What was sent to a subscriber that had not taken it is not sent after a removal, and it has
// the credit for it again. A stream that is only deleted keeps its events.
func TestCreditOfRemovedEvents(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(12, 3)
		n.put("s", nil)
		c := n.join("s", delivery.Credit{Events: 3, Bytes: 1 << 20})
		for n.info("s").InFlight < 3 {
			n.fill(3, 3)
		}
		n.change("s-0", core.DeleteStream)
		n.change("s-1", core.RemoveStream)
		if got, want := c.take(3), []uint64{1, 3, 4}; !slices.Equal(got, want) {
			t.Errorf("took %v, want %v", got, want)
		}
	})
}

// An event that waits for its next attempt and is removed leaves the checkpoint free.
func TestRemovalOfWhatRetries(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(2, 2)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.take(2)
		if err := c.Nack([]uint64{1}, delivery.Nack{Action: delivery.ActionRetry, Delay: time.Hour, Reason: "secret"}); err != nil {
			t.Fatal(err)
		}
		n.change("s-0", core.RemoveStream)
		if err := c.Do(t.Context(), subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{2}, Durable: true}); err != nil {
			t.Fatal(err)
		}
		if i := n.info("s"); i.Retrying != 0 || i.Totals.Expired != 1 {
			t.Errorf("afterwards %+v", i)
		}
		c.Leave(true)
		n.close(n.Owner)
		n.own()
		if i := n.info("s"); i.Retrying != 0 {
			t.Errorf("its failure is stored still: %+v", i)
		}
	})
}

// A subscription of a stream loses the links of a removed stream, and answers by version may
// name them.
func TestRemovalOfLinkedEvents(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ids := []core.ID{core.NewID(), core.NewID(), core.NewID()}
		var c core.Commit
		for i, id := range ids {
			c.Appends = append(c.Appends, core.Append{
				Stream: fmt.Sprintf("home-%d", i), Expect: core.AnyVersion, Events: []core.NewEvent{{ID: id, Type: "T", Data: []byte("{}")}}})
		}
		if _, err := n.store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := n.store.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "links", Expect: core.AnyVersion, Links: ids}}}); err != nil {
			t.Fatal(err)
		}
		n.put("s", func(d *subscriptions.Definition) { d.Stream, d.BufferSize = "links", 2 })
		sub := n.join("s", unlimited)
		sub.take(2)
		n.change("home-1", core.RemoveStream)
		n.change("home-2", core.RemoveStream)
		if err := n.AwaitExpired(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, version := range []uint64{2, 1} {
			a := subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{version}, ByVersion: true, Durable: version == 1}
			if err := sub.Do(t.Context(), a); err != nil {
				t.Errorf("version %d: %v", version, err)
			}
		}
		if i := n.info("s"); i.Totals.Expired != 2 || i.Totals.Acked != 1 || i.Finished < 6 {
			t.Errorf("afterwards %+v", i)
		}
	})
}

// What is gone is found out from storage, too, where more was removed than a Store remembers.
func TestGoneByStorage(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(9, 3)
		events := func() (raws [][]byte) {
			for e, err := range core.ReadAll(t.Context(), n.store, core.ReadRequest{Stream: core.All}) {
				if err != nil {
					t.Fatal(err)
				}
				raws = append(raws, slices.Clone(e.Raw))
			}
			return raws
		}
		before, seen := events(), n.store.Removals()
		n.change("s-0", core.RemoveStream)
		n.change("s-2", core.DeleteStream)
		n.fill(2, 2)
		want := []bool{true, false, false, true, false, false, true, false, false}
		for round := range 3 {
			for _, since := range []uint64{0, seen} {
				got, err := n.store.Gone(t.Context(), since, before)
				if err != nil || !slices.Equal(got, want) {
					t.Fatalf("gone are %v, %v; want %v", got, err, want)
				}
			}
			if got, err := n.store.Gone(t.Context(), seen, events()); err != nil || slices.Contains(got, true) {
				t.Fatalf("of what is there, gone are %v, %v", got, err)
			}
			var c core.Commit
			for i := range core.MaxCommitStreams {
				c.Streams = append(c.Streams, core.StreamOp{Stream: fmt.Sprintf("none-%d-%d", round, i), Action: core.TombstoneStream, Expect: core.AnyVersion})
			}
			if _, err := n.store.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A parked event that is removed leaves with its record, which says why it was parked: at once,
// or when an Owner comes.
func TestRemovalOfParkedEvents(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		parked := func() (records int) {
			found, err := n.store.Records(t.Context(), core.RecordsRequest{Table: "subscription_parked", Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			return len(found)
		}
		n.fill(6, 3)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.take(6)
		if err := c.Nack([]uint64{1, 2, 3, 4}, delivery.Nack{Action: delivery.ActionPark, Reason: "secret"}); err != nil {
			t.Fatal(err)
		}
		if err := c.Ack([]uint64{5, 6}); err != nil {
			t.Fatal(err)
		}
		n.change("s-0", core.RemoveStream)
		if err := n.AwaitExpired(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i := n.info("s"); parked() != 2 || i.Parked != 2 || i.Totals.Expired != 2 {
			t.Errorf("%d records are left: %+v", parked(), i)
		}
		c.Leave(true)
		n.close(n.Owner)
		n.change("s-1", core.TombstoneStream)
		n.own()
		if err := n.AwaitExpired(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i := n.info("s"); parked() != 1 || i.Parked != 1 {
			t.Errorf("%d records are left: %+v", parked(), i)
		}
		if count, err := n.Replay(t.Context(), "s", subscriptions.Selection{All: true}); err != nil || count != 1 {
			t.Errorf("replays %d, %v", count, err)
		}
		if got := n.join("s", unlimited).take(1); got[0] != 3 {
			t.Errorf("replayed %v", got)
		}
	})
}

// More parked events than are looked at together go.
func TestRemovalOfManyParkedEvents(t *testing.T) {
	t.Parallel()
	n := newNode(t, memory.New())
	n.put("s", func(d *subscriptions.Definition) { d.Map.Expr = `{"a": data.absent}` })
	const more = core.MaxReadEvents/2 + 50
	for range 3 {
		events := make([]core.NewEvent, more)
		for i := range events {
			events[i] = core.NewEvent{Type: "T", Data: []byte("{}")}
		}
		if _, err := n.store.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "s-0", Expect: core.AnyVersion, Events: events}}}); err != nil {
			t.Fatal(err)
		}
	}
	n.join("s", unlimited).until(delivery.Live)
	n.stored("s", 3*more)
	n.change("s-0", core.RemoveStream)
	if err := n.AwaitExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	if i := n.info("s"); i.Parked != 0 || i.Totals.Expired != 3*more {
		t.Errorf("afterwards %+v", i)
	}
}

// An event that its map fails on is looked for as any other.
func TestRemovalBesideFaults(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.put("s", func(d *subscriptions.Definition) { d.Map.Expr, d.BufferSize = `{"a": data.absent}`, 1 })
		n.fill(6, 3)
		c := n.join("s", unlimited)
		c.until(delivery.Live)
		n.change("s-0", core.RemoveStream)
		if err := n.AwaitExpired(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i := n.info("s"); i.State != delivery.Live || i.Parked != 4 {
			t.Errorf("afterwards %+v", i)
		}
	})
}

// A fetch after a policy of retention has nothing of what expires by it, though the window has
// read it before.
func TestFetchAfterRetention(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(60, 3)
		n.put("s", nil)
		c, d := n.fetch("s", unlimited, core.Limit{Events: 2, Bytes: core.MaxPageBytes})
		if d.First != 1 || d.Last != 2 {
			t.Fatalf("fetched %d to %d", d.First, d.Last)
		}
		p := core.RetentionPut{Target: core.RetentionTarget{Category: "s"}, Retention: core.Retention{MaxCount: 5}, Expect: core.AnyVersion}
		if _, _, err := core.SetRetention(t.Context(), n.store, p); err != nil {
			t.Fatal(err)
		}
		if err := c.Ack([]uint64{1, 2}); err != nil {
			t.Fatal(err)
		}
		c, d = n.fetch("s", unlimited, core.Limit{Events: 1000, Bytes: core.MaxPageBytes})
		if d.First != 46 || d.Count != 15 {
			t.Errorf("fetched %d events from %d on, want 15 from 46 on", d.Count, d.First)
		}
		if err := c.Do(t.Context(), subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: d.Last, Durable: true}); err != nil {
			t.Error(err)
		}
		if i := n.info("s"); i.Checkpoint < 60 || i.Totals.Expired < 43 || i.Totals.Expired+i.Totals.Acked != 60 {
			t.Errorf("afterwards %+v", i)
		}
	})
}

// What expires with time while it waits for its subscriber is not handed out, also between two of
// the Store's looks at its policies.
func TestExpiryInTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New())
		put := core.RetentionPut{Target: core.RetentionTarget{Stream: "s-0"}, Retention: core.Retention{MaxAge: time.Hour}}
		if _, _, err := core.SetRetention(t.Context(), n.store, put); err != nil {
			t.Fatal(err)
		}
		n.fill(9, 3)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.take(1)
		time.Sleep(time.Hour + 7*time.Second)
		for _, position := range c.take(5) {
			if position%3 == 2 { // behind a notice, those of s-0 are 2, 5 and 8
				t.Errorf("took event %d, which has expired", position)
			}
		}
		n.close(n.Owner)
		_ = n.store.Close()
	})
}

// A list of parked events never shows another event in place of one that has expired, and that
// one leaves.
func TestParkedAfterRetention(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(9, 3)
		n.putOver("s", "s-1")
		c := n.join("s", unlimited)
		got := c.take(3)
		if err := c.Nack(got[:1], delivery.Nack{Action: delivery.ActionPark}); err != nil {
			t.Fatal(err)
		}
		p := core.RetentionPut{Target: core.RetentionTarget{Stream: "s-1"}, Retention: core.Retention{MaxCount: 1}, Expect: core.AnyVersion}
		if _, _, err := core.SetRetention(t.Context(), n.store, p); err != nil {
			t.Fatal(err)
		}
		for left := 1; left > 0; {
			page, err := n.Parked(t.Context(), "s", subscriptions.ParkedRequest{})
			if err != nil {
				t.Fatal(err)
			}
			left = len(page.Parked)
			for i := range page.Parked {
				if e := &page.Parked[i]; e.Event.Count > 0 && e.Event.First != e.Position {
					t.Fatalf("the event at %d is shown for the one at %d", e.Event.First, e.Position)
				}
			}
		}
	})
}
