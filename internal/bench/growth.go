package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
)

const (
	smallLog = 100_000
	largeLog = 10_000_000

	eventsPerStream = 100
	streamsPerStep  = 1000 // streams that get one event each, in one Commit
)

// costs are what the child process measures on a log of one size.
type costs struct {
	Append  float64 // µs, one event in one Commit
	Read100 float64 // µs, all of a stream of 100 events
	PeakRSS float64 // MiB, so far, while appending and following
}

// benchGrowth measures how a node's costs grow with its log. A process of its
// own fills the log, and is killed at the end, so that memory and recovery are
// those of a node and not of this program.
func benchGrowth(b *bench) error {
	dir := filepath.Join(b.dir, "growth")
	large := b.n(largeLog)
	child, err := startChild(b.ctx, "fill", dir, strconv.Itoa(smallLog), strconv.Itoa(large))
	if err != nil {
		return err
	}
	defer child.kill()
	var small, big costs
	b.progress("growth: a log of %d events", smallLog)
	if err := child.read(&small); err != nil {
		return err
	}
	b.progress("growth: a log of %d events", large)
	if err := child.read(&big); err != nil {
		return err
	}
	child.kill()

	begin := time.Now()
	engine, err := disk.Open(b.ctx, disk.Config{Dir: dir})
	if err != nil {
		return err
	}
	opened := time.Since(begin)
	head := engine.State().Head
	if err := engine.Close(); err != nil {
		return err
	}
	if head < uint64(large) {
		return fmt.Errorf("the log has %d events after the kill, %d were acknowledged", head, large)
	}
	note := fmt.Sprintf("%d against %d events", large, smallLog)
	b.atMost("growth/append", "× cost", big.Append/small.Append, 1.5, note)
	b.atMost("growth/read100", "× cost", big.Read100/small.Read100, 1.5, note)
	b.atMost("growth/rss", "MiB", big.PeakRSS, 512, note)
	b.atMost("growth/open_after_kill", "s", opened.Seconds(), 3, note)
	b.add(Result{Name: "growth/append_latency", Value: big.Append, Unit: "µs", Holds: true})
	b.add(Result{Name: "growth/read100_latency", Value: big.Read100, Unit: "µs", Holds: true})
	return nil
}

// childFill fills a log in two steps and measures after each. Then it appends
// on until it is killed.
func childFill(ctx context.Context, args []string) error {
	engine, err := disk.Open(ctx, disk.Config{Dir: args[0]})
	if err != nil {
		return err
	}
	store := core.NewStore(engine, core.StoreConfig{})
	follow, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for _, err := range core.FollowEvents(follow, store, core.FollowRequest{Stream: core.All}) {
			if err != nil {
				return // the process is ending
			}
		}
	}()
	filled := 0
	for step, size := range args[1:] {
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		streams := (n - filled) / eventsPerStream
		if err := fillScattered(ctx, store, step, streams); err != nil {
			return err
		}
		filled = n
		c, err := measureCosts(ctx, store, step, streams)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(c); err != nil {
			return err
		}
	}
	l := &load{log: store, perCommit: 1, appenders: 8}
	_, err = l.run(ctx, 0, time.Hour)
	return err
}

func streamName(step, n int) string { return fmt.Sprintf("order-%d-%07d", step, n) }

// fillScattered gives each stream 100 events, in rounds over all streams, so
// that a stream's events lie as far from each other as they can.
func fillScattered(ctx context.Context, log core.Log, step, streams int) error {
	for range eventsPerStream {
		for first := 0; first < streams; first += streamsPerStep {
			var c core.Commit
			for n := first; n < min(first+streamsPerStep, streams); n++ {
				c.Appends = append(c.Appends, core.Append{Stream: streamName(step, n), Expect: core.AnyVersion, Events: newEvents(1)})
			}
			if _, err := log.Append(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func measureCosts(ctx context.Context, log core.Log, step, streams int) (costs, error) {
	const times = 2000
	// Each measure several times, in turn: the median is of the log, not of what
	// the machine did meanwhile.
	var appends, reads []float64
	for range rounds {
		begin := time.Now()
		for range times {
			_, err := log.Append(ctx, core.Commit{Appends: []core.Append{{
				Stream: streamName(9, rand.IntN(1000)), Expect: core.AnyVersion, Events: newEvents(1),
			}}})
			if err != nil {
				return costs{}, err
			}
		}
		appends = append(appends, micros(begin, times))
		begin = time.Now()
		for range times {
			page, err := log.Read(ctx, core.ReadRequest{Stream: streamName(step, rand.IntN(streams))})
			if err != nil {
				return costs{}, err
			}
			if page.Count != eventsPerStream {
				return costs{}, fmt.Errorf("a stream has %d events", page.Count)
			}
		}
		reads = append(reads, micros(begin, times))
	}
	rss, err := statusMiB("self", "VmHWM")
	return costs{median(appends), median(reads), rss}, err
}

func micros(since time.Time, n int) float64 {
	return float64(time.Since(since).Microseconds()) / float64(n)
}

// statusMiB reads a memory figure of a process.
func statusMiB(pid, field string) (float64, error) {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.Atoi(strings.Fields(value)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/%s/status", field, pid)
}

// childCommand, as the first argument, makes this program one of the
// processes that it measures.
const childCommand = "child"

var children = map[string]func(context.Context, []string) error{
	"fill":        childFill,
	"serve":       childServe,
	"subscribers": childSubscribers,
}

func runChild(args []string) int {
	if err := children[args[0]](context.Background(), args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench child:", err)
		return 1
	}
	return 0
}

// child is a process of this program that tells its figures as lines of JSON.
type child struct {
	cmd *exec.Cmd
	out *bufio.Reader
	in  io.Closer
}

func startChild(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{childCommand}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &child{cmd: cmd, out: bufio.NewReader(out), in: in}, cmd.Start()
}

func (c *child) read(v any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return errors.Join(errors.New("the child process ended early"), err)
	}
	return json.Unmarshal(line, v)
}

// kill ends the child without a warning, as kill -9 does.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}
