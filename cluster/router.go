package cluster

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// The rules of the Router. A Commit at the node that it was submitted to, its entry node,
// is clean (nothing can write it), handed over on one path, in doubt (the path ended
// before its answer) or settled. A path is one generation of a Link, or of the way into
// the node's own Store, under one epoch. An order set is the Commits that touch one slot.
//
//	R1  The entry node decides the owner in its view, and the view's epoch goes along. The
//	    owner writes under exactly that epoch. If it knows less, it loads the views first;
//	    if it knows more, it answers stale_epoch.
//	R2  Views name sessions. A path goes to a session.
//	R3  Storage looks at ids, then at the epoch, then at expectations.
//	R4  A Commit is handed over only if every earlier one of each of its order sets is
//	    settled, or handed over on the same path, or of an older epoch with its caller
//	    answered. Else it waits in place.
//	R5  Only stale_epoch, not_owner, not_serving and shutting_down lead to another try.
//	    Whoever answers one of them answers it to everything later on the path.
//	R6  What is in doubt is sent again only after (a) its copies are dead: a higher epoch
//	    is known, or a later generation of the Link to the same session is there; (b) it
//	    was looked up and not found; (c) no later one of an order set was decided.
//	R7  At its deadline a clean Commit is taken out. One that is handed over or in doubt is
//	    unknown_outcome for its caller, is never handed over again, and keeps its place.
//	R8  After an unknown_outcome of the node's own Store, its epoch counts as over.
//	R9  Whoever sends an id again answers only success, a final refusal or unknown_outcome.
//	    The Router sends only what is clean again.
//	R10 The gate is looked at on hand-over and on take-in. When it closes, the owner
//	    withdraws what has not begun.

// maxBytes bounds the events and records of the entries that are not answered.
const maxBytes = 64 << 20

// RouterConfig is what a Router needs. Ring, Store and Dialer are required, the rest has
// defaults.
type RouterConfig struct {
	Ring   Ring
	Store  *core.Store // this node's, over the shared log
	Dialer Dialer
	// Subscriptions are those that this node hosts, for other nodes' joins.
	Subscriptions subscriptions.Joiner
	// AwaitExpired is subscriptions.Owner.AwaitExpired of those. nil: there are none.
	AwaitExpired func(ctx context.Context) error
	// FailAtOnce answers no_node_available at once while the gate is closed. Else calls
	// wait until it opens, or their deadline.
	FailAtOnce bool
	// MaxWaiting bounds the calls that wait, for the gate or for their turn; beyond it
	// they are overloaded. The default is 10,000.
	MaxWaiting int
	// Head is called with positions that other nodes say the log has reached. It must
	// not block.
	Head   func(position uint64)
	Logger *slog.Logger

	without rules // of tests: rules that are left out, to see that something fails then
}

// rules is a set of rules of the Router.
type rules uint16

const (
	ruleEntryEpoch  rules = 1 << iota // R1
	ruleOnePath                       // R4
	ruleSticky                        // R5: everything later on the path
	ruleNoRetry                       // R5: nothing else leads to another try
	ruleDeadCopies                    // R6a
	ruleLookUp                        // R6b
	ruleOvertaken                     // R6c
	ruleKeepsPlace                    // R7: what is given up keeps its place
	ruleClaims                        // R7: what is handed over is unknown_outcome
	ruleUnknownEnds                   // R8
)

// Router is the Log of a node in a ring. All methods are safe for concurrent use.
type Router struct {
	config  RouterConfig
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup
	counted routerCounters
	heads   *heads
	owned   owned
	// overUpTo is the epoch up to which nothing is written here (R8).
	overUpTo atomic.Uint64

	attached

	mu         sync.Mutex // protects the fields below, and those of entries, paths and peers
	closed     bool
	state      *State                // the newest that was looked at
	orders     [ring.Slots]entryList // order sets
	waiting    entryList             // clean entries
	load       load
	paths      map[*path]struct{} // that have something, or may be given something
	own        *path
	peers      map[uint64]*peer // by session
	generation uint64           // of the last Link
	due        due
}

// attached is who uses a Router beside its callers.
type attached struct {
	intakes intakes      // of other nodes' Commits
	joins   joins        // of subscribers at this node
	leased  map[Link]int // how many leases of theirs use a Link; protected by Router.mu
	forgets forgets
}

// load is the entries that are not answered.
type load struct {
	entries int
	bytes   int
	emptied chan struct{} // closed when there are none; nil until somebody waits
}

// due is what unlock does.
type due struct {
	entries []*entry // to be tried
	answers []answer // to be given
	intake  *intake  // that was given Commits; nil if none was
}

// answer is a call of an entry's done.
type answer struct {
	done   func(core.Result, error)
	result core.Result
	err    error
}

