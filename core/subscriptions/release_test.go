package subscriptions_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

var errMoved = core.Errorf(core.CodeSubscriptionInterrupted, "it has moved")

// territory is what an owner owns: all names but those that were taken.
type territory struct{ taken sync.Map }

func (t *territory) owns(name string) error {
	if t.lost(name) {
		return errMoved
	}
	return nil
}

func (t *territory) lost(name string) bool {
	_, ok := t.taken.Load(name)
	return ok
}

// Subscriptions that are released end for their subscribers, are refused, and nothing
// more of them is stored. The others go on, and the next owner begins where it was stored.
func TestRelease(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		var mine territory
		before, err := subscriptions.New(subscriptions.Config{Store: n.store, Owns: mine.owns})
		if err != nil {
			t.Fatal(err)
		}
		defer n.close(before)
		next := n.Owner
		n.Owner = before
		n.fill(4, 1)
		for _, name := range []string{"a", "b", "c"} {
			n.put(name, func(d *subscriptions.Definition) { d.CheckpointThreshold = 100 })
		}
		a, b, c := n.join("a", unlimited), n.join("b", unlimited), n.join("c", unlimited)
		a.take(4)
		b.take(4)
		c.take(4)
		if err := a.Do(ctx, subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: 1, Durable: true}); err != nil {
			t.Fatal(err)
		}
		a.ack(2)
		waits := make(chan error, 1)
		c.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{4}, Durable: true}, func(err error) { waits <- err })

		mine.taken.Store("a", true)
		mine.taken.Store("c", true)
		if n := len(n.Active()); n != 3 {
			t.Errorf("%d are active, want 3", n)
		}
		if err := n.Release(ctx, mine.lost, errMoved); err != nil {
			t.Fatal(err)
		}
		if list := n.Active(); len(list) != 1 || list[0].Name != "b" || list[0].Since.After(list[0].Used) {
			t.Errorf("active after the release: %+v", list)
		}
		a.ends(core.CodeSubscriptionInterrupted)
		if err := <-waits; !errors.Is(err, core.CodeLeaseLost) {
			t.Errorf("the durable ack is done with %v", err)
		}
		n.wants(a.Ack([]uint64{3}), core.CodeLeaseLost)
		a.Leave(true)
		_, err = n.Join(ctx, subscriptions.JoinRequest{Name: "a", Credit: unlimited})
		n.wants(err, core.CodeSubscriptionInterrupted)
		_, err = n.Info(ctx, "a")
		n.wants(err, core.CodeSubscriptionInterrupted)
		n.wants(n.Pause(ctx, "a"), core.CodeSubscriptionInterrupted)
		b.ack(1)
		if err := b.Do(ctx, subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: 4, Durable: true}); err != nil {
			t.Errorf("what was not released: %v", err)
		}

		n.Owner = next
		if got := n.info("a").Checkpoint; got != 1 {
			t.Errorf("the checkpoint is %d", got)
		}
		wantPositions(t, n.join("a", unlimited).take(3), numbers(2, 4))
	})
}

// slow is a store whose Commits of checkpoints are answered when somebody says so.
type slow struct {
	*core.Store
	hold    atomic.Bool
	begun   chan struct{}
	release chan struct{}
}

func (s *slow) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	if !s.hold.Load() {
		s.Store.Submit(ctx, c, done)
		return
	}
	s.begun <- struct{}{}
	go func() {
		<-s.release
		s.Store.Submit(context.WithoutCancel(ctx), c, done)
	}()
}

// Release waits for a Commit that is under way, and not longer than its context.
func TestReleaseWaitsForTheLastCommit(t *testing.T) {
	n := newNode(t, memory.New())
	store := &slow{Store: n.store, begun: make(chan struct{}, 1), release: make(chan struct{})}
	o, err := subscriptions.New(subscriptions.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer n.close(o)
	n.Owner = o
	n.fill(1, 1)
	n.put("s", nil)
	c := n.join("s", unlimited)
	c.take(1)
	store.hold.Store(true)
	c.ack(1)
	<-store.begun
	all := func(string) bool { return true }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	n.wants(o.Release(ctx, all, errMoved), core.CodeTimeout)
	released := make(chan error, 1)
	go func() { released <- o.Release(t.Context(), all, errMoved) }()
	c.ends(core.CodeSubscriptionInterrupted)
	select {
	case err := <-released:
		t.Fatalf("released with %v before the Commit was answered", err)
	default:
	}
	store.hold.Store(false)
	close(store.release)
	if err := <-released; err != nil {
		t.Fatal(err)
	}
	if got := n.info("s").Checkpoint; got != 1 {
		t.Errorf("the checkpoint is %d", got)
	}
}
