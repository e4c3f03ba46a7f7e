package cluster

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// Config is what Start needs.
type Config struct {
	Arbiter Arbiter
	Cluster string // the name of the ring
	// Member is this node: its id, the address that nodes and clients dial, its protocol
	// and its quorum. Gossip is the host:port at which other nodes reach its gossip; if
	// that is empty, it is the address that gossip listens on. Session and SyncTimeoutMs are
	// set by Start.
	Member ring.Member
	// Bind is the host:port that gossip listens on, UDP and TCP.
	Bind string
	// Key encrypts gossip: 16, 24 or 32 bytes. Empty: gossip is not encrypted.
	Key []byte
	// Sync is the nodes that this one waits for before it serves.
	Sync ring.Sync
	// Seeds brings lists of gossip addresses to try beside those in the storage. Each takes
	// the place of the one before. nil: there are none.
	Seeds <-chan []string
	// Release ends what this node hosts and the State does not hold (State.Holds), and
	// returns when nothing of it is stored any more. It is called after each change of the
	// view and when the gate closes, once at a time; several changes may be one call. Until
	// it returns, nothing of what the view gives to this node is held. nil: there is
	// nothing to release.
	Release func(ctx context.Context, s *State)
	// CatchUp has the node know what was removed from the log while others did not wait for it. It
	// is called before the node serves, at first and after every time that it may have been left
	// out. nil: there is nothing to know.
	CatchUp func(ctx context.Context) error
	Logger  *slog.Logger
	// Transport replaces the network of gossip, for tests. nil: the network.
	Transport memberlist.Transport

	without ring.Rules // of tests: rules that are left out, to see that something fails then
}

// Membership keeps one node in the ring: it beats, gossips, proposes views, and publishes
// what it knows as a State. It is safe for concurrent use.
type Membership struct {
	config Config
	log    *slog.Logger
	began  time.Time
	gossip *gossip
	state  atomic.Pointer[State]

	beatNow, lookNow, releaseNow, announceNow, spreadNow, joinNow, catchUpNow chan struct{} // one each may wait
	failed                                                                    chan error

	ctx    context.Context // of the goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // protects what follows
	syncing syncing
	knowledge
}

var _ Ring = (*Membership)(nil)

// knowledge is what a Membership knows, and what it was asked for.
type knowledge struct {
	self     ring.Member
	view     *ring.View // nil: there is none
	owners   *ring.Owners
	before   *ring.Owners   // of the view before
	filtered bool           // all members of the view deny this node
	standing *ring.Standing // nil before the first beat
	watch    ring.Watch
	holder   *ring.Holder // nil before the first beat
	planner  ring.Planner

	caughtUp bool   // CatchUp has succeeded since the last miss
	misses   uint64 // how often the node may have been left out

	contact     time.Time // when the last confirmed beat was sent
	servesUntil time.Time // ServeFor after the last that came with the newest view
	beatErr     error     // of the last beat
	failure     *core.Error

	asked    asked
	released uint64 // the epoch up to which this node has released
	reported uint64 // and of which a beat has told the storage
}

// asked is what callers of a Membership want.
type asked struct {
	draining  bool
	drains    int                     // calls of Drain that wait
	kept      bool                    // draining outlasts them: one has succeeded, or the process ends
	entry     bool                    // it serves though no view names it: it drains, or did until it is in a view again
	reported  bool                    // what the storage has of draining
	proposing bool                    // a proposal is under way
	proposed  time.Time               // when the last one began
	base      uint64                  // its
	said      time.Time               // when the log last said why the node does not serve
	heeded    time.Time               // when it has beaten for the sake of a hint
	hinted    uint64                  // the newest epoch of gossip for which it has beaten
	renew     uint64                  // the epoch that is to be over
	renewed   time.Time               // when the last such view was proposed
	refused   map[uint64]time.Time    // sessions at whose address nothing listened
	joining   map[string]*joinAttempt // by address
}

