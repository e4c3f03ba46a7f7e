package subscriptions_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// ownOver makes an Owner over a store that stands before the node's, in place of the one there is.
func (n *node) ownOver(c subscriptions.Config) {
	n.t.Helper()
	n.close(n.Owner)
	o, err := subscriptions.New(c)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Owner = o
	n.t.Cleanup(func() { n.close(o) })
}

// expired waits until what is removed has left what is parked.
func (n *node) expired() {
	n.t.Helper()
	if err := n.AwaitExpired(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
}

// wantsRecords wants so many parked events of all subscriptions to be stored.
func (n *node) wantsRecords(parked int) {
	n.t.Helper()
	if err := n.records("subscription_parked", parked); err != nil {
		n.t.Error(err)
	}
}

// A hard delete reads no parked events of other streams, and no more than some records where
// something of its stream is parked.
func TestCostOfRemovalsBesideParkedEvents(t *testing.T) {
	const events = 10_000
	t.Parallel()
	n := newNode(t, memory.New())
	store := &counted{Store: n.store}
	n.ownOver(subscriptions.Config{Store: store})
	n.fill(events, 7)
	n.put("many", func(d *subscriptions.Definition) { d.Filter.Streams, d.BufferSize = []string{"s-*"}, 1000 })
	n.parkAll("many", events)
	add := func(stream string) {
		t.Helper()
		c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("{}")}}}}}
		if _, err := n.store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	const few = 3
	for i := range few {
		add(fmt.Sprintf("t-%d", i))
	}
	n.put("few", func(d *subscriptions.Definition) { d.Filter.Streams = []string{"t-*"} })
	n.parkAll("few", few)
	n.expired()

	store.calls.Store(0)
	for i := range 20 {
		add(fmt.Sprintf("u-%d", i))
		n.change(fmt.Sprintf("u-%d", i), core.RemoveStream)
		n.expired()
	}
	if calls := store.calls.Load(); calls > 0 {
		t.Errorf("removals of streams of which nothing is parked made %d calls", calls)
	}
	store.records.Store(0)
	n.change("t-1", core.TombstoneStream)
	n.expired()
	if records := store.records.Load(); records == 0 || records > 20 {
		t.Errorf("the removal of a parked event read %d records", records)
	}
	if many, left := n.info("many").Parked, n.info("few").Parked; many != events || left != few-1 {
		t.Errorf("%d and %d are parked still", many, left)
	}
}

// hooked is a store that calls read when it has read records of a table.
type hooked struct {
	*core.Store
	read func(table string)
}

func (s *hooked) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	found, err := s.Store.Records(ctx, r)
	s.read(r.Table)
	return found, err
}

// Looks at everything that is parked take a part of the time, unless somebody waits for one.
func TestLooksAtEverythingArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lasts = 2 * time.Second
		var looks atomic.Int64
		n := newNode(t, memory.New())
		n.ownOver(subscriptions.Config{Store: &hooked{n.store, func(table string) {
			if table == "subscription_parked" {
				looks.Add(1)
				time.Sleep(lasts)
			}
		}}})
		for range 600 {
			n.TakeOver()
			time.Sleep(time.Second)
		}
		if got := looks.Load(); got < 10 || got > 16 { // one in 42 seconds
			t.Errorf("%d looks in 10 minutes", got)
		}
		begun := time.Now()
		n.TakeOver()
		n.expired()
		if d := time.Since(begun); d > 2*lasts {
			t.Errorf("who waited for a look did so for %v", d)
		}
		n.close(n.Owner)
		_ = n.store.Close()
	})
}

// parks takes one event and parks it. It does not wait until that is stored.
func (c *consumer) parks() (stored chan error) {
	c.t.Helper()
	positions := c.take(1)
	stored = make(chan error, 1)
	go func() { stored <- c.Nack(positions, delivery.Nack{Action: delivery.ActionPark}) }()
	return stored
}

