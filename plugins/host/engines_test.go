package host_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestModelOverEngines plays some of TestModel's schedules over the engines that store: on
// disk, and in PostgreSQL with an engine for each process.
func TestModelOverEngines(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 4; seed++ {
		t.Run(fmt.Sprintf("disk/%d", seed), func(t *testing.T) {
			t.Parallel()
			e, err := disk.Open(t.Context(), disk.Config{Dir: t.TempDir(), SegmentBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = e.Close() }()
			s := &storage{Engine: e, changed: make(chan struct{})}
			agrees(t, seed, func() engine { return share{s} })
		})
		t.Run(fmt.Sprintf("postgres/%d", seed), func(t *testing.T) {
			t.Parallel()
			server := pgtest.Shared(t)
			name := server.Store(t)
			agrees(t, seed, func() engine {
				e, err := postgres.Open(context.Background(), postgres.Config{URL: server.URL, Store: name, Ring: "ring"})
				if err != nil {
					panic(err)
				}
				return e
			})
		})
	}
}

// agrees plays the schedule of a seed, and compares what comes of it.
func agrees(t *testing.T, seed uint64, open func() engine) {
	t.Helper()
	s, f := makeSchedule(seed), &folder{}
	o, problem := s.play(f, begin(&world{t: t, open: open, lib: f.library()}))
	if problem == "" {
		problem = o.withoutIDs().diff(s.sequential())
	}
	if problem != "" {
		t.Error(problem)
	}
}

// storage is an engine that several Stores share, one after another.
type storage struct {
	core.Engine

	mu      sync.Mutex
	changed chan struct{} // closed with the next Commit
}

// share is the engine of one of them.
type share struct{ *storage }

func (s share) Commit(ctx context.Context, group []*core.Commit) core.Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	step := s.Engine.Commit(ctx, group)
	close(s.changed)
	s.changed = make(chan struct{})
	return step
}

func (s share) WaitHead(ctx context.Context, _ string, after uint64) (uint64, error) {
	for {
		s.mu.Lock()
		head, changed := s.State().Head, s.changed
		s.mu.Unlock()
		if head > after {
			return head, nil
		}
		select {
		case <-changed:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return 0, core.AsError(ctx.Err())
		}
	}
}

// Close leaves the engine to the others.
func (share) Close() error { return nil }
