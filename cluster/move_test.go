package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// crowd checks what the handlers of a subscription get, all nodes together.
type crowd struct {
	t *testing.T

	mu      sync.Mutex
	busy    map[string]string // by key: who handles one of its events
	last    map[string]uint64 // by key: the position of the last that was finished
	handled map[uint64]int    // by position
	states  map[delivery.State]int
	// strict: no node fails, so no two handlers of a key overlap and none goes backwards.
	strict bool
}

func newCrowd(t *testing.T, strict bool) *crowd {
	return &crowd{t: t, strict: strict, busy: map[string]string{}, last: map[string]uint64{}, handled: map[uint64]int{}, states: map[delivery.State]int{}}
}

func (c *crowd) begin(who, key string, position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, ok := c.busy[key]; ok && c.strict {
		c.t.Errorf("%s begins %d of %s while %s handles another", who, position, key, other)
	}
	if c.strict && position <= c.last[key] {
		c.t.Errorf("%s begins %d of %s after %d", who, position, key, c.last[key])
	}
	c.busy[key] = who
}

func (c *crowd) end(key string, position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, key)
	c.last[key] = max(c.last[key], position)
	c.handled[position]++
}

// consume handles events at a node, each for a while, until ctx ends.
func (c *crowd) consume(ctx context.Context, who string, at subscriptions.Joiner, r subscriptions.JoinRequest, work time.Duration) {
	w, err := subscriptions.JoinWaiting(ctx, at, r)
	if err != nil {
		c.t.Errorf("%s: %v", who, err)
		return
	}
	defer w.Leave(true)
	for {
		d, err := w.Next(ctx, core.Limit{Events: 10, Bytes: 1 << 20})
		if err != nil {
			if ctx.Err() == nil {
				c.t.Errorf("%s ended: %v", who, err)
			}
			return
		}
		if d.Changed {
			c.mu.Lock()
			if d.State == "" || d.Count > 0 && (d.State == delivery.Moving || d.State == delivery.NoQuorum) {
				c.t.Errorf("%s gets %d events in state %q", who, d.Count, d.State)
			}
			c.states[d.State]++
			c.mu.Unlock()
		}
		for e := range d.Events() {
			c.begin(who, e.Stream, e.Position)
			time.Sleep(work)
			w.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{e.Position}}, func(err error) {
				if err != nil && c.strict {
					c.t.Errorf("%s acks %d: %v", who, e.Position, err)
				}
			})
			c.end(e.Stream, e.Position)
		}
	}
}

// append appends events to some streams in turn.
func (n *hostNode) append(ctx context.Context, from, count int) {
	n.world.t.Helper()
	for i := from; i < from+count; i++ {
		c := core.Commit{Appends: []core.Append{{
			Stream: fmt.Sprintf("s-%d", i%5), Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte("1")}},
		}}}
		if _, err := n.hosting.store.Append(ctx, c); err != nil {
			n.world.t.Error(err)
			return
		}
		time.Sleep(3 * time.Millisecond)
	}
}

func keyed() *subscriptions.Definition {
	d := subscriptions.DefaultDefinition()
	d.PartitionBy, d.ConcurrencyLimit, d.BufferSize = subscriptions.ByStream, 3, 20
	return &d
}

// N07: with a key and a consumer at each of three nodes, ownership moves under load,
// gracefully: nothing is lost, no two handlers of a key overlap, none goes backwards, and
// no subscriber ends.
func TestSubscriptionMovesUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 2*time.Millisecond)
		w.awaitOwner("moving")
		ctx, cancel := context.WithCancel(t.Context())
		c := newCrowd(t, true)
		var running sync.WaitGroup
		for _, n := range w.nodes {
			r := subscriptions.JoinRequest{Name: "moving", Definition: keyed(), Workers: 1, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited}}
			running.Go(func() { c.consume(ctx, n.self.Node, n.router, r, 4*time.Millisecond) })
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.nodes[0].append(ctx, 0, 1000)
		}()
		for i := range 12 {
			time.Sleep(200 * time.Millisecond)
			out := w.nodes[i%3]
			out.drains(true)
			w.setView(slices.DeleteFunc(slices.Clone(w.nodes), func(n *hostNode) bool { return n == out })...)
			time.Sleep(100 * time.Millisecond)
			w.setView(w.nodes...)
			out.drains(false)
		}
		<-done
		time.Sleep(5 * time.Second)
		cancel()
		running.Wait()
		if len(c.handled) != 1000 {
			t.Errorf("%d of 1000 events were handled", len(c.handled))
		}
		for position, n := range c.handled {
			if n != 1 {
				t.Errorf("%d was handled %d times", position, n)
			}
		}
		if c.states[delivery.Moving] == 0 {
			t.Errorf("states: %v", c.states)
		}
	})
}

