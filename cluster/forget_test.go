package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// forgetWorld is three nodes, with a subscription that has parked an event of stream "s", keeps
// others ahead, and has sent some to another node, which has not handed them out.
type forgetWorld struct {
	*world
	owner, other, third *hostNode
	at                  subscriptions.Subscriber // at other
	follows             []core.Follower          // of $all, one at each node, which have read nothing
}

func newForgetWorld(t *testing.T) *forgetWorld {
	w := &forgetWorld{world: newWorld(t, 3, time.Millisecond)}
	for _, n := range w.nodes {
		switch owner, _ := n.State().Owner("sub"); {
		case owner.Session == n.self.Session:
			w.owner = n
		case w.other == nil:
			w.other = n
		default:
			w.third = n
		}
		f, err := n.store.Follow(t.Context(), core.FollowRequest{Stream: core.All})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		w.follows = append(w.follows, f)
	}
	d := subscriptions.DefaultDefinition()
	d.Stream, d.BufferSize = "s", 4
	r := subscriptions.JoinRequest{Name: "sub", Definition: &d, Credit: delivery.Credit{Events: 3, Bytes: delivery.Unlimited}}
	first, err := subscriptions.JoinWaiting(t.Context(), w.owner.router, r)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "s", 1)
	taken, err := first.Next(t.Context(), core.Limit{Events: 1, Bytes: 1 << 20})
	for err == nil && taken.Count == 0 {
		taken, err = first.Next(t.Context(), core.Limit{Events: 1, Bytes: 1 << 20})
	}
	if err != nil {
		t.Fatal(err)
	}
	parked := make(chan error, 1)
	nack := delivery.Nack{Action: delivery.ActionPark, Reason: "no"}
	first.Answer(subscriptions.Answer{Kind: subscriptions.Nack, Positions: []uint64{taken.Last}, Nack: nack}, func(err error) { parked <- err })
	if err := <-parked; err != nil {
		t.Fatal(err)
	}
	first.Leave(true)
	r.Definition = nil
	if w.at, err = w.other.router.Join(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.write(t, "s", 6)
	synctest.Wait()
	time.Sleep(time.Second) // parked, read ahead and sent
	if parked, err := w.third.store.Records(t.Context(), core.RecordsRequest{Table: "subscription_parked"}); err != nil || len(parked) != 1 {
		t.Fatalf("parked: %+v, %v", parked, err)
	}
	return w
}

// write appends events to a stream at the third node.
func (w *forgetWorld) write(t *testing.T, stream string, count int) {
	t.Helper()
	for range count {
		e := core.NewEvent{ID: core.NewID(), Type: "T", Data: []byte("1")}
		c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{e}}}}
		w.commit(t, c)
	}
}