// Start registers this node and keeps it in the ring until Close. The error is that of
// Arbiter.Register, after which the caller may try again, or invalid_config if gossip cannot
// listen.
func Start(ctx context.Context, c Config) (*Membership, error) {
	m := &Membership{
		config: c, log: c.Logger, began: time.Now(), failed: make(chan error, 1),
		beatNow: make(chan struct{}, 1), lookNow: make(chan struct{}, 1),
		releaseNow: make(chan struct{}, 1), announceNow: make(chan struct{}, 1), spreadNow: make(chan struct{}, 1), joinNow: make(chan struct{}, 1),
		catchUpNow: make(chan struct{}, 1),
	}
	m.self = c.Member
	m.self.SyncTimeoutMs = c.Sync.TimeoutMs()
	m.syncing.barrier = ring.NewBarrier(0, c.Sync)
	m.asked.refused, m.asked.joining = map[uint64]time.Time{}, map[string]*joinAttempt{}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.state.Store(&State{Self: m.self, View: &ring.View{}, Closed: notServing("the node has just started"), Changed: make(chan struct{}), changed: make(chan struct{})})
	if err := m.listen(); err != nil {
		m.cancel()
		return nil, err
	}
	m.lookAtBarrier(m.began) // nobody else uses m yet
	if err := m.register(ctx); err != nil {
		m.cancel()
		m.gossip.shutdown()
		return nil, err
	}
	for _, loop := range []func(){m.beats, m.looks, m.releases, m.announces, m.spreads, m.joins, m.catchUps} {
		m.wg.Go(loop)
	}
	return m, nil
}

// register begins a session. The node knows nothing of the ring afterwards.
func (m *Membership) register(ctx context.Context) error {
	var secret [32]byte
	rand.Read(secret[:]) // it never fails
	m.mu.Lock()
	member := m.self
	m.mu.Unlock()
	member.Session = 0
	session, err := m.config.Arbiter.Register(ctx, m.config.Cluster, member, secret)
	if err != nil {
		return err
	}
	member.Session = session
	m.mu.Lock()
	defer m.mu.Unlock()
	m.knowledge = knowledge{self: member, asked: m.asked, misses: m.misses + 1}
	m.gossip.say(func(said *meta) { *said = meta{Session: session, Syncing: m.syncing.on} })
	m.asked.reported = false
	kick(m.announceNow)
	m.publish(time.Now())
	return nil
}

// State is Ring's.
func (m *Membership) State() *State { return m.state.Load() }

// Learn is Ring's.
func (m *Membership) Learn(epoch uint64) {
	if epoch > m.State().View.Epoch {
		kick(m.beatNow)
	}
}

// Renew is Ring's.
func (m *Membership) Renew(epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked.renew = max(m.asked.renew, epoch)
	kick(m.lookNow)
}

// Refused is Ring's.
func (m *Membership) Refused(session uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view == nil {
		return
	}
	if _, ok := m.view.Member(session); !ok {
		return
	}
	m.asked.refused[session] = time.Now()
	m.sayRefused()
	kick(m.lookNow)
}

// Failed returns a channel that gets the error with which this node can no longer be in the
// ring: node_superseded or sync_nodes_missing. The Membership does not serve then, and is
// still to be closed.
func (m *Membership) Failed() <-chan error { return m.failed }

// fail ends the session for good.
func (m *Membership) fail(err *core.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return
	}
	m.log.Error("this node cannot be in the ring", "reason", err.Detail)
	m.failure = err
	m.publish(time.Now())
	m.failed <- err
}

