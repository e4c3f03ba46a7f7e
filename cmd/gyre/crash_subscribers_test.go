package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
)

const (
	subscribersAtOnce = 3
	subscribersName   = "work"
	// askAgain is the pause before something is asked for again.
	askAgain = 5 * time.Millisecond
	// drainLatest is more than the subscribers take for what a round has appended.
	drainLatest = time.Minute
)

// subscriberMain is a subscriber in a process of its own, to be killed: it writes a line
// for each event to a file that it shares with others, and acks it then.
func subscriberMain() {
	if err := subscribeTo(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitOther)
	}
}

func subscribeTo(url, file string) error {
	out, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	ctx := context.Background()
	sub, err := dialAndSubscribe(ctx, url)
	// The node may be away, and a subscriber that was killed may hold its place still.
	for ; err != nil && core.AsError(err).Info().Retryable; sub, err = dialAndSubscribe(ctx, url) {
		time.Sleep(askAgain)
	}
	if err != nil {
		return err
	}
	return sub.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
		_, err := fmt.Fprintf(out, "%s %d %d\n", d.Stream, d.Version, d.Position) // one write
		return err
	})
}

func dialAndSubscribe(ctx context.Context, url string) (*sdk.Subscriber, error) {
	client, err := sdk.Dial(ctx, url, sdk.Options{})
	if err != nil {
		return nil, err
	}
	sub, err := client.Subscribe(ctx, subscribersName, sdk.SubscribeOptions{Consumer: fmt.Sprint(os.Getpid()), Workers: 4})
	if err != nil {
		_ = client.Close()
	}
	return sub, err
}

// TestCrashSubscribers kills the node, subscribers in their own processes, or both, with
// SIGKILL at random moments of full load, round after round on the same log. The stored
// checkpoint never passes an event that was not handled, and moves forward only (P9); the
// events of a stream are handled in order (P8); and after each round everything is handled
// that is in the log, some of it more than once. 100 rounds with GYRE_SOAK=1.
func TestCrashSubscribers(t *testing.T) {
	t.Parallel()
	crashSubscribers(t, 5, newCrasher(t.TempDir()), sdkKind)
}

// TestCrashCommands is TestCrashSubscribers with gyre subscribe --exec. What it has
// started when it is killed goes on, and may be late with the line that it writes.
func TestCrashCommands(t *testing.T) {
	t.Parallel()
	crashSubscribers(t, 3, newCrasher(t.TempDir()), commandKind(t))
}

// sdkKind is subscriberMain.
var sdkKind = subscriberKind{
	command: func(url, file string) []string { return []string{"subscriber", url, file} },
}

// commandKind is gyre subscribe --exec. A shell for each event takes milliseconds of a
// processor, so appends are at a pace that leaves it some.
func commandKind(t *testing.T) subscriberKind {
	script := filepath.Join(t.TempDir(), "handle.sh")
	if err := os.WriteFile(script, []byte(handleScript), 0o600); err != nil {
		t.Fatal(err)
	}
	return subscriberKind{
		// The node may be away when it begins, or not know yet that its place is free.
		ends: []int{exitUnavailable, exitConflict},
		pace: 20 * time.Millisecond,
		command: func(url, file string) []string {
			return []string{"gyre", "subscribe", subscribersName, "--server", url, "--exec", "exec sh " + script + " >>" + file}
		},
	}
}

// handleScript makes one write of an event: its stream, version and position. Where gyre
// was killed before it had written the event, there is no whole line to read.
const handleScript = `read -r event || exit 1
stream=${event#*\"stream\":\"}
version=${event#*\"version\":}
position=${event#*\"position\":}
echo "${stream%%\"*} ${version%%,*} ${position%%,*}"
`

// subscriberKind is which subscribers are killed.
type subscriberKind struct {
	command func(url, file string) []string
	ends    []int         // the exit codes with which it may end by itself
	pace    time.Duration // of each goroutine that appends
}

