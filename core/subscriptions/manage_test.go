package subscriptions_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

func (n *node) wants(err error, code core.Code) {
	n.t.Helper()
	if !errors.Is(err, code) {
		n.t.Errorf("%v, want %s", err, code)
	}
}

// The same definition again is no error, another one is; paused is not compared.
func TestPut(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(5, 1)
		change := func(d *subscriptions.Definition) {
			d.Stream, d.From = "s-0", core.From{Kind: core.AfterVersion, N: 2}
			d.Filter.Types, d.Map.Fields, d.BufferSize = []string{"T*"}, []string{"n"}, 5
		}
		if info := n.put("a", change); info.State != delivery.Idle || info.Start != 2 || info.Checkpoint != 2 || info.Lag != 3 {
			t.Errorf("%+v", info)
		}
		if _, created, err := n.Put(ctx, "a", definition(change)); created || err != nil {
			t.Errorf("again: %v, %v", created, err)
		}
		for _, other := range []func(*subscriptions.Definition){
			func(d *subscriptions.Definition) { d.Stream = "s-1" },
			func(d *subscriptions.Definition) { d.From = core.From{} },
			func(d *subscriptions.Definition) { d.Filter.Types = nil },
			func(d *subscriptions.Definition) { d.Map = subscriptions.Map{} },
			func(d *subscriptions.Definition) { d.BufferSize = 6 },
		} {
			d := definition(change)
			other(d)
			_, _, err := n.Put(ctx, "a", d)
			n.wants(err, core.CodeSubscriptionOptionsDiffer)
			_, err = n.Join(ctx, subscriptions.JoinRequest{Name: "a", Definition: d, Credit: unlimited})
			n.wants(err, core.CodeSubscriptionOptionsDiffer)
		}
		_, err := n.Info(ctx, "b")
		n.wants(err, core.CodeSubscriptionNotFound)
		_, _, err = n.Put(ctx, "", definition(nil))
		n.wants(err, core.CodeInvalidRequest)
		plain, err := subscriptions.New(subscriptions.Config{Store: n.store}) // without a compiler
		if err != nil {
			t.Fatal(err)
		}
		defer n.close(plain)
		_, _, err = plain.Put(ctx, "b", definition(func(d *subscriptions.Definition) { d.Filter.Expr = "true" }))
		n.wants(err, core.CodeNotSupported)
	})
}

func TestList(t *testing.T) {
	n := newNode(t, memory.New())
	for i := range 25 {
		n.put(fmt.Sprintf("n-%02d", i), nil)
	}
	n.put("other", nil)
	var names []string
	for r := (subscriptions.ListRequest{Prefix: "n-", Limit: 10}); ; {
		page, err := n.List(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page.Subscriptions {
			names = append(names, i.Name)
		}
		if page.End {
			break
		}
		r.After = names[len(names)-1]
	}
	if len(names) != 25 || names[0] != "n-00" || names[24] != "n-24" {
		t.Errorf("%q", names)
	}
}

// G03, G04: where a subscription begins is resolved when it is created.
func TestStarts(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(10, 2)
		middle := time.Now()
		for time.Since(middle) < time.Millisecond { // recorded is in microseconds
		}
		n.fill(4, 2)
		for name, c := range map[string]struct {
			from  core.From
			first uint64
		}{
			"start":    {core.From{}, 1},
			"position": {core.From{Kind: core.AfterPosition, N: 7}, 8},
			"time":     {core.From{Kind: core.FromTime, Time: middle}, 11},
			"end":      {core.From{Kind: core.FromEnd}, 15},
			"future":   {core.From{Kind: core.FromTime, Time: middle.Add(time.Hour)}, 15},
		} {
			n.put(name, func(d *subscriptions.Definition) { d.From = c.from })
			if got := n.info(name).Checkpoint; got != c.first-1 {
				t.Errorf("%s: begins after %d", name, got)
			}
		}
		n.fill(2, 2)
		for name, first := range map[string]uint64{"start": 1, "position": 8, "time": 11, "end": 15, "future": 15} {
			wantPositions(t, n.join(name, unlimited).take(int(17-first)), numbers(first, 16))
		}
	})
}

