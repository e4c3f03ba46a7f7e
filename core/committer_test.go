package core_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// gated is an engine whose steps wait at a gate, so that a test can look at
// what the committer does meanwhile.
type gated struct {
	core.Engine
	begun chan []*core.Commit // each step, when it begins
	pass  chan struct{}       // one value lets one step go on
}

func newGated() *gated {
	return &gated{Engine: memory.New(), begun: make(chan []*core.Commit, 16), pass: make(chan struct{}, 16)}
}

func (g *gated) Commit(ctx context.Context, group []*core.Commit) core.Step {
	g.begun <- append([]*core.Commit(nil), group...)
	<-g.pass
	return g.Engine.Commit(ctx, group)
}

func one(stream string) core.Commit {
	return core.Commit{Appends: []core.Append{{
		Stream: stream, Expect: core.AnyVersion,
		Events: []core.NewEvent{{Type: "T", Format: core.Bytes, Data: []byte("x")}},
	}}}
}

func oneRecord(key string, expect core.Expect) core.Commit {
	return core.Commit{Records: []core.RecordOp{{Table: "t", Key: key, Expect: expect, Value: []byte("x")}}}
}

func ignore(core.Result, error) {}

// While one stream's step is under way, another stream's may begin, but none
// with the same stream.
func TestStepsUnderWayShareNoStream(t *testing.T) {
	g := newGated()
	s := core.NewStore(g, core.StoreConfig{})
	defer s.Close()
	defer close(g.pass)
	var done sync.WaitGroup
	submit := func(stream string) {
		done.Add(1)
		c := one(stream)
		s.Submit(t.Context(), c, func(_ core.Result, err error) {
			if err != nil {
				t.Error(err)
			}
			done.Done()
		})
	}
	submit("a")
	first := <-g.begun
	submit("a")
	submit("b")
	submit("a")
	second := <-g.begun
	if len(first) != 1 || len(second) != 1 || second[0].Appends[0].Stream != "b" {
		t.Fatalf("steps began with %d and %d Commits, the second with %q", len(first), len(second), second[0].Appends[0].Stream)
	}
	g.pass <- struct{}{}
	g.pass <- struct{}{}
	if third := <-g.begun; len(third) != 2 {
		t.Fatalf("the third step has %d Commits, want both of stream a that waited", len(third))
	}
	g.pass <- struct{}{}
	done.Wait()
}

// What is less than the step under way waits for it, and then goes together.
func TestSmallAppendsShareAStep(t *testing.T) {
	g := newGated()
	s := core.NewStore(g, core.StoreConfig{})
	defer s.Close()
	defer close(g.pass)
	large := one("a")
	large.Appends[0].Events[0].Data = make([]byte, 1000)
	s.Submit(t.Context(), large, ignore)
	<-g.begun
	for _, stream := range []string{"b", "c", "d"} {
		s.Submit(t.Context(), one(stream), ignore)
	}
	g.pass <- struct{}{}
	if second := <-g.begun; len(second) != 3 {
		t.Errorf("the second step has %d Commits, want 3", len(second))
	}
}

// Records are work like events: the second worker serves them, beside a step that is
// no larger.
func TestRecordsTakeTheSecondWorker(t *testing.T) {
	g := newGated()
	s := core.NewStore(g, core.StoreConfig{})
	defer s.Close()
	defer close(g.pass)
	for _, key := range []string{"a", "b"} {
		s.Submit(t.Context(), oneRecord(key, core.NoStream), ignore)
		if step := <-g.begun; len(step) != 1 || step[0].Records[0].Key != key {
			t.Fatalf("a step began with %d Commits", len(step))
		}
	}
}

// While a step is under way, none begins with a Commit that writes what it checks or
// checks what it writes. Two checks of one thing may be under way at once.
func TestStepsUnderWayDoNotConflict(t *testing.T) {
	appends := func(stream string, checks ...core.Check) core.Commit {
		c := one(stream)
		c.Checks = checks
		return c
	}
	record := func(action core.RecordAction, expect core.Expect) core.Commit {
		c := one(string(core.NewID().String()))
		c.Records = []core.RecordOp{{Table: "t", Key: "k", Action: action, Expect: expect}}
		return c
	}
	x := core.Check{Stream: "x", Expect: core.NoStream}
	for _, test := range []struct {
		name          string
		first, second core.Commit
		conflict      bool
	}{
		{"two checks of a stream", appends("a", x), appends("b", x), false},
		{"a check and an append", appends("a", x), one("x"), true},
		{"an append and a check", one("x"), appends("a", x), true},
		{"a check that anything passes", one("x"), appends("a", core.Check{Stream: "x", Expect: core.AnyVersion}), false},
		{"two checks of a record", record(core.CheckRecord, 0), record(core.CheckRecord, 0), false},
		{"a check and a put of a record", record(core.CheckRecord, 0), record(core.PutRecord, 0), true},
		{"a delete and a check of a record", record(core.DeleteRecord, 0), record(core.CheckRecord, 0), true},
		{"two puts of a record that expect nothing", record(core.PutRecord, core.AnyVersion), record(core.PutRecord, core.AnyVersion), true},
		{"a put that expects nothing, and one that does", record(core.PutRecord, core.AnyVersion), record(core.PutRecord, 1), true},
		{"a check of a record that anything passes", record(core.PutRecord, 0), record(core.CheckRecord, core.AnyVersion), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGated()
				s := core.NewStore(g, core.StoreConfig{})
				defer s.Close()
				defer close(g.pass)
				s.Submit(t.Context(), test.first, ignore)
				<-g.begun
				s.Submit(t.Context(), test.second, ignore)
				synctest.Wait()
				if got := len(g.begun) == 0; got != test.conflict {
					t.Errorf("the second waits for the first: %t, want %t", got, test.conflict)
				}
			})
		})
	}
}

