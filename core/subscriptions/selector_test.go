package subscriptions_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// program is one that does what a test says.
type program func(e *core.Event) subscriptions.Verdict

func (p program) Run(_ context.Context, b core.Batch, dst []subscriptions.Verdict) ([]subscriptions.Verdict, error) {
	for e := range b.Events() {
		dst = append(dst, p(&e))
	}
	return dst, nil
}

func (p program) Close() error { return nil }

// An event on which a program fails, in any way, is parked with the reason, and the
// others go on.
func TestFaultsArePerEvent(t *testing.T) {
	n := newNode(t, memory.New())
	n.close(n.Owner)
	var err error
	n.Owner, err = subscriptions.New(subscriptions.Config{Store: n.store, Compile: func(subscriptions.Source) (subscriptions.Program, error) {
		return program(func(e *core.Event) subscriptions.Verdict {
			v := subscriptions.Verdict{Keep: true, Data: []byte(`{"mapped":true}`)}
			switch e.Position {
			case 2:
				v.Fault = "not this one"
			case 4:
				v.Data = make([]byte, core.MaxEventBytes+1)
			case 5:
				v.Key = strings.Repeat("k", 2000)
			case 6:
				v.Keep = false
			}
			return v
		}), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.close(n.Owner) })
	n.fill(7, 1)
	n.put("s", func(d *subscriptions.Definition) {
		d.Filter.Expr, d.Map.Expr, d.PartitionBy = "f", "m", subscriptions.ByExpression+"k"
	})
	c := n.join("s", unlimited)
	for _, position := range []uint64{1, 3, 7} {
		wantPositions(t, c.take(1), []uint64{position})
		c.ack(position)
	}
	n.stored("s", 7)
	page, err := n.Parked(t.Context(), "s", subscriptions.ParkedRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range page.Parked {
		if p.Cause != delivery.CauseFault {
			t.Errorf("%+v", p)
		}
		got = append(got, fmt.Sprint(p.Position, " ", p.Reason))
	}
	want := []string{
		"2 not this one",
		"4 the mapped event has 1048577 bytes, it may have 1048576", "5 the partition key has 2000 bytes, it may have 1024",
	}
	if !slices.Equal(got, want) {
		t.Errorf("parked %q, want %q", got, want)
	}
}

// With a key of metadata, a consumer with workers has events of different keys at a time,
// and of one key one; those without it share one.
func TestKeysOfMetadata(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		var c core.Commit
		for _, metadata := range []string{`{"correlation_id":"a","n":1}`, `{"correlation_id":"b","n":1}`, `{"correlation_id":"a","n":2}`, ``, `{"x":1}`} {
			c.Appends = append(c.Appends, core.Append{Stream: "s", Expect: core.AnyVersion,
				Events: []core.NewEvent{{Type: "T", Data: []byte("1"), Metadata: []byte(metadata)}}})
		}
		if _, err := n.store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		for by, first := range map[string][]uint64{
			subscriptions.ByCorrelation:    {1, 2, 4},
			subscriptions.ByMetadata + "n": {1, 3, 4},
		} {
			n.put(by, func(d *subscriptions.Definition) { d.PartitionBy = by })
			s := n.joinAs(subscriptions.JoinRequest{Name: by, Credit: unlimited, Workers: 2})
			wantPositions(t, s.take(3), first)
			s.ack(first...)
			rest := slices.DeleteFunc(numbers(1, 5), func(p uint64) bool { return slices.Contains(first, p) })
			wantPositions(t, s.take(2), rest)
		}
	})
}
