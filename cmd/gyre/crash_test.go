package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const (
	crashWorkers = 8
	crashStreams = 3 // fewer than workers: they meet in them
	// Every round goes through the whole log; a new one is begun now and then, so that
	// many rounds do not take ever longer.
	crashRoundsPerLog = 25
	// Small segments make a round go through several.
	crashSegmentBytes = 64 << 10
	maxKillDelay      = 400 * time.Millisecond
	// The work of a node that was told to stop may take stopWithin, closing the log
	// comes after it.
	stopLatest = stopWithin + 20*time.Second
	// verifyLatest is more than verify takes for a log of any round.
	verifyLatest = time.Minute
)

// TestCrash kills a node with SIGKILL at a random moment of full load and starts it
// again, round after round on the same log. What was acknowledged is there (P4),
// what was not is there once after it was sent again (P5), versions and positions
// have no gap (P1), and the files are clean, also as the kill left them. Each fourth
// round stops the node with SIGTERM instead. 200 rounds with GYRE_SOAK=1.
func TestCrash(t *testing.T) {
	t.Parallel()
	crash(t, 10, 200, func() *crasher { return newCrasher(t.TempDir()) })
}

// crash runs rounds, or soak rounds with GYRE_SOAK=1.
func crash(t *testing.T, rounds, soak int, begin func() *crasher) {
	if os.Getenv("GYRE_SOAK") != "" {
		rounds = soak
	}
	var c *crasher
	events := 0
	for round := range rounds {
		if round%crashRoundsPerLog == 0 {
			c = begin()
		}
		before := len(c.seen)
		c.round(t, round%4 == 3)
		events += len(c.seen) - before
		if t.Failed() {
			t.Fatalf("in round %d of %d", round+1, rounds)
		}
	}
	t.Logf("%d rounds, %d events", rounds, events)
}

// place is where an event was acknowledged to be.
type place struct {
	stream            string
	version, position uint64
}

// crasher keeps what one log has to have.
type crasher struct {
	dir  string
	data string // the node's, to verify; "" where it has none
	args []string
	seen map[core.ID]place // every event of the log
}

func newCrasher(dir string) *crasher {
	data := filepath.Join(dir, "data")
	args := []string{"--data", data, "--segment-bytes", fmt.Sprint(crashSegmentBytes)}
	return &crasher{dir: dir, data: data, args: args, seen: map[core.ID]place{}}
}

// round runs load, kills the node in it, and checks what a new one has.
func (c *crasher) round(t *testing.T, orderly bool) {
	node := c.start(t)
	acked, lost := c.load(t, node, orderly)
	c.verify(t)

	node = c.start(t)
	client := c.dial(t, node)
	for id, p := range acked {
		c.seen[id] = p
	}
	c.resend(node.lifetime, t, client, lost)
	c.check(node.lifetime, t, client)
	if t.Failed() {
		c.explain(t, node)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	c.end(t, node, syscall.SIGTERM, exitOK)
	c.verify(t)
}

func (c *crasher) verify(t *testing.T) {
	t.Helper()
	if c.data == "" {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), verifyLatest)
	defer cancel()
	cmd := exec.CommandContext(ctx, "gyre", "verify", "--data", c.data)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // it prints its goroutines
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("verify: %v: %s", err, out)
	}
}

// end ends the node with a signal and checks its exit code. One that does not end
// prints its goroutines.
func (c *crasher) end(t *testing.T, node *process, signal syscall.Signal, want int) {
	t.Helper()
	late := node.dumpAfter(stopLatest)
	defer late.Stop()
	if code, err := node.end(signal); err != nil || code != want {
		t.Fatalf("after %s the node ended with exit code %d, %v, want %d; it said: %s", signal, code, err, want, c.log())
	}
}

// explain ends a node that did not do what it should, and shows what it was doing
// and what we were: SIGQUIT makes it print its goroutines.
func (c *crasher) explain(t *testing.T, node *process) {
	t.Helper()
	if node.lifetime.Err() != nil {
		t.Error("the node ended by itself, or somebody else ended it")
	}
	var ours strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&ours, 2); err != nil {
		t.Error(err)
	}
	code, err := node.end(syscall.SIGQUIT)
	t.Fatalf("the node ended with exit code %d, %v; it said: %s\nThe test: %s", code, err, c.log(), &ours)
}