// Drain asks the ring to leave this node out of views, and waits until it owns nothing and
// has released everything. The node still serves as an entry node. The error is
// no_node_available if the ring would have no quorum without it, timeout, or that of Failed.
// After an error the node comes back, unless an earlier call has drained it or another waits.
func (m *Membership) Drain(ctx context.Context) error {
	m.mu.Lock()
	m.asked.drains++
	m.setDraining(true)
	m.mu.Unlock()
	err := m.awaitDrained(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked.drains--
	switch {
	case err == nil || m.isDrained(): // another call may have returned that
		m.asked.kept = m.asked.draining
		return nil
	case m.asked.drains == 0 && !m.asked.kept:
		m.setDraining(false)
	}
	return err
}

// HandOver is Drain for a process that is about to Leave. After an error the node still drains.
func (m *Membership) HandOver(ctx context.Context) error {
	m.mu.Lock()
	m.asked.kept = true
	m.setDraining(true)
	m.mu.Unlock()
	return m.awaitDrained(ctx)
}

// awaitDrained waits until this node owns nothing and has released everything.
func (m *Membership) awaitDrained(ctx context.Context) error {
	for {
		s := m.State()
		m.mu.Lock()
		done, failure, others := m.isDrained(), m.failure, m.others()
		m.mu.Unlock()
		switch {
		case done:
			return nil
		case failure != nil:
			return failure
		case s.isMember() && others < s.View.Quorum:
			return core.Errorf(core.CodeNoNodeAvailable,
				"the ring would have too few members without this one: %d alive, quorum is %d", others, s.View.Quorum)
		}
		select {
		case <-s.Changed:
		case <-ctx.Done():
			return core.AsError(ctx.Err())
		case <-m.ctx.Done():
			return core.Errorf(core.CodeShuttingDown, "the node is shutting down")
		}
	}
}

// isDrained reports whether this node owns nothing and has released everything. mu is held.
func (m *Membership) isDrained() bool {
	s := m.State()
	return !s.isMember() && m.reported >= s.View.Epoch
}

// others counts the nodes that can make up a view without this one: the other members, and
// those that are about to come into the view. mu is held.
func (m *Membership) others() (n int) {
	if m.standing == nil {
		return 0
	}
	for _, s := range m.standing.Sessions {
		if s.Session != m.self.Session && (m.names(s.Session) || !s.Draining && !m.denies(s.Node)) && m.problem(s.Member) == "" {
			n++
		}
	}
	return n
}

// Undrain takes Drain back. The node comes into a view as a new one does.
func (m *Membership) Undrain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked.kept = false
	m.setDraining(false)
}

// setDraining is called with mu held.
func (m *Membership) setDraining(draining bool) {
	m.asked.draining = draining
	m.publish(time.Now())
	kick(m.beatNow)
}

// Leave hands over, ends the session and stops: Close is all that may follow. If the ring
// has no quorum without this node, or at the deadline, the session ends undrained.
func (m *Membership) Leave(ctx context.Context) error {
	if err := m.HandOver(ctx); err != nil {
		m.log.Warn("the node leaves without handing over", "reason", core.AsError(err).Detail)
	} else {
		m.awaitSeen(ctx)
	}
	m.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ring.BeatTimeout)
	defer cancel()
	err := m.config.Arbiter.Leave(ctx, m.State().Self.Session)
	m.gossip.leave()
	return err
}

// seenWithin bounds awaitSeen.
const seenWithin = 1500 * time.Millisecond

// awaitSeen waits until each living session has beaten again: it knows then that this node
// has released everything. Without it the others would wait for DeadAfter.
func (m *Membership) awaitSeen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, seenWithin)
	defer cancel()
	before := m.State().Standing
	for {
		s := m.State()
		if before == nil || s.Standing == nil {
			return // this session has had no part in the ring
		}
		seen := true
		for _, was := range before.Sessions {
			now, listed := s.Standing.Session(was.Session)
			seen = seen && (was.Session == s.Self.Session || !listed || now.Beats > was.Beats || m.isDead(was.Session))
		}
		if seen {
			return
		}
		kick(m.beatNow)
		select {
		case <-s.Changed:
		case <-ctx.Done():
			return
		}
		// Others beat when they see the new view, this node as often as it looks.
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

func (m *Membership) isDead(session uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.watch.Dead(session)
}

// stop closes the gate and ends the goroutines.
func (m *Membership) stop() {
	m.mu.Lock()
	if m.failure == nil {
		m.failure = core.Errorf(core.CodeNoNodeAvailable, "the node is shutting down")
	}
	m.publish(time.Now())
	m.mu.Unlock()
	m.cancel()
	m.wg.Wait()
}

// Close ends what Start began. Without Leave, the others find out that this node is gone.
func (m *Membership) Close() {
	m.stop()
	m.gossip.shutdown()
}

// kick lets a goroutine run once more.
func kick(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// now is a time as a duration of this process's monotonic clock. It is never 0.
func (m *Membership) now(t time.Time) time.Duration { return t.Sub(m.began) + time.Nanosecond }

func notServing(format string, args ...any) *core.Error {
	return core.Errorf(core.CodeNoNodeAvailable, "%s", fmt.Sprintf(format, args...))
}