// NewRouter returns a Router. Close ends its goroutines. The Store stays open.
func NewRouter(config RouterConfig) *Router {
	if config.MaxWaiting == 0 {
		config.MaxWaiting = 10_000
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Router{
		config: config, state: new(State), heads: newHeads(), attached: attached{intakes: intakes{all: make(map[*intake]struct{})}, leased: make(map[Link]int)},
		paths: make(map[*path]struct{}), peers: make(map[uint64]*peer),
	}
	r.closing, r.close = context.WithCancel(context.Background())
	r.joins = joins{ring: config.Ring, local: config.Subscriptions, link: r.linkForLease, gate: r.admit, store: config.Store}
	r.joins.start()
	r.running.Go(r.watch)
	r.running.Go(r.tellHeads)
	return r
}

// watch has every State looked at, and the end of the session's time.
func (r *Router) watch() {
	for {
		s := r.config.Ring.State()
		now := time.Now()
		why := s.Serves(now)
		switch {
		case why != nil:
			r.refuse(s.epoch(), r.notServing(s, "the owner does not serve: %s", why.Detail))
		case s.epoch() > 0:
			r.refuse(s.epoch()-1, core.NewStaleEpoch(s.epoch()-1, s.epoch()))
		}
		r.mu.Lock()
		r.look()
		if why != nil {
			r.retryAll() // to say what they wait for
		}
		r.unlock()
		var ends <-chan time.Time
		var timer *time.Timer
		if why == nil {
			timer = time.NewTimer(s.ServesUntil.Sub(now))
			ends = timer.C
		}
		select {
		case <-s.Changed:
		case <-ends:
		case <-r.closing.Done():
			return
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// look takes notice of the newest State. r.mu is held.
func (r *Router) look() {
	s := r.config.Ring.State()
	if s == r.state {
		return
	}
	before, now := r.state.roster(), s.roster()
	r.state = s
	if now.epoch > before.epoch {
		r.enter()
	} else if !now.equal(before) {
		r.setPeers()
	}
	r.retryAll()
}

// enter begins to work under a new view: paths of earlier ones take nothing more, and
// what they have was written before, or never will be. r.mu is held.
func (r *Router) enter() {
	if r.own != nil && r.own.epoch < r.epoch() {
		r.endOwn()
	}
	for p := range r.paths {
		if p.epoch >= r.epoch() {
			continue
		}
		p.ended = true
		for _, e := range p.handed.entries() {
			if e.ctx.Err() != nil {
				r.forget(e)
			}
		}
		r.passed(p)
	}
	r.setPeers()
}

// retryAll has all waiting entries tried. r.mu is held.
func (r *Router) retryAll() {
	for p := r.waiting.first; p != nil; p = p.next {
		r.due.entries = append(r.due.entries, p.entry)
	}
}

// unlock tries what is ready, unlocks r.mu, and calls back.
func (r *Router) unlock() {
	if in := r.unlocked(); in != nil {
		in.signal()
	}
}

// unlocked is unlock for a caller that has the intake which it returns take what it was given.
func (r *Router) unlocked() *intake {
	for i := 0; i < len(r.due.entries); i++ {
		r.try(r.due.entries[i])
	}
	clear(r.due.entries)
	r.due.entries = r.due.entries[:0]
	var room [4]answer // of the answers, which are mostly one
	answers := room[:copy(room[:], r.due.answers)]
	if len(r.due.answers) > len(room) {
		answers, r.due.answers = r.due.answers, nil
	}
	clear(r.due.answers)
	r.due.answers = r.due.answers[:0]
	if r.load.entries == 0 && r.load.emptied != nil {
		close(r.load.emptied)
		r.load.emptied = nil
	}
	in := r.due.intake
	r.due.intake = nil
	r.mu.Unlock()
	for _, a := range answers {
		a.done(a.result, a.err)
	}
	return in
}

func (r *Router) lacks(rule rules) bool { return r.config.without&rule != 0 }

// epoch is that of the newest view that was looked at. r.mu is held.
func (r *Router) epoch() uint64 { return r.state.epoch() }

// epoch is that of the newest view, or 0.
func (s *State) epoch() uint64 {
	if s.View == nil {
		return 0
	}
	return s.View.Epoch
}

// Owner returns the owner of a name in the newest view that is known, and its epoch.
func (r *Router) Owner(name string) (ring.Member, uint64, bool) {
	state := r.config.Ring.State()
	owner, ok := state.Owner(name)
	return owner, state.epoch(), ok
}

// Close answers what waits with shutting_down, waits until ctx ends for what other nodes
// and the Store have not answered, and closes all Links. What is not answered then is
// unknown_outcome.
func (r *Router) Close(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	for _, e := range r.waiting.entries() {
		r.settle(e, core.Result{}, errShuttingDown())
	}
	emptied := make(chan struct{})
	r.load.emptied = emptied
	r.unlock()
	r.joins.close()
	select {
	case <-emptied:
	case <-ctx.Done():
	}
	r.close()
	r.running.Wait()
	r.mu.Lock()
	defer r.unlock()
	for p := range r.paths {
		for _, e := range append(p.handed.entries(), p.doubts.entries()...) {
			r.settle(e, core.Result{}, core.Errorf(core.CodeUnknownOutcome, "the node shut down before there was an answer"))
		}
	}
	for _, e := range r.waiting.entries() {
		r.settle(e, core.Result{}, errShuttingDown())
	}
}
