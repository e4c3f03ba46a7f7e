package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const (
	progressWorkers = 2      // of one name
	progressOutput  = "seen" // the stream of the workers that are killed
)

// TestCrashProgress kills the node, workers of one name in their own processes, or both,
// with SIGKILL at random moments of full load, round after round on the same log. The workers
// are examples/progress: each event of the load has one output, in its order, and the outputs
// are those of a worker that nobody has disturbed. 100 rounds with GYRE_SOAK=1.
func TestCrashProgress(t *testing.T) {
	t.Parallel()
	rounds := 3
	if os.Getenv("GYRE_SOAK") != "" {
		rounds = 100
	}
	var c *progressCrasher
	for round := range rounds {
		if round%crashRoundsPerLog == 0 {
			if c != nil {
				c.close(t)
			}
			c = newProgressCrasher(t)
		}
		c.round(t, round)
		if t.Failed() {
			t.Fatalf("in round %d of %d; the node said: %s", round+1, rounds, c.log())
		}
	}
	c.close(t)
	t.Logf("%d rounds, %d outputs of the last log", rounds, c.checked)
}

// progressCrasher has a node, its workers, and what is appended for them.
type progressCrasher struct {
	*crasher
	worker  string // the program
	node    *process
	client  *sdk.Client // outlives the node
	workers []*supervised
	checked uint64 // outputs that are right
	last    uint64 // the position of the last input with an output
}

func newProgressCrasher(t *testing.T) *progressCrasher {
	c := &progressCrasher{crasher: newCrasher(t.TempDir()), worker: plainProgram(t, "progress")}
	c.node = c.start(t)
	c.args = append(c.args, "--listen", strings.TrimPrefix(c.node.url, "http://")) // from now on
	c.client = c.dial(t, c.node)
	c.workers = make([]*supervised, progressWorkers)
	for i := range c.workers {
		c.workers[i] = c.supervise(t, "workers", progressOutput)
	}
	t.Cleanup(func() {
		for _, w := range c.workers {
			w.kill()
		}
		_ = c.client.Close()
		_, _ = c.node.end(syscall.SIGKILL)
	})
	return c
}

// supervise runs a worker until it is killed.
func (c *progressCrasher) supervise(t *testing.T, name, output string) *supervised {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		var said bytes.Buffer
		cmd := exec.CommandContext(ctx, c.worker, "-server", c.node.url, "-name", name, "-streams", "s-*", "-to", output)
		cmd.Stderr = &said
		if err := cmd.Run(); ctx.Err() == nil {
			t.Errorf("a worker has ended by itself: %v: %s", err, &said)
		}
	})
	return &supervised{func() { cancel(); running.Wait() }}
}

// round appends while something is killed, and waits until all has its output.
func (c *progressCrasher) round(t *testing.T, round int) {
	ctx, cancel := context.WithTimeout(t.Context(), drainLatest)
	defer cancel()
	stop := make(chan struct{})
	var load sync.WaitGroup
	for w := range 4 {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.client.Append(ctx, crashCommit(w, n)); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	what := round % 3 // the node, a worker, or both
	for range 1 + rand.IntN(3) {
		<-time.NewTimer(time.Duration(rand.Int64N(int64(maxKillDelay)))).C
		if what != 0 {
			i := rand.IntN(progressWorkers)
			c.workers[i].kill()
			c.workers[i] = c.supervise(t, "workers", progressOutput)
		}
		if what != 1 {
			c.end(t, c.node, syscall.SIGKILL, -1)
			c.node = c.start(t)
		}
	}
	close(stop)
	load.Wait()
	c.drain(ctx, t)
}

// seenEvent is what a worker says of an event.
func seenEvent(e *core.Event) string {
	return fmt.Sprintf(`{"position":%d,"stream":%q,"type":%q,"version":%d}`, e.Position, e.Stream, e.Type, e.Version)
}

// drain compares the outputs since the last time with the inputs, and waits for those that
// are missing.
func (c *progressCrasher) drain(ctx context.Context, t *testing.T) {
	t.Helper()
	var want []string
	for e, err := range core.ReadAll(ctx, c.client, core.ReadRequest{Stream: core.All, From: c.last + 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Stream, "s-") {
			want = append(want, seenEvent(&e))
			c.last = e.Position
		}
	}
	follower, err := c.client.Follow(ctx, core.FollowRequest{Stream: progressOutput, From: core.From{Kind: core.AfterVersion, N: c.checked}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = follower.Close() }()
	for len(want) > 0 {
		d, err := follower.Next(ctx, core.Limit{Events: 1000, Bytes: 1 << 20})
		if err != nil {
			t.Fatalf("%d events have no output, the next is %s: %v", len(want), want[0], err)
		}
		for e := range d.Events() {
			if len(want) == 0 || string(e.Data) != want[0] || e.Type != "Seen" {
				t.Fatalf("output %d is %s, of %d that are missing", e.Version, e.Data, len(want))
			}
			want = want[1:]
			c.checked++
		}
	}
}

// close has another worker do all of the work undisturbed, and compares what it makes.
func (c *progressCrasher) close(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), drainLatest)
	defer cancel()
	for _, w := range c.workers {
		w.kill()
	}
	page, err := c.client.Read(ctx, core.ReadRequest{Stream: progressOutput, Backward: true, Limit: core.Limit{Events: 1}})
	if err != nil || page.Version != c.checked {
		t.Errorf("there are %d outputs, %v, of %d events", page.Version, err, c.checked)
	}
	alone := c.supervise(t, "undisturbed", "undisturbed")
	follower, err := c.client.Follow(ctx, core.FollowRequest{Stream: "undisturbed"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = follower.Close() }()
	outputs := core.ReadAll(ctx, c.client, core.ReadRequest{Stream: progressOutput})
	if err := sameData(ctx, follower, outputs); err != nil {
		t.Error(err)
	}
	alone.kill()
	c.end(t, c.node, syscall.SIGTERM, exitOK)
	c.verify(t)
}

// sameData reports a difference between the events of a follower and a stream.
func sameData(ctx context.Context, got core.Follower, want func(func(core.Event, error) bool)) error {
	var data []string
	for e, err := range want {
		if err != nil {
			return err
		}
		data = append(data, string(e.Data))
	}
	for len(data) > 0 {
		d, err := got.Next(ctx, core.Limit{Events: 1000, Bytes: 1 << 20})
		if err != nil {
			return fmt.Errorf("%d outputs are missing: %w", len(data), err)
		}
		for e := range d.Events() {
			if len(data) == 0 || string(e.Data) != data[0] {
				return fmt.Errorf("output %d of an undisturbed run is %s, of %d that are missing", e.Version, e.Data, len(data))
			}
			data = data[1:]
		}
	}
	return nil
}
