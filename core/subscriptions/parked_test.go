package subscriptions_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

func (c *consumer) park(positions ...uint64) {
	c.t.Helper()
	if err := c.Nack(positions, delivery.Nack{Action: delivery.ActionPark, Reason: "cannot"}); err != nil {
		c.t.Fatal(err)
	}
}

func (n *node) parked(name string) (positions []uint64) {
	n.t.Helper()
	for r := (subscriptions.ParkedRequest{}); ; {
		page, err := n.Parked(n.t.Context(), name, r)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, p := range page.Parked {
			positions = append(positions, p.Position)
		}
		if page.End {
			return positions
		}
		r.After = positions[len(positions)-1]
	}
}

// wantsParked waits until those are parked, and the count says so.
func (n *node) wantsParked(name string, want ...uint64) {
	n.t.Helper()
	eventually(n.t, func() error {
		if got := n.parked(name); !slices.Equal(got, want) {
			return fmt.Errorf("parked %d, want %d", got, want)
		}
		if got := n.info(name).Parked; got != len(want) {
			return fmt.Errorf("counted %d parked, want %d", got, len(want))
		}
		return nil
	})
}

func TestParkReplayDrop(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(9, 3)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.take(9)
		c.ack(1, 3, 9)
		c.park(2, 4, 5, 6, 7, 8)
		n.wantsParked("s", 2, 4, 5, 6, 7, 8)
		n.stored("s", 9)
		page, err := n.Parked(ctx, "s", subscriptions.ParkedRequest{Limit: 1})
		if err != nil || page.End || len(page.Parked) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		p := page.Parked[0]
		if p.Cause != delivery.CauseNack || p.Reason != "cannot" || p.Attempts != 1 || len(p.Failures) != 1 ||
			p.Failures[0].Consumer != "c" || p.Event.Count != 1 || p.Event.First != 2 {
			t.Errorf("%+v", p)
		}

		event := func(position uint64) core.Event {
			page, err := n.store.Read(ctx, core.ReadRequest{Stream: core.All, From: position, Limit: core.Limit{Events: 1}})
			if err != nil {
				t.Fatal(err)
			}
			return page.Slice()[0]
		}
		count := func(got int, err error) func(want int) {
			return func(want int) {
				t.Helper()
				if err != nil || got != want {
					t.Errorf("%d events, %v, want %d", got, err, want)
				}
			}
		}
		count(n.Replay(ctx, "s", subscriptions.Selection{Positions: []uint64{4}, IDs: []core.ID{event(2).ID}}))(2)
		got := c.take(2)
		slices.Sort(got)
		wantPositions(t, got, []uint64{2, 4})
		c.ack(2)
		c.park(4)
		n.wantsParked("s", 4, 5, 6, 7, 8)
		count(n.Drop(ctx, "s", subscriptions.Selection{Filter: core.Filter{Streams: []string{event(5).Stream}}}))(2) // 5, 8
		n.wantsParked("s", 4, 6, 7)
		_, err = n.Replay(ctx, "s", subscriptions.Selection{Positions: []uint64{6, 5}})
		n.wants(err, core.CodeEventNotFound)
		_, err = n.Replay(ctx, "s", subscriptions.Selection{})
		n.wants(err, core.CodeInvalidRequest)
		count(n.Replay(ctx, "s", subscriptions.Selection{Filter: core.Filter{Types: []string{"T*"}}}))(3)
		got = c.take(3)
		slices.Sort(got)
		wantPositions(t, got, []uint64{4, 6, 7})
		c.ack(4, 6, 7)
		n.wantsParked("s")
		count(n.Drop(ctx, "s", subscriptions.Selection{All: true}))(0)
	})
}

// A replay that is asked for while nobody listens is done when somebody does, also
// after a restart; what is not answered stays parked.
func TestReplayLater(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(4, 1)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.take(4)
		c.ack(1, 4)
		c.park(2, 3)
		c.Leave(true)
		n.wantsParked("s", 2, 3)
		if got, err := n.Replay(t.Context(), "s", subscriptions.Selection{All: true}); err != nil || got != 2 {
			t.Fatalf("%d, %v", got, err)
		}
		page, err := n.Parked(t.Context(), "s", subscriptions.ParkedRequest{})
		if err != nil || !page.Parked[0].Replaying {
			t.Errorf("%+v, %v", page, err)
		}
		n.close(n.Owner)
		n.own()
		c = n.join("s", unlimited)
		wantPositions(t, c.take(2), []uint64{2, 3})
		c.ack(2)
		c.Leave(false)
		n.wantsParked("s", 3)
		c = n.join("s", unlimited)
		wantPositions(t, c.take(1), []uint64{3})
		c.ack(3)
		n.wantsParked("s")
	})
}

// Parked events beyond the checkpoint are not delivered again by the next owner, and
// not by a reset.
func TestParkedAreNotDelivered(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(6, 1)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.take(6)
		c.park(3, 5)
		n.wantsParked("s", 3, 5)
		n.close(n.Owner)
		n.own()
		c = n.join("s", unlimited)
		wantPositions(t, c.take(4), []uint64{1, 2, 4, 6})
		c.ack(1, 2, 4, 6)
		n.stored("s", 6)
		if err := n.Reset(t.Context(), "s", core.From{}); err != nil {
			t.Fatal(err)
		}
		wantPositions(t, n.join("s", unlimited).take(4), []uint64{1, 2, 4, 6})
		n.wantsParked("s", 3, 5)
	})
}

// Ten thousand parked events, some with the longest reasons there are, are listed in pages,
// replayed as there is room, and dropped.
func TestTenThousandParked(t *testing.T) {
	const events = 10_000
	n := newNode(t, memory.New())
	n.fill(events, 7)
	n.put("s", func(d *subscriptions.Definition) { d.BufferSize = 1000 })
	c := n.join("s", unlimited)
	for seen := 0; seen < events; seen += 1000 {
		reason := "no"
		if seen == 0 {
			reason = strings.Repeat("\x01", 1000) // six times as long in JSON
		}
		if err := c.Nack(c.take(1000), delivery.Nack{Action: delivery.ActionPark, Reason: reason}); err != nil {
			t.Fatal(err)
		}
	}
	n.stored("s", events)
	if got := n.parked("s"); !slices.Equal(got, numbers(1, events)) {
		t.Fatalf("%d are parked", len(got))
	}
	if got, err := n.Replay(t.Context(), "s", subscriptions.Selection{All: true}); err != nil || got != events {
		t.Fatalf("%d, %v", got, err)
	}
	seen := map[uint64]bool{}
	for len(seen) < events/2 {
		got := c.take(100)
		c.ack(got...)
		for _, p := range got {
			seen[p] = true
		}
	}
	eventually(t, func() error {
		if got := n.info("s").Parked; got != events/2 {
			return fmt.Errorf("%d are parked", got)
		}
		return nil
	})
	if got, err := n.Drop(t.Context(), "s", subscriptions.Selection{All: true}); err != nil || got != events/2 {
		t.Errorf("%d, %v", got, err)
	}
	n.wantsParked("s")
	if err := n.records("subscription_replays", 0); err != nil {
		t.Error(err)
	}
}
