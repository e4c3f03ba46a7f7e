//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/sdk"
)

const (
	// rollingWorkers handle events of each client. One in rollingWorkEvery of a stream takes
	// rollingWork: often enough for a node to stop in it, and seldom enough to keep up with
	// what is written.
	rollingWorkers   = 4
	rollingWork      = 100 * time.Millisecond
	rollingWorkEvery = 16
)

// N05: TestRollingRestartsSoak restarts the nodes of a ring one after another, under load
// by clients that have the addresses of all. No call of a client fails, no event is lost
// or written twice, follows have no gap, the subscription misses nothing, and no two events
// of a stream are handled at once or out of order. Each node twice, 30 times with
// GYRE_SOAK=1.
func TestRollingRestartsSoak(t *testing.T) {
	t.Parallel()
	rounds := 2
	if os.Getenv("GYRE_SOAK") != "" {
		rounds = 30
	}
	ring := startRolling(t)
	load := startRollingLoad(t, ring)
	for round := range rounds {
		for i := range ring {
			before := load.calls.Load()
			ring[i].restart()
			load.await(before + 50)
			if t.Failed() {
				tellLogs(t, ring)
				t.Fatalf("round %d, node %d", round+1, i+1)
			}
		}
	}
	if load.finish(); t.Failed() {
		tellLogs(t, ring)
	}
	t.Logf("%d rounds, %d calls, %d events", rounds, load.calls.Load(), load.written.Load())
}

// tellLogs has the test say what its nodes have logged.
func tellLogs(t *testing.T, ring []*ringNode) {
	t.Helper()
	for _, n := range ring {
		t.Logf("%s:\n%s", n.listen, n.log())
	}
}

// startRolling starts a ring that serves.
func startRolling(t *testing.T, more ...string) (ring []*ringNode) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	listen, gossip := unused(t, ringNodes), unused(t, ringNodes)
	for i := range ringNodes {
		n := &ringNode{t: t, listen: listen[i], dir: t.TempDir()}
		n.args = []string{
			"--cluster", "--node", fmt.Sprintf("node%d", i+1), "--listen", listen[i], "--gossip", gossip[i],
			"--peers", strings.Join(gossip, ","), "--postgres", server.URL, "--store", store,
		}
		n.args = append(n.args, more...)
		n.begin()
		ring = append(ring, n)
	}
	for _, n := range ring {
		n.ready()
	}
	return ring
}

// rollingLoad is what clients do meanwhile.
type rollingLoad struct {
	t       *testing.T
	ring    []*ringNode
	clients []*sdk.Client
	calls   atomic.Int64 // that were answered
	written atomic.Int64 // events

	stop    context.CancelFunc // of what writes and asks
	working sync.WaitGroup
	watch   *ringWatch
}

