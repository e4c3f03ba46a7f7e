package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// world is some nodes on one log that host subscriptions. The test decides the views; the
// nodes release and hold as Membership has them do.
type world struct {
	t     testing.TB
	log   *memory.Log
	nodes []*hostNode
	hop   time.Duration // from node to node

	mu    sync.Mutex // protects the fields below
	epoch uint64
}

// hostNode is one node of a world. It is the Ring of its Router.
type hostNode struct {
	world   *world
	self    ring.Member
	handle  *memory.Handle
	store   *core.Store
	hosting *Hosting
	owner   *subscriptions.Owner
	router  *Router
	state   atomic.Pointer[State]
	views   chan struct{} // holds 1: there may be something to release
	quit    chan struct{}
	running sync.WaitGroup

	// world.mu protects the fields below.
	view     *ring.View
	released uint64
	held     ring.SlotSet
	dead     bool
	draining bool // it serves as an entry node while the view does not name it
	closed   *core.Error
	changed  chan struct{}
	links    map[uint64]*nearLink
	silent   bool // it answers no Forget
	old      bool // it does not know Forget
	late     bool // it does not learn by itself what others write
}

// lateHandle is an engine that tells of no other node's events while its node is late.
type lateHandle struct {
	*memory.Handle
	node *hostNode
}

func (h *lateHandle) WaitHead(ctx context.Context, log string, after uint64) (uint64, error) {
	head, err := h.Handle.WaitHead(ctx, log, after)
	for ctx.Err() == nil && h.node.isLate() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return head, err
}

func (n *hostNode) isLate() bool {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return n.late
}

// newWorld makes nodes n1, n2 and so on, a hop from each other, in a first view of all.
func newWorld(t testing.TB, size int, hop time.Duration) *world {
	w := &world{t: t, log: memory.NewLog(), epoch: 1, hop: hop}
	for i := range size {
		n := &hostNode{
			world: w, self: ring.Member{Session: uint64(i + 1), Node: fmt.Sprintf("n%d", i+1)}, handle: w.log.Open(),
			hosting: NewHosting(), views: make(chan struct{}, 1), quit: make(chan struct{}), links: map[uint64]*nearLink{},
		}
		n.store = core.NewStore(&lateHandle{Handle: n.handle, node: n}, core.StoreConfig{})
		n.changed = make(chan struct{})
		n.state.Store(&State{Self: n.self, View: &ring.View{}, Closed: core.Errorf(core.CodeNoNodeAvailable, "no view"), Changed: n.changed})
		var err error
		if n.owner, err = n.hosting.Open(n, subscriptions.Config{Store: n.store}); err != nil {
			t.Fatal(err)
		}
		n.router = NewRouter(RouterConfig{Ring: n, Store: n.store, Subscriptions: n.hosting, Dialer: n, AwaitExpired: n.owner.AwaitExpired})
		n.router.joins.link = n.link
		w.nodes = append(w.nodes, n)
		n.running.Go(n.releases)
	}
	t.Cleanup(w.close)
	w.setView(w.nodes...)
	return w
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.stop()
	}
}

// stop ends a node at once; it is not in order that anything is stored.
func (n *hostNode) stop() {
	w := n.world
	w.mu.Lock()
	again := n.dead
	n.dead = true
	var links []*nearLink
	for _, m := range w.nodes {
		for session, l := range m.links {
			if m == n || session == n.self.Session {
				links = append(links, l)
			}
		}
	}
	w.mu.Unlock()
	if again {
		return
	}
	for _, l := range links {
		l.cut()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.router.Close(ctx)
	close(n.quit)
	_ = n.hosting.Close(ctx)
	n.running.Wait()
	_ = n.store.Close()
	_ = n.handle.Close()
	w.republish()
}

// setView makes the next view, which the nodes learn one after another.
func (w *world) setView(members ...*hostNode) {
	w.t.Helper()
	w.mu.Lock()
	if err := w.log.AdvanceEpoch(w.epoch); err != nil {
		w.t.Error(err)
	}
	w.epoch++
	v := &ring.View{Epoch: w.epoch, Quorum: 1}
	for _, n := range members {
		v.Members = append(v.Members, n.self)
	}
	ring.SortMembers(v.Members)
	nodes := slices.Clone(w.nodes)
	w.mu.Unlock()
	for _, n := range nodes {
		time.Sleep(w.hop)
		w.mu.Lock()
		n.view = v
		n.held = *n.held.And(v.Owners().Set(n.self.Session))
		n.publish()
		w.mu.Unlock()
		select {
		case n.views <- struct{}{}:
		default:
		}
	}
}

// publish makes a State. mu is held.
func (n *hostNode) publish() {
	w := n.world
	s := &State{Self: n.self, View: n.view, Owners: n.view.Owners(), Closed: n.closed, ServesUntil: time.Now().Add(time.Hour)}
	free := true // nobody can still have what this node gained
	for _, m := range w.nodes {
		free = free && (m.dead || m.released >= n.view.Epoch)
		if _, ok := n.view.Member(m.self.Session); !ok && m.draining && !m.dead {
			s.Entries = append(s.Entries, m.self)
		}
	}
	if s.Settled = free; free {
		n.held = *s.Owners.Set(n.self.Session)
	}
	if !s.isMember() && !n.draining && s.Closed == nil {
		s.Closed = core.Errorf(core.CodeNoNodeAvailable, "view %d does not name this node", n.view.Epoch)
	}
	held := n.held
	s.held = &held
	before := n.changed
	n.changed = make(chan struct{})
	s.Changed = n.changed
	n.state.Store(s)
	close(before)
}

// republish has all nodes look what they hold.
func (w *world) republish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if !n.dead && n.view != nil {
			n.publish()
		}
	}
}