// log is what the last node has said.
func (c *crasher) log() string {
	text, err := os.ReadFile(filepath.Join(c.dir, "node.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (c *crasher) start(t *testing.T) *process {
	t.Helper()
	node, err := serve(c.dir, os.Environ(), filepath.Join(c.dir, "node.log"), c.args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.cmd.Process.Kill() })
	return node
}

func (c *crasher) dial(t *testing.T, node *process) *sdk.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client, err := sdk.Dial(ctx, node.url, sdk.Options{})
	if err != nil {
		t.Error(err)
		c.explain(t, node)
	}
	return client
}

// load appends from several goroutines until the node is killed or stopped, and
// answers what was acknowledged and what was not.
func (c *crasher) load(t *testing.T, node *process, orderly bool) (map[core.ID]place, []core.Commit) {
	client := c.dial(t, node)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	acks := make([]map[core.ID]place, crashWorkers)
	lost := make([]core.Commit, crashWorkers)
	var workers sync.WaitGroup
	for w := range crashWorkers {
		acks[w] = map[core.ID]place{}
		workers.Go(func() {
			for n := 0; ; n++ {
				commit := crashCommit(w, n)
				result, err := client.Append(ctx, commit)
				if err != nil {
					lost[w] = commit
					return
				}
				note(acks[w], commit, result)
			}
		})
	}
	<-time.NewTimer(time.Duration(rand.Int64N(int64(maxKillDelay)))).C
	signal, want := syscall.SIGKILL, -1
	if orderly {
		signal, want = syscall.SIGTERM, exitOK
	}
	c.end(t, node, signal, want)
	// The client would wait for the node to come back.
	cancel()
	workers.Wait()
	client.Close()
	all := map[core.ID]place{}
	for _, a := range acks {
		for id, p := range a {
			all[id] = p
		}
	}
	return all, lost
}

// crashCommit is a Commit of one to four events in one or two streams.
func crashCommit(worker, n int) core.Commit {
	var c core.Commit
	for i := range 1 + n%2 {
		a := core.Append{Stream: fmt.Sprintf("s-%d", (worker+i)%crashStreams), Expect: core.AnyVersion}
		for range 1 + n%3%2 {
			data := fmt.Sprintf(`{"worker":%d,"n":%d,"pad":%q}`, worker, n, strings.Repeat("x", n%700))
			a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: "Crashed", Data: []byte(data)})
		}
		c.Appends = append(c.Appends, a)
	}
	return c
}

// note writes down where the events of a Commit are.
func note(places map[core.ID]place, c core.Commit, r core.Result) {
	for i, a := range c.Appends {
		at := r.Appends[i]
		for j, e := range a.Events {
			places[e.ID] = place{a.Stream, at.FirstVersion + uint64(j), at.FirstPosition + uint64(j)}
		}
	}
}

// resend sends what was not answered again, as a client would, and twice.
func (c *crasher) resend(ctx context.Context, t *testing.T, client *sdk.Client, lost []core.Commit) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, l := range lost {
		if len(l.Appends) == 0 {
			continue
		}
		first, err := client.Append(ctx, l)
		if err != nil {
			t.Errorf("send again: %v (%v)", err, context.Cause(ctx))
			continue
		}
		second, err := client.Append(ctx, l)
		if err != nil || !second.Duplicate || second.Position != first.Position {
			t.Errorf("sent a third time: %+v, %v; the second said %+v", second, err, first)
		}
		note(c.seen, l, first)
	}
}

// check compares the whole log with what it has to have.
func (c *crasher) check(ctx context.Context, t *testing.T, client *sdk.Client) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	position, versions, found := uint64(0), map[string]uint64{}, 0
	for e, err := range core.ReadAll(ctx, client, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			t.Errorf("read: %v (%v)", err, context.Cause(ctx))
			return
		}
		position++
		versions[e.Stream]++
		if e.Position != position || e.Version != versions[e.Stream] {
			t.Errorf("%s@%d at position %d, want @%d at %d", e.Stream, e.Version, e.Position, versions[e.Stream], position)
			return
		}
		if got, want := (place{e.Stream, e.Version, e.Position}), c.seen[e.ID]; got != want {
			t.Errorf("event %s is at %+v, want %+v", e.ID, got, want)
			return
		}
		found++
	}
	if found != len(c.seen) {
		t.Errorf("the log has %d events, want %d", found, len(c.seen))
	}
}
