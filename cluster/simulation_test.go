package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/cluster/ringtest"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// simulation is a ring of whole nodes in virtual time: the shared log, the network, and the
// clients.
type simulation struct {
	t         *testing.T
	begun     time.Time
	log       *memory.Log
	view      *memory.Handle // of the log, for the test itself
	net       *simNet
	cuts      simCuts
	links     *simLinks
	witness   *ringtest.Witness
	history   *simHistory
	consumers simConsumers
	nodes     []*simulated
	quorum    int
	over      atomic.Bool
	without   simRules

	mu       sync.Mutex // protects the fields below
	rand     *rand.Rand
	failures []error
}

// fail notes that something is wrong.
func (r *simulation) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) < 10 {
		r.failures = append(r.failures, fmt.Errorf(format, args...))
	}
}

func (r *simulation) newRand() *rand.Rand {
	r.mu.Lock()
	defer r.mu.Unlock()
	return rand.New(rand.NewPCG(r.rand.Uint64(), 0))
}

func (r *simulation) chance(percent int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rand.IntN(100) < percent
}

func (r *simulation) goesOn() bool { return !r.over.Load() }

// pause sleeps for a random time.
func (r *simulation) pause(random *rand.Rand, upTo time.Duration) {
	time.Sleep(time.Duration(1 + random.Int64N(int64(upTo))))
}

// length is that of a stream.
func (r *simulation) length(stream string) uint64 {
	page, err := r.view.Read(r.t.Context(), core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1, Bytes: 1}})
	if err != nil {
		return 0
	}
	return page.Version
}

// simulated is a node, of which one process runs at a time.
type simulated struct {
	ring   *simulation
	name   string
	addr   string
	gossip string

	mu      sync.Mutex // protects the fields below
	process *simProcess
	cutOff  time.Time // since when it has no log; zero while it has
}

// running is the process, or nil.
func (n *simulated) running() *simProcess {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

// simProcess is a process of a node.
type simProcess struct {
	node       *simulated
	handle     *memory.Handle
	engine     *simEngine
	store      *core.Store
	membership *cluster.Membership
	hosting    *cluster.Hosting
	router     *cluster.Router
	peer       *simPeer
	transport  *simTransport
	stopping   chan struct{}
	died       chan struct{}

	mu    sync.Mutex // protects the fields below
	users int
	stops bool
}

// begin reports whether a client may use the process, until done.
func (p *simProcess) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stops {
		p.users++
	}
	return !p.stops
}

// accepts reports whether begin would.
func (p *simProcess) accepts() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.stops && !p.isDead()
}

func (p *simProcess) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
}

// finish has clients go elsewhere, and waits for what they have under way.
func (p *simProcess) finish(within time.Duration) {
	p.mu.Lock()
	p.stops = true
	p.mu.Unlock()
	close(p.stopping)
	for begun := time.Now(); time.Since(begun) < within; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		users := p.users
		p.mu.Unlock()
		if users == 0 {
			return
		}
	}
}

func (p *simProcess) self() ring.Member { return p.membership.State().Self }

func (p *simProcess) isDead() bool {
	select {
	case <-p.died:
		return true
	default:
		return false
	}
}

// simEngine stamps what a process writes. One Commit can be made late: its answer is
// unknown_outcome, and its try reaches the log afterwards.
type simEngine struct {
	*memory.Handle
	log     *memory.Log
	session func() uint64
	late    atomic.Int64 // by how much, of the next Commit; 0: it is not
}

// Commit is core.Engine's.
func (e *simEngine) Commit(ctx context.Context, group []*core.Commit) core.Step {
	group = ringtest.Stamp(group, e.session())
	late := e.late.Swap(0)
	if late == 0 {
		return e.Handle.Commit(ctx, group)
	}
	time.AfterFunc(time.Duration(late), func() { e.log.Open().Commit(context.Background(), group) })
	return core.FailStep(group, core.Errorf(core.CodeUnknownOutcome, "the connection broke"))
}

// start starts the node's process.
func (n *simulated) start() {
	p := &simProcess{node: n, handle: n.ring.log.Open(), stopping: make(chan struct{}), died: make(chan struct{}), hosting: cluster.NewHosting()}
	n.mu.Lock()
	if !n.cutOff.IsZero() {
		p.handle.CutOff()
	}
	n.mu.Unlock()
	p.fast()
	p.engine = &simEngine{Handle: p.handle, log: n.ring.log, session: func() uint64 { return p.self().Session }}
	p.store = core.NewStore(p.engine, core.StoreConfig{TailBytes: 64 << 10})
	p.join()
	if _, err := p.hosting.Open(p.membership, subscriptions.Config{Store: p.store}); err != nil {
		n.ring.t.Error(err)
	}
	p.router = cluster.NewRouter(cluster.RouterConfig{
		Ring: p.membership, Store: p.store, Subscriptions: p.hosting,
		Dialer: &simDialer{n.ring.links, func() *simPeer { return p.peer }},
	})
	p.peer = n.ring.links.listen(p.self, p.router)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process = p
}

