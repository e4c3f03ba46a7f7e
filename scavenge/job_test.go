package scavenge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is a store in which the events of the stream old go.
type log struct {
	*core.Store
	engine *memory.Engine
	bytes  int64
	broken atomic.Bool // Commits fail
}

const (
	oldEvents = 20_000
	allEvents = oldEvents + 5000
)

func newLog(t *testing.T) *log {
	t.Helper()
	engine := memory.New()
	l := &log{Store: core.NewStore(engine, core.StoreConfig{}), engine: engine}
	for i := range allEvents / 1000 {
		stream := "old"
		if i >= oldEvents/1000 {
			stream = "new"
		}
		events := make([]core.NewEvent, 1000)
		for k := range events {
			events[k] = core.NewEvent{Type: "T", Data: fmt.Appendf(nil, `{"n":%04d}`, k)}
		}
		if _, err := l.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: events}}}); err != nil {
			t.Fatal(err)
		}
	}
	l.bytes = engine.State().Bytes
	return l
}

// Scavenge is Store.Scavenge.
func (l *log) Scavenge(ctx context.Context, s core.Scavenging) (core.Scavenged, error) {
	s.Fate = func(_ context.Context, e *core.Event) (core.Fate, error) {
		if e.Stream == "old" {
			return core.Goes, nil
		}
		return core.Stays, nil
	}
	return l.engine.Scavenge(ctx, s)
}

// Append is Commits.Append.
func (l *log) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	if l.broken.Load() {
		return core.Result{}, core.Errorf(core.CodeStoreUnavailable, "broken by the test")
	}
	return l.Store.Append(ctx, c)
}

func (l *log) job(node string) *Job {
	return New(Config{Store: l, Commits: l, Node: node, Shared: true, Logger: slog.New(slog.DiscardHandler)})
}

func (l *log) close(t *testing.T, jobs ...*Job) {
	t.Helper()
	for _, j := range jobs {
		j.Close()
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// slow takes 100 seconds for all of it.
func (l *log) slow() Request { return Request{BytesPerSecond: l.bytes / 100} }

func start(t *testing.T, j *Job, r Request) Status {
	t.Helper()
	s, err := j.Start(t.Context(), r)
	if err != nil || s.State != Running {
		t.Fatalf("start: %+v, %v", s, err)
	}
	return s
}

// is checks the state and returns the rest.
func is(t *testing.T, j *Job, want State) Status {
	t.Helper()
	synctest.Wait()
	s, err := j.Status(t.Context())
	if err != nil || s.State != want {
		t.Fatalf("%+v, %v, want %s", s, err, want)
	}
	return s
}

// checkDone checks that all is gone that goes.
func (l *log) checkDone(t *testing.T, j *Job, resumed int) {
	t.Helper()
	s := is(t, j, Done)
	if s.Events != oldEvents || s.Bytes != l.bytes || s.Won <= l.bytes/2 || s.Progress != 1 || s.Resumed != resumed {
		t.Errorf("%+v, want %d events of %d bytes, resumed %d times", s, oldEvents, l.bytes, resumed)
	}
	l.checkGone(t)
}

// checkGone checks that the stream is empty, and at its version.
func (l *log) checkGone(t *testing.T) {
	t.Helper()
	page, err := l.Read(t.Context(), core.ReadRequest{Stream: "old"})
	if err != nil || page.Count != 0 || page.Version != oldEvents {
		t.Errorf("%d events are left, version %d, %v", page.Count, page.Version, err)
	}
}

func TestScavengeRunsInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		j := l.job("a")
		defer l.close(t, j)
		is(t, j, None)
		if s, ok, err := j.Stop(t.Context()); ok || err != nil || s.State != None {
			t.Errorf("stop: %+v, %v, %v", s, ok, err)
		}
		start(t, j, l.slow())
		time.Sleep(50 * time.Second)
		if s := is(t, j, Running); s.Progress < 0.4 || s.Progress > 0.6 || s.Events < 8000 || !j.Stats().Running {
			t.Errorf("in the middle: %+v", s)
		}
		if _, err := j.Start(t.Context(), Request{}); !errors.Is(err, core.CodeScavengeRunning) {
			t.Errorf("another: %v", err)
		}
		time.Sleep(51 * time.Second)
		l.checkDone(t, j, 0)
		if s := j.Stats(); s.Running || s.Events != oldEvents || s.Won <= 0 || s.Ended == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestScavengeOfASnapshot: a node that was killed has removed a stream, and not the snapshot that was
// recorded meanwhile.
func TestScavengeOfASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		j := l.job("a")
		defer l.close(t, j)
		put := core.SnapshotPut{Snapshot: core.Snapshot{Stream: "new", Version: 1, Data: []byte("1")}}
		if _, err := core.RecordSnapshot(t.Context(), l, put); err != nil {
			t.Fatal(err)
		}
		remove := core.StreamOp{Stream: "new", Expect: core.AnyVersion, Action: core.RemoveStream}
		if _, err := l.Append(t.Context(), core.Commit{Streams: []core.StreamOp{remove}}); err != nil {
			t.Fatal(err)
		}
		kept := func() int {
			records, err := l.Records(t.Context(), core.RecordsRequest{Table: core.SnapshotsTable})
			if err != nil || len(records) != 1 {
				t.Fatalf("%d records, %v", len(records), err)
			}
			return len(records[0].Value)
		}
		before := kept()
		start(t, j, Request{DryRun: true})
		if is(t, j, Done); kept() != before {
			t.Error("a dry run has removed the snapshot")
		}
		start(t, j, Request{})
		if is(t, j, Done); kept() != 1 {
			t.Errorf("the snapshot is left, in %d bytes", kept())
		}
	})
}

func TestScavengeGoesOnWhereItWasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		j := l.job("a")
		start(t, j, l.slow())
		time.Sleep(30 * time.Second)
		if s, ok, err := j.Stop(t.Context()); !ok || err != nil || s.State != Stopping || s.Events == 0 {
			t.Errorf("stop: %+v, %v, %v", s, ok, err)
		}
		stopped := is(t, j, Stopped)
		start(t, j, Request{DryRun: true})
		if s := is(t, j, Done); s.Events+stopped.Events != oldEvents || !s.DryRun {
			t.Errorf("a dry run after %+v: %+v", stopped, s)
		}
		if s := start(t, j, l.slow()); s.Resumed != 1 || s.Events != stopped.Events || s.Progress < 0.2 {
			t.Errorf("goes on as %+v after %+v", s, stopped)
		}
		time.Sleep(30 * time.Second)
		j.Close() // the node ends
		j = l.job("a")
		defer func() { l.close(t, j) }()
		is(t, j, Interrupted)
		start(t, j, Request{})
		l.checkDone(t, j, 2)
		if s := start(t, j, Request{}); s.Resumed != 0 || s.Events != 0 {
			t.Errorf("the next one is %+v", s)
		}
	})
}

// A node that is killed leaves a record that says it is running.
func TestScavengeOfAKilledNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		killed, j := l.job("a"), l.job("a")
		alone := New(Config{Store: l, Commits: l, Node: "under another name", Logger: slog.New(slog.DiscardHandler)})
		defer l.close(t, killed, j, alone)
		start(t, killed, l.slow())
		time.Sleep(30 * time.Second)
		is(t, j, Interrupted)
		is(t, alone, Interrupted)
		if s := start(t, j, Request{All: true}); s.Resumed != 0 || s.Events != 0 {
			t.Errorf("one of everything goes on where one of less was: %+v", s)
		}
		time.Sleep(2 * saveEvery) // the other one ends when it finds the record changed
		is(t, j, Done)
		if killed.Stats().Running {
			t.Error("the other one runs on")
		}
	})
}

func TestScavengeOfAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		a, b := l.job("a"), l.job("b")
		defer l.close(t, a, b)
		start(t, a, l.slow())
		time.Sleep(20 * time.Second)
		if s := is(t, b, Running); s.Node != "a" || s.Events == 0 {
			t.Errorf("at the other node: %+v", s)
		}
		if _, err := b.Start(t.Context(), Request{}); !errors.Is(err, core.CodeScavengeRunning) {
			t.Errorf("started beside it: %v", err)
		}
		if s, ok, err := b.Stop(t.Context()); !ok || err != nil || s.State != Stopping {
			t.Errorf("stop: %+v, %v, %v", s, ok, err)
		}
		time.Sleep(saveEvery)
		is(t, a, Stopped)
		start(t, b, l.slow())
		time.Sleep(20 * time.Second)
		l.broken.Store(true)
		time.Sleep(aliveFor + saveEvery)
		if b.Stats().Running {
			t.Error("it runs on where it cannot say so")
		}
		l.broken.Store(false)
		is(t, a, Interrupted)
		start(t, a, Request{})
		if s := is(t, a, Done); s.Resumed != 2 || s.Events >= oldEvents {
			t.Errorf("%+v: what went without a word is not counted", s)
		}
		l.checkGone(t)
	})
}

func TestScavengeThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t)
		j := l.job("a")
		for _, rate := range []int64{-1, maxBytesPerSecond + 1} {
			if _, err := j.Start(t.Context(), Request{BytesPerSecond: rate}); !errors.Is(err, core.CodeInvalidRequest) {
				t.Errorf("%d bytes per second: %v", rate, err)
			}
		}
		start(t, j, l.slow())
		time.Sleep(10 * time.Second)
		if err := l.engine.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if j.Stats().Running {
			t.Error("it runs on")
		}
		l.close(t, j)
		if _, err := j.Start(t.Context(), Request{}); !errors.Is(err, core.CodeShuttingDown) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestScavengesOnDisk: scavenges that follow one another, of which nothing goes, add no segments
// to a log.
func TestScavengesOnDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	engine, err := disk.Open(t.Context(), disk.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	store := core.NewStore(engine, core.StoreConfig{})
	defer store.Close()
	event := core.NewEvent{Type: "T", Data: []byte("1")}
	if _, err := store.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: []core.NewEvent{event}}}}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		j := New(Config{Store: store, Commits: store, Node: "a", Logger: slog.New(slog.DiscardHandler)})
		start(t, j, Request{All: true})
		j.running.Wait()
		if s, err := j.Status(t.Context()); err != nil || s.State != Done {
			t.Fatalf("%+v, %v, want it done", s, err)
		}
		j.Close()
	}
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.seg"))
	if err != nil || len(segments) != 1 {
		t.Errorf("the log has %d segments, %v, want 1", len(segments), err)
	}
}