// A group is of one epoch. What is held back for another one holds back what conflicts
// with it, so that a stream's order stays.
func TestGroupsAreOfOneEpoch(t *testing.T) {
	g := newGated()
	s := core.NewStore(g, core.StoreConfig{})
	defer s.Close()
	defer close(g.pass)
	large := one("first")
	large.Appends[0].Events[0].Data = make([]byte, 1000) // nothing begins beside it
	s.Submit(t.Context(), large, ignore)
	<-g.begun
	for _, c := range []struct {
		stream string
		epoch  uint64
	}{{"first", 1}, {"b", 2}, {"c", 1}, {"b", 1}, {"d", 2}, {"first", 2}} {
		commit := one(c.stream)
		commit.Epoch = c.epoch
		s.Submit(t.Context(), commit, ignore)
	}
	got := make(map[string][]uint64) // epochs by stream
	for n := 0; n < 6; {
		g.pass <- struct{}{}
		step := <-g.begun
		for _, c := range step {
			if c.Epoch != step[0].Epoch {
				t.Errorf("a step has epochs %d and %d", step[0].Epoch, c.Epoch)
			}
			got[c.Appends[0].Stream] = append(got[c.Appends[0].Stream], c.Epoch)
		}
		n += len(step)
	}
	want := map[string][]uint64{"first": {1, 2}, "b": {2, 1}, "c": {1}, "d": {2}}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("epochs by stream in the order of steps: %v, want %v", got, want)
	}
}

// A lazy Commit waits to share a step, but no longer than MaxLazyWait, and for no
// room in the queue. It is held back from no one: a Commit that is not lazy takes it
// along at once.
func TestLazyCommits(t *testing.T) {
	lazy := func(key string, expect core.Expect) core.Commit {
		c := oneRecord(key, expect)
		c.Lazy = true
		return c
	}
	store := func(t *testing.T, config core.StoreConfig) *core.Store {
		s := core.NewStore(memory.New(), config)
		t.Cleanup(func() { s.Close() })
		return s
	}
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
	run("alone", func(t *testing.T) {
		s := store(t, core.StoreConfig{})
		for range 3 {
			begun := time.Now()
			if _, err := s.Append(t.Context(), lazy("a", core.AnyVersion)); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(begun); waited != core.MaxLazyWait {
				t.Errorf("waited %v, want %v", waited, core.MaxLazyWait)
			}
		}
	})
	run("taken along", func(t *testing.T) {
		s := store(t, core.StoreConfig{})
		var order []string
		begun := time.Now()
		s.Submit(t.Context(), lazy("a", 0), func(_ core.Result, err error) { order = append(order, fmt.Sprint("lazy ", err)) })
		s.Submit(t.Context(), lazy("b", 0), func(_ core.Result, err error) { order = append(order, fmt.Sprint("lazy ", err)) })
		if _, err := s.Append(t.Context(), oneRecord("a", 1)); err != nil {
			t.Fatal(err)
		}
		if want := []string{"lazy <nil>", "lazy <nil>"}; !slices.Equal(order, want) || time.Since(begun) != 0 {
			t.Errorf("answered %q after %v, want %q at once", order, time.Since(begun), want)
		}
	})
	run("full queue", func(t *testing.T) {
		s := store(t, core.StoreConfig{QueueBytes: 1})
		begun := time.Now()
		s.Submit(t.Context(), lazy("a", 0), ignore)
		synctest.Wait()
		s.Submit(t.Context(), lazy("b", 0), ignore) // waits for room
		if time.Since(begun) != 0 {
			t.Errorf("room came after %v", time.Since(begun))
		}
	})
}