// join registers, as often as it takes.
func (p *simProcess) join() {
	n := p.node
	for {
		var err error
		p.transport = n.ring.net.Listen(n.gossip)
		config := cluster.Config{
			Arbiter: p.arbiter(), Cluster: "gyre",
			Member:    ring.Member{Node: n.name, Addr: n.addr, Gossip: n.gossip, Quorum: n.ring.quorum},
			Seeds:     seeds(n.ring.nodes[0].gossip),
			Transport: p.transport, Release: p.hosting.Release, Logger: n.ring.logger(n.name),
		}
		config.Without(n.ring.without.own)
		p.membership, err = cluster.Start(context.Background(), config)
		if err == nil {
			return
		}
		if !errors.Is(err, core.CodeStoreUnavailable) {
			n.ring.t.Error(err)
		}
		time.Sleep(time.Second)
	}
}

// stop ends the process gracefully, as a node of package runtime does.
func (n *simulated) stop() {
	p := n.running()
	ctx, cancel := context.WithTimeout(context.Background(), simStop)
	defer cancel()
	n.ring.check("drain", p.membership.Drain(ctx))
	p.finish(simStop)
	n.mu.Lock()
	n.process = nil
	n.mu.Unlock()
	p.router.Close(ctx)
	p.peer.close()
	n.ring.check("hosting", p.hosting.Close(ctx))
	n.ring.check("leave", p.membership.Leave(ctx))
	p.membership.Close()
	close(p.died)
	n.ring.check("store", p.store.Close())
}

// simStop bounds each step of a graceful stop.
const simStop = 8 * time.Second

// crash ends the process without a word: it is silent before its goroutines end.
func (n *simulated) crash() {
	p := n.running()
	n.mu.Lock()
	n.process = nil
	n.mu.Unlock()
	close(p.died)
	_ = p.handle.Close()
	_ = p.transport.Shutdown()
	p.peer.die()
	p.membership.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p.router.Close(ctx)
	_ = p.hosting.Close(ctx)
	n.ring.check("store", p.store.Close())
}

// fast ends what makes the connections to the log slow.
func (p *simProcess) fast() {
	p.handle.Slow(simLogDelay, simLogDelay)
	p.handle.SlowArbiter(simLogDelay, simLogDelay)
}

// simLogDelay is how long a call takes to the log, and its answer back, when all is well.
const simLogDelay = 300 * time.Microsecond

// nameAt is the name of the node at an address of a node or of its gossip.
func (r *simulation) nameAt(addr string) string {
	for _, n := range r.nodes {
		if n.addr == addr || n.gossip == addr {
			return n.name
		}
	}
	panic("no node is at " + addr)
}

func (r *simulation) blocked(from, to string) bool {
	return r.cuts.blocked(r.nameAt(from), r.nameAt(to))
}

func (r *simulation) logger(node string) *slog.Logger {
	if os.Getenv("GYRE_TRACE") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", node)
}

// newSimulation makes a ring whose nodes do not run yet.
func newSimulation(t *testing.T, seed uint64, nodes int) *simulation {
	r := &simulation{
		t: t, begun: time.Now(), log: memory.NewLog(), net: newSimNet(seed), witness: ringtest.NewWitness(),
		history: &simHistory{begun: time.Now(), answers: map[core.Code]int{}, hasty: map[int]bool{}},
		quorum:  nodes/2 + 1, rand: rand.New(rand.NewPCG(seed, uint64(nodes))),
		cuts: simCuts{cut: map[[2]string]bool{}, frozen: map[string]bool{}},
	}
	r.view = r.log.Open()
	for i := 1; i <= nodes; i++ {
		r.nodes = append(r.nodes, &simulated{
			ring: r, name: fmt.Sprintf("node%d", i), addr: fmt.Sprintf("node%d:4973", i), gossip: fmt.Sprintf("10.0.0.%d:7946", i),
		})
	}
	r.net.also = r.blocked
	r.links = newSimLinks(r.newRand(), r.blocked)
	return r
}

// run boots the ring, lets clients work while faults come and go, and checks what they saw.
func (r *simulation) run(faults ...*simFault) error {
	for _, n := range r.nodes {
		n.start()
	}
	r.check("boot", r.awaitFull())
	ctx, stop := context.WithCancel(context.Background())
	var writers, calls, others sync.WaitGroup
	var follows []*simFollow
	for i := range r.nodes {
		for range simConns {
			writers.Go(r.newClient(i, &calls).write)
		}
		writers.Go(r.newClient(i, &calls).read)
		f := &simFollow{ring: r}
		follows = append(follows, f)
		others.Go(func() { f.run(ctx) })
		others.Go(func() { r.consume(ctx, r.nodes[i]) })
	}
	monitor := r.newMonitor()
	others.Go(monitor.run)
	others.Go(r.outsiders)
	random := r.newRand()
	for _, f := range faults {
		r.pause(random, 2*time.Second)
		r.disturb(random, f)
	}
	r.pause(random, 2*time.Second)
	r.over.Store(true)
	writers.Wait()
	calls.Wait()
	for _, f := range follows {
		r.check("follow", f.await(r.view.State().Head))
	}
	r.check("consumers", r.awaitConsumed())
	stop()
	others.Wait()
	for _, n := range r.nodes {
		n.crash()
	}
	r.links.running.Wait()
	r.checkAll(monitor, follows)
	return errors.Join(r.failures...)
}

