package postgres_test

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
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
)

// nodeEnv has a node's nodeConfig where this binary runs as one.
const nodeEnv = "GYRE_TEST_NODE"

// nodeConfig is what a node is told: to append to some streams, and to follow
// everything.
type nodeConfig struct {
	URL, Store, Node string
	Writers          int
	Streams          int // that all nodes write to
	RetryFor         time.Duration
}

// nodeReport is what a node tells at its end.
type nodeReport struct {
	Acked []acked
	// Seen is the last position that its follower saw, after all before it, in
	// order.
	Seen uint64
	// Late is the longest time from an event's recorded time to its sight.
	Late time.Duration
}

// acked is an event whose append was acknowledged.
type acked struct {
	ID                string
	Stream            string
	Version, Position uint64
}

// node is a process that runs a Store.
type node struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startNode starts a node and waits until it has begun.
func startNode(t *testing.T, config nodeConfig) *node {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{cmd: exec.Command(os.Args[0])}
	n.cmd.Env = append(os.Environ(), nodeEnv+"="+string(text))
	n.cmd.Stderr = os.Stderr
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.out = bufio.NewReader(out)
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
	})
	if line, err := n.out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("node %s said %q, %v", config.Node, line, err)
	}
	return n
}

// tell sends the node a line.
func (n *node) tell(t *testing.T, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(n.in, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
}

// hear reads the node's next line.
func (n *node) receive(t *testing.T, v any) {
	t.Helper()
	line, err := n.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err != nil {
		t.Fatalf("node: %v", err)
	}
}

// runNode is the life of a node: it says ready; on "stop" its writers end, and
// it says so; told a head, it follows up to there and reports.
func runNode() error {
	var config nodeConfig
	if err := json.Unmarshal([]byte(os.Getenv(nodeEnv)), &config); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	engine, err := postgres.Open(ctx, postgres.Config{URL: config.URL, Store: config.Store, Node: config.Node, Ring: shared, RetryFor: config.RetryFor})
	if err != nil {
		return err
	}
	store := core.NewStore(engine, core.StoreConfig{})
	writing, stop := context.WithCancel(ctx)
	defer stop()
	w := &nodeWriters{store: store, config: config}
	for i := range config.Writers {
		w.running.Go(func() { w.write(writing, i) })
	}
	f := &nodeFollower{store: store}
	following, unfollow := context.WithCancel(ctx)
	defer unfollow()
	var running sync.WaitGroup
	running.Go(func() { f.follow(following) })
	fmt.Println("ready")

	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	stop()
	w.running.Wait()
	fmt.Println("true")
	var head uint64
	if _, err := fmt.Fscan(in, &head); err != nil {
		return err
	}
	if err := f.wait(head); err != nil {
		return err
	}
	unfollow()
	running.Wait()
	if err := errors.Join(w.err, f.err, store.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(nodeReport{Acked: w.acked, Seen: f.seen, Late: f.late})
}

// nodeWriters append to streams that other nodes write to, too.
type nodeWriters struct {
	store   *core.Store
	config  nodeConfig
	running sync.WaitGroup

	mu    sync.Mutex // protects the fields below
	acked []acked
	err   error
}

// write appends batches of random size, with any expected version or, now and
// then, the one that it has read, until ctx ends. What has no answer is sent
// again, as it was.
func (w *nodeWriters) write(ctx context.Context, writer int) {
	r := rand.New(rand.NewPCG(uint64(writer), rand.Uint64()))
	for ctx.Err() == nil {
		c := core.Commit{}
		for range 1 + r.IntN(3) {
			stream := fmt.Sprintf("s-%d", r.IntN(w.config.Streams))
			expect := core.AnyVersion
			if r.IntN(4) == 0 {
				expect = w.version(stream)
			}
			c.Appends = append(c.Appends, core.Append{Stream: stream, Expect: expect, Events: benchEvents(1 + r.IntN(20))})
		}
		if err := w.send(c); err != nil {
			w.mu.Lock()
			w.err = errors.Join(w.err, err)
			w.mu.Unlock()
			return
		}
	}
}

func (w *nodeWriters) version(stream string) core.Expect {
	page, err := w.store.Read(context.Background(), core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1}})
	if err != nil {
		return core.AnyVersion
	}
	return core.Expect(page.Version)
}

func (w *nodeWriters) send(c core.Commit) error {
	deadline := time.Now().Add(90 * time.Second)
	for {
		result, err := w.store.Append(context.Background(), c)
		switch {
		case err == nil:
			w.note(c, result)
			return nil
		case errors.Is(err, core.CodeWrongExpectedVersion):
			return nil // another writer was first
		case !core.AsError(err).Info().Retryable || time.Now().After(deadline):
			return fmt.Errorf("append: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *nodeWriters) note(c core.Commit, result core.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, a := range c.Appends {
		at := result.Appends[i]
		for j := range a.Events {
			// A retry over several Stores' commits may have its events apart.
			position := at.FirstPosition + uint64(j)
			w.acked = append(w.acked, acked{a.Events[j].ID.String(), a.Stream, at.FirstVersion + uint64(j), position})
		}
	}
}

// nodeFollower follows $all and checks that nothing is skipped.
type nodeFollower struct {
	store *core.Store

	mu   sync.Mutex // protects the fields below
	seen uint64
	late time.Duration
	err  error
}

// follow follows on from the place that was reached, as a client does whose
// connection broke, until ctx ends or something is wrong.
func (f *nodeFollower) follow(ctx context.Context) {
	for ctx.Err() == nil && f.err == nil {
		from := core.From{Kind: core.AfterPosition, N: f.seen}
		for e, err := range core.FollowEvents(ctx, f.store, core.FollowRequest{Stream: core.All, From: from}) {
			if ctx.Err() != nil || !f.take(e, err) {
				break
			}
		}
	}
}

// take checks an event, and reports whether to go on.
func (f *nodeFollower) take(e core.Event, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil && core.AsError(err).Info().Retryable:
		return false // a read failed with its connection
	case err != nil:
		f.err = err
	case e.Position != f.seen+1:
		f.err = fmt.Errorf("P3: position %d after %d", e.Position, f.seen)
	default:
		f.seen = e.Position
		f.late = max(f.late, time.Since(e.Recorded))
	}
	return f.err == nil
}

// wait waits until the follower has seen the head.
func (f *nodeFollower) wait(head uint64) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		seen, err := f.seen, f.err
		f.mu.Unlock()
		if err != nil || seen >= head {
			return err
		}
	}
	return fmt.Errorf("the follower stays at %d of %d", f.seen, head)
}
