package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

func simTest(t *testing.T, nodes int, f func(t *testing.T, s *routerSim), change ...func(*routerSim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newRouterSim(t, 1, nodes, change...)
		defer s.close()
		f(t, s)
	})
}

func appendTo(stream string, expect core.Expect) core.Commit {
	return core.Commit{Appends: []core.Append{{
		Stream: stream, Expect: expect, Events: []core.NewEvent{{Type: "T", Data: []byte("{}")}},
	}}}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// N01: a Commit is written by the owner of its stream, whichever node takes it.
func TestRouterWritesAtTheOwner(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		for i := range 30 {
			stream := fmt.Sprintf("s-%d", i)
			for k, n := range s.all() {
				result, err := n.router.Append(within(t, time.Second), appendTo(stream, core.Expect(k)))
				if err != nil || result.Appends[0].LastVersion != uint64(k+1) {
					t.Fatalf("%s at %s: %+v, %v", stream, n.self.Node, result, err)
				}
				owner, _ := n.State().Owner(stream)
				if elsewhere := owner.Session != n.self.Session; elsewhere && result.Node != owner.Node || !elsewhere && result.Node != "" {
					t.Errorf("%s at %s: the owner is %s, the result names %q", stream, n.self.Node, owner.Node, result.Node)
				}
			}
		}
		s.checkOwners()
	})
}

// checkOwners checks that nothing was given to the engine of a node that does not own the
// stream in the Commit's epoch.
func (s *routerSim) checkOwners() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.attempts {
		if len(a.c.Appends) != 1 {
			continue
		}
		v := s.views[a.epoch-2]
		owner, _ := s.ownerIn(v.Epoch, a.c.Appends[0].Stream)
		if owner != a.node {
			s.t.Errorf("session %d made an append to %q under epoch %d, whose owner is %d", a.node, a.c.Appends[0].Stream, a.epoch, owner)
		}
	}
}

// N02, N04, N05: a stream whose owner dies is served by another node, and by a new process
// of the first one afterwards. Its versions continue.
func TestVersionsOutliveOwners(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		sc := newScene(s)
		x := sc.stream(sc.owner, sc.other)
		owners := map[string]int{}
		appends := func(version uint64) {
			t.Helper()
			o := sc.send(sc.conn, time.Second, expecting(x, core.Expect(version-1)))
			if sc.calls.Wait(); o.err != nil || o.result.Appends[0].LastVersion != version {
				t.Errorf("%v, %+v, want version %d", o, o.result, version)
			}
			owner, _, _ := sc.entry.router.Owner(x)
			owners[fmt.Sprint(owner.Node, owner.Session)]++
		}
		appends(1)
		s.crash(sc.owner)
		sc.nextViewOf(s.all()...)
		appends(2)
		s.start(sc.owner.self.Node).gate(true)
		sc.nextViewOf(s.all()...)
		appends(3)
		if len(owners) != 3 {
			t.Errorf("the owners were %v", owners)
		}
		sc.check()
		s.checkOwners()
	})
}

// TestRouterStallsAlone: an owner that does not answer holds up its streams and no others.
func TestRouterStallsAlone(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		sc := newScene(s)
		stalled, elsewhere, own := sc.stream(sc.other, sc.owner), sc.stream(sc.owner, sc.other), sc.stream(sc.entry, sc.owner)
		p := sc.pipe(sc.entry, sc.other)
		p.hold(true, false)
		first := sc.send(sc.conn, time.Minute, anywhere(stalled))
		for _, stream := range []string{elsewhere, own} {
			if o := sc.send(sc.conn, time.Second, anywhere(stream)); o.answered.IsZero() || o.err != nil {
				t.Errorf("%v, behind one of another owner", o)
			}
		}
		behind := sc.send(sc.conn, time.Minute, anywhere(stalled), anywhere(elsewhere))
		if !first.answered.IsZero() || !behind.answered.IsZero() {
			t.Errorf("%v, %v", first, behind)
		}
		p.hold(false, false)
		sc.calls.Wait()
		sc.check()
		if first.err != nil || behind.err != nil {
			t.Errorf("%v, %v", first, behind)
		}
	})
}