// A paused or stopped subscription stays so, also after a restart, and delivers
// nothing until it is resumed.
func TestPauseAndStop(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(6, 1)
		n.put("s", func(d *subscriptions.Definition) { d.BufferSize = 2 })
		c := n.join("s", unlimited)
		wantPositions(t, c.take(2), numbers(1, 2))
		if err := n.Pause(ctx, "s"); err != nil {
			t.Fatal(err)
		}
		c.ack(1, 2)
		c.until(delivery.Paused)
		n.stored("s", 2)
		n.close(n.Owner)
		n.own()
		if got := n.info("s"); got.State != delivery.Paused || !got.Paused {
			t.Errorf("after a restart: %+v", got)
		}
		c = n.join("s", unlimited)
		c.until(delivery.Paused)
		if err := n.Resume(ctx, "s"); err != nil {
			t.Fatal(err)
		}
		wantPositions(t, c.take(2), numbers(3, 4))
		if err := c.Nack([]uint64{3}, delivery.Nack{Action: delivery.ActionStop, Reason: "look at it"}); err != nil {
			t.Fatal(err)
		}
		c.until(delivery.Stopped)
		eventually(t, func() error {
			n.close(n.Owner)
			n.own()
			if got := n.info("s"); got.State != delivery.Stopped || got.Reason != "look at it" {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		if err := n.Resume(ctx, "s"); err != nil {
			t.Fatal(err)
		}
		wantPositions(t, n.join("s", unlimited).take(2), numbers(3, 4))
		n.wants(n.Pause(ctx, "nobody"), core.CodeSubscriptionNotFound)
	})
}

func TestReset(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(10, 1)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.take(10)
		c.ack(numbers(1, 10)...)
		n.stored("s", 10)
		for _, r := range []struct {
			to    core.From
			first uint64
		}{
			{core.From{}, 1},
			{core.From{Kind: core.AfterPosition, N: 4}, 5},
			{core.From{Kind: core.AfterPosition, N: 9}, 10},
			{core.From{Kind: core.FromTime}, 1},
		} {
			if err := n.Reset(ctx, "s", r.to); err != nil {
				t.Fatal(err)
			}
			c.ends(core.CodeSubscriptionInterrupted)
			n.wants(c.Ack([]uint64{1}), core.CodeLeaseLost)
			c = n.join("s", unlimited)
			wantPositions(t, c.take(int(11-r.first)), numbers(r.first, 10))
		}
		if err := n.Reset(ctx, "s", core.From{Kind: core.FromEnd}); err != nil {
			t.Fatal(err)
		}
		n.stored("s", 10)
		n.wants(n.Reset(ctx, "s", core.From{Kind: core.AfterPosition, N: 99}), core.CodeInvalidCursor)
		n.wants(n.Reset(ctx, "nobody", core.From{}), core.CodeSubscriptionNotFound)
	})
}

// G13: a deleted subscription is gone with all it had, and one of its name begins anew.
func TestDelete(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(5, 1)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.take(5)
		c.ack(1, 2)
		if err := c.Nack([]uint64{3, 4}, delivery.Nack{Action: delivery.ActionPark}); err != nil {
			t.Fatal(err)
		}
		n.stored("s", 4)
		incarnation := n.info("s").Incarnation
		if err := n.Delete(ctx, "s"); err != nil {
			t.Fatal(err)
		}
		c.ends(core.CodeSubscriptionNotFound)
		_, err := n.Info(ctx, "s")
		n.wants(err, core.CodeSubscriptionNotFound)
		_, err = n.Join(ctx, subscriptions.JoinRequest{Name: "s", Incarnation: incarnation, Credit: unlimited})
		n.wants(err, core.CodeSubscriptionNotFound)
		if !strings.Contains(err.Error(), "was deleted") {
			t.Error(err)
		}
		n.put("s", nil)
		wantPositions(t, n.join("s", unlimited).take(5), numbers(1, 5))
		if got := n.info("s").Parked; got != 0 {
			t.Errorf("%d are parked", got)
		}
		eventually(t, func() error { return n.records("subscription_parked", 0) })
		eventually(t, func() error { return n.records("subscription_removals", 0) })
		if err := n.records("subscription_state", 1); err != nil {
			t.Error(err)
		}
		if err := n.Delete(ctx, "nobody"); !errors.Is(err, core.CodeSubscriptionNotFound) {
			t.Error(err)
		}
	})
}

// records checks how many records a table has.
func (n *node) records(table string, want int) error {
	list, err := n.store.Records(n.t.Context(), core.RecordsRequest{Table: table})
	if err == nil && len(list) != want {
		err = fmt.Errorf("%d records in %s, want %d", len(list), table, want)
	}
	return err
}

// A sweep that was cut off by the end of the process is done by the next.
func TestSweepAfterRestart(t *testing.T) {
	n := newNode(t, memory.New())
	n.close(n.Owner)
	var c core.Commit
	for i := range 2500 {
		c.Records = append(c.Records, core.RecordOp{Table: "subscription_parked", Key: fmt.Sprintf("gone/%016x", i), Expect: core.AnyVersion, Value: []byte(`{}`)})
	}
	c.Records = append(c.Records,
		core.RecordOp{Table: "subscription_parked", Key: "here/1", Expect: core.AnyVersion, Value: []byte(`{}`)},
		core.RecordOp{Table: "subscription_removals", Key: "gone", Expect: core.AnyVersion})
	if _, err := n.store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	n.own()
	eventually(t, func() error { return n.records("subscription_removals", 0) })
	if err := n.records("subscription_parked", 1); err != nil {
		t.Error(err)
	}
}

