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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster/ringtest"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
)

const (
	ringNodes = 3
	// ringLatest is more than a ring takes to be whole again.
	ringLatest = 90 * time.Second
	// ringPoll is how often a test looks whether something holds that nothing tells it.
	ringPoll = 20 * time.Millisecond
)

// until waits until something holds, and returns why it does not at last.
func until(within time.Duration, holds func() error) (err error) {
	for by := time.Now().Add(within); time.Now().Before(by); time.Sleep(ringPoll) {
		if err = holds(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("not after %v: %w", within, err)
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

// ringNode is a member of a ring, on addresses that it keeps.
type ringNode struct {
	t       *testing.T
	program string // gyre, if it is empty
	listen  string
	dir     string
	args    []string
	starts  int
	now     *process
}

func (n *ringNode) start() {
	n.t.Helper()
	n.starts++
	p, err := serveWith(cmp.Or(n.program, "gyre"), n.dir, os.Environ(), filepath.Join(n.dir, fmt.Sprintf("node-%d.log", n.starts)), n.args...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.now = p
}

// begin starts the node for the first time. It ends with the test.
func (n *ringNode) begin() {
	n.t.Helper()
	n.start()
	n.t.Cleanup(func() { _, _ = n.now.end(syscall.SIGKILL) })
}

// asks bounds a request to a node, which may be stopped.
var asks = http.Client{Timeout: 10 * time.Second}

// serves returns nil if the node serves: it is in the view.
func (n *ringNode) serves() error {
	answer, err := asks.Get("http://" + n.listen + "/readyz")
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", n.listen, answer.Status)
	}
	return nil
}

// ready waits until the node serves.
func (n *ringNode) ready() {
	n.t.Helper()
	if err := until(ringLatest, n.serves); err != nil {
		n.t.Fatalf("%v\n%s", err, n.log())
	}
}

// restart stops the node as an operator does, and starts it again.
func (n *ringNode) restart() {
	n.t.Helper()
	if code, err := n.now.end(syscall.SIGTERM); code != 0 || err != nil {
		n.t.Errorf("the node ended with %d, %v\n%s", code, err, n.log())
	}
	n.start()
	n.ready()
}

// log is what the last two processes of the node have said.
func (n *ringNode) log() []byte {
	var all []byte
	for i := max(1, n.starts-1); i <= n.starts; i++ {
		text, err := os.ReadFile(filepath.Join(n.dir, fmt.Sprintf("node-%d.log", i)))
		if err != nil {
			n.t.Error(err)
		}
		all = append(all, text...)
	}
	return all
}

// ringWatch is clients that follow $all and handle the events of one subscription, whose key
// is the stream, and what they saw.
type ringWatch struct {
	t       *testing.T
	began   time.Time
	workers int // of each consumer
	// work is how long the handler of an event takes.
	work func(version uint64) time.Duration

	ctx    context.Context // of the clients' calls
	end    context.CancelFunc
	taking sync.WaitGroup

	mu      sync.Mutex // protects the fields below
	follows [][]uint64 // positions
	handled ringtest.Deliveries
}

func newRingWatch(t *testing.T, workers int, work func(version uint64) time.Duration) *ringWatch {
	w := &ringWatch{t: t, began: time.Now(), workers: workers, work: work}
	w.ctx, w.end = context.WithCancel(context.Background())
	return w
}

// now is the time since the beginning.
func (w *ringWatch) now() time.Duration { return time.Since(w.began) }

// close ends the clients' calls.
func (w *ringWatch) close() {
	w.end()
	w.taking.Wait()
}

// watch has a client follow and consume.
func (w *ringWatch) watch(c *sdk.Client) {
	w.t.Helper()
	d := subscriptions.DefaultDefinition()
	d.ConcurrencyLimit, d.PartitionBy = ringNodes, subscriptions.ByStream
	s, err := c.Subscribe(w.ctx, "audit", sdk.SubscribeOptions{Definition: &d, Workers: w.workers})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	n := len(w.follows)
	w.follows = append(w.follows, nil)
	w.mu.Unlock()
	w.taking.Go(func() { w.failed(fmt.Sprintf("follow %d", n), w.follow(c, n)) })
	w.taking.Go(func() {
		w.failed(fmt.Sprintf("consumer %d", n), s.Consume(w.ctx, func(_ context.Context, d sdk.Delivery) error {
			w.handle(fmt.Sprint(n), &d)
			return nil
		}))
	})
}

// failed notes that a call has ended, which it must not before the test ends it.
func (w *ringWatch) failed(what string, err error) {
	if w.ctx.Err() == nil {
		w.t.Errorf("%v: %s has ended: %v", w.now(), what, err)
	}
}

func (w *ringWatch) follow(c *sdk.Client, n int) error {
	for e, err := range core.FollowEvents(w.ctx, c, core.FollowRequest{Stream: core.All}) {
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.follows[n] = append(w.follows[n], e.Position)
		w.mu.Unlock()
	}
	return nil
}

// handle handles an event.
func (w *ringWatch) handle(consumer string, d *sdk.Delivery) {
	h := ringtest.Handled{Consumer: consumer, Key: d.Stream, Position: d.Position, Began: w.now()}
	time.Sleep(w.work(d.Version)) // in which a node may stop
	w.mu.Lock()
	defer w.mu.Unlock()
	h.Done = w.now()
	w.handled = append(w.handled, h)
}

// finish waits until the clients have seen the whole log, ends them, and checks what they
// saw: follows have each event once and in order, the subscription misses none, and the
// handlers of a key do not overlap or go back, but where nodes failed.
func (w *ringWatch) finish(log []core.Event, faulty []ringtest.Span) {
	w.t.Helper()
	if err := until(ringLatest, func() error { return w.lacks(log) }); err != nil {
		w.t.Error(err)
	}
	w.close()
	for n, seen := range w.follows {
		if err := ringtest.CheckFollow(log, seen); err != nil {
			w.t.Errorf("follow %d: %v", n, err)
		}
	}
	if err := errors.Join(w.handled.CheckAll(log), w.handled.CheckKeys(faulty)); err != nil {
		w.t.Error(err)
	}
}

// lacks says what the clients have not seen yet.
func (w *ringWatch) lacks(log []core.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, seen := range w.follows {
		if len(seen) < len(log) {
			return fmt.Errorf("follow %d has %d of %d events", n, len(seen), len(log))
		}
	}
	return w.handled.CheckAll(log)
}

// allEvents reads everything.
func allEvents(t *testing.T, c *sdk.Client) (log []core.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ringLatest)
	defer cancel()
	for e, err := range core.ReadAll(ctx, c, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, e)
	}
	return log
}