func startRollingLoad(t *testing.T, ring []*ringNode) *rollingLoad {
	l := &rollingLoad{t: t, ring: ring, watch: newRingWatch(t, rollingWorkers, rollingHandling)}
	working, stop := context.WithCancel(t.Context())
	l.stop = stop
	t.Cleanup(func() {
		stop()
		l.watch.end()
		for _, c := range l.clients {
			_ = c.Close()
		}
		l.working.Wait()
		l.watch.close()
	})
	for i := range ring {
		var list []string
		for j := range ring {
			list = append(list, ring[(i+j)%len(ring)].listen)
		}
		c, err := sdk.Dial(t.Context(), strings.Join(list, ","), sdk.Options{Name: fmt.Sprintf("client%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		l.clients = append(l.clients, c)
		l.watch.watch(c)
		for w := range 2 {
			l.working.Go(func() { l.write(working, c, fmt.Sprintf("s-%d-%d", i, w)) })
		}
		l.working.Go(func() { l.manage(working, c, fmt.Sprintf("managed-%d", i)) })
	}
	return l
}

func rollingHandling(version uint64) time.Duration {
	if version%rollingWorkEvery == 0 {
		return rollingWork
	}
	return 0
}

// done counts a call, and reports whether it succeeded. A call that the test itself ended
// counts as one.
func (l *rollingLoad) done(ctx context.Context, what string, err error) bool {
	if err != nil && ctx.Err() == nil {
		l.t.Errorf("%s: %v", what, err)
		l.stop()
		return false
	}
	l.calls.Add(1)
	return ctx.Err() == nil
}

// write appends to a stream of its own, which tells a lost or repeated event by its version,
// in turn alone, with another stream, and to nothing, and reads it.
func (l *rollingLoad) write(ctx context.Context, c *sdk.Client, stream string) {
	event := core.NewEvent{Type: "A", Data: []byte("1")}
	// A call that has begun is not canceled: its outcome would not be known.
	calls := context.WithoutCancel(ctx)
	for version := uint64(0); ctx.Err() == nil; version++ {
		commit := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.Expect(version), Events: []core.NewEvent{event}}}}
		if version%4 == 3 {
			commit.Appends = append(commit.Appends, core.Append{Stream: stream + "-more", Expect: core.AnyVersion, Events: []core.NewEvent{event}})
		}
		r, err := c.Append(calls, commit)
		if !l.done(calls, "append to "+stream, err) {
			return
		}
		if v := r.Appends[0].LastVersion; v != version+1 {
			l.t.Errorf("%s: version %d, want %d", stream, v, version+1)
		}
		l.written.Add(int64(len(commit.Appends)))
		page, err := c.Read(calls, core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1, Bytes: 1 << 20}})
		if !l.done(calls, "read of "+stream, err) {
			return
		}
		if page.Version != version+1 {
			l.t.Errorf("%s is at version %d after %d was acknowledged", stream, page.Version, version+1)
		}
	}
}

// again does what may be done twice, once more if a node had no time left to answer, as on a machine
// that is busy: then it says so in its log.
func (l *rollingLoad) again(do func() error) error {
	err := do()
	if !errors.Is(err, core.CodeUnknownOutcome) {
		return err
	}
	late := until(ringLatest, func() error {
		for _, n := range l.ring {
			logs, _ := filepath.Glob(filepath.Join(n.dir, "node-*.log")) // the pattern is one
			for _, name := range logs {
				if text, err := os.ReadFile(name); err != nil || bytes.Contains(text, []byte("cut off what did not end in time")) {
					return err
				}
			}
		}
		return errors.New("no node has cut something off")
	})
	if late != nil {
		return errors.Join(err, late)
	}
	return do()
}

// manage makes requests over HTTP, with a subscription of its own.
func (l *rollingLoad) manage(ctx context.Context, c *sdk.Client, name string) {
	calls := context.WithoutCancel(ctx)
	s := c.Subscriptions()
	d := subscriptions.DefaultDefinition()
	_, _, err := s.Put(calls, name, &d)
	for ok := l.done(calls, "create", err); ok && ctx.Err() == nil; {
		ok = l.done(calls, "pause", l.again(func() error { return s.Pause(calls, name) }))
		info, err := s.Info(calls, name)
		ok = l.done(calls, "info", err) && ok
		if ok && info.State != delivery.Paused {
			l.t.Errorf("%s is %s after it was paused", name, info.State)
		}
		ok = l.done(calls, "resume", l.again(func() error { return s.Resume(calls, name) })) && ok
		_, err = s.List(calls, subscriptions.ListRequest{})
		ok = l.done(calls, "list", err) && ok
		_, err = c.Streams(calls, core.StreamsRequest{Limit: 10})
		ok = l.done(calls, "streams", err) && ok
	}
}

// await waits until so many calls were answered.
func (l *rollingLoad) await(calls int64) {
	l.t.Helper()
	err := until(ringLatest, func() error {
		if now := l.calls.Load(); now < calls && !l.t.Failed() {
			return fmt.Errorf("%d calls were answered, want %d", now, calls)
		}
		return nil
	})
	if err != nil {
		l.t.Error(err)
	}
}

// finish stops the load, and compares what everyone has seen with what was written.
func (l *rollingLoad) finish() {
	l.t.Helper()
	l.stop()
	l.working.Wait()
	log := allEvents(l.t, l.clients[0])
	if written := l.written.Load(); len(log) != int(written) {
		l.t.Errorf("the log has %d events, and %d were acknowledged", len(log), written)
	}
	l.watch.finish(log, nil)
}