// I09, L04, L06: of two owners, the one that stores later finds out that it is none any
// more, and its progress does not go over the other's.
func TestTwoOwners(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(5, 1)
		n.put("s", nil)
		stale := n.join("s", unlimited)
		wantPositions(t, stale.take(5), numbers(1, 5))
		n.own()
		c := n.join("s", unlimited)
		wantPositions(t, c.take(5), numbers(1, 5))
		c.ack(1, 2, 3)
		n.stored("s", 3)
		stale.ack(1) // it may think so
		stale.ends(core.CodeSubscriptionInterrupted)
		n.wants(stale.Ack([]uint64{2}), core.CodeLeaseLost)
		if got := n.info("s").Checkpoint; got != 3 {
			t.Errorf("checkpoint %d", got)
		}
		c.ack(4, 5)
		n.stored("s", 5)
	})
}

// J01: no more subscribers than there may be.
func TestSubscriberLimits(t *testing.T) {
	n := newNode(t, memory.New())
	n.put("one", nil)
	n.put("two", func(d *subscriptions.Definition) { d.ConcurrencyLimit = 2 })
	c := n.join("one", unlimited)
	_, err := n.Join(t.Context(), subscriptions.JoinRequest{Name: "one", Credit: unlimited})
	n.wants(err, core.CodeSubscriptionInUse)
	c.Leave(true)
	c.Leave(true)
	n.join("one", unlimited)
	n.join("two", unlimited)
	n.join("two", unlimited)
	_, err = n.Join(t.Context(), subscriptions.JoinRequest{Name: "two", Credit: unlimited})
	n.wants(err, core.CodeTooManySubscribers)
}

// A host that nobody needs ends by itself; goleak would find its goroutines, and this
// test their end before the Owner's.
func TestIdleHostsEnd(t *testing.T) {
	n := newNode(t, memory.New())
	o, err := subscriptions.New(subscriptions.Config{Store: n.store, MaxActive: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer n.close(o)
	s, err := o.Join(t.Context(), subscriptions.JoinRequest{Name: "a", Definition: definition(nil), Credit: unlimited})
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.Join(t.Context(), subscriptions.JoinRequest{Name: "b", Definition: definition(nil), Credit: unlimited})
	n.wants(err, core.CodeOverloaded)
	s.Leave(true)
	eventually(t, func() error {
		_, err := o.Join(t.Context(), subscriptions.JoinRequest{Name: "b", Definition: definition(nil), Credit: unlimited})
		return err
	})
}

// A join without a definition, or of an incarnation, never creates. Options are compared
// only where they say so.
func TestJoinCreatesOnlyWhenItSaysSo(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(3, 1)
		join := func(r subscriptions.JoinRequest, want core.Code) (incarnation string) {
			t.Helper()
			r.Name, r.Credit = "s", unlimited
			s, err := n.Join(t.Context(), r)
			if want != "" {
				if !errors.Is(err, want) {
					t.Fatalf("joined with %v, want %s", err, want)
				}
				return ""
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Leave(true)
			d, ok, err := s.Take(core.Limit{})
			if !ok || err != nil || d.Incarnation == "" {
				t.Fatalf("took %+v, %v", d, err)
			}
			return d.Incarnation
		}
		d := definition(func(d *subscriptions.Definition) { d.Stream = "s-0" })
		other := definition(func(d *subscriptions.Definition) { d.BufferSize = 2 })
		join(subscriptions.JoinRequest{}, core.CodeSubscriptionNotFound)
		first := join(subscriptions.JoinRequest{Definition: d}, "")
		join(subscriptions.JoinRequest{Definition: other}, core.CodeSubscriptionOptionsDiffer)
		for _, r := range []subscriptions.JoinRequest{
			{}, {Definition: d}, {Definition: other, AnyOptions: true}, {Incarnation: first}, {Definition: other, Incarnation: first},
		} {
			if again := join(r, ""); again != first {
				t.Errorf("%+v joined %q, want %q", r, again, first)
			}
		}
		if info := n.info("s"); info.Incarnation != first {
			t.Errorf("%+v", info)
		}
		c := n.join("s", unlimited)
		if err := n.Delete(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		c.ends(core.CodeSubscriptionNotFound)
		// The subscribers that come back do not create it, nor join another of its name.
		join(subscriptions.JoinRequest{Incarnation: first}, core.CodeSubscriptionNotFound)
		join(subscriptions.JoinRequest{Definition: d, Incarnation: first}, core.CodeSubscriptionNotFound)
		join(subscriptions.JoinRequest{Transient: true, Incarnation: first}, core.CodeSubscriptionNotFound)
		if second := join(subscriptions.JoinRequest{Definition: other, AnyOptions: true}, ""); second == first {
			t.Error("it has its old incarnation")
		}
		join(subscriptions.JoinRequest{Incarnation: first}, core.CodeSubscriptionNotFound)
	})
}