// crashSubscribers runs rounds, or 100 with GYRE_SOAK=1.
func crashSubscribers(t *testing.T, rounds int, node *crasher, kind subscriberKind) {
	if os.Getenv("GYRE_SOAK") != "" {
		rounds = 100
	}
	c := newSubscriberCrasher(t, node, kind)
	for round := range rounds {
		c.round(t, round)
		if t.Failed() {
			t.Fatalf("in round %d of %d; the node said: %s", round+1, rounds, c.log())
		}
	}
	t.Logf("%d rounds, %d events, %d of them again", rounds, len(c.handled), c.again)
}

// subscriberCrasher has a node, its subscribers, and what they did.
type subscriberCrasher struct {
	*crasher
	kind        subscriberKind
	node        *process
	client      *sdk.Client // outlives the node
	subscribers []*supervised

	file *os.File      // where the subscribers write
	read *bufio.Reader // of file
	part string        // a line that is not whole yet

	handled    map[uint64]struct{} // positions
	versions   map[string]uint64   // the last of each stream
	again      int
	checkpoint uint64 // the last that was seen; everything up to it is handled
}

func newSubscriberCrasher(t *testing.T, node *crasher, kind subscriberKind) *subscriberCrasher {
	c := &subscriberCrasher{crasher: node, kind: kind, handled: map[uint64]struct{}{}, versions: map[string]uint64{}}
	file, err := os.Create(filepath.Join(c.dir, "handled"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	c.file, c.read = file, bufio.NewReader(file)
	c.node = c.start(t)
	c.args = append(c.args, "--listen", strings.TrimPrefix(c.node.url, "http://")) // from now on
	t.Cleanup(func() { _, _ = c.node.end(syscall.SIGKILL) })
	c.client = c.dial(t, c.node)
	t.Cleanup(func() { _ = c.client.Close() })
	d := subscriptions.DefaultDefinition()
	d.PartitionBy, d.ConcurrencyLimit, d.BufferSize = subscriptions.ByStream, subscribersAtOnce, 16
	d.Retry.Max = 1000 // each kill fails attempts
	if _, _, err := c.client.Subscriptions().Put(t.Context(), subscribersName, &d); err != nil {
		t.Fatal(err)
	}
	c.subscribers = make([]*supervised, subscribersAtOnce)
	for i := range c.subscribers {
		c.subscribers[i] = c.supervise(t, i)
	}
	t.Cleanup(func() {
		for _, s := range c.subscribers {
			s.kill()
		}
	})
	return c
}

// supervised is a subscriber in a process of its own, begun anew where it may end.
type supervised struct {
	kill func() // with SIGKILL; returns when it is gone
}

func (c *subscriberCrasher) supervise(t *testing.T, i int) *supervised {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		args := c.kind.command(c.node.url, c.file.Name())
		for ctx.Err() == nil {
			var said bytes.Buffer
			cmd := exec.CommandContext(ctx, args[0], args[1:]...)
			cmd.Stderr, cmd.WaitDelay = &said, time.Millisecond // what it has started may go on
			err := cmd.Run()
			if ctx.Err() == nil && !slices.Contains(c.kind.ends, cmd.ProcessState.ExitCode()) {
				t.Errorf("subscriber %d has ended by itself: %v: %s", i, err, &said)
				return
			}
			time.Sleep(askAgain)
		}
	})
	return &supervised{func() { cancel(); running.Wait() }}
}

