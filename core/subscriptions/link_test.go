package subscriptions_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// link links the events at positions of $all into a stream and answers their ids.
func (n *node) link(stream string, positions ...uint64) (ids []core.ID) {
	n.t.Helper()
	for _, p := range positions {
		page, err := n.store.Read(n.t.Context(), core.ReadRequest{Stream: core.All, From: p, Limit: core.Limit{Events: 1}})
		if err != nil || page.First != p {
			n.t.Fatalf("read position %d: %d, %v", p, page.First, err)
		}
		ids = append(ids, page.Slice()[0].ID)
	}
	c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Links: ids}}}
	if _, err := n.store.Append(n.t.Context(), c); err != nil {
		n.t.Fatal(err)
	}
	return ids
}

// G18: a subscription of a stream receives the links in it, acks them by their own
// positions, parks and replays them; one of $all passes over them, also with its
// checkpoint.
func TestLinkedStream(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(6, 3)
		n.put("linked", func(d *subscriptions.Definition) { d.Stream = "l" })
		n.put("all", nil)
		c, all := n.join("linked", unlimited), n.join("all", unlimited)
		ids := n.link("l", 2, 4, 6) // at 7, 8, 9
		wantPositions(t, c.take(3), []uint64{7, 8, 9})
		c.ack(7)
		c.park(8)
		n.wantsParked("linked", 8)
		// The version that names it is the link's, not that of the event.
		if err := c.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{3}, ByVersion: true}); err != nil {
			t.Fatal(err)
		}
		n.stored("linked", 9)
		wantPositions(t, all.take(6), []uint64{1, 2, 3, 4, 5, 6})
		all.ack(1, 2, 3, 4, 5, 6)

		page, err := n.Parked(ctx, "linked", subscriptions.ParkedRequest{})
		if err != nil || len(page.Parked) != 1 || page.Parked[0].Event.Count != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		e := page.Parked[0].Event.Slice()[0]
		if e.ID != ids[1] || e.Position != 8 || e.Version != 2 || e.Link.Position != 4 || len(e.Data) == 0 {
			t.Errorf("parked is %+v", e)
		}
		for _, which := range []subscriptions.Selection{
			{IDs: []core.ID{ids[1]}}, {Positions: []uint64{8}}, {Filter: core.Filter{Streams: []string{e.Link.Stream}}},
		} {
			if got, err := n.Replay(ctx, "linked", which); err != nil || got != 1 {
				t.Fatalf("replay %+v: %d, %v", which, got, err)
			}
			wantPositions(t, c.take(1), []uint64{8})
			if err := c.Do(ctx, subscriptions.Answer{
				Kind: subscriptions.Nack, Positions: []uint64{2}, ByVersion: true, Nack: delivery.Nack{Action: delivery.ActionPark},
			}); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() error { // it stays parked while it is replayed
				page, err := n.Parked(ctx, "linked", subscriptions.ParkedRequest{})
				if err == nil && (len(page.Parked) != 1 || page.Parked[0].Replaying) {
					err = fmt.Errorf("%d are parked, replaying = %v", len(page.Parked), page.Parked[0].Replaying)
				}
				return err
			})
		}
		if _, err := n.Replay(ctx, "linked", subscriptions.Selection{IDs: []core.ID{ids[0]}}); err == nil {
			t.Error("a link that is not parked is replayed")
		}
		n.fill(1, 1) // at 10
		wantPositions(t, all.take(1), []uint64{10})
		all.ack(10)
		n.stored("all", 10)
	})
}

// A subscription to a stream of the system receives its events, also what was parked; one of
// $all passes over them, also with its checkpoint.
func TestSystemStream(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.put("audit", func(d *subscriptions.Definition) { d.Stream = "$audit" })
		n.put("all", nil)
		c, all := n.join("audit", unlimited), n.join("all", unlimited)
		n.fill(1, 1)
		id := core.NewID()
		system := core.Commit{System: true, Appends: []core.Append{{Stream: "$audit", Expect: core.AnyVersion, Events: []core.NewEvent{
			{Type: "T", Data: []byte("1")}, {ID: id, Type: "T", Data: []byte("2")},
		}}}}
		if _, err := n.store.Append(t.Context(), system); err != nil {
			t.Fatal(err)
		}
		n.fill(1, 1)
		wantPositions(t, c.take(2), []uint64{2, 3})
		c.ack(2)
		c.park(3)
		n.wantsParked("audit", 3)
		page, err := n.Parked(t.Context(), "audit", subscriptions.ParkedRequest{})
		if err != nil || len(page.Parked) != 1 || page.Parked[0].Event.Count != 1 || page.Parked[0].Event.Slice()[0].ID != id {
			t.Errorf("parked: %+v, %v", page, err)
		}
		if got, err := n.Replay(t.Context(), "audit", subscriptions.Selection{IDs: []core.ID{id}}); err != nil || got != 1 {
			t.Errorf("replay: %d, %v", got, err)
		}
		wantPositions(t, c.take(1), []uint64{3})
		wantPositions(t, all.take(2), []uint64{1, 4})
		all.ack(1, 4)
		n.stored("all", 4)
	})
}

// Links are filtered, keyed and mapped as the events that they name.
func TestLinksAreShapedAsTheirEvents(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(9, 3)
		n.put("filtered", func(d *subscriptions.Definition) {
			d.Stream, d.Filter.Streams, d.Filter.Types = "l", []string{"s-1"}, []string{"T1"}
		})
		n.put("keyed", func(d *subscriptions.Definition) {
			d.Stream, d.PartitionBy, d.Map.Fields = "l", subscriptions.ByStream, []string{"n"}
		})
		filtered, keyed := n.join("filtered", unlimited), n.joinAs(subscriptions.JoinRequest{Name: "keyed", Credit: unlimited, Workers: 2})
		n.link("l", 1, 2, 3, 4, 5, 6, 7, 8, 9) // at 10 to 18
		wantPositions(t, filtered.take(3), []uint64{11, 14, 17})
		d, err := keyed.Next(t.Context(), core.Limit{Events: 100, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for d.Count == 0 {
			if d, err = keyed.Next(t.Context(), core.Limit{Events: 100, Bytes: 1 << 20}); err != nil {
				t.Fatal(err)
			}
		}
		var streams []string
		for e := range d.Events() {
			streams = append(streams, e.Link.Stream)
			if want := `{"n":`; e.Link.IsZero() || string(e.Data[:len(want)]) != want || len(e.Data) != len(`{"n":0}`) {
				t.Errorf("mapped to %+v with %s", e.Link, e.Data)
			}
		}
		slices.Sort(streams)
		// One of each key is in flight at a time to a consumer with workers.
		if slices.Contains(streams, "l") || len(slices.Compact(streams)) != d.Count {
			t.Errorf("in flight are events of %v", streams)
		}
	})
}
