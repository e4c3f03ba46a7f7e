package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster/ringtest"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/sdk"
)

const (
	shortFaults  = 3 // of a run that is no soak: the first
	faultStreams = 20
	faultFor     = 6 * time.Second // longer than a session lives
	// maxViewsPerFault counts those of its end, too.
	maxViewsPerFault = 6
	// proposeFor is how long the storage takes to store a view, at most.
	proposeFor = 2 * time.Second
)

// TestRingFaultsSoak has real nodes in network namespaces, over a real PostgreSQL, go
// through a partition, a kill and a pause under load; through 50 faults of all kinds with
// GYRE_SOAK=1, whose choice GYRE_SEED repeats. Nothing acknowledged is lost, nothing is written
// twice or after its caller was told that it is not, the order of each connection and stream
// holds, a node that is out of the ring answers nothing but errors, and the named subscription
// misses nothing.
func TestRingFaultsSoak(t *testing.T) {
	t.Parallel() // it waits, most of the time
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GYRE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("GYRE_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	nodes := newFaultRing(t)
	load := newFaultLoad(t, nodes)
	faults := nodes.faults()
	soak := os.Getenv("GYRE_SOAK") != ""
	for n := range 50 {
		kind := n
		if soak && n >= len(faults) {
			kind = r.IntN(len(faults))
		}
		if !soak && n == shortFaults || t.Failed() {
			break
		}
		load.fault(faults[kind], r.IntN(ringNodes))
	}
	load.finish()
}

// faultRing is three nodes, each in its namespace and behind a proxy of its own to the
// database.
type faultRing struct {
	t       *testing.T
	net     *namespaces
	server  *pgtest.Server
	nodes   []*ringNode
	proxies []*proxy
}

func newFaultRing(t *testing.T) *faultRing {
	r := &faultRing{t: t, net: newNamespaces(t, ringNodes), server: pgtest.Private(t)}
	store := r.server.Store(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("0123456789abcdef", 4)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var gossip []string
	for i := range ringNodes {
		gossip = append(gossip, r.net.addr(i)+":7946")
	}
	for i := range ringNodes {
		p, url := newProxy(t, r.net.hub(), r.server.URL)
		n := &ringNode{t: t, listen: r.net.addr(i) + ":4973", dir: t.TempDir()}
		n.program = r.net.program(i, n.dir)
		n.args = []string{
			"--cluster", "--node", fmt.Sprintf("node%d", i+1), "--listen", n.listen, "--gossip", gossip[i],
			"--peers", strings.Join(gossip, ","), "--postgres", url, "--store", store, "--insecure", "--cluster-key-file", key,
		}
		n.begin()
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
	cutOff     func(node int) []int // who has no database meanwhile; nil: nobody
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
			for other := range ringNodes {
				if other != i {
					do(i, other)
				}
			}
		}
	}
	return []fault{
		{
			name:  "cut off from its peers",
			begin: others(func(i, other int) { r.net.blackhole(i, other, true); r.net.blackhole(other, i, true) }),
			end:   others(func(i, other int) { r.net.blackhole(i, other, false); r.net.blackhole(other, i, false) }),
		},
		{
			name:  "killed",
			begin: func(i int) { _, _ = r.nodes[i].now.end(syscall.SIGKILL) },
			end:   func(i int) { r.nodes[i].start() },
		},
		{name: "paused", begin: signal(syscall.SIGSTOP), end: signal(syscall.SIGCONT)},
		{name: "isolated", begin: func(i int) { r.net.isolate(i, true) }, end: func(i int) { r.net.isolate(i, false) }},
		{
			name:  "heard by nobody",
			begin: others(func(i, other int) { r.net.blackhole(i, other, true) }),
			end:   others(func(i, other int) { r.net.blackhole(i, other, false) }),
		},
		{
			name:  "cut off from one peer",
			begin: func(i int) { r.net.blackhole(i, (i+1)%ringNodes, true); r.net.blackhole((i+1)%ringNodes, i, true) },
			end:   func(i int) { r.net.blackhole(i, (i+1)%ringNodes, false); r.net.blackhole((i+1)%ringNodes, i, false) },
		},
		{
			name:   "cut off from the database",
			begin:  func(i int) { r.proxies[i].stall(true) },
			end:    func(i int) { r.proxies[i].stall(false) },
			cutOff: func(i int) []int { return []int{i} },
		},
		{
			name: "without a database", // all of them
			begin: func(int) {
				if err := r.server.Kill(); err != nil {
					r.t.Error(err)
				}
			},
			end: func(int) {
				if err := r.server.Start(); err != nil {
					r.t.Error(err)
				}
			},
			cutOff: func(int) []int { return []int{0, 1, 2} },
		},
	}
}

// faultLoad is clients, each with the address of one node, and what they saw.
type faultLoad struct {
	*ringWatch
	ring    *faultRing
	clients []*faultClient

	stop    context.CancelFunc // of what writes and reads
	working sync.WaitGroup

	// mu protects the fields below.
	history ringtest.History
	faulty  []ringtest.Span
	closed  map[string][]ringtest.Span // when nodes had no database for certain
	answers map[core.Code]int
}

func newFaultLoad(t *testing.T, ring *faultRing) *faultLoad {
	work := func(uint64) time.Duration { return rand.N(3 * time.Millisecond) }
	l := &faultLoad{ringWatch: newRingWatch(t, 1, work), ring: ring, closed: map[string][]ringtest.Span{}, answers: map[core.Code]int{}}
	working, stop := context.WithCancel(context.Background())
	l.stop = stop
	t.Cleanup(func() {
		stop()
		l.end()
		for _, c := range l.clients {
			_ = c.Close()
		}
		l.working.Wait()
		l.close()
	})
	for i, n := range ring.nodes {
		for conn := range 2 {
			c := l.dial(n)
			l.working.Go(func() { l.write(working, c, 2*i+conn) })
		}
		l.watch(l.dial(n).Client)
	}
	return l
}

func nodeName(i int) string { return fmt.Sprintf("node%d", i+1) }

// faultClient is a client that begins with one node, and goes to another that the node has
// named when it is gone.
type faultClient struct {
	*sdk.Client

	mu    sync.Mutex // protects the fields below
	node  string     // that it is connected to, or ""
	moves int        // how often that has changed
}

// at returns the node that the client is connected to, and how often that has changed.
func (c *faultClient) at() (node string, moves int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node, c.moves
}

// since returns the node, or "" if the client has not been connected to it alone since then.
func (c *faultClient) since(node string, moves int) string {
	if _, now := c.at(); now != moves {
		return ""
	}
	return node
}

func (l *faultLoad) dial(n *ringNode) *faultClient {
	l.t.Helper()
	c := &faultClient{}
	var err error
	c.Client, err = sdk.Dial(l.t.Context(), n.listen, sdk.Options{OnState: func(s sdk.State) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.node, c.moves = l.ring.nameAt(s.Address), c.moves+1
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.clients = append(l.clients, c)
	return c
}

// nameAt is the name of the node with a URL, or "" if it is nobody's.
func (r *faultRing) nameAt(url string) string {
	for i, n := range r.nodes {
		if url == "http://"+n.listen {
			return nodeName(i)
		}
	}
	return ""
}

// write pipelines appends to a few streams, some with an expectation, some with little time,
// and reads now and then. What is unknown is sent again with its ids.
func (l *faultLoad) write(ctx context.Context, c *faultClient, conn int) {
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
			l.submit(c, conn, stream, expect, ids, func(a *ringtest.Append) {
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
			l.read(ctx, c, conn)
		}
		select {
		case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// submit appends events to a stream, again if the outcome is unknown, and records each try.
func (l *faultLoad) submit(c *faultClient, conn int, stream string, expect core.Expect, ids []core.ID, done func(*ringtest.Append)) {
	node, moves := c.at()
	l.mu.Lock()
	a := &ringtest.Append{Number: len(l.history.Appends) + 1, Conn: conn, Invoked: l.now()}
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
		a.Result, a.Err, a.Returned, a.Node = result, err, l.now(), c.since(node, moves)
		if err != nil {
			l.answers[core.AsError(err).Code]++
		}
		l.mu.Unlock()
		if errors.Is(err, core.CodeUnknownOutcome) && rand.IntN(2) == 0 {
			l.working.Go(func() { l.submit(c, conn, stream, expect, ids, done) })
			return
		}
		done(a)
	})
}

func (l *faultLoad) read(ctx context.Context, c *faultClient, conn int) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stream := fmt.Sprintf("s-%d", rand.IntN(faultStreams))
	node, moves := c.at()
	read := &ringtest.Read{Conn: conn, Stream: stream, Invoked: l.now()}
	head, err := c.Read(ctx, core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1}})
	if err != nil {
		return
	}
	read.From = head.Version
	page, err := c.Read(ctx, core.ReadRequest{Stream: stream, From: read.From, Limit: core.Limit{Events: core.MaxReadEvents}})
	if err != nil || !page.End {
		return
	}
	read.Version, read.Returned, read.Node = page.Version, l.now(), c.since(node, moves)
	for e := range page.Events() {
		read.IDs = append(read.IDs, e.ID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.Reads = append(l.history.Reads, read)
}

// fault lets something happen to a node, and waits until the ring is whole again.
func (l *faultLoad) fault(f fault, node int) {
	l.t.Helper()
	l.t.Logf("%v: node%d is %s", l.now().Round(time.Millisecond), node+1, f.name)
	span := ringtest.Span{From: l.now()}
	views := l.views()
	f.begin(node)
	begun := l.now()
	time.Sleep(faultFor) // the fault itself takes this long
	if f.cutOff != nil {
		for _, i := range f.cutOff(node) {
			l.closed[nodeName(i)] = append(l.closed[nodeName(i)], ringtest.Span{From: begun + ring.ServeFor, To: l.now()})
		}
	}
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
	err := until(ringLatest, l.lacking)
	if err == nil {
		return
	}
	for _, n := range l.ring.nodes {
		l.t.Logf("the log of %s:\n%s", n.listen, lastBytes(n.log(), 4000))
	}
	l.t.Fatalf("the ring is not whole: %v", err)
}

func lastBytes(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

// lacking says what is missing.
func (l *faultLoad) lacking() error {
	for i, n := range l.ring.nodes {
		if err := n.serves(); err != nil {
			return err
		}
		s, err := l.clients[3*i].Cluster().Status(l.t.Context(), nodeName(i))
		if err != nil {
			return err
		}
		if len(s.View.Members) != ringNodes {
			return fmt.Errorf("%s knows a view of fewer", nodeName(i))
		}
	}
	return nil
}

// wrote waits until appends of every client were acknowledged.
func (l *faultLoad) wrote() {
	l.t.Helper()
	from := l.now()
	err := until(ringLatest, func() error {
		seen := map[int]bool{}
		l.mu.Lock()
		defer l.mu.Unlock()
		for i := len(l.history.Appends) - 1; i >= 0 && l.history.Appends[i].Invoked > from; i-- {
			if a := l.history.Appends[i]; a.Err == nil {
				seen[a.Conn] = true
			}
		}
		if len(seen) < 2*ringNodes {
			return fmt.Errorf("after the fault appends of %d clients are acknowledged", len(seen))
		}
		return nil
	})
	if err != nil {
		l.t.Error(err)
	}
}

// finish stops the load, and checks what everyone has seen.
func (l *faultLoad) finish() {
	l.t.Helper()
	l.stop()
	l.working.Wait()
	l.history.Log = allEvents(l.t, l.clients[0].Client)
	l.noteViews()
	if err := errors.Join(l.history.Check(), l.history.CheckClosed(l.closed)); err != nil {
		l.t.Error(err)
	}
	l.ringWatch.finish(l.history.Log, l.faulty)
	l.t.Logf("%d appends, %d events, %d reads, %d handled, errors %v", len(l.history.Appends), len(l.history.Log), len(l.history.Reads), len(l.handled), l.answers)
}

// noteViews notes when nodes were in no view for so long that they did not serve any more: a
// beat that was sent before the view was stored is the last that counts, and the storage
// has proposeFor to store it.
func (l *faultLoad) noteViews() {
	l.t.Helper()
	views, err := l.clients[0].Cluster().Views(l.t.Context(), 0, 1000)
	if err != nil {
		l.t.Fatal(err)
	}
	slices.Reverse(views) // the oldest is first
	for i := range views[:len(views)-1] {
		// All nodes run on this machine.
		span := ringtest.Span{From: views[i].At.Sub(l.began) + proposeFor + ring.ServeFor, To: views[i+1].At.Sub(l.began)}
		for n := range ringNodes {
			if _, isMember := views[i].Node(nodeName(n)); !isMember {
				l.closed[nodeName(n)] = append(l.closed[nodeName(n)], span)
			}
		}
	}
}
