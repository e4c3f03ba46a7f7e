package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// routerSim is nodes with a Router each, over one log and links in this process, which can
// be slow, cut, and lose answers. It runs in a synctest bubble.
type routerSim struct {
	t   testing.TB
	log *memory.Log
	// Of the Routers' configuration.
	fail       bool
	maxWaiting int
	// What tests leave out: rules of the Router, and of what it stands on.
	without     rules
	keepOld     bool // a Dial leaves links of lower generations open
	byNode      bool // a Dial goes to whatever process has the member's node id
	refuseFirst bool // storage compares versions before the epoch
	ignoreKnown bool // storage does not know ids

	network  sync.WaitGroup // frames under way
	mu       sync.Mutex     // protects the fields below, and those of nodes and pipes
	rand     *rand.Rand
	views    []*ring.View // of epochs 2, 3, …
	nodes    map[uint64]*simNode
	sessions uint64
	delay    time.Duration // at most, of a frame, an answer or a view
	cut      map[[2]uint64]bool
	attempts []attempt
	// withdrawn are Commits whose owner answered that it has given them up.
	withdrawn []core.Commit
	owners    map[uint64]*ring.Owners
}

// attempt is a Commit that a node gave to its engine to write.
type attempt struct {
	node  uint64
	epoch uint64
	c     core.Commit
}

// simNode is a process start.
type simNode struct {
	sim    *routerSim
	self   ring.Member
	handle *simHandle
	store  *core.Store
	router *Router
	pipes  map[*simPipe]bool // that it dialed

	state    *State
	changed  chan struct{}
	learning bool
	slow     bool // learns no views by itself
	closed   *core.Error
	dead     bool
	incoming map[uint64][]*simPipe // by session
	highest  map[uint64]uint64     // generation, by session
}

// simHandle records what is written.
type simHandle struct {
	*memory.Handle
	sim  *routerSim
	node uint64
	late time.Duration // protected by sim.mu
	try  sync.WaitGroup
}

func (h *simHandle) Commit(ctx context.Context, group []*core.Commit) core.Step {
	h.sim.mu.Lock()
	for _, c := range group {
		if c.Epoch != overEpoch {
			h.sim.attempts = append(h.sim.attempts, attempt{h.node, c.Epoch, *c})
		}
	}
	late := h.late
	h.late = 0
	h.sim.mu.Unlock()
	if h.sim.ignoreKnown {
		group = withoutIDs(group)
	}
	if late == 0 {
		step := h.Handle.Commit(ctx, group)
		if h.sim.refuseFirst {
			h.refuse(group, &step)
		}
		return step
	}
	own := make([]*core.Commit, len(group))
	for i, c := range group {
		copied := *c
		own[i] = &copied
	}
	time.Sleep(20 * time.Millisecond)
	h.try.Go(func() {
		time.Sleep(late)
		h.Handle.Commit(ctx, own)
	})
	return core.FailStep(group, core.Errorf(core.CodeUnknownOutcome, "the connection broke"))
}

func newRouterSim(t testing.TB, seed uint64, nodes int, change ...func(*routerSim)) *routerSim {
	s := &routerSim{
		t: t, log: memory.NewLog(), rand: rand.New(rand.NewPCG(seed, 1)),
		nodes: make(map[uint64]*simNode), cut: make(map[[2]uint64]bool), delay: time.Millisecond,
	}
	for _, f := range change {
		f(s)
	}
	for i := range nodes {
		s.start(fmt.Sprintf("n%d", i))
	}
	s.propose(s.members()...)
	for _, n := range s.all() {
		n.learnAll()
	}
	return s
}

// start starts a process.
func (s *routerSim) start(name string) *simNode {
	s.mu.Lock()
	s.sessions++
	n := &simNode{
		sim: s, self: ring.Member{Session: s.sessions, Node: name}, pipes: make(map[*simPipe]bool),
		changed: make(chan struct{}), incoming: make(map[uint64][]*simPipe), highest: make(map[uint64]uint64),
	}
	n.state = &State{Self: n.self, Changed: n.changed, Closed: core.Errorf(core.CodeNoNodeAvailable, "no view")}
	s.mu.Unlock()
	n.handle = &simHandle{Handle: s.log.Open(), sim: s, node: n.self.Session}
	n.store = core.NewStore(n.handle, core.StoreConfig{})
	n.router = NewRouter(RouterConfig{Ring: n, Store: n.store, Dialer: n, FailAtOnce: s.fail, MaxWaiting: s.maxWaiting, without: s.without})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[n.self.Session] = n
	return n
}

