package subscriptions_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// binding is what a binding does with its subscription.
type binding struct {
	*node
	id string // of the incarnation that has the name
}

func (n *node) bind(name string) *binding {
	n.t.Helper()
	d := subscriptions.DefaultDefinition()
	i, err := n.Bind(n.t.Context(), name, &d, func(subscriptions.Incarnation) ([]core.RecordOp, error) { return nil, nil })
	if err != nil {
		n.t.Fatal(err)
	}
	return &binding{n, i.ID}
}

func (b *binding) unnamed(name, replaces string) string {
	b.t.Helper()
	d := subscriptions.DefaultDefinition()
	i, err := b.BindUnnamed(b.t.Context(), name, &d, replaces, func(subscriptions.Incarnation) ([]core.RecordOp, error) { return nil, nil })
	if err != nil {
		b.t.Fatal(err)
	}
	return i.ID
}

// takes joins and takes so many events.
func (b *binding) takes(s *subscriptions.Bound, err error, n int) (positions []uint64) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	for len(positions) < n {
		d, err := s.Next(b.t.Context(), core.Limit{Events: n, Bytes: core.MaxPageBytes})
		if err != nil {
			b.t.Fatal(err)
		}
		for p := range d.Places() {
			positions = append(positions, p.Position)
		}
	}
	return positions
}

func request(name, incarnation string) subscriptions.JoinRequest {
	return subscriptions.JoinRequest{Name: name, Incarnation: incarnation, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: 1 << 20}}
}

// TestUnnamedIncarnations: two incarnations of a subscription are delivered beside each other, and
// change places in one Commit. Lists and counts know the one that has the name.
func TestUnnamedIncarnations(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(6, 1)
		b := n.bind("s")
		other := b.unnamed("s", "")
		named, err := n.JoinBound(ctx, request("s", b.id))
		if got := b.takes(named, err, 6); len(got) != 6 {
			t.Errorf("taken %v", got)
		}
		beside, err := n.JoinUnnamed(ctx, request("s", other))
		if got := b.takes(beside, err, 6); len(got) != 6 {
			t.Errorf("taken beside %v", got)
		}
		if err := beside.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{1, 2, 3}}); err != nil {
			t.Fatal(err)
		}
		for _, r := range []subscriptions.ListRequest{{}, {Hosted: true}} {
			if page, err := n.List(ctx, r); err != nil || len(page.Subscriptions) != 1 || page.Subscriptions[0].Incarnation != b.id {
				t.Errorf("%+v, %v", page, err)
			}
		}
		if active := n.Active(); len(active) != 1 {
			t.Errorf("active %+v", active)
		}
		if i, err := n.UnnamedInfo(ctx, "s", other); err != nil || i.Finished != 3 || i.Incarnation != other {
			t.Errorf("%+v, %v", i, err)
		}
		if _, err := n.JoinUnnamed(ctx, request("s", b.id)); !errors.Is(err, core.CodeSubscriptionNotFound) {
			t.Errorf("the one that has the name is joined as unnamed: %v", err)
		}

		ready := false
		swap := subscriptions.Swap{From: b.id, To: other}
		swap.Ready = func(context.Context) error { ready = true; return nil }
		swap.With = func(context.Context) ([]core.RecordOp, error) {
			return []core.RecordOp{{Table: "with", Key: "swap", Expect: core.AnyVersion}}, nil
		}
		if err := n.Swap(ctx, "s", swap); err != nil || !ready {
			t.Fatal(err)
		}
		if err := n.records("with", 1); err != nil {
			t.Error(err)
		}
		for what, s := range map[string]*subscriptions.Bound{"the one that had the name": named, "the other": beside} {
			if _, err := s.Next(ctx, core.Limit{Events: 1, Bytes: 1}); !errors.Is(err, core.CodeSubscriptionInterrupted) {
				t.Errorf("%s goes on: %v", what, err)
			}
		}
		if i, err := n.Info(ctx, "s"); err != nil || i.Incarnation != other {
			t.Errorf("%+v, %v", i, err)
		}
		if err := n.Swap(ctx, "s", swap); !errors.Is(err, core.CodeSubscriptionNotFound) {
			t.Errorf("swapped again: %v", err)
		}
		third := b.unnamed("s", b.id)
		if _, err := n.UnnamedInfo(ctx, "s", b.id); !errors.Is(err, core.CodeSubscriptionNotFound) {
			t.Errorf("what was replaced is there: %v", err)
		}
		if err := n.UnbindUnnamed(ctx, "s", third, nil); err != nil {
			t.Fatal(err)
		}
		b.unnamed("s", "")
		if err := n.Unbind(ctx, "s", other, nil); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"subscriptions", "subscriptions_unnamed", "subscription_state", "subscription_removals"} {
			eventually(t, func() error { return n.records(table, 0) })
		}
	})
}

// TestSwapThatFails changes nothing, and both incarnations are joined again.
func TestSwapThatFails(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx, refused := t.Context(), errors.New("not now")
		n.fill(3, 1)
		b := n.bind("s")
		other := b.unnamed("s", "")
		for what, swap := range map[string]subscriptions.Swap{
			"not ready":  {Ready: func(context.Context) error { return refused }},
			"no records": {With: func(context.Context) ([]core.RecordOp, error) { return nil, refused }},
			"another by now": {With: func(context.Context) ([]core.RecordOp, error) {
				return []core.RecordOp{{Table: "with", Key: "none", Expect: core.StreamExists, Action: core.CheckRecord}}, nil
			}},
		} {
			swap.From, swap.To = b.id, other
			if err := n.Swap(ctx, "s", swap); !errors.Is(err, refused) && !errors.Is(err, core.CodeSubscriptionInterrupted) {
				t.Errorf("%s: %v", what, err)
			}
			named, err := n.JoinBound(ctx, request("s", b.id))
			if got := b.takes(named, err, 3); !slices.Equal(got, []uint64{1, 2, 3}) {
				t.Errorf("%s: taken %v", what, got)
			}
			named.Leave(true)
			beside, err := n.JoinUnnamed(ctx, request("s", other))
			if got := b.takes(beside, err, 3); !slices.Equal(got, []uint64{1, 2, 3}) {
				t.Errorf("%s: taken beside %v", what, got)
			}
			beside.Leave(true)
		}
	})
}

// TestReplayBeforeItIsParked: a replay that is asked for before its event is parked is made when it is.
func TestReplayBeforeItIsParked(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(2, 1)
		b := n.bind("s")
		table, key := subscriptions.ReplayOf(b.id, 2)
		if _, err := n.store.Append(ctx, core.Commit{Records: []core.RecordOp{{Table: table, Key: key, Expect: core.AnyVersion}}}); err != nil {
			t.Fatal(err)
		}
		s, err := n.JoinBound(ctx, request("s", b.id))
		b.takes(s, err, 2)
		park := delivery.Nack{Action: delivery.ActionPark, Reason: "not yet"}
		if err := s.Do(ctx, subscriptions.Answer{Kind: subscriptions.Nack, Positions: []uint64{2}, Nack: park}); err != nil {
			t.Fatal(err)
		}
		for {
			d, err := s.Next(ctx, core.Limit{Events: 1, Bytes: 1})
			if err != nil {
				t.Fatal(err)
			}
			if d.Count > 0 {
				if !d.Replay || d.First != 2 {
					t.Errorf("delivered %d, replay %t", d.First, d.Replay)
				}
				return
			}
		}
	})
}
