package subscriptions_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// deadly are plugins that end the process at some events.
type deadly struct {
	process *mortal
	at      []uint64
	died    chan uint64 // holds 1: where
}

func (d *deadly) Hold(_ context.Context, j subscriptions.Judge) (core.RecordOp, error) {
	return core.RecordOp{Table: "versions", Key: j.Plugin, Expect: core.AnyVersion}, nil
}

func (d *deadly) Open(subscriptions.Judge) (subscriptions.Program, error) { return d, nil }
func (d *deadly) Close() error                                            { return nil }

func (d *deadly) Run(ctx context.Context, b core.Batch, dst []subscriptions.Verdict) ([]subscriptions.Verdict, error) {
	for p := range b.Places() {
		if slices.Contains(d.at, p.Position) {
			d.process.kill()
			d.died <- p.Position
			<-ctx.Done()
			return dst, core.AsError(ctx.Err())
		}
		dst = append(dst, subscriptions.Verdict{Keep: true})
	}
	return dst, nil
}

// judgingRecords are those that say that plugins judge.
func (n *node) judgingRecords() []core.Record {
	n.t.Helper()
	records, err := n.store.Records(n.t.Context(), core.RecordsRequest{Table: "subscription_judging", Limit: 10})
	if err != nil {
		n.t.Fatal(err)
	}
	return records
}

// Events at which a plugin ends the process are found, and parked; no other is, and it is found in
// a few starts, although nothing is acked meanwhile.
func TestEventsThatEndTheProcessAreFound(t *testing.T) { synctest.Test(t, findDeadly) }

func findDeadly(t *testing.T) {
	const events, startsPerEvent = 2500, 5
	n := newNode(t, memory.New())
	at := []uint64{100, 1700, 1701}
	n.fill(events, 3)
	start := func() *deadly {
		d := &deadly{process: &mortal{Store: n.store, left: 1 << 20}, at: at, died: make(chan uint64, 1)}
		o, err := subscriptions.New(subscriptions.Config{Store: d.process, Judges: d})
		if err != nil {
			t.Fatal(err)
		}
		n.Owner = o
		return d
	}
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = n.Close(ctx) // which stores nothing
	}
	deaths := 0
	for delivered := 0; delivered < events-len(at); {
		d := start()
		n.put("s", func(d *subscriptions.Definition) { d.Filter.Plugin, d.BufferSize = "x@1", events })
		c := n.join("s", unlimited)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		delivered = 0
		for died := false; !died && delivered < events-len(at); {
			step, stepped := context.WithTimeout(ctx, 10*time.Millisecond)
			got, err := c.Next(step, core.Limit{Events: 1000, Bytes: 1 << 20})
			if stepped(); err != nil && step.Err() == nil {
				t.Fatal(err)
			}
			delivered += got.Count
			select {
			case <-d.died:
				died = true
				deaths++
			default:
			}
			if ctx.Err() != nil {
				t.Fatalf("%d events were delivered after %d deaths", delivered, deaths)
			}
		}
		cancel()
		if deaths > startsPerEvent*len(at) {
			t.Fatalf("the process has ended %d times", deaths)
		}
		if delivered < events-len(at) {
			stop()
		}
	}
	n.wantsParked("s", at...) // what is parked is stored behind what is delivered
	page, err := n.Parked(t.Context(), "s", subscriptions.ParkedRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range page.Parked {
		if !strings.Contains(p.Reason, "the node has stopped 3 times") {
			t.Errorf("%d is parked: %s", p.Position, p.Reason)
		}
	}
	if len(n.judgingRecords()) != 1 {
		t.Errorf("while it judges there are %v", n.judgingRecords())
	}
	n.close(n.Owner)
	if left := n.judgingRecords(); len(left) > 0 {
		t.Errorf("after an end that is clean there are %v", left)
	}
}
