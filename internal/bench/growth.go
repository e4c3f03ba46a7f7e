package main

import (
	"bufio"
	"bytes"
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

// benchGrowth measures how a node's costs grow with its log: a small and a large one
// take turns. Each is in a process of its own, so that memory is that of a node and not
// of this program; the large one is killed at the end.
func benchGrowth(b *bench) error {
	size := b.n(largeLog)
	small, err := startLog(b, "growth-small", smallLog)
	if err != nil {
		return err
	}
	defer small.kill()
	large, err := startLog(b, "growth", size)
	if err != nil {
		return err
	}
	defer large.kill()
	b.progress("growth: %d turns of both", rounds)
	var rss float64 // the peak so far
	note := fmt.Sprintf("%d against %d events", size, smallLog)
	appends, reads := paired{note: note}, paired{note: note}
	for range rounds {
		s, err := small.turn()
		if err != nil {
			return err
		}
		l, err := large.turn()
		if err != nil {
			return err
		}
		appends.add(l.Append.sample(), s.Append.sample())
		reads.add(l.Read100.sample(), s.Read100.sample())
		rss = l.PeakRSS
	}
	b.add(appends.result("growth/append", "µs", atMost(ofCPURatio, 1.5)))
	b.add(reads.result("growth/read100", "µs", nil))
	b.add(alone("growth/rss", "MiB", once(rss), atMost(ofValue, 512), note))
	_ = large.in.Close()
	time.Sleep(window) // in which it appends
	large.kill()
	return benchOpen(b, filepath.Join(b.dir, "growth"), size)
}

// benchOpen measures how long a log takes to open whose process was killed.
func benchOpen(b *bench, dir string, acknowledged int) error {
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
	if head < uint64(acknowledged) {
		return fmt.Errorf("the log has %d events after the kill, %d were acknowledged", head, acknowledged)
	}
	b.add(alone("growth/open_after_kill", "s", once(opened.Seconds()), atMost(ofValue, 3), fmt.Sprintf("%d events", head)))
	return nil
}

// grownLog is a child that has filled a log, and measures what it is told to.
type grownLog struct{ *child }

func startLog(b *bench, name string, events int) (grownLog, error) {
	b.progress("growth: a log of %d events", events)
	c, err := startChild(b.ctx, "fill", filepath.Join(b.dir, name), strconv.Itoa(events))
	if err != nil {
		return grownLog{}, err
	}
	var head uint64
	if err := c.read(&head); err != nil {
		c.kill()
		return grownLog{}, err
	}
	return grownLog{c}, nil
}

// costs are what a turn measures.
type costs struct {
	Append  cost    // of one event in one Commit
	Read100 cost    // of all of a stream of 100 events
	PeakRSS float64 // MiB, so far, while appending and following
}

// cost is what operations took in µs: each, and of processor time together.
type cost struct {
	Each float64
	CPU  float64
	Ops  int
}

func (c cost) sample() sample {
	return sample{value: c.Each, ops: c.Ops, cpu: time.Duration(c.CPU * float64(time.Microsecond))}
}

// turn has the child measure its costs once.
func (l grownLog) turn() (c costs, err error) {
	if _, err := io.WriteString(l.in, "turn\n"); err != nil {
		return costs{}, err
	}
	return c, l.read(&c)
}

// childFill fills a log, tells its head, and measures its costs for each line that
// comes. When no more do, it appends until it is killed.
func childFill(ctx context.Context, args []string) error {
	events, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
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
	streams := events / eventsPerStream
	if err := fillScattered(ctx, store, streams); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(store.State().Head); err != nil {
		return err
	}
	for rounds := bufio.NewScanner(os.Stdin); rounds.Scan(); {
		c, err := measureCosts(ctx, store, streams)
		if err != nil {
			return err
		}
		if err := out.Encode(c); err != nil {
			return err
		}
	}
	l := &load{log: store, perCommit: 1, appenders: 8}
	_, err = l.run(ctx, 0, time.Hour)
	return err
}

func streamName(n int) string { return fmt.Sprintf("grown-%07d", n) }

// fillScattered gives each stream 100 events, in rounds over all streams, so
// that a stream's events lie as far from each other as they can.
func fillScattered(ctx context.Context, log core.Log, streams int) error {
	for range eventsPerStream {
		for first := 0; first < streams; first += streamsPerStep {
			var c core.Commit
			for n := first; n < min(first+streamsPerStep, streams); n++ {
				c.Appends = append(c.Appends, core.Append{Stream: streamName(n), Expect: core.AnyVersion, Events: newEvents(1)})
			}
			if _, err := log.Append(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func measureCosts(ctx context.Context, log core.Log, streams int) (c costs, err error) {
	const times = 2000
	begin, cpu := time.Now(), cpuTime()
	for range times {
		_, err := log.Append(ctx, core.Commit{Appends: []core.Append{{
			Stream: fmt.Sprintf("other-%03d", rand.IntN(1000)), Expect: core.AnyVersion, Events: newEvents(1),
		}}})
		if err != nil {
			return costs{}, err
		}
	}
	c.Append = costSince(begin, cpu, times)
	begin, cpu = time.Now(), cpuTime()
	for range times {
		page, err := log.Read(ctx, core.ReadRequest{Stream: streamName(rand.IntN(streams))})
		if err != nil {
			return costs{}, err
		}
		if page.Count != eventsPerStream {
			return costs{}, fmt.Errorf("a stream has %d events", page.Count)
		}
	}
	c.Read100 = costSince(begin, cpu, times)
	c.PeakRSS, err = statusMiB("self", "VmHWM")
	return c, err
}

// costSince is the cost of n operations since a time, and an amount of processor time.
func costSince(since time.Time, cpu time.Duration, n int) cost {
	return cost{Each: inMicros(time.Since(since)) / float64(n), CPU: inMicros(cpuTime() - cpu), Ops: n}
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
	"state":       childState,
	"serve":       childServe,
	"subscribers": childSubscribers,
	"compile":     childCompile,
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
	in  io.WriteCloser
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

// cpuTime is the processor time of the child so far, in the system's ticks of 10 ms.
func (c *child) cpuTime() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in brackets; utime and stime are the 14th and 15th.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// kill ends the child without a warning, as kill -9 does.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}
