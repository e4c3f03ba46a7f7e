package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster/ringtest"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/sdk"
)

const (
	faultNodes   = 3
	shortFaults  = 3 // of a run that is no soak: the first
	faultStreams = 20
	faultFor     = 6 * time.Second // longer than a session lives
	// faultLatest is more than a ring takes to be whole again.
	faultLatest = 90 * time.Second
	// maxViewsPerFault counts those of its end, too.
	maxViewsPerFault = 6
)

// TestRingFaultsSoak has real nodes in network namespaces, over a real PostgreSQL, go
// through a partition, a kill and a pause under load; through 50 faults of all kinds with
// GYRE_SOAK=1, whose choice GYRE_SEED repeats. Nothing acknowledged is lost, nothing is written
// twice or after its caller was told that it is not, the order of each connection and stream
// holds, and the named subscription misses nothing.
func TestRingFaultsSoak(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GYRE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("GYRE_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ring := newFaultRing(t)
	load := newFaultLoad(t, ring)
	faults := ring.faults()
	soak := os.Getenv("GYRE_SOAK") != ""
	for n := range 50 {
		kind := n
		if soak && n >= len(faults) {
			kind = r.IntN(len(faults))
		}
		if !soak && n == shortFaults || t.Failed() {
			break
		}
		load.fault(faults[kind], r.IntN(faultNodes))
	}
	load.finish()
}

// faultRing is three nodes, each in its namespace and behind a proxy of its own to the
// database.
type faultRing struct {
	t       *testing.T
	net     *namespaces
	server  *pgtest.Server
	nodes   []*rollingNode
	proxies []*proxy
}

func newFaultRing(t *testing.T) *faultRing {
	r := &faultRing{t: t, net: newNamespaces(t, faultNodes), server: pgtest.Private(t)}
	store := r.server.Store(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("0123456789abcdef", 4)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var gossip []string
	for i := range faultNodes {
		gossip = append(gossip, r.net.addr(i)+":7946")
	}
	for i := range faultNodes {
		p, url := newProxy(t, r.net.hub(), r.server.URL)
		n := &rollingNode{t: t, listen: r.net.addr(i) + ":4973", dir: t.TempDir()}
		n.program = r.net.program(i, n.dir)
		n.args = []string{
			"--cluster", "--node", fmt.Sprintf("node%d", i+1), "--listen", n.listen, "--gossip", gossip[i],
			"--peers", strings.Join(gossip, ","), "--postgres", url, "--store", store, "--insecure", "--cluster-key-file", key,
		}
		n.start()
		t.Cleanup(func() { _, _ = n.now.end(syscall.SIGKILL) })
		r.nodes, r.proxies = append(r.nodes, n), append(r.proxies, p)
	}
	for _, n := range r.nodes {
		n.ready()
	}
	return r
}

// fault is something that happens to a node, and how it ends.
type fault struct {
	name       string
	begin, end func(node int)
}

func (r *faultRing) faults() []fault {
	signal := func(s syscall.Signal) func(int) {
		return func(i int) {
			if err := r.nodes[i].now.cmd.Process.Signal(s); err != nil {
				r.t.Error(err)
			}
		}
	}
	others := func(do func(i, other int)) func(int) {
		return func(i int) {
			for other := range faultNodes {
				if other != i {
					do(i, other)
				}
			}
		}
	}
	return []fault{
		{
			"cut off from its peers",
			others(func(i, other int) { r.net.blackhole(i, other, true); r.net.blackhole(other, i, true) }),
			others(func(i, other int) { r.net.blackhole(i, other, false); r.net.blackhole(other, i, false) }),
		},
		{
			"killed",
			func(i int) { _, _ = r.nodes[i].now.end(syscall.SIGKILL) },
			func(i int) { r.nodes[i].start() },
		},
		{"paused", signal(syscall.SIGSTOP), signal(syscall.SIGCONT)},
		{"isolated", func(i int) { r.net.isolate(i, true) }, func(i int) { r.net.isolate(i, false) }},
		{
			"heard by nobody",
			others(func(i, other int) { r.net.blackhole(i, other, true) }),
			others(func(i, other int) { r.net.blackhole(i, other, false) }),
		},
		{
			"cut off from one peer",
			func(i int) { r.net.blackhole(i, (i+1)%faultNodes, true); r.net.blackhole((i+1)%faultNodes, i, true) },
			func(i int) { r.net.blackhole(i, (i+1)%faultNodes, false); r.net.blackhole((i+1)%faultNodes, i, false) },
		},
		{"cut off from the database", func(i int) { r.proxies[i].stall(true) }, func(i int) { r.proxies[i].stall(false) }},
		{
			"without a database", // all of them
			func(int) {
				if err := r.server.Kill(); err != nil {
					r.t.Error(err)
				}
			},
			func(int) {
				if err := r.server.Start(); err != nil {
					r.t.Error(err)
				}
			},
		},
	}
}

// faultLoad is clients, each with the address of one node, and what they saw.
type faultLoad struct {
	t       *testing.T
	ring    *faultRing
	began   time.Time
	clients []*sdk.Client

	stop    context.CancelFunc // of what writes and reads
	working sync.WaitGroup
	end     context.CancelFunc // of what follows
	taking  sync.WaitGroup

	mu      sync.Mutex // protects the fields below
	history ringtest.History
	follows [faultNodes][]uint64 // positions
	handled ringtest.Deliveries
	faulty  []ringtest.Span
	answers map[core.Code]int
}

func newFaultLoad(t *testing.T, ring *faultRing) *faultLoad {
	l := &faultLoad{t: t, ring: ring, began: time.Now(), answers: map[core.Code]int{}}
	working, stop := context.WithCancel(context.Background())
	following, end := context.WithCancel(context.Background())
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
	for i, n := range ring.nodes {
		for conn := range 2 {
			c := l.dial(n)
			l.working.Go(func() { l.write(working, c, 2*i+conn, fmt.Sprintf("node%d", i+1)) })
		}
		c := l.dial(n)
		l.follow(following, c, i)
		l.consume(following, c, i)
	}
	return l
}

func (l *faultLoad) dial(n *rollingNode) *sdk.Client {
	l.t.Helper()
	c, err := sdk.Dial(l.t.Context(), n.listen, sdk.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	l.clients = append(l.clients, c)
	return c
}

func (l *faultLoad) now() time.Duration { return time.Since(l.began) }

// write pipelines appends to a few streams, some with an expectation, some with little time,
// and reads now and then. What is unknown is sent again with its ids.
func (l *faultLoad) write(ctx context.Context, c *sdk.Client, conn int, node string) {
	known := map[string]uint64{}
	var versions sync.Mutex // protects known
	for ctx.Err() == nil {
		var under sync.WaitGroup
		for range 1 + rand.IntN(4) {
			stream := fmt.Sprintf("s-%d", rand.IntN(faultStreams))
			expect := core.AnyVersion
			versions.Lock()
			if v, ok := known[stream]; ok && rand.IntN(3) == 0 {
				expect = core.Expect(v)
			}
			versions.Unlock()
			ids := []core.ID{core.NewID(), core.NewID()}[:1+rand.IntN(2)]
			under.Add(1)
			l.submit(c, conn, node, stream, expect, ids, func(a *ringtest.Append) {
				defer under.Done()
				versions.Lock()
				defer versions.Unlock()
				var refusal *core.Error
				switch {
				case a.Err == nil:
					known[stream] = a.Result.Appends[0].LastVersion
				case errors.As(a.Err, &refusal) && refusal.Code == core.CodeWrongExpectedVersion:
					known[stream] = *refusal.Actual
				}
			})
		}
		under.Wait()
		if rand.IntN(10) == 0 {
			l.read(ctx, c, conn, node)
		}
		select {
		case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// submit appends events to a stream, again if the outcome is unknown, and records each try.
func (l *faultLoad) submit(c *sdk.Client, conn int, node, stream string, expect core.Expect, ids []core.ID, done func(*ringtest.Append)) {
	l.mu.Lock()
	a := &ringtest.Append{Number: len(l.history.Appends) + 1, Conn: conn, Node: node, Invoked: l.now()}
	var events []core.NewEvent
	for _, id := range ids {
		events = append(events, ringtest.Event(a.Number, id, "A"))
	}
	a.Commit = core.Commit{Appends: []core.Append{{Stream: stream, Expect: expect, Events: events}}}
	a.Err = core.CodeUnknownOutcome
	l.history.Appends = append(l.history.Appends, a)
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond+rand.N(5*time.Second))
	c.Submit(ctx, a.Commit, func(result core.Result, err error) {
		cancel()
		l.mu.Lock()
		a.Result, a.Err, a.Returned = result, err, l.now()
		if err != nil {
			l.answers[core.AsError(err).Code]++
		}
		l.mu.Unlock()
		if errors.Is(err, core.CodeUnknownOutcome) && rand.IntN(2) == 0 {
			l.working.Go(func() { l.submit(c, conn, node, stream, expect, ids, done) })
			return
		}
		done(a)
	})
}

func (l *faultLoad) read(ctx context.Context, c *sdk.Client, conn int, node string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stream := fmt.Sprintf("s-%d", rand.IntN(faultStreams))
	read := &ringtest.Read{Conn: conn, Node: node, Stream: stream, Invoked: l.now()}
	head, err := c.Read(ctx, core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1}})
	if err != nil {
		return
	}
	read.From = head.Version
	page, err := c.Read(ctx, core.ReadRequest{Stream: stream, From: read.From, Limit: core.Limit{Events: core.MaxReadEvents}})
	if err != nil || !page.End {
		return
	}
	read.Version, read.Returned = page.Version, l.now()
	for e := range page.Events() {
		read.IDs = append(read.IDs, e.ID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.Reads = append(l.history.Reads, read)
}

func (l *faultLoad) follow(ctx context.Context, c *sdk.Client, node int) {
	l.taking.Go(func() {
		for e, err := range core.FollowEvents(ctx, c, core.FollowRequest{Stream: core.All}) {
			if err != nil {
				if ctx.Err() == nil {
					l.t.Errorf("%v: the follow at node%d has ended: %v", l.now(), node+1, err)
				}
				return
			}
			l.mu.Lock()
			l.follows[node] = append(l.follows[node], e.Position)
			l.mu.Unlock()
		}
	})
}

// consume handles the events of the subscription, one of a key at a time; the key is the
// stream.
func (l *faultLoad) consume(ctx context.Context, c *sdk.Client, node int) {
	d := subscriptions.DefaultDefinition()
	d.ConcurrencyLimit = faultNodes
	d.PartitionBy = subscriptions.ByStream
	s, err := c.Subscribe(ctx, "audit", sdk.SubscribeOptions{Definition: &d})
	if err != nil {
		l.t.Fatal(err)
	}
	l.taking.Go(func() {
		err := s.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
			began := l.now()
			time.Sleep(rand.N(3 * time.Millisecond)) // its work
			l.mu.Lock()
			defer l.mu.Unlock()
			l.handled = append(l.handled, ringtest.Handled{
				Consumer: fmt.Sprintf("node%d", node+1), Key: d.Stream, Position: d.Position, Began: began, Done: l.now(),
			})
			return nil
		})
		if ctx.Err() == nil {
			l.t.Errorf("the consumer at node%d has ended: %v", node+1, err)
		}
	})
}

// fault lets something happen to a node, and waits until the ring is whole again.
func (l *faultLoad) fault(f fault, node int) {
	l.t.Helper()
	l.t.Logf("%v: node%d is %s", l.now().Round(time.Millisecond), node+1, f.name)
	span := ringtest.Span{From: l.now()}
	views := l.views()
	f.begin(node)
	time.Sleep(faultFor) // the fault itself takes this long
	f.end(node)
	healed := l.now()
	l.whole()
	span.To = l.now()
	l.mu.Lock()
	l.faulty = append(l.faulty, span)
	l.mu.Unlock()
	n := l.views() - views
	l.t.Logf("%v: the ring is whole, %v after the fault ended, %d views later", span.To.Round(time.Millisecond), (span.To - healed).Round(time.Millisecond), n)
	if n > maxViewsPerFault {
		l.t.Errorf("%d views after one fault", n)
	}
	l.wrote()
}

// views returns how many views there were, as the epoch of the newest says.
func (l *faultLoad) views() int {
	l.t.Helper()
	s, err := l.clients[0].Cluster().Status(l.t.Context(), "")
	if err != nil {
		l.t.Error(err)
	}
	return int(s.View.Epoch)
}

// whole waits until every node serves, in a view of all.
func (l *faultLoad) whole() {
	l.t.Helper()
	said := ""
	for by := time.Now().Add(faultLatest); time.Now().Before(by); time.Sleep(20 * time.Millisecond) {
		if said = l.lacking(); said == "" {
			return
		}
	}
	for _, n := range l.ring.nodes {
		l.t.Logf("the log of %s:\n%s", n.listen, lastBytes(n.log(), 4000))
	}
	l.t.Fatalf("the ring is not whole: %s", said)
}

func lastBytes(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

// lacking says what is missing.
func (l *faultLoad) lacking() string {
	for i, n := range l.ring.nodes {
		answer, err := http.Get("http://" + n.listen + "/readyz")
		if err != nil {
			return err.Error()
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Sprintf("node%d is not ready", i+1)
		}
		s, err := l.clients[3*i].Cluster().Status(l.t.Context(), "")
		if err != nil {
			return err.Error()
		}
		if len(s.View.Members) != faultNodes {
			return fmt.Sprintf("node%d knows a view of fewer", i+1)
		}
	}
	return ""
}

// wrote waits until appends were acknowledged at every node.
func (l *faultLoad) wrote() {
	l.t.Helper()
	from := l.now()
	for by := time.Now().Add(faultLatest); time.Now().Before(by); time.Sleep(20 * time.Millisecond) {
		seen := map[string]bool{}
		l.mu.Lock()
		for i := len(l.history.Appends) - 1; i >= 0 && l.history.Appends[i].Invoked > from; i-- {
			if a := l.history.Appends[i]; a.Err == nil {
				seen[a.Node] = true
			}
		}
		l.mu.Unlock()
		if len(seen) == faultNodes {
			return
		}
	}
	l.t.Error("nothing is written after the fault")
}

// finish stops the load, and checks what everyone has seen.
func (l *faultLoad) finish() {
	l.t.Helper()
	l.stop()
	l.working.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), faultLatest)
	defer cancel()
	log := l.clients[0]
	for e, err := range core.ReadAll(ctx, log, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			l.t.Fatal(err)
		}
		l.history.Log = append(l.history.Log, e)
	}
	if err := l.history.Check(); err != nil {
		l.t.Error(err)
	}
	l.caughtUp()
	l.end()
	l.taking.Wait()
	for i := range l.follows {
		if err := ringtest.CheckFollow(l.history.Log, l.follows[i]); err != nil {
			l.t.Errorf("the follow at node%d: %v", i+1, err)
		}
	}
	if err := errors.Join(l.handled.CheckAll(l.history.Log), l.handled.CheckKeys(l.faulty)); err != nil {
		l.t.Error(err)
	}
	l.t.Logf("%d appends, %d events, %d reads, %d handled, errors %v", len(l.history.Appends), len(l.history.Log), len(l.history.Reads), len(l.handled), l.answers)
}

// caughtUp waits until the follows and the subscription have seen the end.
func (l *faultLoad) caughtUp() {
	l.t.Helper()
	want := len(l.history.Log)
	said := ""
	for by := time.Now().Add(faultLatest); time.Now().Before(by); time.Sleep(20 * time.Millisecond) {
		l.mu.Lock()
		said = ""
		for i := range l.follows {
			if len(l.follows[i]) < want {
				said = fmt.Sprintf("the follow at node%d has %d of %d events", i+1, len(l.follows[i]), want)
			}
		}
		if err := l.handled.CheckAll(l.history.Log); said == "" && err != nil {
			said = err.Error()
		}
		l.mu.Unlock()
		if said == "" {
			return
		}
	}
	l.t.Error(said)
}