// TestRouterWaitsAtTheGate: while the gate is closed calls wait, until it opens or their
// deadline passes, which is no_node_available. Diagnostics answer.
func TestRouterWaitsAtTheGate(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		n := s.all()[0]
		calls := map[string]func(context.Context) error{
			"append": func(ctx context.Context) error {
				_, err := n.router.Append(ctx, appendTo("a", core.AnyVersion))
				return err
			},
			"read": func(ctx context.Context) error {
				_, err := n.router.Read(ctx, core.ReadRequest{Stream: core.All})
				return err
			},
			"log": func(ctx context.Context) error {
				_, err := n.router.ReadLog(ctx, 1, core.Limit{})
				return err
			},
			"event": func(ctx context.Context) error {
				_, err := n.router.Event(ctx, core.NewID())
				return err
			},
			"streams": func(ctx context.Context) error {
				_, err := n.router.Streams(ctx, core.StreamsRequest{})
				return err
			},
		}
		for name, call := range calls {
			n.gate(false)
			begun := time.Now()
			if err := call(within(t, time.Second)); !errors.Is(err, core.CodeNoNodeAvailable) || time.Since(begun) != time.Second {
				t.Errorf("%s at the closed gate: %v after %v", name, err, time.Since(begun))
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if err := call(ctx); !errors.Is(err, core.CodeCanceled) {
				t.Errorf("%s, canceled at the closed gate: %v", name, err)
			}
			time.AfterFunc(time.Second, func() { n.gate(true) })
			if err := call(within(t, time.Minute)); err != nil && !errors.Is(err, core.CodeEventNotFound) {
				t.Errorf("%s when the gate opens: %v", name, err)
			}
		}
		n.gate(false)
		if head := n.router.State().Head; head == 0 {
			t.Error("State waits for the gate")
		}
	})
}

// P04: with FailAtOnce nothing waits at the gate, and what waits for its turn is answered
// when the gate closes.
func TestRouterFailsAtOnce(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		sc := newScene(s)
		stalled, elsewhere := sc.stream(sc.other, sc.owner), sc.stream(sc.owner, sc.other)
		p := sc.pipe(sc.entry, sc.other)
		p.hold(true, false)
		sc.send(sc.conn, time.Minute, anywhere(stalled))
		behind := sc.send(sc.conn, time.Minute, anywhere(stalled), anywhere(elsewhere))
		turn := sc.send(sc.conn, time.Minute, anywhere(elsewhere))
		sc.entry.gate(false)
		synctest.Wait()
		atOnce := sc.send(sc.conn, time.Minute, anywhere(elsewhere))
		for _, o := range []*simOp{turn, atOnce} {
			if !errors.Is(o.err, core.CodeNoNodeAvailable) {
				t.Errorf("%v, at the closed gate", o)
			}
		}
		if _, err := sc.entry.router.Read(t.Context(), core.ReadRequest{Stream: core.All}); !errors.Is(err, core.CodeNoNodeAvailable) {
			t.Errorf("a read at the closed gate: %v", err)
		}
		p.hold(false, false)
		sc.calls.Wait()
		if behind.err != nil {
			t.Error(behind)
		}
		sc.check()
	}, func(s *routerSim) { s.fail = true })
}

// TestRouterBoundsWaiters: beyond MaxWaiting calls are overloaded.
func TestRouterBoundsWaiters(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		n := s.all()[0]
		n.gate(false)
		sc := newScene(s)
		c := sc.newConn(n, s.rand)
		read := func() error {
			_, err := n.router.Read(within(t, 10*time.Second), core.ReadRequest{Stream: core.All})
			return err
		}
		var reads sync.WaitGroup
		reads.Go(func() {
			if err := read(); err != nil {
				t.Error(err)
			}
		})
		for i := range 5 {
			o := sc.send(c, 10*time.Second, anywhere(fmt.Sprintf("a-%d", i)))
			if full := errors.Is(o.err, core.CodeOverloaded); full != (i == 4) {
				t.Errorf("call %d: %v", i, o)
			}
		}
		if err := read(); !errors.Is(err, core.CodeOverloaded) {
			t.Errorf("a read beyond the bound: %v", err)
		}
		n.gate(true)
		reads.Wait()
		sc.calls.Wait()
		sc.check()
	}, func(s *routerSim) { s.maxWaiting = 5 })
}

