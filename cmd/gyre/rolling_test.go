//go:build unix

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/sdk"
)

const (
	rollingNodes = 3
	// rollingLatest is more than a node takes to serve again.
	rollingLatest = time.Minute
	// rollingWorkers handle events of each client. One in rollingWorkEvery of a stream takes
	// rollingWork: often enough for a node to stop in it, and seldom enough to keep up with
	// what is written.
	rollingWorkers   = 4
	rollingWork      = 100 * time.Millisecond
	rollingWorkEvery = 16
)

// N05: TestRollingRestartsSoak restarts the nodes of a ring one after another, under load
// by clients that have the addresses of all. No call of a client fails, no event is lost
// or written twice, follows have no gap, and the subscription misses nothing. Each node
// once, 30 times with GYRE_SOAK=1.
func TestRollingRestartsSoak(t *testing.T) {
	rounds := 1
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
				for _, n := range ring {
					t.Logf("%s:\n%s", n.listen, n.log())
				}
				t.Fatalf("round %d, node %d", round+1, i+1)
			}
		}
	}
	load.finish()
	t.Logf("%d rounds, %d calls, %d events", rounds, load.calls.Load(), load.written.Load())
}

// rollingNode is a member of the ring, on addresses that it keeps.
type rollingNode struct {
	t       *testing.T
	program string // gyre, if it is empty
	listen  string
	dir     string
	args    []string
	starts  int
	now     *process
}

func startRolling(t *testing.T) (ring []*rollingNode) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	listen, gossip := unused(t, rollingNodes), unused(t, rollingNodes)
	for i := range rollingNodes {
		n := &rollingNode{t: t, listen: listen[i], dir: t.TempDir()}
		n.args = []string{
			"--cluster", "--node", fmt.Sprintf("node%d", i+1), "--listen", listen[i], "--gossip", gossip[i],
			"--peers", strings.Join(gossip, ","), "--postgres", server.URL, "--store", store,
		}
		n.start()
		t.Cleanup(func() { _, _ = n.now.end(syscall.SIGKILL) })
		ring = append(ring, n)
	}
	for _, n := range ring {
		n.ready()
	}
	return ring
}

// unused returns addresses on which nobody listens.
func unused(t *testing.T, n int) (list []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list
}

func (n *rollingNode) start() {
	n.t.Helper()
	n.starts++
	p, err := serveWith(cmp.Or(n.program, "gyre"), n.dir, os.Environ(), filepath.Join(n.dir, fmt.Sprintf("node-%d.log", n.starts)), n.args...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.now = p
}

// ready waits until the node serves: it is in the view.
func (n *rollingNode) ready() {
	n.t.Helper()
	said := ""
	for by := time.Now().Add(rollingLatest); time.Now().Before(by); time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get("http://" + n.listen + "/readyz")
		if err != nil {
			said = err.Error()
			continue
		}
		said = answer.Status
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return
		}
	}
	n.t.Fatalf("%s is not ready: %s\n%s", n.listen, said, n.log())
}

// restart stops the node as an operator does, and starts it again.
func (n *rollingNode) restart() {
	n.t.Helper()
	if code, err := n.now.end(syscall.SIGTERM); code != 0 || err != nil {
		n.t.Errorf("the node ended with %d, %v\n%s", code, err, n.log())
	}
	n.start()
	n.ready()
}

func (n *rollingNode) log() []byte {
	var all []byte
	for i := max(1, n.starts-1); i <= n.starts; i++ { // the last two runs
		text, err := os.ReadFile(filepath.Join(n.dir, fmt.Sprintf("node-%d.log", i)))
		if err != nil {
			n.t.Error(err)
		}
		all = append(all, text...)
	}
	return all
}

// rollingLoad is what clients do meanwhile.
type rollingLoad struct {
	t       *testing.T
	clients []*sdk.Client
	calls   atomic.Int64 // that were answered
	written atomic.Int64 // events

	stop    context.CancelFunc // of what writes and asks
	working sync.WaitGroup
	end     context.CancelFunc // of what follows
	follows []*rollingFollow
	handled sync.Map // positions that the subscription's consumers have handled
	keys    sync.Map // the rollingKey of each stream
	taking  sync.WaitGroup
}

// rollingFollow counts what a follow of $all has seen.
type rollingFollow struct{ seen atomic.Int64 }

