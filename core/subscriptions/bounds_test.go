package subscriptions_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// overBudget are definitions whose expressions cost too much for each event.
var overBudget = map[string]func(*subscriptions.Definition){
	"filter.expr": func(d *subscriptions.Definition) { d.Filter.Expr = "size(" + costly + ") == 1" },
	"partitionBy": func(d *subscriptions.Definition) { d.PartitionBy = subscriptions.ByExpression + "size(" + costly + ")" },
	"map":         func(d *subscriptions.Definition) { d.Map.Expr = costly },
}

// costly makes a list of 10^10 items, which share their memory.
var costly = "[data]" + strings.Repeat(".map(a,[a,a,a,a,a,a,a,a,a,a])", 10) + ".map(a, a == a ? a : a)"

// An event is parked, with the reason, if an expression costs too much for it, whichever
// expression that is. Others go on, and a transient subscription passes it over.
func TestOverBudgetIsParked(t *testing.T) {
	for name, change := range overBudget {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, memory.New())
			n.fill(3, 1)
			n.put("s", change)
			n.join("s", unlimited)
			n.wantsParked("s", 1, 2, 3)
			page, err := n.Parked(t.Context(), "s", subscriptions.ParkedRequest{})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.Parked {
				if p.Cause != delivery.CauseFault || p.Reason != name+": it costs more than 1000000 for this event" {
					t.Errorf("%d is parked: %s %s", p.Position, p.Cause, p.Reason)
				}
			}
			n.joinTransient("s", change)
			eventually(t, func() error {
				if i := n.transient()[0]; i.Checkpoint != 3 || i.Totals.Parked != 3 || i.Parked != 0 {
					return fmt.Errorf("%+v", i)
				}
				return nil
			})
		})
	}
}

// large is a program that maps every event to as much as one may have.
type large struct{ made *int }

func (p large) Run(_ context.Context, b core.Batch, dst []subscriptions.Verdict) ([]subscriptions.Verdict, error) {
	data := bytes.Repeat([]byte("1"), core.MaxEventBytes)
	*p.made += len(data)
	return append(dst, subscriptions.Verdict{Keep: true, Data: data}), nil
}

func (p large) Close() error { return nil }

// What is mapped is bounded as it is made: a subscriber that takes one event does not have all
// mapped that is read for it.
func TestMappedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		made := 0
		owner, err := subscriptions.New(subscriptions.Config{Store: store, Compile: func(subscriptions.Source) (subscriptions.Program, error) {
			return large{&made}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		n := &node{t: t, store: store, Owner: owner}
		n.fill(1000, 1)
		n.put("s", func(d *subscriptions.Definition) { d.Map.Expr, d.BufferSize = "m", 1000 })
		c := n.join("s", delivery.Credit{Events: 1, Bytes: delivery.Unlimited})
		wantPositions(t, c.take(1), []uint64{1})
		synctest.Wait()
		const window = 16 << 20
		if made > window+2*core.MaxEventBytes {
			t.Errorf("%d MiB are mapped for one event", made>>20)
		}
		c.Leave(true)
		n.close(owner)
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}