// Two views come shortly one after another, and each takes a subscription from a node. The
// second is drained like the first, though it is lost while the first one drains.
func TestViewsThatComeTogetherAreDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, time.Millisecond)
		out, other, third := w.nodes[0], w.nodes[1], w.nodes[2]
		w.setView(out, other)
		sooner := movingName(t, w, third)
		later := movingName(t, w, out)
		w.awaitOwner(sooner)
		w.awaitOwner(later)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		crowds := map[string]*crowd{sooner: newCrowd(t, true), later: newCrowd(t, true)}
		for name, work := range map[string]time.Duration{sooner: 50 * time.Millisecond, later: 200 * time.Millisecond} {
			r := subscriptions.JoinRequest{Name: name, Definition: keyed(), Workers: 1, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited}}
			running.Go(func() { crowds[name].consume(ctx, name, other.router, r, work) })
		}
		other.append(ctx, 0, 5)
		time.Sleep(20 * time.Millisecond) // both are handling
		w.setView(w.nodes...)
		out.drains(true)
		w.setView(other, third)
		for name, c := range crowds {
			c.awaitCount(5)
			if len(c.handled) != 5 {
				t.Errorf("%s: %d events were handled", name, len(c.handled))
			}
		}
		cancel()
		running.Wait()
	})
}

// movingName is a name that the first node owns of the first two, and another of all three.
func movingName(t *testing.T, w *world, then *hostNode) string {
	two := &ring.View{Members: []ring.Member{w.nodes[0].self, w.nodes[1].self}}
	all := &ring.View{Members: []ring.Member{w.nodes[0].self, w.nodes[1].self, w.nodes[2].self}}
	before, after := two.Owners(), all.Owners()
	for i := range 10_000 {
		name := fmt.Sprintf("moving-%d", i)
		first, _ := before.Owner(ring.Slot(name))
		next, _ := after.Owner(ring.Slot(name))
		if first.Session == w.nodes[0].self.Session && next.Session == then.self.Session {
			return name
		}
	}
	t.Fatal("there is no such name")
	return ""
}

// awaitCount waits until so many events were handled.
func (c *crowd) awaitCount(n int) {
	for {
		c.mu.Lock()
		got := len(c.handled)
		c.mu.Unlock()
		if got >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// L03, L04: a subscription moves with its progress: what was acked at one owner is
// delivered by none after it, and what was in flight is.
func TestProgressMovesWithTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, time.Millisecond)
		owner := w.awaitOwner("moving")
		entry := w.nodes[owner.self.Session%3]
		ctx := t.Context()
		d := keyed()
		d.ConcurrencyLimit = 1
		s, err := subscriptions.JoinWaiting(ctx, entry.router, subscriptions.JoinRequest{
			Name: "moving", Definition: d, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Leave(true)
		entry.append(ctx, 0, 3)
		for position := uint64(1); position <= 3; position++ {
			for p := position; p <= 3; p++ { // the rest is in flight
				if got := nextEvent(t, s).Last; got != p {
					t.Fatalf("%d is delivered, want %d", got, p)
				}
			}
			if err := s.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{position}}); err != nil {
				t.Fatal(err)
			}
			owner.drains(position%2 == 1)
			w.setView(slices.DeleteFunc(slices.Clone(w.nodes), func(n *hostNode) bool { return n == owner && position%2 == 1 })...)
			if now := w.awaitOwner("moving"); (now == owner) != (position%2 == 0) {
				t.Fatalf("it is at %s", now.self.Node)
			}
		}
	})
}

// L01, L06: a node that dies takes nothing with it: what was in flight is delivered again
// at the next owner, to the consumers that are left.
func TestSubscriptionOutlivesItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 2*time.Millisecond)
		owner := w.awaitOwner("moving")
		ctx, cancel := context.WithCancel(t.Context())
		c := newCrowd(t, false)
		var running sync.WaitGroup
		var left []*hostNode
		for _, n := range w.nodes {
			if n != owner {
				left = append(left, n)
			}
		}
		for _, n := range left {
			r := subscriptions.JoinRequest{Name: "moving", Definition: keyed(), Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited}}
			running.Go(func() { c.consume(ctx, n.self.Node, n.router, r, time.Millisecond) })
		}
		running.Go(func() { left[0].append(t.Context(), 0, 300) })
		c.awaitCount(50)
		owner.stop()
		time.Sleep(500 * time.Millisecond)
		w.setView(left...)
		c.awaitCount(300)
		cancel()
		running.Wait()
		if c.states[delivery.Moving] == 0 {
			t.Errorf("states: %v", c.states)
		}
	})
}