func startRollingLoad(t *testing.T, ring []*rollingNode) *rollingLoad {
	l := &rollingLoad{t: t}
	working, stop := context.WithCancel(t.Context())
	following, end := context.WithCancel(t.Context())
	l.stop, l.end = stop, end
	t.Cleanup(func() {
		stop()
		end()
		for _, c := range l.clients {
			_ = c.Close()
		}
		l.working.Wait()
		l.taking.Wait()
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
		l.follow(following, c)
		l.consume(following, c)
		for w := range 2 {
			l.working.Go(func() { l.write(working, c, fmt.Sprintf("s-%d-%d", i, w)) })
		}
		l.working.Go(func() { l.manage(working, c, fmt.Sprintf("managed-%d", i)) })
	}
	return l
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

// manage makes requests over HTTP, with a subscription of its own.
func (l *rollingLoad) manage(ctx context.Context, c *sdk.Client, name string) {
	calls := context.WithoutCancel(ctx)
	s := c.Subscriptions()
	d := subscriptions.DefaultDefinition()
	_, _, err := s.Put(calls, name, &d)
	for ok := l.done(calls, "create", err); ok && ctx.Err() == nil; {
		ok = l.done(calls, "pause", s.Pause(calls, name))
		info, err := s.Info(calls, name)
		ok = l.done(calls, "info", err) && ok
		if ok && info.State != delivery.Paused {
			l.t.Errorf("%s is %s after it was paused", name, info.State)
		}
		ok = l.done(calls, "resume", s.Resume(calls, name)) && ok
		_, err = s.List(calls, subscriptions.ListRequest{})
		ok = l.done(calls, "list", err) && ok
		_, err = c.Streams(calls, core.StreamsRequest{Limit: 10})
		ok = l.done(calls, "streams", err) && ok
	}
}

// follow checks that a follow of $all has each position once.
func (l *rollingLoad) follow(ctx context.Context, c *sdk.Client) {
	f := new(rollingFollow)
	l.follows = append(l.follows, f)
	l.taking.Go(func() {
		for e, err := range core.FollowEvents(ctx, c, core.FollowRequest{Stream: core.All}) {
			if err != nil {
				l.done(ctx, "follow", err)
				return
			}
			if n := f.seen.Add(1); uint64(n) != e.Position {
				l.t.Errorf("event %d of a follow has position %d", n, e.Position)
				return
			}
		}
	})
}

// rollingKey is what the handlers of one stream's events know of each other.
type rollingKey struct {
	mu   sync.Mutex
	busy bool
	last uint64
}

// handle handles an event. No two events of a stream are handled at once, whichever clients
// they are sent to, and none after a later one.
func (l *rollingLoad) handle(d *sdk.Delivery) {
	k, _ := l.keys.LoadOrStore(d.Stream, new(rollingKey))
	key := k.(*rollingKey)
	key.mu.Lock()
	if key.busy || d.Version <= key.last {
		l.t.Errorf("version %d of %s is handled (attempt %d) after %d, or beside it: %v", d.Version, d.Stream, d.Attempt, key.last, key.busy)
	}
	key.busy, key.last = true, d.Version
	key.mu.Unlock()
	if d.Version%rollingWorkEvery == 0 {
		time.Sleep(rollingWork) // the work of a handler, in which a node may stop
	}
	key.mu.Lock()
	key.busy = false
	key.mu.Unlock()
	l.handled.Store(d.Position, true)
}

// consume handles the events of a subscription that all clients share.
func (l *rollingLoad) consume(ctx context.Context, c *sdk.Client) {
	d := subscriptions.DefaultDefinition()
	d.ConcurrencyLimit, d.PartitionBy = rollingNodes, "stream"
	s, err := c.Subscribe(ctx, "audit", sdk.SubscribeOptions{Definition: &d, Workers: rollingWorkers})
	if err != nil {
		l.t.Fatal(err)
	}
	l.taking.Go(func() {
		err := s.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
			l.handle(&d)
			return nil
		})
		if !errors.Is(err, core.CodeCanceled) {
			l.done(ctx, "subscription", err)
		}
	})
}

// await waits until so many calls were answered.
func (l *rollingLoad) await(calls int64) {
	l.t.Helper()
	l.until(func() error {
		if now := l.calls.Load(); now < calls {
			return fmt.Errorf("%d calls were answered, want %d", now, calls)
		}
		return nil
	})
}

func (l *rollingLoad) until(holds func() error) {
	l.t.Helper()
	var err error
	for by := time.Now().Add(rollingLatest); time.Now().Before(by) && !l.t.Failed(); time.Sleep(20 * time.Millisecond) {
		if err = holds(); err == nil {
			return
		}
	}
	l.t.Error(err)
}

// finish stops the load, and compares what everyone has seen with what was written.
func (l *rollingLoad) finish() {
	l.t.Helper()
	l.stop()
	l.working.Wait()
	written := l.written.Load()
	info, err := l.clients[0].Server(l.t.Context())
	if err != nil || info.Head != uint64(written) {
		l.t.Errorf("the head is %d, %v, and %d events were acknowledged", info.Head, err, written)
	}
	for _, f := range l.follows {
		l.until(func() error {
			if seen := f.seen.Load(); seen != written {
				return fmt.Errorf("a follow has seen %d of %d events", seen, written)
			}
			return nil
		})
	}
	l.until(func() error {
		for p := uint64(1); p <= uint64(written); p++ {
			if _, ok := l.handled.Load(p); !ok {
				return fmt.Errorf("the subscription has not handled event %d of %d", p, written)
			}
		}
		return nil
	})
	l.end()
	l.taking.Wait()
}
