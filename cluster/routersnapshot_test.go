package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

// TestSnapshotsSoak has workers record snapshots of the same streams through different nodes,
// alone and with the events that they are made of, while views change, links break, gates
// close and storage fails. No snapshot that was recorded is replaced by an older one, and
// none is stored without its events. GYRE_SEED repeats a run.
func TestSnapshotsSoak(t *testing.T) {
	first, runs := uint64(time.Now().UnixNano()), 8
	if os.Getenv("GYRE_SOAK") != "" {
		runs = 500
	}
	if text := os.Getenv("GYRE_SEED"); text != "" {
		first, _ = strconv.ParseUint(text, 10, 64)
		runs = 1
	}
	for i := range runs {
		seed := first + uint64(i)
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("GYRE_SEED=%d", seed)
				}
			}()
			recordAmongFaults(t, seed)
		})
	}
}

func recordAmongFaults(t *testing.T, seed uint64) {
	s := newRouterSim(t, seed, 3)
	defer s.close()
	r := rand.New(rand.NewPCG(seed, 2))
	var workers, faults sync.WaitGroup
	stop := make(chan struct{})
	disturbs := rand.New(rand.NewPCG(seed, 4))
	faults.Go(func() { disturbUntil(s, disturbs, stop) })
	seen := &seenSnapshots{t: t, newest: make(map[string]uint64)}
	for i := range 3 {
		w := &snapshotWorker{node: s.all()[i], rand: rand.New(rand.NewPCG(r.Uint64(), 3)), seen: seen}
		workers.Go(w.run)
	}
	workers.Wait()
	close(stop)
	faults.Wait()
	for stream := range seen.newest {
		seen.check(t.Context(), s.all()[0].store, stream)
	}
}

// seenSnapshots are the greatest versions that a worker knows to be recorded.
type seenSnapshots struct {
	t      *testing.T
	mu     sync.Mutex // protects the field below
	newest map[string]uint64
}

func (s *seenSnapshots) atLeast(stream string, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest[stream] = max(s.newest[stream], version)
}

// check loads a stream: what is stored is as new as was known before, and not ahead.
func (s *seenSnapshots) check(ctx context.Context, from core.SnapshotReader, stream string) {
	s.mu.Lock()
	known := s.newest[stream]
	s.mu.Unlock()
	l, err := core.Load(ctx, from, core.LoadRequest{Stream: stream, Limit: core.Limit{Events: core.MaxReadEvents}})
	switch {
	case err != nil && core.AsError(err).Code != core.CodeStreamNotFound:
		return // a fault
	case err != nil || l.Snapshot == nil:
		if known > 0 {
			s.t.Errorf("stream %s: no snapshot, %v; one of version %d was recorded", stream, err, known)
		}
	case l.Snapshot.Version < known || l.Snapshot.Version > l.Version || l.Count != int(l.Version-l.Snapshot.Version):
		s.t.Errorf("stream %s at version %d: a snapshot of version %d and %d events; one of version %d was recorded",
			stream, l.Version, l.Snapshot.Version, l.Count, known)
	default:
		s.atLeast(stream, l.Snapshot.Version)
	}
}

// snapshotWorker records snapshots through a node.
type snapshotWorker struct {
	node *simNode
	rand *rand.Rand
	seen *seenSnapshots
}

func (w *snapshotWorker) run() {
	for range 60 {
		stream := fmt.Sprintf("s-%d", w.rand.IntN(3))
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+w.rand.IntN(1000))*time.Millisecond)
		w.record(ctx, stream)
		w.seen.check(ctx, w.node.router, stream)
		cancel()
		time.Sleep(time.Duration(w.rand.IntN(20)) * time.Millisecond)
	}
}

// record records a snapshot of some version of a stream, or appends an event and records one
// of the version that it gets.
func (w *snapshotWorker) record(ctx context.Context, stream string) {
	page, err := w.node.router.Read(ctx, core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1}})
	if err != nil && !errors.Is(err, core.CodeStreamNotFound) {
		return
	}
	p := core.SnapshotPut{Snapshot: core.Snapshot{Stream: stream, Version: page.Version, Data: []byte(`{}`)}}
	if w.rand.IntN(2) == 0 || page.Version == 0 {
		p.Version++
		c := appendTo(stream, core.Expect(page.Version))
		c.Appends[0].Events[0].ID = core.NewID()
		_, err = core.AppendWithSnapshots(ctx, w.node.router, c, []core.SnapshotPut{p})
	} else {
		p.Version -= w.rand.Uint64N(min(p.Version, 3))
		_, err = core.RecordSnapshot(ctx, w.node.router, p)
	}
	if err == nil {
		w.seen.atLeast(stream, p.Version)
	}
}
