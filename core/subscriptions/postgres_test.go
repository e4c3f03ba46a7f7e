package subscriptions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// twoNodes are two nodes of a ring, without what decides which of them owns a subscription:
// storage alone keeps them from spoiling each other's work.
func twoNodes(t *testing.T) (a, b *node) {
	server := pgtest.Shared(t)
	name := server.Store(t)
	return newNode(t, openStore(t, server.URL, name)), newNode(t, openStore(t, server.URL, name))
}

// A node serves what another has just made, appended and acknowledged, whatever it knew
// of the log before.
func TestAnotherNodesSubscription(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	for round := uint64(0); round < 20; round++ {
		name := fmt.Sprint("s-", round)
		a.put(name, func(d *subscriptions.Definition) {
			d.From = core.From{Kind: core.AfterPosition, N: 10 * round}
		})
		a.fill(10, 3)
		c := a.join(name, unlimited)
		got := c.take(10)
		c.ack(got[:9]...)
		c.Leave(true)
		a.stored(name, 10*round+9)

		if round%2 == 0 { // a look lets the node know what it does not know in the other rounds
			eventually(t, func() error { // it hears of the head within milliseconds
				if info := b.info(name); info.Checkpoint != 10*round+9 || info.Lag != 1 {
					return fmt.Errorf("the other node says: checkpoint %d, lag %d", info.Checkpoint, info.Lag)
				}
				return nil
			})
		}
		c = b.join(name, unlimited)
		wantPositions(t, c.take(1), got[9:])
		if err := b.Reset(t.Context(), name, core.From{Kind: core.AfterPosition, N: 10*round + 5}); err != nil {
			t.Fatal(err)
		}
		wantPositions(t, b.join(name, unlimited).take(5), got[5:])
	}
}

// TestSoakTwoNodes has two nodes host one subscription at once, each with a consumer that
// joins whenever it may, while both append. Each store ends the other's host, so that
// both begin anew all the time: no event is left out, and the stored checkpoint only
// moves forward and never passes an event that nobody acked (P9).
func TestSoakTwoNodes(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	events := 600
	if os.Getenv("GYRE_SOAK") != "" {
		events = 20_000
	}
	a.put("s", func(d *subscriptions.Definition) {
		d.Retry.Max, d.BufferSize, d.CheckpointThreshold, d.CheckpointAfterMs = 1000, 16, 3, 100
	})
	shared := &rivals{acked: map[uint64]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	for i, n := range []*node{a, b} {
		running.Go(func() { shared.consume(ctx, n, rand.New(rand.NewPCG(7, uint64(i)))) })
	}
	running.Go(func() { shared.watch(ctx, a) })
	for appended := 0; appended < events; appended += 20 {
		a.fill(10, 3)
		b.fill(10, 3)
	}
	eventually(t, func() error {
		if got := a.info("s").Checkpoint; got != uint64(events) {
			return fmt.Errorf("the checkpoint is %d of %d", got, events)
		}
		return nil
	})
	cancel()
	running.Wait()
	if got := len(shared.acked); got != events || shared.interrupted == 0 {
		t.Errorf("%d of %d events were acked; %d times a host was overtaken", got, events, shared.interrupted)
	}
}

// rivals consume one subscription at several nodes.
type rivals struct {
	mu          sync.Mutex // protects the fields below
	acked       map[uint64]bool
	interrupted int
}

// consume joins at a node again and again until ctx ends.
func (r *rivals) consume(ctx context.Context, n *node, random *rand.Rand) {
	for ctx.Err() == nil {
		s, err := subscriptions.JoinWaiting(ctx, n, subscriptions.JoinRequest{Name: "s", Credit: unlimited})
		if errors.Is(err, core.CodeSubscriptionInterrupted) {
			continue // it was overtaken just now
		}
		if err != nil {
			if ctx.Err() == nil {
				n.t.Errorf("join: %v", err)
			}
			return
		}
		for err == nil {
			err = r.handle(ctx, s, random)
		}
		if ctx.Err() == nil && !errors.Is(err, core.CodeSubscriptionInterrupted) && !errors.Is(err, core.CodeLeaseLost) {
			n.t.Errorf("a subscriber ended with %v", err)
		}
		s.Leave(true)
		r.mu.Lock()
		r.interrupted++
		r.mu.Unlock()
	}
}

// handle acks what comes next, all or half of it.
func (r *rivals) handle(ctx context.Context, s *subscriptions.Waiting, random *rand.Rand) error {
	d, err := s.Next(ctx, core.Limit{Events: 1 + random.IntN(8), Bytes: 1 << 20})
	if err != nil {
		return err
	}
	var positions []uint64
	for e := range d.Events() {
		positions = append(positions, e.Position)
	}
	random.Shuffle(len(positions), func(i, j int) { positions[i], positions[j] = positions[j], positions[i] })
	r.mu.Lock()
	for _, p := range positions { // the ack may be taken and its answer not come
		r.acked[p] = true
	}
	r.mu.Unlock()
	return s.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: positions})
}

// watch looks at the stored checkpoint until ctx ends.
func (r *rivals) watch(ctx context.Context, n *node) {
	for last := uint64(0); ctx.Err() == nil; {
		records, err := n.store.Records(ctx, core.RecordsRequest{Table: "subscription_state"})
		if err != nil || len(records) != 1 {
			if ctx.Err() == nil {
				n.t.Errorf("%d records, %v", len(records), err)
			}
			return
		}
		var progress struct{ Checkpoint uint64 }
		if err := json.Unmarshal(records[0].Value, &progress); err != nil {
			n.t.Error(err)
			return
		}
		if progress.Checkpoint < last {
			n.t.Errorf("the checkpoint went from %d to %d", last, progress.Checkpoint)
		}
		r.mu.Lock()
		for ; last < progress.Checkpoint; last++ {
			if !r.acked[last+1] {
				n.t.Errorf("the checkpoint %d passes event %d, which nobody acked", progress.Checkpoint, last+1)
			}
		}
		r.mu.Unlock()
	}
}

// A live subscription outlives what happens to the server: its connections are
// terminated, it is restarted, it is killed. The subscriber notices nothing.
func TestServerComesAndGoes(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	n := newNode(t, openStore(t, server.URL, "gyre"))
	n.put("s", nil)
	c := n.join("s", unlimited)
	next := uint64(1)
	deliver := func() {
		t.Helper()
		n.fill(5, 1)
		wantPositions(t, c.take(5), numbers(next, next+4))
		c.ack(numbers(next, next+4)...)
		next += 5
		n.stored("s", next-1)
		c.until(delivery.Live)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	deliver()
	for range 5 {
		server.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'gyre%'")
		deliver()
	}
	must(server.Stop())
	must(server.Start())
	deliver()
	must(server.Kill())
	must(server.Start())
	deliver()

	// An ack while the server is away: its checkpoint is stored when it is back.
	n.fill(1, 1)
	wantPositions(t, c.take(1), []uint64{next})
	must(server.Kill())
	c.ack(next)
	must(server.Start())
	n.stored("s", next)
	next++
	deliver()
}