// Pipelined appends to one stream are applied in the order they were
// submitted in: each expects the version the one before it makes.
func TestSubmitKeepsTheOrderOfAStream(t *testing.T) {
	s := core.NewStore(memory.New(), core.StoreConfig{})
	defer s.Close()
	const n = 2000
	var done sync.WaitGroup
	for i := range n {
		done.Add(2)
		for _, stream := range []string{"a", "b"} {
			c := one(stream)
			c.Appends[0].Expect = core.Expect(i)
			s.Submit(t.Context(), c, func(r core.Result, err error) {
				defer done.Done()
				if err != nil || r.Appends[0].LastVersion != uint64(i+1) {
					t.Errorf("append %d to %s: %+v, %v", i, stream, r, err)
				}
			})
		}
	}
	done.Wait()
	if stats := s.Stats(); stats.Events != 2*n || stats.Steps >= 2*n {
		t.Errorf("%d events in %d steps", stats.Events, stats.Steps)
	}
}

// forgetful is an engine that writes its second step and says it does not know.
type forgetful struct {
	core.Engine
	steps atomic.Int32
}

func (f *forgetful) Commit(ctx context.Context, group []*core.Commit) core.Step {
	done := f.Engine.Commit(ctx, group)
	if f.steps.Add(1) == 2 {
		return core.FailStep(group, core.Errorf(core.CodeUnknownOutcome, "the answer was lost"))
	}
	return done
}

// What was written although nobody was told reaches followers all the same,
// and does not hold up what comes after it.
func TestFollowersSeeWhatAStepLostSightOf(t *testing.T) {
	for _, appends := range []int{2, 5} {
		s := core.NewStore(&forgetful{Engine: memory.New()}, core.StoreConfig{})
		f, err := s.Follow(t.Context(), core.FollowRequest{Stream: core.All})
		if err != nil {
			t.Fatal(err)
		}
		for i := range appends {
			if _, err := s.Append(t.Context(), one("a")); err != nil && (i != 1 || !errors.Is(err, core.CodeUnknownOutcome)) {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		for seen := 0; seen < appends; {
			d, err := f.Next(ctx, core.Limit{Events: 100, Bytes: 1 << 20})
			if err != nil {
				t.Fatalf("after %d of %d events: %v", seen, appends, err)
			}
			seen += d.Count
		}
		cancel()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// losesFirst is an engine that does not know what became of its first step.
type losesFirst struct {
	core.Engine
	steps atomic.Int32
}

func (l *losesFirst) Commit(ctx context.Context, group []*core.Commit) core.Step {
	if l.steps.Add(1) > 1 {
		return l.Engine.Commit(ctx, group)
	}
	time.Sleep(time.Second)
	return core.FailStep(group, core.Errorf(core.CodeUnknownOutcome, "no answer"))
}

// TestUnknownOutcomeIsAnsweredFirst: while an unknown_outcome is answered, what waits behind
// it has not begun, so that it can be withdrawn.
func TestUnknownOutcomeIsAnsweredFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := core.NewStore(&losesFirst{Engine: memory.New()}, core.StoreConfig{})
		defer s.Close()
		ctx, claim := core.WithClaim(t.Context())
		s.Submit(t.Context(), one("a"), func(_ core.Result, err error) {
			time.Sleep(time.Second) // time for the other worker
			if !errors.Is(err, core.CodeUnknownOutcome) || !claim.Withdraw() {
				t.Errorf("the next append had begun when this one was answered %v", err)
			}
		})
		synctest.Wait() // the first step has begun
		answer := make(chan error, 1)
		s.Submit(ctx, one("a"), func(_ core.Result, err error) { answer <- err })
		if err := <-answer; !errors.Is(err, core.CodeCanceled) {
			t.Errorf("the answer to what was withdrawn is %v", err)
		}
	})
}

func TestAFullQueueWaitsForItsCaller(t *testing.T) {
	g := newGated()
	s := core.NewStore(g, core.StoreConfig{QueueBytes: 1})
	defer s.Close()
	defer close(g.pass)
	s.Submit(t.Context(), one("a"), ignore)
	<-g.begun
	if !s.TrySubmit(t.Context(), one("a"), ignore) { // waits in the queue, which is full now
		t.Error("there is no room in an empty queue")
	}
	if s.TrySubmit(t.Context(), one("b"), func(core.Result, error) { t.Error("what has no room was answered") }) {
		t.Error("there is room in a full queue")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	answers := make(chan error, 1)
	s.Submit(ctx, one("b"), func(_ core.Result, err error) { answers <- err })
	if err := <-answers; !errors.Is(err, core.CodeOverloaded) {
		t.Errorf("a full queue answers %v", err)
	}
	for range 50 { // never that only the caller gave up
		if _, err := s.Append(ctx, one("b")); !errors.Is(err, core.CodeOverloaded) {
			t.Fatalf("Append answers %v", err)
		}
	}
}

func TestCallersWhoGiveUp(t *testing.T) {
	g := newGated()
	s := core.NewStore(g, core.StoreConfig{})
	defer s.Close()
	defer close(g.pass)
	ctx, cancel := context.WithCancel(t.Context())
	begun, queued := make(chan error, 1), make(chan error, 1)
	s.Submit(ctx, one("a"), func(_ core.Result, err error) { begun <- err })
	<-g.begun
	s.Submit(ctx, one("a"), func(_ core.Result, err error) { queued <- err })
	cancel()
	if _, err := s.Append(ctx, one("a")); !errors.Is(err, core.CodeCanceled) {
		t.Errorf("a Commit withdrawn by its caller answers %v", err)
	}
	g.pass <- struct{}{}
	if err := <-begun; err != nil {
		t.Errorf("a step that was begun answers %v", err)
	}
	if err := <-queued; !errors.Is(err, core.CodeCanceled) {
		t.Errorf("a Commit withdrawn in the queue answers %v", err)
	}
	if head := s.State().Head; head != 1 {
		t.Errorf("%d events were written, want 1", head)
	}
}

// What a caller is told when its deadline passes is true, also later.
func TestDeadlinesTellWhetherAStepHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated()
		s := core.NewStore(g, core.StoreConfig{})
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		answers := make(chan error, 2)
		add := func() { _, err := s.Append(ctx, one("a")); answers <- err }
		go add()
		<-g.begun
		go add() // a worker has its stream
		got := []core.Code{core.AsError(<-answers).Code, core.AsError(<-answers).Code}
		slices.Sort(got)
		if want := []core.Code{core.CodeTimeout, core.CodeUnknownOutcome}; !slices.Equal(got, want) {
			t.Errorf("answers %v, want %v", got, want)
		}
		close(g.pass)
		synctest.Wait()
		if head := s.State().Head; head != 1 {
			t.Errorf("%d events were written, want only the one that had begun", head)
		}
	})
}