// TestRouterCloses: Close answers everything: what waits is not written, what is handed over
// is waited for, and what is not answered then is unknown_outcome.
func TestRouterCloses(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		sc := newScene(s)
		stalled, elsewhere := sc.stream(sc.other, sc.owner), sc.stream(sc.owner, sc.other)
		lost := sc.pipe(sc.entry, sc.other)
		lost.hold(true, false)
		p := sc.pipe(sc.entry, sc.owner)
		p.hold(true, false)
		forgotten := sc.send(sc.conn, time.Minute, anywhere(stalled), anywhere(elsewhere))
		turn := sc.send(sc.conn, time.Minute, anywhere(elsewhere))
		answered := sc.send(sc.conn, time.Minute, anywhere(sc.stream(sc.owner, sc.entry)))
		time.AfterFunc(time.Second, func() { p.hold(false, false) })
		sc.entry.router.Close(within(t, 2*time.Second))
		late := sc.send(sc.conn, time.Minute, anywhere(stalled))
		sc.calls.Wait()
		if !errors.Is(turn.err, core.CodeShuttingDown) || !errors.Is(late.err, core.CodeShuttingDown) {
			t.Errorf("what had not begun: %v, %v", turn, late)
		}
		if answered.err != nil || !errors.Is(forgotten.err, core.CodeUnknownOutcome) {
			t.Errorf("what was handed over: %v, %v", answered, forgotten)
		}
		lost.hold(false, false)
	})
}

// TestRouterRedialsForTheSameView: an owner that does not serve for a moment is dialed
// again, since it refuses everything on the old link; not if a newer view comes meanwhile.
func TestRouterRedialsForTheSameView(t *testing.T) {
	for _, moves := range []bool{false, true} {
		simTest(t, 3, func(t *testing.T, s *routerSim) {
			sc := newScene(s)
			p := sc.pipe(sc.entry, sc.owner)
			sc.owner.gate(false)
			o := sc.send(sc.conn, time.Second, anywhere(sc.stream(sc.owner, sc.other)))
			if !o.answered.IsZero() {
				t.Errorf("%v, while the owner does not serve", o)
			}
			sc.owner.gate(true)
			if moves {
				sc.nextViewOf(s.all()...)
			}
			sc.calls.Wait()
			if o.err != nil || (p.ctx.Err() == nil) != moves {
				t.Errorf("with a newer view %v: %v, link: %v", moves, o, p.ctx.Err())
			}
		})
	}
}

// TestRouterWaitsOnceForAView: an owner that does not learn a view in time refuses what is
// queued under it at once, and does not wait for the view again with each Commit.
func TestRouterWaitsOnceForAView(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		in := s.all()[0].router.Incoming(99)
		defer in.Close()
		began := time.Now()
		answers := make(chan error, 3)
		for range cap(answers) {
			c := appendTo("x", core.AnyVersion)
			c.Epoch = 1000
			in.Submit(context.Background(), c, func(_ core.Result, err error) { answers <- err })
		}
		for range cap(answers) {
			if err := <-answers; !errors.Is(err, core.CodeNotServing) {
				t.Errorf("a Commit of a view that does not come: %v", err)
			}
		}
		if took := time.Since(began); took > learnWithin {
			t.Errorf("the answers took %v", took)
		}
	})
}

// TestRouterFullStore: the reader of a link does not wait for room in the Store, and what
// waits for it is written in order.
func TestRouterFullStore(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		sc := newScene(s)
		x := sc.stream(sc.owner, sc.other)
		in := sc.owner.router.Incoming(99)
		defer in.Close()
		sc.owner.handle.Slow(time.Second, 0)
		began := time.Now()
		data := make([]byte, core.MaxEventBytes)
		answers := make(chan error, 40) // more than the Store has room for
		for i := range cap(answers) {
			c := appendTo(x, core.Expect(i))
			c.Appends[0].Events[0].Format, c.Appends[0].Events[0].Data = core.Bytes, data
			c.Epoch = sc.owner.State().epoch()
			in.Submit(context.Background(), c, func(_ core.Result, err error) { answers <- err })
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("the reader waited %v", took)
		}
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestRouterOwnersDeadline: at its deadline the owner answers timeout for what it has not
// begun, and nothing for what it has: the next may be sent elsewhere after an answer.
func TestRouterOwnersDeadline(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		sc := newScene(s)
		x := sc.stream(sc.owner, sc.other)
		sc.owner.handle.Slow(200*time.Millisecond, 0)
		begun := sc.send(sc.conn, 100*time.Millisecond, anywhere(x))
		queued := sc.send(sc.conn, 100*time.Millisecond, anywhere(x))
		sc.calls.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		sc.check()
		if len(s.withdrawn) != 1 || string(s.withdrawn[0].Appends[0].Events[0].Data) != `"1/0"` {
			t.Errorf("the owner has given up %+v, not %v", s.withdrawn, queued)
		}
		if !errors.Is(begun.err, core.CodeUnknownOutcome) {
			t.Error(begun)
		}
	})
}