// An event whose record is written while a look at everything runs, and is not read by it, is known.
func TestParkedDuringALook(t *testing.T) {
	n := newNode(t, memory.New())
	store := &slow{Store: n.store, begun: make(chan struct{}, 1), release: make(chan struct{})}
	n.ownOver(subscriptions.Config{Store: store})
	n.fill(1, 1)
	n.put("s", nil)
	c := n.join("s", unlimited)
	n.expired()
	store.hold.Store(true)
	stored := c.parks()
	<-store.begun
	n.TakeOver()
	n.expired()
	store.hold.Store(false)
	close(store.release)
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	n.wantsRecords(1)
	n.change("s-0", core.RemoveStream)
	n.expired()
	n.wantsRecords(0)
}

// The last Commit of a host that has ended may park a removed event: a look waits for it.
func TestParkedByAHostThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New())
		store := &slow{Store: n.store, begun: make(chan struct{}, 1), release: make(chan struct{})}
		n.ownOver(subscriptions.Config{Store: store})
		n.fill(1, 1)
		n.put("s", nil)
		c := n.join("s", unlimited)
		store.hold.Store(true)
		parked := c.parks()
		<-store.begun
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		n.wants(n.Release(ctx, func(string) bool { return true }, errMoved), core.CodeCanceled)
		if err := <-parked; err == nil {
			t.Error("the event is parked before its Commit")
		}
		n.change("s-0", core.RemoveStream)
		expired := make(chan error, 1)
		go func() { expired <- n.AwaitExpired(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-expired:
			t.Errorf("a look has ended before the Commit, with %v", err)
		default:
		}
		store.hold.Store(false)
		close(store.release)
		n.expired()
		n.wantsRecords(0)
		n.close(n.Owner)
		_ = n.store.Close()
	})
}

// Incarnations that change places while a look goes through the definitions are not missed.
func TestSwapDuringALook(t *testing.T) {
	var armed atomic.Bool
	var b *binding
	var other string
	n := newNode(t, memory.New())
	n.ownOver(subscriptions.Config{Store: &hooked{n.store, func(table string) {
		if table != "subscriptions" || !armed.CompareAndSwap(true, false) {
			return
		}
		none := func(context.Context) ([]core.RecordOp, error) { return nil, nil }
		if err := b.Swap(t.Context(), "s", subscriptions.Swap{From: b.id, To: other, With: none}); err != nil {
			t.Error(err)
		}
	}}})
	n.fill(2, 2)
	b = n.bind("s")
	other = b.unnamed("s", "")
	for id, join := range map[string]func(context.Context, subscriptions.JoinRequest) (*subscriptions.Bound, error){b.id: n.JoinBound, other: n.JoinUnnamed} {
		s, err := join(t.Context(), request("s", id))
		positions := b.takes(s, err, 2)
		nack := subscriptions.Answer{Kind: subscriptions.Nack, Positions: positions, Nack: delivery.Nack{Action: delivery.ActionPark}}
		if err := s.Do(t.Context(), nack); err != nil {
			t.Fatal(err)
		}
		s.Leave(true)
	}
	n.wantsRecords(4)
	armed.Store(true)
	n.change("s-0", core.RemoveStream)
	n.expired()
	n.wantsRecords(2)
	if i := n.info("s"); armed.Load() || i.Incarnation != other {
		t.Errorf("they have not changed places: %+v", i)
	}
}

// What an Owner takes over is looked through for what was removed before, also what it has met as
// another's. Where it is not known yet whose a name is, a look waits until it is.
func TestParkedOfAnotherOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var code atomic.Pointer[core.Code] // of the error for those that it does not own
		n := newNode(t, memory.New())
		n.fill(2, 2)
		n.put("s", nil)
		c := n.join("s", unlimited)
		c.park(c.take(2)...)
		n.ownOver(subscriptions.Config{Store: n.store, Owns: func(name string) error {
			if code := code.Load(); code != nil {
				return core.Errorf(*code, "not %s", name)
			}
			return nil
		}})
		code.Store(new(core.CodeNotOwner))
		n.change("s-0", core.RemoveStream)
		n.expired()
		n.wantsRecords(2)
		code.Store(nil)
		n.TakeOver()
		n.expired()
		n.wantsRecords(1)

		code.Store(new(core.CodeNotServing))
		n.change("s-1", core.RemoveStream)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n.wants(n.AwaitExpired(ctx), core.CodeTimeout)
		n.wantsRecords(1)
		code.Store(nil)
		n.expired()
		n.wantsRecords(0)
		n.close(n.Owner)
		_ = n.store.Close()
	})
}
