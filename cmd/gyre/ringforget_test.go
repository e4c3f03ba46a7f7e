//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
)

// TestRingRemovalSoak kills the owner of a subscription with SIGKILL while a removal waits for it. The
// answer comes when the view has changed, and no node hands out what is removed, or has it parked.
// With GYRE_SOAK=1 it does so 10 times.
func TestRingRemovalSoak(t *testing.T) {
	t.Parallel() // it waits, most of the time
	r := &removalRing{t: t, nodes: startRolling(t, "--hard-deletes")}
	killed := r.round("gone")
	if os.Getenv("GYRE_SOAK") == "" {
		return
	}
	for i := range 9 {
		r.nodes[killed].start()
		r.nodes[killed].ready()
		killed = r.round(fmt.Sprint("gone-", i))
	}
}

// removalRing is a ring of processes.
type removalRing struct {
	t     *testing.T
	nodes []*ringNode
}

func (r *removalRing) dial(node int) *sdk.Client {
	r.t.Helper()
	client, err := sdk.Dial(r.t.Context(), "http://"+r.nodes[node].listen, sdk.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = client.Close() })
	return client
}

// owner is the index of the node that owns a name.
func (r *removalRing) owner(by *sdk.Client, kind ring.Kind, name string) int {
	r.t.Helper()
	w, err := by.Cluster().WhereIs(r.t.Context(), kind, name)
	if err != nil || w.Owner == nil {
		r.t.Fatalf("nobody owns %s: %v", name, err)
	}
	return slices.IndexFunc(r.nodes, func(n *ringNode) bool { return slices.Contains(n.args, w.Owner.Node) })
}

// round removes a stream whose events are parked, ahead of a subscriber and in all tails. It returns
// the node that it has killed.
func (r *removalRing) round(sub string) (killed int) {
	r.t.Helper()
	t, ctx := r.t, r.t.Context()
	owner := r.owner(r.dial(0), ring.KindSubscription, sub)
	asked, other := r.dial((owner+1)%ringNodes), r.dial((owner+2)%ringNodes)
	stream := sub
	for n := 0; r.owner(asked, ring.KindStream, stream) == owner; n++ {
		stream = fmt.Sprintf("%s-%d", sub, n)
	}
	s := r.prepare(other, sub, stream)
	if err := r.nodes[owner].now.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 1)
	go func() { answers <- asked.RemoveStream(ctx, stream, core.AnyVersion) }()
	if err := until(ringLatest, func() error { return isRemoved(ctx, other, stream) }); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answers:
		t.Fatalf("the removal is answered while a node of the view does not: %v", err)
	default:
	}
	if _, err := r.nodes[owner].now.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-answers; err != nil {
		t.Fatal(err)
	}
	r.expectGone(sub, stream, asked, other)
	r.expectNext(s, other, stream)
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	return owner
}

// prepare parks the first of some events, and has the subscription keep the others ahead.
func (r *removalRing) prepare(at *sdk.Client, sub, stream string) *sdk.Subscriber {
	t, ctx := r.t, r.t.Context()
	t.Helper()
	d := subscriptions.DefaultDefinition()
	d.Filter.Streams = []string{stream, stream + "-end"}
	s, err := at.Subscribe(ctx, sub, sdk.SubscribeOptions{Definition: &d, Ahead: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := at.AppendTo(ctx, stream, core.NoStream, numbered(1, 5)...); err != nil {
		t.Fatal(err)
	}
	batch, err := s.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for d := range batch.Events() {
		if err := d.Nack(delivery.Nack{Action: delivery.ActionPark, Reason: "no"}); err != nil {
			t.Fatal(err)
		}
	}
	err = until(ringLatest, func() error {
		info, err := at.Subscriptions().Info(ctx, sub)
		if err == nil && info.Parked != 1 {
			err = fmt.Errorf("%d events are parked", info.Parked)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// isRemoved returns nil if a node says that a stream is not there.
func isRemoved(ctx context.Context, at *sdk.Client, stream string) error {
	page, err := at.Read(ctx, core.ReadRequest{Stream: stream})
	if errors.Is(err, core.CodeStreamNotFound) {
		return nil
	}
	return fmt.Errorf("%d events of %s are read, %v", page.Count, stream, err)
}

// expectGone checks that no node has any of the events.
func (r *removalRing) expectGone(sub, stream string, clients ...*sdk.Client) {
	r.t.Helper()
	for _, at := range clients {
		if err := isRemoved(r.t.Context(), at, stream); err != nil {
			r.t.Error(err)
		}
		follower, err := at.Follow(r.t.Context(), core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{stream}}})
		if err != nil {
			r.t.Fatal(err)
		}
		for live := false; !live; {
			d, err := follower.Next(r.t.Context(), core.Limit{Events: 100, Bytes: 1 << 20})
			if err != nil || d.Count > 0 {
				r.t.Fatalf("%d removed events are followed, %v", d.Count, err)
			}
			live = d.Live
		}
		_ = follower.Close()
		parked, err := at.Subscriptions().Parked(r.t.Context(), sub, subscriptions.ParkedRequest{})
		if err != nil || len(parked.Parked) > 0 {
			r.t.Errorf("parked: %+v, %v", parked.Parked, err)
		}
	}
}

// expectNext checks that the subscriber gets none of the events, but the next one. One that it was
// sent before the removal may be in its hand.
func (r *removalRing) expectNext(s *sdk.Subscriber, by *sdk.Client, stream string) {
	r.t.Helper()
	if _, err := by.AppendTo(r.t.Context(), stream+"-end", core.NoStream, numbered(1, 1)...); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), ringLatest)
	defer cancel()
	for old := 0; ; {
		batch, err := s.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20})
		if err != nil {
			r.t.Fatal(err)
		}
		for d := range batch.Events() {
			if d.Stream != stream {
				return
			}
			if old++; old > 1 {
				r.t.Fatalf("the subscriber gets version %d after the removal", d.Version)
			}
		}
	}
}