// releases is what Membership does after a change.
func (n *hostNode) releases() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n.running.Go(func() {
		<-n.quit
		cancel()
	})
	for {
		select {
		case <-n.views:
		case <-n.quit:
			return
		}
		s := n.State()
		n.hosting.Release(ctx, s)
		time.Sleep(n.world.hop)
		n.world.mu.Lock()
		n.released = max(n.released, s.View.Epoch)
		n.world.mu.Unlock()
		n.world.republish()
	}
}

// shut closes or opens the gate.
func (n *hostNode) shut(why *core.Error) {
	n.world.mu.Lock()
	n.closed = why
	n.publish()
	n.world.mu.Unlock()
	select {
	case n.views <- struct{}{}:
	default:
	}
}

// drains has the node serve though no view names it.
func (n *hostNode) drains(yes bool) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.draining = yes
}

// State, Learn, Renew and Refused are Ring.
func (n *hostNode) State() *State  { return n.state.Load() }
func (n *hostNode) Learn(uint64)   {}
func (n *hostNode) Renew(uint64)   {}
func (n *hostNode) Refused(uint64) {}

// Dial is Dialer. Commits are not forwarded here.
func (n *hostNode) Dial(ctx context.Context, to ring.Member, _ uint64) (Link, error) {
	<-ctx.Done()
	return nil, core.AsError(ctx.Err())
}

// link is the connection to a session, made again if it is broken.
func (n *hostNode) link(_ context.Context, session uint64) (Link, func(), error) {
	w := n.world
	w.mu.Lock()
	defer w.mu.Unlock()
	to := w.nodes[session-1]
	if to.dead || n.dead {
		return nil, nil, ErrRefused
	}
	l := n.links[session]
	if l == nil || l.ended() {
		l = &nearLink{to: to, hop: w.hop, broken: make(chan struct{})}
		n.links[session] = l
	}
	return l, func() {}, nil
}

// nearLink is a Link in this process: what goes over it arrives later and in order.
type nearLink struct {
	to     *hostNode
	hop    time.Duration
	broken chan struct{}

	mu     sync.Mutex
	leases []*farLease
}

func (l *nearLink) Broken() <-chan struct{} { return l.broken }
func (*nearLink) Flush()                    {}
func (l *nearLink) Head(uint64)             {}
func (l *nearLink) Close() error            { l.cut(); return nil }

func (l *nearLink) Forget(ctx context.Context, epoch uint64, received bool) error {
	time.Sleep(l.hop)
	if err := l.to.forgets(ctx); err != nil {
		return err
	}
	if err := l.to.router.forgetHere(ctx, epoch, received); err != nil {
		return err
	}
	if time.Sleep(l.hop); l.ended() {
		return ErrBroken
	}
	return nil
}

// deaf has the node answer no Forget.
func (n *hostNode) deaf(yes bool) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	n.silent = yes
}

// forgets waits while the node is deaf, and returns what an old one answers.
func (n *hostNode) forgets(ctx context.Context) error {
	n.world.mu.Lock()
	silent, old := n.silent, n.old
	n.world.mu.Unlock()
	if old {
		return core.Errorf(core.CodeNotSupported, "the node does not know the call")
	}
	if silent {
		<-ctx.Done()
		return core.AsError(ctx.Err())
	}
	return nil
}

func (l *nearLink) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	l.to.store.Submit(ctx, c, done)
}

