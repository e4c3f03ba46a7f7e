package subscriptions_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// Parked events are replayed while live events are delivered. Each event has the content of
// its own position, and the race detector finds nothing.
func TestReplayBesideLive(t *testing.T) {
	const events = 2000
	for name, change := range map[string]func(*subscriptions.Definition){
		"metadata": func(d *subscriptions.Definition) { d.PartitionBy = subscriptions.ByCorrelation },
		"fields":   func(d *subscriptions.Definition) { d.Map.Fields = []string{"n"} },
		"expressions": func(d *subscriptions.Definition) {
			d.Filter.Expr, d.Map.Expr = "data.n > 0", "data"
			d.PartitionBy = subscriptions.ByExpression + "metadata.correlation_id"
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, memory.New())
			n.put("s", change)
			n.fillCounted(0, events)
			c := n.joinAs(subscriptions.JoinRequest{Name: "s", Credit: unlimited, Workers: 2})
			for left := events; left > 0; {
				positions := c.takeCounted(left)
				left -= len(positions)
				c.park(positions...)
			}
			eventually(t, func() error {
				if got := n.info("s").Parked; got != events {
					return fmt.Errorf("%d are parked", got)
				}
				return nil
			})
			if _, err := n.Replay(t.Context(), "s", subscriptions.Selection{All: true}); err != nil {
				t.Fatal(err)
			}
			n.fillCounted(events, 2*events)
			for left := 2 * events; left > 0; {
				positions := c.takeCounted(left)
				left -= len(positions)
				c.ack(positions...)
			}
		})
	}
}

// fillCounted appends events from+1 … to, whose data is {"n":position}.
func (n *node) fillCounted(from, to int) {
	n.t.Helper()
	var c core.Commit
	for at := from; at < to; at++ {
		c.Appends = append(c.Appends, core.Append{Stream: fmt.Sprint("s-", at%7), Expect: core.AnyVersion, Events: []core.NewEvent{{
			Type: "T", Data: fmt.Appendf(nil, `{"n":%d}`, at+1), Metadata: fmt.Appendf(nil, `{"correlation_id":"k%d"}`, at%50),
		}}})
		if len(c.Appends) == 500 || at == to-1 {
			if _, err := n.store.Append(n.t.Context(), c); err != nil {
				n.t.Fatal(err)
			}
			c = core.Commit{}
		}
	}
}

// takeCounted waits for events of fillCounted, at most so many, and checks their data.
func (c *consumer) takeCounted(most int) (positions []uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	for len(positions) == 0 {
		d, err := c.Next(ctx, core.Limit{Events: most, Bytes: 1 << 20})
		if err != nil {
			c.t.Fatal(err)
		}
		for e := range d.Events() {
			positions = append(positions, e.Position)
			if got := string(e.Data); got != fmt.Sprintf(`{"n":%d}`, e.Position) {
				c.t.Fatalf("event %d has the data %s", e.Position, got)
			}
		}
	}
	return positions
}