// L01, L02, L05, N08: while a node does not serve, its subscribers get nothing and are
// told why; then they go on.
func TestSubscriberWithoutQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, time.Millisecond)
		owner := w.awaitOwner("moving")
		entry := w.nodes[2-owner.self.Session]
		ctx := t.Context()
		closed := core.Errorf(core.CodeNoNodeAvailable, "1 of 2 members are alive")
		for _, shut := range []*hostNode{entry, owner} {
			s, err := subscriptions.JoinWaiting(ctx, entry.router, subscriptions.JoinRequest{
				Name: "moving", Definition: keyed(), Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
			})
			if err != nil {
				t.Fatal(err)
			}
			owner.append(ctx, 0, 1)
			first := nextEvent(t, s)
			shut.shut(closed)
			want := delivery.Moving
			if shut == entry {
				want = delivery.NoQuorum
			}
			awaitState(t, s, want)
			if _, ok, err := s.Take(core.Limit{Events: 1}); ok || err != nil {
				t.Errorf("took something from a node that does not serve, or %v", err)
			}
			err = s.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{first.Last}})
			if !errors.Is(err, core.CodeLeaseLost) {
				t.Errorf("an ack under the lease that has ended: %v", err)
			}
			shut.shut(nil)
			again := nextEvent(t, s)
			if again.Last != first.Last || again.Lease == first.Lease {
				t.Errorf("%d of lease %d comes after %d of lease %d", again.Last, again.Lease, first.Last, first.Lease)
			}
			if err := s.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{again.Last}}); err != nil {
				t.Error(err)
			}
			s.Leave(true)
		}
	})
}

func nextEvent(t *testing.T, s *subscriptions.Waiting) subscriptions.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		d, err := s.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if d.Count > 0 {
			return d
		}
	}
}

func awaitState(t *testing.T, s *subscriptions.Waiting, want delivery.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		d, err := s.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20})
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		if d.Count > 0 {
			t.Fatalf("took %d while waiting for %s", d.Last, want)
		}
		if d.State == want && d.Changed {
			if d.Reason == "" {
				t.Errorf("%s has no reason", want)
			}
			return
		}
	}
}

// A join waits while the node does not serve, and while nobody holds the slot.
func TestJoinWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 0)
		owner := w.awaitOwner("moving")
		entry := w.nodes[2-owner.self.Session]
		r := subscriptions.JoinRequest{Name: "moving", Definition: keyed()}
		for _, shut := range []*hostNode{entry, owner} {
			shut.shut(core.Errorf(core.CodeNoNodeAvailable, "closed"))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if _, err := entry.router.Join(ctx, r); !errors.Is(err, core.CodeNoNodeAvailable) {
				t.Errorf("at the deadline: %v", err)
			}
			cancel()
			joined := make(chan error, 1)
			go func() {
				s, err := entry.router.Join(t.Context(), r)
				if err == nil {
					s.Leave(true)
				}
				joined <- err
			}()
			time.Sleep(time.Second)
			shut.shut(nil)
			if err := <-joined; err != nil {
				t.Error(err)
			}
		}
	})
}

// A view that moves nothing of a subscription does not pause it: its checkpoint goes to the
// log under the next epoch.
func TestViewsDoNotPauseWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0)
		owner := w.awaitOwner("staying")
		out := w.nodes[owner.self.Session%3]
		ctx := t.Context()
		s, err := subscriptions.JoinWaiting(ctx, owner.router, subscriptions.JoinRequest{
			Name: "staying", Definition: keyed(), Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Leave(true)
		owner.append(ctx, 0, 1)
		d := nextEvent(t, s)
		w.mu.Lock() // the log has moved on, and no node knows it
		if err := w.log.AdvanceEpoch(w.epoch); err != nil {
			t.Fatal(err)
		}
		w.epoch++
		w.mu.Unlock()
		acked := make(chan error, 1)
		s.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{d.Last}, Durable: true}, func(err error) { acked <- err })
		time.Sleep(500 * time.Millisecond)
		select {
		case err := <-acked:
			t.Fatalf("stored under an epoch that is over: %v", err)
		default:
		}
		w.setView(slices.DeleteFunc(slices.Clone(w.nodes), func(n *hostNode) bool { return n == out })...)
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
		if owner.State().View.Epoch != 4 || !owner.State().Holds(ring.Slot("staying"), time.Now()) {
			t.Fatalf("epoch %d", owner.State().View.Epoch)
		}
		owner.append(ctx, 1, 1)
		if next := nextEvent(t, s); next.Lease != d.Lease {
			t.Error("the lease has changed, though the subscription has not moved")
		}
	})
}