// Of a step that begins and an owner that withdraws, one has its way.
func TestAClaimIsDecidedOnce(t *testing.T) {
	for range 1000 {
		var c core.Claim
		var begun, withdrawn bool
		var both sync.WaitGroup
		both.Go(func() { begun = c.Begin() })
		both.Go(func() { withdrawn = c.Withdraw() })
		both.Wait()
		if begun == withdrawn || c.Begin() || c.Withdraw() != withdrawn {
			t.Fatalf("begun %v and withdrawn %v", begun, withdrawn)
		}
	}
}

func TestCloseAnswersEveryone(t *testing.T) {
	g := newGated()
	s := core.NewStore(g, core.StoreConfig{})
	answers := make(chan error, 2)
	s.Submit(t.Context(), one("a"), func(_ core.Result, err error) { answers <- err })
	<-g.begun
	s.Submit(t.Context(), one("a"), func(_ core.Result, err error) { answers <- err })
	f, err := s.Follow(t.Context(), core.FollowRequest{Stream: core.All})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := f.Next(t.Context(), core.Limit{}); err != nil || !d.Live {
		t.Fatalf("%+v, %v", d, err)
	}
	followed := make(chan error, 1)
	go func() { _, err := f.Next(t.Context(), core.Limit{}); followed <- err }()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	if err := <-answers; !errors.Is(err, core.CodeStoreClosed) {
		t.Errorf("the queued Commit is answered %v", err)
	}
	if err := <-followed; !errors.Is(err, core.CodeStoreClosed) {
		t.Errorf("the follow ended with %v", err)
	}
	g.pass <- struct{}{}
	if err := <-answers; err != nil {
		t.Errorf("the step under way is answered %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := s.Append(t.Context(), one("a")); !errors.Is(err, core.CodeStoreClosed) {
		t.Errorf("an append after Close answers %v", err)
	}
	if s.Close() != nil {
		t.Error("a second Close")
	}
}

// BenchmarkStoreAppend is the committer's own cost: the engine in memory has
// nothing to wait for.
func BenchmarkStoreAppend(b *testing.B) {
	for _, appenders := range []int{1, 64} {
		b.Run(fmt.Sprint(appenders), func(b *testing.B) {
			s := core.NewStore(memory.New(), core.StoreConfig{})
			defer s.Close()
			data := make([]byte, 300)
			var running sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for a := range appenders {
				running.Go(func() {
					stream := fmt.Sprint("s", a)
					for range b.N / appenders {
						_, err := s.Append(context.Background(), core.Commit{Appends: []core.Append{{
							Stream: stream, Expect: core.AnyVersion,
							Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Format: core.Bytes, Data: data}},
						}}})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			running.Wait()
		})
	}
}
