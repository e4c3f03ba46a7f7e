//go:build unix

package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// N11, P05, Q02: TestRingSubscriptions asks every node of a ring for the same, and takes
// the owner of a subscription away under its consumers.
func TestRingSubscriptions(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	var nodes []*runtime.Node
	var clients []*sdk.Client
	for _, id := range []string{"one", "two", "three"} {
		nodes = append(nodes, member(t, server, store, id))
	}
	for _, n := range nodes {
		untilReady(t, n.URL(), http.StatusOK, "ok")
		clients = append(clients, dial(t, n))
	}
	oneOrder(t, clients)
	sameEverywhere(t, clients)
	fetchedAnywhere(t, nodes, clients)
	listedEverywhere(t, clients)
	ownerLeaves(t, nodes, clients)
}

// sameEverywhere: what is asked at any node holds at every node when it is answered.
func sameEverywhere(t *testing.T, clients []*sdk.Client) {
	ctx := t.Context()
	d := subscriptions.DefaultDefinition()
	d.Stream = "same"
	if _, _, err := clients[0].Subscriptions().Put(ctx, "same", &d); err != nil {
		t.Fatal(err)
	}
	for i, at := range clients {
		if _, err := at.Append(ctx, eventIn("same", i)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(what string, want func(*subscriptions.Info) bool) {
		t.Helper()
		for i, c := range clients {
			info, err := c.Subscriptions().Info(ctx, "same")
			if err != nil || !want(&info) {
				t.Errorf("after %s node %d says %+v, %v", what, i, info, err)
			}
		}
	}
	for _, at := range clients {
		subs := at.Subscriptions()
		if err := subs.Pause(ctx, "same"); err != nil {
			t.Fatal(err)
		}
		is("pause", func(i *subscriptions.Info) bool { return i.Paused && i.State == delivery.Paused })
		if err := subs.Resume(ctx, "same"); err != nil {
			t.Fatal(err)
		}
		is("resume", func(i *subscriptions.Info) bool { return !i.Paused })
		s, err := at.Subscribe(ctx, "same", sdk.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		events, err := s.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for d := range events.Events() {
			if err := d.Nack(delivery.Nack{Action: delivery.ActionPark, Reason: "no"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		for parked := 0; parked == 0; { // a nack is not waited for
			info, err := subs.Info(ctx, "same")
			if err != nil {
				t.Fatal(err)
			}
			parked = info.Parked
		}
		is("park", func(i *subscriptions.Info) bool { return i.Parked == 1 })
		for _, other := range clients {
			if page, err := other.Subscriptions().Parked(ctx, "same", subscriptions.ParkedRequest{}); err != nil || len(page.Parked) != 1 {
				t.Errorf("parked: %+v, %v", page, err)
			}
		}
		if n, err := subs.Drop(ctx, "same", subscriptions.Selection{All: true}); n != 1 || err != nil {
			t.Errorf("dropped %d, %v", n, err)
		}
		is("drop", func(i *subscriptions.Info) bool { return i.Parked == 0 })
		if err := subs.Reset(ctx, "same", core.From{}); err != nil {
			t.Fatal(err)
		}
		is("reset", func(i *subscriptions.Info) bool { return i.Checkpoint == 0 })
	}
	for _, at := range clients {
		if _, created, err := at.Subscriptions().Put(ctx, "deleted", &d); !created || err != nil {
			t.Fatalf("created: %t, %v", created, err)
		}
		if err := at.Subscriptions().Delete(ctx, "deleted"); err != nil {
			t.Fatal(err)
		}
		for i, c := range clients {
			if _, err := c.Subscriptions().Info(ctx, "deleted"); !errors.Is(err, core.CodeSubscriptionNotFound) {
				t.Errorf("after delete node %d says %v", i, err)
			}
		}
	}
}

// oneOrder: what is appended at every node is read at one, followed at another and
// delivered at the third in one order, that of its versions.
func oneOrder(t *testing.T, clients []*sdk.Client) {
	const events = 30
	ctx := t.Context()
	d := subscriptions.DefaultDefinition()
	d.Stream = "ordered"
	s, err := clients[1].Subscribe(ctx, "ordered", sdk.SubscribeOptions{Definition: &d})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(ctx) }()
	var appending sync.WaitGroup
	for _, c := range clients {
		appending.Go(func() {
			for i := range events / len(clients) {
				if _, err := c.Append(ctx, eventIn("ordered", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var delivered, followed, read []core.ID
	for len(delivered) < events {
		batch, err := s.Next(ctx, core.Limit{Events: events, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for d := range batch.Events() {
			delivered = append(delivered, d.ID)
		}
	}
	for e, err := range core.FollowEvents(ctx, clients[0], core.FollowRequest{Stream: "ordered"}) {
		if err != nil {
			t.Fatal(err)
		}
		if followed = append(followed, e.ID); len(followed) == events {
			break
		}
	}
	appending.Wait()
	for e, err := range core.ReadAll(ctx, clients[2], core.ReadRequest{Stream: "ordered"}) {
		if err != nil {
			t.Fatal(err)
		}
		if read = append(read, e.ID); e.Version != uint64(len(read)) {
			t.Errorf("version %d is read as the %d.", e.Version, len(read))
		}
	}
	if !slices.Equal(delivered, read) || !slices.Equal(followed, read) {
		t.Errorf("delivered %v\nfollowed %v\nread %v", delivered, followed, read)
	}
}

// fetchedAnywhere: an event is fetched over HTTP at one node, parked at another and
// replayed at the third; a lease that one node gave is good at all.
func fetchedAnywhere(t *testing.T, nodes []*runtime.Node, clients []*sdk.Client) {
	ctx := t.Context()
	d := subscriptions.DefaultDefinition()
	d.Stream = "fetched"
	if _, _, err := clients[0].Subscriptions().Put(ctx, "fetched", &d); err != nil {
		t.Fatal(err)
	}
	post := func(node int, path, body string) (answer struct {
		Lease  uint64
		Events []struct{ Position uint64 }
	}) {
		t.Helper()
		status, text := request(t, http.MethodPost, nodes[node%3].URL()+"/v1/subscriptions/fetched/"+path, body, 0)
		if status/100 != 2 || status == http.StatusOK && json.Unmarshal([]byte(text), &answer) != nil {
			t.Fatalf("%s at node %d: %d %s", path, node%3, status, text)
		}
		return answer
	}
	is := func(what string, parked int, checkpoint uint64) {
		t.Helper()
		for i, c := range clients {
			if info, err := c.Subscriptions().Info(ctx, "fetched"); err != nil || info.Parked != parked || info.Checkpoint != checkpoint {
				t.Errorf("after %s node %d says %+v, %v", what, i, info, err)
			}
		}
	}
	for i := range nodes {
		if _, err := clients[i].Append(ctx, eventIn("fetched", i)); err != nil {
			t.Fatal(err)
		}
		f := post(i+1, "fetch", `{"waitMs":10000}`)
		if len(f.Events) != 1 {
			t.Fatalf("fetched %+v", f)
		}
		position := f.Events[0].Position
		post(i+2, "nack", fmt.Sprintf(`{"lease":%d,"positions":[%d],"action":"park"}`, f.Lease, position))
		is("park", 1, position)
		if n, err := clients[i].Subscriptions().Replay(ctx, "fetched", subscriptions.Selection{All: true}); n != 1 || err != nil {
			t.Errorf("replayed %d, %v", n, err)
		}
		again := post(i+2, "fetch", `{"waitMs":10000}`)
		if len(again.Events) != 1 || again.Events[0].Position != position || again.Lease == f.Lease {
			t.Fatalf("fetched %+v after %+v", again, f)
		}
		post(i, "ack", fmt.Sprintf(`{"lease":%d,"positions":[%d],"durable":true}`, again.Lease, position))
		is("replay", 0, position)
	}
}

func eventIn(stream string, n int) core.Commit {
	return core.Commit{Appends: []core.Append{{
		Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: fmt.Appendf(nil, "%d", n)}},
	}}}
}

// listedEverywhere: a list has the state of subscriptions that other nodes host.
func listedEverywhere(t *testing.T, clients []*sdk.Client) {
	ctx := t.Context()
	for i := range 9 {
		for _, transient := range []bool{false, true} {
			s, err := clients[i%3].Subscribe(ctx, fmt.Sprintf("listed-%d", i), sdk.SubscribeOptions{Transient: transient, Consumer: "c"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close(ctx) }()
		}
	}
	for i, c := range clients {
		for _, transient := range []bool{false, true} {
			var names []string
			for after, end := "", false; !end; {
				page, err := c.Subscriptions().List(ctx, subscriptions.ListRequest{Prefix: "listed-", After: after, Limit: 4, Transient: transient})
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range page.Subscriptions {
					names = append(names, s.Name)
					if len(s.Subscribers) != 1 || s.State == delivery.Idle || s.Transient != transient {
						t.Errorf("node %d lists %+v", i, s)
					}
				}
				if end = page.End; !end {
					after = names[len(names)-1]
				}
			}
			if len(names) != 9 || names[0] != "listed-0" || names[8] != "listed-8" {
				t.Errorf("node %d lists %q", i, names)
			}
		}
	}
}

// ownerLeaves has the owner of a subscription leave the ring: its consumers at the other
// nodes see a pause, and nothing comes twice.
func ownerLeaves(t *testing.T, nodes []*runtime.Node, clients []*sdk.Client) {
	const events = 150
	var consuming sync.WaitGroup
	defer consuming.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := clients[0].Cluster().WhereIs(ctx, ring.KindSubscription, "moving")
	if err != nil || w.Owner == nil {
		t.Fatalf("whereis: %+v, %v", w, err)
	}
	var mu sync.Mutex
	handled, moved := map[uint64]int{}, false
	done := make(chan struct{}, 1) // all are handled
	var left *runtime.Node
	var at *sdk.Client
	d := subscriptions.DefaultDefinition()
	d.Stream, d.PartitionBy, d.ConcurrencyLimit = "moving", subscriptions.ByStream, 2
	for i, id := range []string{"one", "two", "three"} {
		if id == w.Owner.Node {
			left = nodes[i]
			continue
		}
		at = clients[i]
		s, err := at.Subscribe(ctx, "moving", sdk.SubscribeOptions{Definition: &d, OnStatus: func(s sdk.Status) {
			mu.Lock()
			defer mu.Unlock()
			moved = moved || s.State == delivery.Moving
			if s.State == delivery.Idle && len(handled) < events {
				t.Error("a subscriber was disconnected")
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		consuming.Go(func() {
			for {
				batch, err := s.Next(ctx, core.Limit{Events: 5, Bytes: 1 << 20})
				if err != nil {
					return
				}
				for d := range batch.Events() {
					mu.Lock()
					if handled[d.Position]++; len(handled) == events && len(done) == 0 {
						done <- struct{}{}
					}
					mu.Unlock()
					if err := d.Ack(); err != nil {
						t.Errorf("ack of %d: %v", d.Position, err)
					}
				}
			}
		})
	}
	for i := range events {
		if i == events/2 {
			if err := at.Cluster().Leave(ctx, w.Owner.Node); err != nil {
				t.Fatal(err)
			}
			<-left.Left()
			stop(t, left)
		}
		if _, err := at.Append(ctx, eventIn("moving", i)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	for position, n := range handled {
		if n > 1 {
			t.Errorf("%d was handled %d times", position, n)
		}
	}
	if len(handled) != events || !moved {
		t.Errorf("%d of %d events were handled, moved: %v", len(handled), events, moved)
	}
}
