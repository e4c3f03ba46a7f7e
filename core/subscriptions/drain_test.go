package subscriptions_test

import (
	"context"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// Drain waits for what is in flight, and has what is finished beyond the checkpoint stored:
// the next owner sends only the rest, and a reset sends all of it again.
func TestDrain(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		before, err := subscriptions.New(subscriptions.Config{Store: n.store})
		if err != nil {
			t.Fatal(err)
		}
		defer n.close(before)
		next := n.Owner
		n.Owner = before
		n.fill(6, 1)
		n.put("s", func(d *subscriptions.Definition) { d.BufferSize = 4 })
		s := n.join("s", unlimited)
		s.take(4)
		s.ack(2, 4)
		drained := make(chan struct{})
		all := func(string) bool { return true }
		go func() {
			defer close(drained)
			n.Drain(ctx, all)
		}()
		s.ack(3)
		select {
		case <-drained:
			t.Fatal("drained while 1 is in flight")
		default:
		}
		retry := subscriptions.Answer{Kind: subscriptions.Nack, Positions: []uint64{1}}
		retry.Nack.Action, retry.Nack.Delay = "retry", time.Minute
		if err := s.Do(ctx, retry); err != nil {
			t.Fatal(err)
		}
		<-drained
		if err := n.Release(ctx, all, errMoved); err != nil {
			t.Fatal(err)
		}
		s.ends(core.CodeSubscriptionInterrupted)

		n.Owner = next
		if got := n.info("s").Checkpoint; got != 0 {
			t.Errorf("the checkpoint is %d", got)
		}
		wantPositions(t, n.join("s", unlimited).take(2), numbers(5, 6)) // 1 comes in a minute
		if err := n.Reset(ctx, "s", core.From{}); err != nil {
			t.Fatal(err)
		}
		wantPositions(t, n.join("s", unlimited).take(4), numbers(1, 4))
	})
}

// A drain does not wait for longer than its context.
func TestDrainEnds(t *testing.T) {
	n := newNode(t, memory.New())
	n.fill(1, 1)
	n.put("s", nil)
	n.join("s", unlimited).take(1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	n.Drain(ctx, func(string) bool { return true })
}