func (l *nearLink) ended() bool {
	select {
	case <-l.broken:
		return true
	default:
		return false
	}
}

// cut ends the link: the leases at the other end end as those of a client that is gone.
func (l *nearLink) cut() {
	l.mu.Lock()
	if l.ended() {
		l.mu.Unlock()
		return
	}
	close(l.broken)
	leases := l.leases
	l.mu.Unlock()
	for _, f := range leases {
		<-f.pumped
	}
}

// Join is subscriptions.Joiner.
func (l *nearLink) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	time.Sleep(l.hop)
	f := &farLease{link: l, woken: r.Wake, look: make(chan struct{}, 1), orders: make(chan func(), 1<<14), pumped: make(chan struct{}), end: make(chan struct{})}
	r.Wake = f.wake
	var err error
	if f.inner, err = l.to.hosting.Join(ctx, r); err != nil {
		time.Sleep(l.hop)
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended() {
		f.inner.Leave(false)
		return nil, ErrBroken
	}
	l.leases = append(l.leases, f)
	go f.pump()
	return f, nil
}

// farLease is a lease at the other end of a link.
type farLease struct {
	link   *nearLink
	inner  subscriptions.Subscriber
	woken  func()
	look   chan struct{}
	orders chan func()
	pumped chan struct{} // closed when the pump has ended
	once   sync.Once
	end    chan struct{}

	mu    sync.Mutex
	queue []subscriptions.Delivery
	state delivery.State
	last  subscriptions.Delivery
	gone  error
}

func (f *farLease) wake() {
	select {
	case f.look <- struct{}{}:
	default:
	}
}

// pump carries deliveries here and answers there.
func (f *farLease) pump() {
	defer close(f.pumped)
	f.wake()
	for {
		select {
		case <-f.link.broken:
			f.finish(fmt.Errorf("cut: %w", ErrBroken))
			f.inner.Leave(false)
			return
		case <-f.end:
			return
		case order := <-f.orders:
			order()
			continue
		case <-f.look:
		}
		for {
			f.mu.Lock()
			d, ok, err := f.inner.Take(core.Limit{Events: 100, Bytes: 1 << 20})
			if ok && err == nil {
				f.queue = append(f.queue, d)
			}
			f.mu.Unlock()
			if err != nil {
				time.Sleep(f.link.hop)
				f.finish(err)
				return
			}
			if !ok {
				break
			}
		}
		time.Sleep(f.link.hop)
		f.woken()
	}
}

func (f *farLease) finish(err error) {
	f.mu.Lock()
	if f.gone == nil {
		f.gone, f.queue = err, nil
	}
	f.mu.Unlock()
	f.once.Do(func() { close(f.end) })
	f.woken()
}

func (f *farLease) Take(limit core.Limit) (d subscriptions.Delivery, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone != nil {
		return d, false, f.gone
	}
	if len(f.queue) == 0 {
		return f.last, false, nil
	}
	first := f.queue[0]
	d = first
	head, rest := first.Cut(core.Limit{Events: max(limit.Events, 1), Bytes: max(limit.Bytes, 1)})
	d.Batch, d.Attempts = head, first.Attempts[:head.Count]
	if rest.Count > 0 {
		f.queue[0].Batch, f.queue[0].Attempts = rest, first.Attempts[head.Count:]
		d.State, d.Changed = f.state, false
		return d, true, nil
	}
	f.queue = f.queue[1:]
	f.state = d.State
	f.last = d
	f.last.Batch, f.last.Attempts, f.last.Changed = core.Batch{}, nil, false
	return d, true, nil
}

// order does something at the other end, after what was ordered before.
func (f *farLease) order(do func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone != nil {
		return false
	}
	f.orders <- do
	return true
}

func (f *farLease) Answer(a subscriptions.Answer, done func(error)) {
	a.Positions = slices.Clone(a.Positions)
	if !f.order(func() { f.inner.Answer(a, done) }) {
		done(core.Errorf(core.CodeLeaseLost, "the lease has ended"))
	}
}

func (f *farLease) Credit(more delivery.Credit) error {
	if !f.order(func() { _ = f.inner.Credit(more) }) {
		return core.Errorf(core.CodeLeaseLost, "the lease has ended")
	}
	return nil
}

func (f *farLease) Leave(clean bool) {
	f.finish(core.Errorf(core.CodeCanceled, "the subscriber has left"))
	<-f.pumped
	for { // what was said before
		select {
		case order := <-f.orders:
			order()
			continue
		default:
		}
		break
	}
	f.inner.Leave(clean)
}