// round appends while something is killed, and waits until all is handled.
func (c *subscriberCrasher) round(t *testing.T, round int) {
	ctx, cancel := context.WithTimeout(t.Context(), drainLatest)
	defer cancel()
	stop := make(chan struct{})
	var load sync.WaitGroup
	for w := range 4 {
		load.Go(func() { c.appendUntil(ctx, t, w, stop) })
	}
	// The first rounds do each once.
	what := round % 3
	if round >= 3 {
		what = rand.IntN(3)
	}
	for range 1 + rand.IntN(3) {
		<-time.NewTimer(time.Duration(rand.Int64N(int64(maxKillDelay)))).C
		if what != 0 {
			i := rand.IntN(subscribersAtOnce)
			c.subscribers[i].kill()
			c.subscribers[i] = c.supervise(t, i)
		}
		if what != 1 {
			c.end(t, c.node, syscall.SIGKILL, -1)
			c.node = c.start(t)
		}
		c.check(ctx, t)
	}
	close(stop)
	load.Wait()
	c.drain(ctx, t)
}

// appendUntil appends until it is stopped.
func (c *subscriberCrasher) appendUntil(ctx context.Context, t *testing.T, worker int, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(c.kind.pace):
		}
		if _, err := c.client.Append(ctx, crashCommit(worker, n)); err != nil {
			t.Errorf("append: %v", err)
			return
		}
	}
}

// check compares the checkpoint with what was handled, which is written before it is
// acked.
func (c *subscriberCrasher) check(ctx context.Context, t *testing.T) subscriptions.Info {
	t.Helper()
	var info subscriptions.Info
	for {
		var err error
		if info, err = c.client.Subscriptions().Info(ctx, subscribersName); err == nil {
			break
		}
		if !core.AsError(err).Info().Retryable || ctx.Err() != nil {
			t.Fatalf("info: %v (%v); before: checkpoint %d, %d events handled", err, context.Cause(ctx), c.checkpoint, len(c.handled))
		}
		time.Sleep(askAgain)
	}
	c.takeLines(t)
	if info.Checkpoint < c.checkpoint {
		t.Fatalf("the checkpoint went from %d to %d", c.checkpoint, info.Checkpoint)
	}
	for ; c.checkpoint < info.Checkpoint; c.checkpoint++ {
		if _, ok := c.handled[c.checkpoint+1]; !ok {
			t.Fatalf("the checkpoint is %d, and the event at %d was not handled", info.Checkpoint, c.checkpoint+1)
		}
	}
	return info
}

// takeLines reads what the subscribers have written since the last time.
func (c *subscriberCrasher) takeLines(t *testing.T) {
	t.Helper()
	for {
		text, err := c.read.ReadString('\n')
		c.part += text
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var stream string
		var version, position uint64
		if _, err := fmt.Sscanf(c.part, "%s %d %d\n", &stream, &version, &position); err != nil {
			t.Fatalf("%q: %v", c.part, err)
		}
		c.part = ""
		switch last := c.versions[stream]; {
		case version > last+1:
			t.Fatalf("%s@%d was handled after @%d", stream, version, last)
		case version == last+1:
			c.versions[stream] = version
			c.handled[position] = struct{}{}
		default:
			c.again++
		}
	}
}

// drain waits until everything is handled, and looks whether it is.
func (c *subscriberCrasher) drain(ctx context.Context, t *testing.T) {
	t.Helper()
	// A node may not know how much another has written; storage does.
	log, err := c.client.Read(ctx, core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 1}})
	if err != nil {
		t.Fatal(err)
	}
	var info subscriptions.Info
	for info = c.check(ctx, t); info.Checkpoint < log.Head; info = c.check(ctx, t) {
		if ctx.Err() != nil {
			t.Fatalf("it stands still: %+v", info)
		}
		time.Sleep(askAgain)
	}
	if info.Parked > 0 {
		t.Errorf("%d events were parked", info.Parked)
	}
	if uint64(len(c.handled)) != log.Head {
		t.Errorf("%d events were handled, the log has %d", len(c.handled), log.Head)
	}
	for stream, handled := range c.versions {
		page, err := c.client.Read(ctx, core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1}})
		if err != nil || page.Version != handled {
			t.Errorf("%s is at version %d, %v; handled up to %d", stream, page.Version, err, handled)
		}
	}
}
