//go:build unix

package runtime_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// forgetting is a ring, one stream, and a subscription of it that has events ahead and parked.
type forgetting struct {
	t       *testing.T
	clients []*sdk.Client // one at each node
	round   int
	stream  string
	sub     *sdk.Subscriber
}

// TestRingForgetsWhatIsRemoved removes a stream at one node, tombstones one at the next, and puts a policy at the third: when it is
// answered, no node hands out what is gone.
func TestRingForgetsWhatIsRemoved(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	f := &forgetting{t: t}
	var nodes []*runtime.Node
	for _, id := range []string{"one", "two", "three"} {
		nodes = append(nodes, start(t, runtime.Config{
			Node: id, Postgres: postgres.Config{URL: server.URL, Store: store}, HardDeletes: true,
			Ring: runtime.RingConfig{Enabled: true, Gossip: "127.0.0.1:0", Quorum: 2},
		}))
	}
	for _, n := range nodes {
		untilReady(t, n.URL(), http.StatusOK, "ok")
		f.clients = append(f.clients, dial(t, n))
	}
	// What does not know the call, as a node of an older version does, refuses it.
	if err := f.clients[0].Forget(t.Context(), 1, false); !errors.Is(err, core.CodeNotSupported) {
		t.Errorf("a client has a node forget: %v", err)
	}
	gone := core.Commit{
		Appends: []core.Append{{Stream: "kept", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}},
		Streams: []core.StreamOp{{Expect: core.AnyVersion, Action: core.TombstoneStream}},
	}
	put := core.RetentionPut{Expect: core.AnyVersion, Retention: core.Retention{TruncateBefore: 6}}
	for i, remove := range []func(at *sdk.Client) error{
		func(at *sdk.Client) error { return at.RemoveStream(t.Context(), f.stream, core.AnyVersion) },
		func(at *sdk.Client) error {
			gone.Streams[0].Stream = f.stream
			_, err := at.Append(t.Context(), gone)
			return err
		},
		func(at *sdk.Client) error {
			put.Target.Stream = f.stream
			_, err := at.SetRetention(t.Context(), put)
			return err
		},
	} {
		f.prepare(i)
		if err := remove(f.clients[i]); err != nil {
			t.Fatal(err)
		}
		f.expectGone([]string{"removed", "tombstoned in a transaction", "truncated"}[i])
	}
}

// prepare makes a stream of five events at every node's tail: one is parked, one in the hand of a
// subscriber at the node after the i-th, and the others are ahead of it.
func (f *forgetting) prepare(i int) {
	t, ctx := f.t, f.t.Context()
	t.Helper()
	if f.sub != nil {
		if err := f.sub.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	f.round++
	f.stream = fmt.Sprintf("gone-%d", f.round)
	d := subscriptions.DefaultDefinition()
	d.Filter.Streams = []string{f.stream, f.stream + "-end"}
	var err error
	at := f.clients[(i+1)%3]
	if f.sub, err = at.Subscribe(ctx, f.stream, sdk.SubscribeOptions{Definition: &d, Ahead: 1}); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		if _, err := at.Append(ctx, eventIn(f.stream, n)); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := f.sub.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for d := range batch.Events() {
		if err := d.Nack(delivery.Nack{Action: delivery.ActionPark, Reason: "no"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.sub.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	for _, c := range f.clients {
		if seen := f.followed(c, 5); seen != 5 {
			t.Fatalf("%d events are followed", seen)
		}
	}
	for parked := 0; parked == 0; { // a nack is not waited for
		info, err := at.Subscriptions().Info(ctx, f.stream)
		if err != nil {
			t.Fatal(err)
		}
		parked = info.Parked
	}
}

// followed counts events of the stream in $all, until there are some or the follow is live.
func (f *forgetting) followed(c *sdk.Client, until int) (seen int) {
	follower, err := c.Follow(f.t.Context(), core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{f.stream}}})
	if err != nil {
		f.t.Fatal(err)
	}
	defer follower.Close()
	for {
		d, err := follower.Next(f.t.Context(), core.Limit{Events: 100, Bytes: 1 << 20})
		if err != nil {
			f.t.Fatal(err)
		}
		if seen += d.Count; d.Live && seen >= until {
			return seen
		}
	}
}

// expectGone checks that no node has any of the events.
func (f *forgetting) expectGone(how string) {
	t, ctx := f.t, f.t.Context()
	t.Helper()
	for i, c := range f.clients {
		page, err := c.Read(ctx, core.ReadRequest{Stream: f.stream})
		if page.Count > 0 || err != nil && !errors.Is(err, core.CodeStreamNotFound) && !errors.Is(err, core.CodeStreamTombstoned) {
			t.Errorf("%s: node %d reads %d events, %v", how, i, page.Count, err)
		}
		if seen := f.followed(c, 0); seen > 0 {
			t.Errorf("%s: node %d follows %d events", how, i, seen)
		}
		if parked, err := c.Subscriptions().Parked(ctx, f.stream, subscriptions.ParkedRequest{}); err != nil || len(parked.Parked) > 0 {
			t.Errorf("%s: node %d has parked %+v, %v", how, i, parked, err)
		}
	}
	end := f.stream + "-end"
	if _, err := f.clients[0].Append(ctx, eventIn(end, 0)); err != nil {
		t.Fatal(err)
	}
	batch, err := f.sub.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for d := range batch.Events() {
		if d.Stream != end {
			t.Errorf("%s: the subscriber gets version %d of %s", how, d.Version, d.Stream)
		}
	}
}
