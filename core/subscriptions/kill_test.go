package subscriptions_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// mortal is a store of a process that is killed: it makes some Commits, and no more. The
// others are answered when their callers withdraw them.
type mortal struct {
	*core.Store
	mu   sync.Mutex // protects the fields below
	left int        // Commits until the kill
}

func (s *mortal) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		context.AfterFunc(ctx, func() { done(core.Result{}, core.AsError(ctx.Err())) })
		return
	}
	s.left--
	s.Store.Submit(ctx, c, done)
}

func (s *mortal) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	s.mu.Lock()
	dead := s.left == 0
	if !dead {
		s.left--
	}
	s.mu.Unlock()
	if dead {
		<-ctx.Done()
		return core.Result{}, core.AsError(ctx.Err())
	}
	return s.Store.Append(ctx, c)
}

// kill makes the Commit that was made last the last one.
func (s *mortal) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = 0
}

// step is what somebody does to a subscription, and how it is once that is answered.
type step struct {
	name string
	do   func(context.Context, *node, *consumer) error
	want string // as before if it is empty
}

func nack(action delivery.Action, reason string, positions ...uint64) func(context.Context, *node, *consumer) error {
	return func(ctx context.Context, _ *node, c *consumer) error {
		return c.Do(ctx, subscriptions.Answer{
			Kind: subscriptions.Nack, Positions: positions, Nack: delivery.Nack{Action: action, Reason: reason},
		})
	}
}

func ackUpTo(position uint64) func(context.Context, *node, *consumer) error {
	return func(ctx context.Context, _ *node, c *consumer) error {
		return c.Do(ctx, subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: position})
	}
}

func pause(ctx context.Context, n *node, _ *consumer) error  { return n.Pause(ctx, "s") }
func resume(ctx context.Context, n *node, _ *consumer) error { return n.Resume(ctx, "s") }
func reset(ctx context.Context, n *node, _ *consumer) error {
	return n.Reset(ctx, "s", core.From{Kind: core.AfterPosition, N: 1})
}

func redefine(ctx context.Context, n *node, _ *consumer) error {
	return n.Redefine(ctx, "s", definition(func(d *subscriptions.Definition) { stopping(d); d.BufferSize = 7 }))
}

// stopping has a subscription stop at an event's first failure.
func stopping(d *subscriptions.Definition) {
	d.Retry = delivery.Retry{Max: 1, Then: delivery.ThenStop}
	d.BufferSize = 5
}

// condition is what an operator sees.
func condition(i subscriptions.Info) string {
	return fmt.Sprintf("%s %q, buffer %d", i.State, i.Reason, i.BufferSize)
}

const (
	asPut     = `idle "", buffer 5`
	isStopped = `stopped "why", buffer 5`
	isPaused  = `paused "", buffer 5`
)

// What was answered of the state of a subscription outlives a kill of its node, whatever is
// being stored at the time.
func TestKilledAfterAnAnswer(t *testing.T) {
	skip := step{"skip", nack(delivery.ActionSkip, "", 1), ""}
	stop := step{"stop", nack(delivery.ActionStop, "why", 2), isStopped}
	for name, steps := range map[string][]step{
		"stop":      {skip, stop},
		"stop only": {stop},
		"stop by policy": {skip, {"retry", nack(delivery.ActionRetry, "why", 2),
			`stopped "event 2 failed 1 times, the last time: nack: why", buffer 5`}},
		"stop again":     {skip, stop, {"other", nack(delivery.ActionStop, "other", 3), `stopped "other", buffer 5`}},
		"stop, resume":   {skip, stop, {"resume", resume, asPut}},
		"pause":          {skip, {"pause", pause, isPaused}, {"ack", ackUpTo(3), ""}, {"resume", resume, asPut}},
		"stop, pause":    {skip, stop, {"pause", pause, isStopped}},
		"stop, reset":    {skip, stop, {"reset", reset, isStopped}},
		"pause, reset":   {{"ack", ackUpTo(4), ""}, {"pause", pause, isPaused}, {"reset", reset, isPaused}},
		"redefine":       {skip, {"ack", ackUpTo(5), ""}, {"redefine", redefine, `idle "", buffer 7`}},
		"stop, redefine": {stop, {"ack", ackUpTo(5), ""}, {"redefine", redefine, `stopped "why", buffer 7`}},
	} {
		t.Run(name, func(t *testing.T) {
			for commits := 0; killedAfter(t, commits, steps); commits++ {
			}
		})
	}
}

// killedAfter plays steps on a node that is killed after so many Commits, and checks what
// is there afterwards. It reports whether there was a Commit too many.
func killedAfter(t *testing.T, commits int, steps []step) (killed bool) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New())
		n.fill(5, 1)
		n.put("s", stopping)
		store := &mortal{Store: n.store, left: commits}
		victim, err := subscriptions.New(subscriptions.Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		next := n.Owner
		n.Owner = victim
		c := n.join("s", unlimited)
		c.take(5)
		may := []string{asPut}
		for _, s := range steps {
			ctx, cancel := context.WithCancel(t.Context())
			outcome := make(chan error, 1)
			go func() { outcome <- s.do(ctx, n, c) }()
			synctest.Wait()
			store.mu.Lock()
			killed = store.left == 0
			store.mu.Unlock()
			if killed {
				cancel() // it is done, or waits for what never comes
			}
			err := <-outcome
			cancel()
			switch {
			case err != nil && !killed:
				t.Fatalf("%s: %v", s.name, err)
			case s.want == "":
			case err == nil:
				may = []string{s.want}
			default:
				may = append(may, s.want)
			}
		}
		n.Owner = next
		if got := condition(n.info("s")); !slices.Contains(may, got) {
			t.Errorf("killed after %d commits: %s, want one of %q", commits, got, may)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = victim.Close(ended)
	})
	return killed
}

// A change that is not begun when its time is over, because the subscription's Commits are
// not answered, says that nothing was changed.
func TestChangeNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New())
		n.fill(5, 1)
		n.put("s", stopping)
		next := n.Owner
		victim, err := subscriptions.New(subscriptions.Config{Store: &mortal{Store: n.store}})
		if err != nil {
			t.Fatal(err)
		}
		n.Owner = victim
		c := n.join("s", unlimited)
		c.take(5)
		c.ack(1)
		outcome := make(chan error, 1)
		go func() { outcome <- nack(delivery.ActionStop, "why", 2)(t.Context(), n, c) }()
		synctest.Wait()
		c.ack(3, 4, 5)
		for code, change := range map[core.Code]func(context.Context, *node, *consumer) error{
			core.CodeSubscriptionInUse: redefine, core.CodeTimeout: reset,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			n.wants(change(ctx, n, c), code)
			cancel()
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = victim.Close(ended)
		n.wants(<-outcome, core.CodeLeaseLost)
		n.Owner = next
		if got := condition(n.info("s")); got != asPut {
			t.Error(got)
		}
	})
}