// TestRouterWaitsForRoomOnALink: what a Link and its queue have no room for waits, and is
// written in order.
func TestRouterWaitsForRoomOnALink(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		sc := newScene(s)
		x := sc.stream(sc.owner, sc.other)
		p := sc.pipe(sc.entry, sc.owner)
		p.hold(true, false)
		var wrong atomic.Int64
		ctx := within(t, time.Hour)
		var answers sync.WaitGroup
		for i := range 3 * maxQueued {
			answers.Add(1)
			sc.entry.router.Submit(ctx, appendTo(x, core.AnyVersion), func(result core.Result, err error) {
				defer answers.Done()
				if err != nil || result.Appends[0].LastVersion != uint64(i+1) {
					wrong.Add(1)
				}
			})
		}
		synctest.Wait()
		if waiting := sc.entry.router.Stats().Waiting; waiting == 0 {
			t.Error("nothing waits for room")
		}
		s.mu.Lock()
		s.delay = 0
		s.mu.Unlock()
		p.hold(false, false)
		answers.Wait()
		if n := wrong.Load(); n > 0 {
			t.Errorf("%d answers are wrong", n)
		}
	})
}

// TestLookedUpMove: so is a move of a place, which was made once if it is found.
func TestLookedUpMove(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		sc := newScene(s)
		stream := sc.stream(sc.owner, sc.other)
		if _, err := sc.entry.router.Append(within(t, time.Second), appendTo(stream, core.AnyVersion)); err != nil {
			t.Fatal(err)
		}
		p := sc.pipe(sc.entry, sc.owner)
		p.hold(false, true) // its answers
		var result core.Result
		var err error
		var answered sync.WaitGroup
		answered.Go(func() {
			result, err = sc.entry.router.Append(within(t, time.Minute), core.Commit{Progress: &core.Progress{Name: stream, To: 1, ID: core.NewID()}})
		})
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		p.black()
		p.breakOff()
		answered.Wait()
		if resolved := sc.entry.router.Stats().Resolved; err != nil || result.Duplicate || resolved != 1 {
			t.Errorf("%+v, %v; %d were looked up", result, err, resolved)
		}
	})
}

// TestLookedUpAppend: an append whose owner failed before it answered is looked up. It is a
// duplicate only if an earlier try of the caller's has written it.
func TestLookedUpAppend(t *testing.T) {
	for _, earlier := range []bool{false, true} {
		simTest(t, 3, func(t *testing.T, s *routerSim) {
			sc := newScene(s)
			c := appendTo(sc.stream(sc.owner, sc.other), core.AnyVersion)
			c.Appends[0].Events[0].ID = core.NewID()
			if earlier {
				if result, err := sc.entry.router.Append(within(t, time.Second), c); err != nil || result.Duplicate {
					t.Fatalf("the first try: %+v, %v", result, err)
				}
			}
			p := sc.pipe(sc.entry, sc.owner)
			p.hold(false, true) // its answers
			var result core.Result
			var err error
			var answered sync.WaitGroup
			answered.Go(func() { result, err = sc.entry.router.Append(within(t, time.Minute), c) })
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			p.black()
			p.breakOff()
			answered.Wait()
			if err != nil || result.Duplicate != earlier || result.Appends[0].LastVersion != 1 {
				t.Errorf("after an earlier try %t: %+v, %v", earlier, result, err)
			}
			if resolved := sc.entry.router.Stats().Resolved; resolved != 1 {
				t.Errorf("%d were looked up", resolved)
			}
		})
	}
}

// TestRouterWritesTheSystem: every node makes the Commits of its own that are for the system's
// streams, and storage orders them. Such a Commit has nothing that another node owns.
func TestRouterWritesTheSystem(t *testing.T) {
	simTest(t, 3, func(t *testing.T, s *routerSim) {
		for i := range 9 {
			n := s.all()[i%3]
			c := appendTo("$audit", core.AnyVersion)
			c.System = true
			result, err := n.router.Append(within(t, time.Second), c)
			if err != nil || result.Node != "" || result.Appends[0].LastVersion != uint64(i+1) {
				t.Fatalf("%s: %+v, %v", n.self.Node, result, err)
			}
			s.mu.Lock()
			if last := s.attempts[len(s.attempts)-1]; last.node != n.self.Session {
				t.Errorf("session %d made what session %d submitted", last.node, n.self.Session)
			}
			s.mu.Unlock()
			c.Appends = append(c.Appends, appendTo("a", core.AnyVersion).Appends...)
			if _, err = n.router.Append(within(t, time.Second), c); !errors.Is(err, core.CodeNotSupported) {
				t.Errorf("with a stream that has an owner: %v", err)
			}
		}
	})
}