func (r *simulation) check(what string, err error) {
	if err != nil {
		r.fail("%s: %v", what, err)
	}
}

// simLongest is how long a fault is there at most.
const simLongest = 25 * time.Second

// disturb lets one thing go wrong for a while.
func (r *simulation) disturb(random *rand.Rand, f *simFault) {
	before := len(r.views())
	begun := r.history.now()
	repair := f.begin(r, random)
	if !f.long {
		r.pause(random, simLongest)
	}
	repair()
	repaired := r.history.now()
	r.check(f.name, r.awaitFull())
	if f.graceful {
		r.history.noteGraceful(ringtest.Span{From: begun, To: r.history.now()})
	} else {
		r.consumers.faulty = append(r.consumers.faulty, ringtest.Span{From: begun, To: r.history.now() + simSettles})
	}
	bound := maxViews
	if f.counts != nil {
		bound *= f.counts(len(r.nodes))
	}
	took := len(r.views()) - before
	r.logf("%s from %v to %v, whole at %v, %d views", f.name, begun, repaired, r.history.now(), took)
	if took > bound {
		r.fail("%s took %d views", f.name, took)
	}
}

// maxViews is how many views a fault and its repair may take.
const maxViews = 6

func (r *simulation) logf(format string, args ...any) {
	if testing.Verbose() {
		r.t.Logf(format, args...)
	}
}

// checkAll checks everything that was seen.
func (r *simulation) checkAll(monitor *simMonitor, follows []*simFollow) {
	h := r.history
	for from := uint64(1); ; {
		page, err := r.view.ReadLog(r.t.Context(), from, core.Limit{Events: 10_000, Bytes: 64 << 20})
		if err != nil {
			r.t.Fatal(err)
		}
		h.Log = append(h.Log, page.Slice()...)
		if from = page.Next; page.End {
			break
		}
	}
	views := r.views()
	r.check("history", h.Check())
	r.check("writers", h.CheckWriters(views))
	r.check("views", r.witness.Check(views, r.quorum))
	r.check("graceful", h.checkGraceful())
	r.check("gates", h.CheckClosed(monitor.closed))
	for _, f := range follows {
		r.check("follow", ringtest.CheckFollow(h.Log, f.seen))
	}
	r.checkConsumers(h.Log)
	for _, slow := range h.slow[:min(len(h.slow), 10)] {
		r.fail("%s", slow)
	}
	r.logf("%v: %d events, %d reads, %d views, answers %v", h.now(), len(h.Log), len(h.Reads), len(views), h.answers)
}

// N05, N11, P09: TestRing lets random faults happen to rings of three and five nodes, and
// checks what the ring promises. GYRE_SEED repeats the choices of a run, if not its order
// of goroutines.
func TestRing(t *testing.T) { simulateMany(t, 25) }

func TestRingSoak(t *testing.T) {
	if os.Getenv("GYRE_SOAK") == "" {
		t.Skip("GYRE_SOAK is not set")
	}
	simulateMany(t, 500)
}

func simulateMany(t *testing.T, schedules int) {
	first := uint64(time.Now().UnixNano())
	if text := os.Getenv("GYRE_SEED"); text != "" {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		schedules = 1
	}
	for i := range uint64(schedules) {
		seed := first + i
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			inSimulation(t, seed, func(r *simulation) {
				if err := r.run(r.someFaults()...); err != nil {
					t.Errorf("GYRE_SEED=%d: %v", seed, err)
				}
			})
		})
	}
}

// TestRingKeepsOrderThroughViews has 100 views follow each other while clients work: no call
// fails, and no event is delivered twice.
func TestRingKeepsOrderThroughViews(t *testing.T) {
	t.Parallel()
	inSimulation(t, 3, func(r *simulation) {
		if err := r.run(&simManyViews); err != nil {
			t.Error(err)
		}
		if epochs := len(r.views()); epochs < 100 {
			t.Errorf("there were %d views", epochs)
		}
		if n := len(r.consumers.handled); n != len(r.history.Log) {
			t.Errorf("%d events were handled %d times", len(r.history.Log), n)
		}
	})
}

// inSimulation runs a test with a ring of three nodes, or of five with each third seed.
func inSimulation(t *testing.T, seed uint64, test func(r *simulation)) {
	synctest.Test(t, func(t *testing.T) {
		nodes := 3
		if seed%3 == 2 {
			nodes = 5
		}
		test(newSimulation(t, seed, nodes))
		time.Sleep(2 * time.Minute) // memberlist's goroutines end when their timers fire
	})
}

// simFaultsEach is how many faults a schedule has.
const simFaultsEach = 2

func (r *simulation) someFaults() (faults []*simFault) {
	random := r.newRand()
	for range simFaultsEach {
		faults = append(faults, &simFaults[random.IntN(len(simFaults))])
	}
	return faults
}
