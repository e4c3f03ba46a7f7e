package subscriptions_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// counted is a store that counts what is read of it: calls, and the records and events
// that these answer.
type counted struct {
	*core.Store
	calls, records, events atomic.Int64
}

func (c *counted) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	found, err := c.Store.Records(ctx, r)
	c.calls.Add(1)
	c.records.Add(int64(len(found)))
	return found, err
}

func (c *counted) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	page, err := c.Store.Read(ctx, r)
	c.calls.Add(1)
	c.events.Add(int64(page.Count))
	return page, err
}

func (c *counted) Event(ctx context.Context, id core.ID) (core.Event, error) {
	c.calls.Add(1)
	c.events.Add(1)
	return c.Store.Event(ctx, id)
}

func (c *counted) Follow(ctx context.Context, f core.FollowRequest) (core.Follower, error) {
	c.calls.Add(1)
	return c.Store.Follow(ctx, f)
}

// parkAll parks all of a subscription that comes to so many events.
func (n *node) parkAll(name string, events int) {
	n.t.Helper()
	c := n.join(name, unlimited)
	for seen := 0; seen < events; {
		got := c.take(min(1000, events-seen))
		if err := c.Nack(got, delivery.Nack{Action: delivery.ActionPark, Reason: "no"}); err != nil {
			n.t.Fatal(err)
		}
		seen += len(got)
	}
	eventually(n.t, func() error {
		if got := n.info(name).Parked; got != events {
			return fmt.Errorf("%d are parked", got)
		}
		return nil
	})
	c.Leave(true)
}

// Of ten thousand parked events, one is replayed or dropped by its id as it is of ten: the
// log's index says where it is, also where it is a link, and nobody goes through what is
// parked.
func TestParkedAreFoundByTheirID(t *testing.T) {
	const events = 10_000
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.fill(events, 7)
		ids := make([]core.ID, 0, events)
		for e, err := range core.ReadAll(ctx, n.store, core.ReadRequest{Stream: core.All}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID)
		}
		if _, err := n.store.Append(ctx, core.Commit{Appends: []core.Append{{Stream: "l", Expect: core.AnyVersion, Links: ids}}}); err != nil {
			t.Fatal(err)
		}
		n.fill(1, 1) // is not linked
		parked := map[string]int{"all": events / 10, "linked": events}
		for name, stream := range map[string]string{"all": core.All, "linked": "l"} {
			n.put(name, func(d *subscriptions.Definition) { d.Stream, d.BufferSize = stream, 1000 })
			n.parkAll(name, parked[name])
		}
		n.close(n.Owner)
		store := &counted{Store: n.store}
		o, err := subscriptions.New(subscriptions.Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		defer n.close(o)
		if err := o.AwaitExpired(ctx); err != nil { // it has looked for removed ones
			t.Fatal(err)
		}
		do := func(what string, f func(context.Context, string, subscriptions.Selection) (int, error), name string, named ...core.ID) error {
			t.Helper()
			store.calls.Store(0)
			store.records.Store(0)
			store.events.Store(0)
			count, err := f(ctx, name, subscriptions.Selection{IDs: named})
			calls, records, read := store.calls.Load(), store.records.Load(), store.events.Load()
			if most := 20 + 5*int64(len(named)); calls > most || records > most || read > most {
				t.Errorf("%s %d of %s: %d calls that read %d records and %d events", what, len(named), name, calls, records, read)
			}
			if err == nil && count != len(named) {
				t.Errorf("%s %d of %s: %d", what, len(named), name, count)
			}
			return err
		}
		for name, count := range parked {
			for _, named := range [][]core.ID{{ids[0]}, {ids[count/2], ids[count/2+1]}, {ids[count-1]}} {
				if err := do("replay", o.Replay, name, named...); err != nil {
					t.Error(err)
				}
				if err := do("drop", o.Drop, name, named...); err != nil {
					t.Error(err)
				}
				for what, f := range map[string]func(context.Context, string, subscriptions.Selection) (int, error){"replay": o.Replay, "drop": o.Drop} {
					if err := do(what, f, name, named...); !errors.Is(err, core.CodeEventNotFound) {
						t.Errorf("%s of what was dropped from %s: %v", what, name, err)
					}
				}
			}
			info, err := o.Info(ctx, name)
			if err != nil || info.Parked != count-4 {
				t.Errorf("of %s %d are parked, %v", name, info.Parked, err)
			}
		}
		// An event that is not in the stream, and none at all: nothing is linked by asking.
		head := n.store.State().Head
		last, err := n.store.Read(ctx, core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []core.ID{last.Slice()[0].ID, core.NewID()} {
			if err := do("drop", o.Drop, "linked", id); !errors.Is(err, core.CodeEventNotFound) {
				t.Errorf("drop of %s: %v", id, err)
			}
		}
		if now := n.store.State().Head; now != head {
			t.Errorf("the log goes to %d, and went to %d", now, head)
		}
	})
}
