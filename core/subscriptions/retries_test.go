package subscriptions_test

import (
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
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
