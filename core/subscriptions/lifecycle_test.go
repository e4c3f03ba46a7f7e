package subscriptions_test

import (
	"errors"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// change changes a whole stream. It skips the test on an engine that cannot do that yet.
func (n *node) change(stream string, action core.StreamAction) {
	n.t.Helper()
	_, err := n.store.Append(n.t.Context(), core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: core.AnyVersion, Action: action}}})
	if errors.Is(err, core.CodeNotSupported) {
		n.t.Skip(err)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) putOver(name, stream string) {
	n.t.Helper()
	n.put(name, func(d *subscriptions.Definition) { d.Stream = stream })
}

// D10, D11: a subscription of a deleted stream is live and gets nothing, until the stream is
// back; one of $all gets its events.
func TestDeletedStream(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(6, 2) // s-0 has 1, 3, 5
		n.putOver("before", "s-0")
		before := n.join("before", delivery.Credit{Events: 1, Bytes: delivery.Unlimited})
		wantPositions(t, before.take(1), []uint64{1})
		n.change("s-0", core.DeleteStream)
		n.putOver("after", "s-0")
		after := n.join("after", unlimited)
		after.until(delivery.Live)
		n.put("all", nil)
		wantPositions(t, n.join("all", unlimited).take(6), numbers(1, 6))
		n.change("s-0", core.UndeleteStream)
		wantPositions(t, after.take(3), []uint64{1, 3, 5})
		before.ack(1)
		before.Leave(false)
		n.stored("before", 2)
		wantPositions(t, n.join("before", unlimited).take(2), []uint64{3, 5})
	})
}

// C15, D16, D18: subscriptions pass over what was removed. One of the stream itself gets the
// next incarnation from its first event on, and one that was away does, too.
func TestRemovedStream(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(6, 2) // s-0 has 1, 3, 5
		for _, name := range []string{"one", "away"} {
			n.putOver(name, "s-0")
			c := n.join(name, unlimited)
			wantPositions(t, c.take(3), []uint64{1, 3, 5})
			c.park(3)
			c.ack(1, 5)
			n.stored(name, 6)
			c.Leave(false)
		}
		c := n.join("one", unlimited)
		n.change("s-0", core.RemoveStream)
		n.fill(2, 1)
		wantPositions(t, c.take(2), []uint64{8, 9})
		n.change("s-0", core.RemoveStream)
		n.change("s-1", core.DeleteStream)
		n.change("s-1", core.UndeleteStream)
		n.fill(6, 2)
		wantPositions(t, c.take(3), []uint64{13, 15, 17})
		c.ack(8, 9, 13, 15, 17)
		n.close(n.Owner)
		n.own()
		wantPositions(t, n.join("away", unlimited).take(3), []uint64{13, 15, 17})
		n.put("all", nil)
		wantPositions(t, n.join("all", unlimited).take(9), []uint64{2, 4, 6, 13, 14, 15, 16, 17, 18})
	})
}