func (w *forgetWorld) commit(t *testing.T, c core.Commit) {
	t.Helper()
	if _, err := w.third.hosting.store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// remove removes the stream. The nodes do not learn of it by themselves.
func (w *forgetWorld) remove(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	for _, n := range w.nodes {
		n.late = true
	}
	w.mu.Unlock()
	w.commit(t, core.Commit{Streams: []core.StreamOp{{Stream: "s", Expect: core.AnyVersion, Action: core.RemoveStream}}})
}

// expectGone checks that nothing of what was removed is handed out, at any node that lives, or
// parked.
func (w *forgetWorld) expectGone(t *testing.T) {
	t.Helper()
	if parked, err := w.third.store.Records(t.Context(), core.RecordsRequest{Table: "subscription_parked"}); err != nil || len(parked) != 0 {
		t.Errorf("parked: %+v, %v", parked, err)
	}
	for {
		d, ok, err := w.at.Take(core.Limit{Events: 10, Bytes: 1 << 20})
		if d.Count > 0 {
			t.Errorf("%d events up to position %d are handed out after they were removed", d.Count, d.Last)
		}
		if err != nil || !ok {
			break
		}
	}
	for i, n := range w.nodes {
		if n.dead {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		for {
			d, err := w.follows[i].Next(ctx, core.Limit{Events: 10, Bytes: 1 << 20})
			if err != nil {
				break
			}
			if d.Count > 0 {
				t.Errorf("%s: a follow gets %d events up to %d", n.self.Node, d.Count, d.Last)
			}
		}
		cancel()
	}
}

// TestForget: when it returns, nothing is handed out anywhere. Each case has the nodes change while
// Forget waits.
func TestForget(t *testing.T) {
	for name, meanwhile := range map[string]func(w *forgetWorld){
		"nothing": func(*forgetWorld) {},
		"the owner dies": func(w *forgetWorld) {
			time.Sleep(time.Second)
			w.owner.stop()
			time.Sleep(time.Second)
			w.setView(w.other, w.third)
		},
		"the view changes": func(w *forgetWorld) { w.setView(w.nodes...) },
		"the owner drains": func(w *forgetWorld) {
			w.owner.drains(true)
			w.setView(w.other, w.third)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newForgetWorld(t)
				defer w.close()
				if name == "the owner dies" {
					w.owner.deaf(true)
				}
				w.remove(t)
				forgotten := make(chan error, 1)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				go func() { forgotten <- w.third.router.Forget(ctx) }()
				meanwhile(w)
				if err := <-forgotten; err != nil {
					t.Fatal(err)
				}
				w.expectGone(t)
				w.at.Leave(true)
			})
		})
	}
}

// TestForgetSaysWhoHasNotConfirmed: a member that does not answer is waited for until the deadline.
func TestForgetSaysWhoHasNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newForgetWorld(t)
		defer w.close()
		w.owner.deaf(true)
		w.remove(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := w.third.router.Forget(ctx)
		if err == nil || !strings.Contains(err.Error(), w.owner.self.Node) || strings.Contains(err.Error(), w.other.self.Node) {
			t.Errorf("%v, which is to name %s", err, w.owner.self.Node)
		}
		w.owner.deaf(false)
		if err := w.third.router.Forget(t.Context()); err != nil {
			t.Error(err)
		}
		w.expectGone(t)
		w.at.Leave(true)
	})
}

// TestForgetAsksItselfAgain: a node whose own storage fails is asked again as others are, with a pause.
func TestForgetAsksItselfAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newForgetWorld(t)
		defer w.close()
		w.remove(t)
		fails := 3
		here := &w.third.router.config.AwaitExpired
		drop := *here
		*here = func(ctx context.Context) error {
			if fails--; fails >= 0 {
				return core.Errorf(core.CodeUnavailable, "the storage is away")
			}
			return drop(ctx)
		}
		began := time.Now()
		if err := w.third.router.Forget(t.Context()); err != nil || time.Since(began) < 3*forgetAgain {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		w.expectGone(t)
		w.at.Leave(true)
	})
}

// TestForgetOfAnOldNode: one that does not know the call is not waited for.
func TestForgetOfAnOldNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newForgetWorld(t)
		defer w.close()
		w.owner.old = true
		w.remove(t)
		began := time.Now()
		err := w.third.router.Forget(t.Context())
		if !errors.Is(err, core.CodeNotSupported) || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		w.at.Leave(true)
	})
}

// TestRosterHasEntryNodes: Forget asks those that serve outside of the view.
func TestRosterHasEntryNodes(t *testing.T) {
	s := State{Self: ring.Member{Session: 1}, View: &ring.View{Epoch: 3, Members: []ring.Member{{Session: 1}, {Session: 2}}}}
	members := s.roster()
	s.Entries = []ring.Member{{Session: 7}}
	entries := s.roster()
	if len(members.members) != 1 || len(entries.members) != 2 || entries.members[1].Session != 7 || members.equal(entries) {
		t.Errorf("%+v, with an entry node %+v", members, entries)
	}
}