func (s *routerSim) all() []*simNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*simNode
	for _, n := range s.nodes {
		if !n.dead {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b *simNode) int { return int(a.self.Session) - int(b.self.Session) })
	return all
}

func (s *routerSim) members() []ring.Member {
	var members []ring.Member
	for _, n := range s.all() {
		members = append(members, n.self)
	}
	return members
}

// propose stores the next view, which nobody knows yet.
func (s *routerSim) propose(members ...ring.Member) *ring.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	members = slices.Clone(members)
	ring.SortMembers(members)
	v := &ring.View{Epoch: uint64(len(s.views)) + 2, Members: members, Quorum: 1}
	if err := s.log.AdvanceEpoch(v.Epoch - 1); err != nil {
		s.t.Error(err)
	}
	s.views = append(s.views, v)
	return v
}

func (s *routerSim) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.rand.Int64N(int64(d)))
}

// close ends everything.
func (s *routerSim) close() {
	s.mu.Lock()
	all := make([]*simNode, 0, len(s.nodes))
	for _, n := range s.nodes {
		all = append(all, n)
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, n := range all {
		n.handle.Reconnect()
	}
	for _, n := range all {
		n.router.Close(ctx)
	}
	s.network.Wait()
	for _, n := range all {
		n.mu().Lock()
		var pipes []*simPipe
		for _, list := range n.incoming {
			pipes = append(pipes, list...)
		}
		n.mu().Unlock()
		for _, p := range pipes {
			<-p.closeFar()
		}
		n.handle.try.Wait()
		if err := n.store.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

func (n *simNode) mu() *sync.Mutex { return &n.sim.mu }

// State is Ring.State.
func (n *simNode) State() *State {
	n.mu().Lock()
	defer n.mu().Unlock()
	return n.state
}

// set makes another State.
func (n *simNode) set(change func(*State)) {
	n.mu().Lock()
	defer n.mu().Unlock()
	next := *n.state
	change(&next)
	next.Closed, next.ServesUntil = n.closed, time.Now().Add(1000*time.Hour)
	if next.View == nil {
		next.Closed = core.Errorf(core.CodeNoNodeAvailable, "no view")
	} else if _, member := next.View.Member(n.self.Session); !member {
		next.Closed = core.Errorf(core.CodeNoNodeAvailable, "not a member")
	}
	close(n.changed)
	n.changed = make(chan struct{})
	next.Changed = n.changed
	n.state = &next
}

// gate opens or closes the node's gate.
func (n *simNode) gate(open bool) {
	n.mu().Lock()
	n.closed = nil
	if !open {
		n.closed = core.Errorf(core.CodeNoNodeAvailable, "the gate is closed")
	}
	n.mu().Unlock()
	n.set(func(*State) {})
}

// learnAll has the node know every view.
func (n *simNode) learnAll() {
	n.mu().Lock()
	v := n.sim.views[len(n.sim.views)-1]
	known := n.state.epoch()
	n.mu().Unlock()
	if v.Epoch > known {
		n.set(func(s *State) { s.View, s.Owners = v, v.Owners() })
	}
}

// Learn is Ring.Learn.
func (n *simNode) Learn(epoch uint64) {
	n.mu().Lock()
	defer n.mu().Unlock()
	if n.learning || n.state.epoch() >= epoch || n.slow {
		return
	}
	n.learning = true
	go func() {
		time.Sleep(n.sim.upTo(n.sim.delay))
		n.mu().Lock()
		n.learning = false
		n.mu().Unlock()
		n.learnAll()
	}()
}

// learns has the node learn views by itself, and the newest now, or none.
func (n *simNode) learns(does bool) {
	n.mu().Lock()
	n.slow = !does
	n.mu().Unlock()
	if does {
		n.learnAll()
	}
}

// Renew is Ring.Renew.
func (n *simNode) Renew(epoch uint64) {
	go func() {
		time.Sleep(n.sim.upTo(n.sim.delay))
		n.mu().Lock()
		v := n.sim.views[len(n.sim.views)-1]
		n.mu().Unlock()
		if v.Epoch == epoch {
			n.sim.propose(v.Members...)
		}
		n.learnAll()
	}()
}

// Refused is Ring.Refused.
func (n *simNode) Refused(uint64) {}

// Dial is Dialer.Dial.
func (n *simNode) Dial(ctx context.Context, to ring.Member, generation uint64) (Link, error) {
	s := n.sim
	select {
	case <-time.After(s.upTo(s.delay)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	far := s.nodes[to.Session]
	for _, n := range s.nodes {
		if s.byNode && n.self.Node == to.Node && !n.dead {
			far = n
		}
	}
	broken := far == nil || far.dead || n.dead || s.cut[[2]uint64{n.self.Session, to.Session}]
	if broken || generation <= far.highest[n.self.Session] {
		s.mu.Unlock()
		return nil, errors.New("no route")
	}
	far.highest[n.self.Session] = generation
	old := slices.Clone(far.incoming[n.self.Session])
	if s.keepOld {
		old = nil
	}
	s.mu.Unlock()
	for _, p := range old {
		select {
		case <-p.closeFar():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p := newSimPipe(n, far)
	s.mu.Lock()
	newest := far.highest[n.self.Session] == generation
	if !s.keepOld {
		far.incoming[n.self.Session] = slices.DeleteFunc(far.incoming[n.self.Session], (*simPipe).isClosedFar)
	}
	far.incoming[n.self.Session] = append(far.incoming[n.self.Session], p)
	n.pipes[p] = true
	s.mu.Unlock()
	if !newest {
		p.closeFar()
		_ = p.Close()
		return nil, errors.New("another link was dialed meanwhile")
	}
	return p, nil
}

// simPipe is a Link. Frames and answers keep their order.
type simPipe struct {
	near, far *simNode
	incoming  Incoming
	ctx       context.Context // ends with the near end
	breakNear context.CancelFunc
	farOnce   sync.Once
	farClosed chan struct{}
	there     chan simFrame
	back      chan func()
	running   sync.WaitGroup

	mu       sync.Mutex // protects the field below
	waiting  map[*simFrame]bool
	lose     bool          // what is under way, and what comes, is lost
	held     bool          // nothing arrives for now
	heldBack bool          // no answer arrives for now
	drop     int           // answers that get lost
	moved    chan struct{} // closed when held or heldBack change
}

type simFrame struct {
	c        core.Commit
	deadline time.Time
	done     func(core.Result, error)
}

func newSimPipe(near, far *simNode) *simPipe {
	p := &simPipe{
		near: near, far: far, incoming: far.router.Incoming(near.self.Session),
		there: make(chan simFrame, 4096), back: make(chan func(), 4096), waiting: make(map[*simFrame]bool), farClosed: make(chan struct{}),
		moved: make(chan struct{}),
	}
	p.ctx, p.breakNear = context.WithCancel(context.Background())
	near.sim.network.Go(p.carry)
	p.running.Go(p.carryBack)
	return p
}

// carry takes frames to the far end. What is under way when the near end breaks still
// arrives, for a while.
func (p *simPipe) carry() {
	for {
		var f simFrame
		select {
		case f = <-p.there:
		case <-p.ctx.Done():
			select {
			case f = <-p.there:
			default:
				return
			}
		}
		time.Sleep(p.near.sim.upTo(p.near.sim.delay))
		if p.isLost(func() bool { return p.held }) {
			continue
		}
		frame := &f
		p.deliver(frame)
	}
}

// deliver gives a frame to the far end, which withdraws it at its deadline, and waits for
// its outcome if it has begun.
func (p *simPipe) deliver(f *simFrame) {
	ctx, cancel := context.WithDeadline(context.Background(), f.deadline)
	ctx, claim := core.WithClaim(ctx)
	var once sync.Once
	answer := func(result core.Result, err error) {
		once.Do(func() {
			cancel()
			select {
			case p.back <- func() { f.done(result, err) }:
			case <-p.ctx.Done():
			}
		})
	}
	context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && claim.Withdraw() {
			answer(core.Result{}, claim.GivenUp(ctx.Err()))
		}
	})
	p.incoming.Submit(ctx, f.c, answer)
}

// Forget is Link.Forget. The tests of this simulation remove nothing.
func (p *simPipe) Forget(ctx context.Context, epoch uint64, received bool) error {
	return p.incoming.Forget(ctx, epoch, received)
}

func (p *simPipe) isClosedFar() bool {
	select {
	case <-p.farClosed:
		return true
	default:
		return false
	}
}

func (s *routerSim) withdraw(c core.Commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withdrawn = append(s.withdrawn, c)
}

func (p *simPipe) carryBack() {
	for {
		select {
		case f := <-p.back:
			time.Sleep(p.near.sim.upTo(p.near.sim.delay))
			if !p.isLost(func() bool { return p.heldBack }) && !p.drops() {
				f()
			}
		case <-p.ctx.Done():
			return
		}
	}
}

// isLost waits while what is under way is held, and reports whether it is lost.
func (p *simPipe) isLost(held func() bool) bool {
	for {
		p.mu.Lock()
		lost, holds, moved := p.lose, held(), p.moved
		p.mu.Unlock()
		if lost || !holds {
			return lost
		}
		<-moved
	}
}

// hold holds what is under way, or the answers that are, or lets them go.
func (p *simPipe) hold(there, back bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.heldBack = there, back
	close(p.moved)
	p.moved = make(chan struct{})
}

// drops reports whether an answer gets lost.
func (p *simPipe) drops() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop--
	return p.drop >= 0
}

// dropNext loses the next answer.
func (p *simPipe) dropNext() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop = 1
}

// Submit is Link.Submit.
func (p *simPipe) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	f := &simFrame{c: c}
	f.deadline, _ = ctx.Deadline()
	f.done = func(result core.Result, err error) {
		p.mu.Lock()
		mine := p.waiting[f]
		delete(p.waiting, f)
		p.mu.Unlock()
		if mine && errors.Is(err, core.CodeTimeout) {
			p.near.sim.withdraw(c)
		}
		if mine {
			done(result, err)
		}
	}
	p.mu.Lock()
	broken := p.ctx.Err() != nil
	if !broken {
		p.waiting[f] = true
	}
	p.mu.Unlock()
	if broken {
		done(core.Result{}, fmt.Errorf("sent on a broken link: %w", ErrBroken))
		return
	}
	p.there <- *f
}

// breakOff breaks the Link at its near end; the far end learns of it later.
func (p *simPipe) breakOff() {
	p.breakNear()
	p.mu.Lock()
	waiting := make([]*simFrame, 0, len(p.waiting))
	for f := range p.waiting {
		waiting = append(waiting, f)
	}
	p.mu.Unlock()
	for _, f := range waiting {
		f.done(core.Result{}, fmt.Errorf("no answer: %w", ErrBroken))
	}
}

// black makes the Link lose everything without breaking.
func (p *simPipe) black() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = true
	close(p.moved)
	p.moved = make(chan struct{})
}

// closeFar closes the far end. The channel is closed when that is done.
func (p *simPipe) closeFar() <-chan struct{} {
	p.farOnce.Do(func() {
		go func() {
			defer close(p.farClosed)
			p.incoming.Close()
		}()
	})
	return p.farClosed
}

// Join is not used here.
func (p *simPipe) Join(context.Context, subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	return nil, core.Errorf(core.CodeNotServing, "no subscriptions here")
}

// Flush is Link.Flush.
func (*simPipe) Flush() {}

// Head is Link.Head.
func (p *simPipe) Head(uint64) {}

// Broken is Link.Broken.
func (p *simPipe) Broken() <-chan struct{} { return p.ctx.Done() }

// Close is Link.Close.
func (p *simPipe) Close() error {
	p.breakOff()
	p.running.Wait()
	p.near.mu().Lock()
	delete(p.near.pipes, p)
	p.near.mu().Unlock()
	return nil
}

// ownerIn returns the session that owns a stream in the view of an epoch. s.mu is held.
func (s *routerSim) ownerIn(epoch uint64, stream string) (uint64, bool) {
	if s.owners == nil {
		s.owners = make(map[uint64]*ring.Owners)
	}
	if s.owners[epoch] == nil {
		s.owners[epoch] = s.views[epoch-2].Owners()
	}
	m, ok := s.owners[epoch].Owner(ring.Slot(stream))
	return m.Session, ok
}

// lateNext has the next group answered unknown_outcome, and written later.
func (h *simHandle) lateNext(by time.Duration) {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	h.late = max(by, 1)
}

// mend ends all faults.
func (h *simHandle) mend() {
	h.Slow(0, 0)
	h.FailNext(memory.NoFault)
	h.Reconnect()
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	h.late = 0
}

// refuse answers Commits whose epoch is over as storage would that looks at versions first.
func (h *simHandle) refuse(group []*core.Commit, step *core.Step) {
	for i, c := range group {
		if !errors.Is(step.Outcomes[i].Err, core.CodeStaleEpoch) {
			continue
		}
		for _, a := range c.Appends {
			page, _ := h.Read(context.Background(), core.ReadRequest{Stream: a.Stream, Limit: core.Limit{Events: 1, Bytes: 1}})
			if !a.Expect.Holds(page.Version) {
				step.Outcomes[i].Err = core.NewWrongVersion(a.Stream, a.Expect, page.Version)
			}
		}
	}
}

// withoutIDs gives every event another id.
func withoutIDs(group []*core.Commit) []*core.Commit {
	changed := make([]*core.Commit, len(group))
	for i, c := range group {
		copied := *c
		copied.Appends = slices.Clone(c.Appends)
		for k := range copied.Appends {
			events := slices.Clone(copied.Appends[k].Events)
			for l := range events {
				events[l].ID = core.NewID()
			}
			copied.Appends[k].Events = events
		}
		changed[i] = &copied
	}
	return changed
}
