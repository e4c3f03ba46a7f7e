package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

const (
	// leastRejoin and mostRejoin bound the backoff between two tries to join.
	leastRejoin = 20 * time.Millisecond
	mostRejoin  = 500 * time.Millisecond
	// mostJoining is how many tries may be under way at once when subscriptions move. Their
	// owners serve in between those that stay.
	mostJoining = 32
	// joinFor bounds one try to join again, and linkFor its wait for a link.
	joinFor = 10 * time.Second
	linkFor = 2 * time.Second
)

// Join joins a subscription at its owner. The Subscriber lives through changes of the owner:
// it is moving, or without a quorum, and goes on by itself. Until there is an owner Join waits; at
// the deadline of ctx the error is no_node_available. The others are those of
// subscriptions.Owner.Join. A detached subscriber is that of this node.
func (r *Router) Join(ctx context.Context, request subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	return r.joins.join(ctx, request)
}

// joins are the leases of the subscribers at this node, wherever their subscriptions are
// hosted. It is safe for concurrent use.
type joins struct {
	ring  Ring
	local subscriptions.Joiner // of what this node hosts
	// link returns the Link to a session, and what is called when it is not used any more.
	link  func(ctx context.Context, session uint64) (Link, func(), error)
	gate  func(ctx context.Context) error // waits at the node's gate
	store *core.Store

	openings // of the gate

	ctx      context.Context // ends with close
	cancel   context.CancelFunc
	running  sync.WaitGroup
	underWay chan struct{} // holds mostJoining
	leases   atomic.Uint64 // the last number that was given out
	forgets  atomic.Uint64 // how often something may have come that is gone from the log

	mu   sync.Mutex // protects the field below
	open map[*joined]struct{}
}

// start begins to watch the gate. close ends it.
func (j *joins) start() {
	j.ctx, j.cancel = context.WithCancel(context.Background())
	j.underWay = make(chan struct{}, mostJoining)
	j.leases.Store(uint64(time.Now().UnixMicro())) // which a number of JSON can hold
	j.open = map[*joined]struct{}{}
	j.openings.end()
	j.running.Go(j.watch)
}

// close ends all leases with shutting_down.
func (j *joins) close() {
	j.cancel()
	for _, o := range j.all() {
		o.end(errClosing(), true)
	}
	j.running.Wait()
}

func errClosing() *core.Error { return core.Errorf(core.CodeShuttingDown, "the node is shutting down") }

func (j *joins) all() []*joined {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]*joined, 0, len(j.open))
	for o := range j.open {
		all = append(all, o)
	}
	return all
}

// watch has all subscribers look when the gate closes.
func (j *joins) watch() {
	for {
		s := j.ring.State()
		open := s.Serves(time.Now()) == nil
		var stale <-chan time.Time // a timer that is not used any more is collected
		if open {
			stale = time.After(time.Until(s.ServesUntil))
		}
		select {
		case <-s.Changed:
		case <-stale:
		case <-j.ctx.Done():
			j.openings.end()
			return
		}
		if open && j.ring.State().Serves(time.Now()) != nil {
			j.openings.end()
			for _, o := range j.all() {
				o.woken()
			}
		}
	}
}

// join is Router.Join.
func (j *joins) join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	if err := subscriptions.ValidateName(r.Name); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, core.AsError(err)
	}
	if r.Detached || r.Lease != 0 {
		if err := j.gate(ctx); err != nil {
			return nil, err
		}
		return j.local.Join(ctx, r)
	}
	o := &joined{joins: j, request: r, credit: r.Credit}
	for pause := leastRejoin; ; pause = min(2*pause, mostRejoin) {
		if err := j.gate(ctx); err != nil {
			return nil, err
		}
		at := j.ring.State()
		p, err := j.try(ctx, at, r, o.woken)
		if err == nil {
			o.begin(p)
			return o, j.add(o)
		}
		if !willPass(err) {
			return nil, err
		}
		j.learn(err)
		if !awaitNewer(ctx, at, pause) {
			return nil, tooLate(ctx, err)
		}
	}
}

// tooLate is the answer to a caller whose context ended while no owner took its join.
func tooLate(ctx context.Context, last error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return core.Errorf(core.CodeNoNodeAvailable, "the owner of the subscription could not be joined in time: %w", last)
	}
	return core.AsError(ctx.Err())
}

// add notes a lease, unless the node is shutting down.
func (j *joins) add(o *joined) error {
	j.mu.Lock()
	if j.ctx.Err() == nil {
		j.open[o] = struct{}{}
		j.mu.Unlock()
		return nil
	}
	j.mu.Unlock()
	o.Leave(true)
	return errClosing()
}

func (j *joins) remove(o *joined) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.open, o)
}

// innerLease is a lease at the owner of a subscription.
type innerLease struct {
	subscriptions.Subscriber
	node   string          // of the owner; empty if it is this node
	broken <-chan struct{} // closed when the link has ended; nil if the owner is this node
	done   func()          // the link is not used any more; may be called more than once

	received received
}

// over notes that the lease has ended at the owner.
func (l *innerLease) over() {
	if l.done != nil {
		l.done()
	}
}

// Leave is Subscriber.Leave.
func (l *innerLease) Leave(clean bool) {
	l.Subscriber.Leave(clean)
	l.over()
}

// lost reports whether an error of the lease says that the owner is gone, or is not the
// owner any more. Any other error is the subscription's own end.
func (l *innerLease) lost(err error) bool {
	select {
	case <-l.broken:
		return !errors.Is(err, core.CodeCanceled)
	default:
		return willPass(err)
	}
}

// willPass reports whether an error of a join is over when the ring has come to rest.
func willPass(err error) bool {
	if errors.Is(err, ErrBroken) || errors.Is(err, ErrRefused) {
		return true
	}
	switch core.AsError(err).Code {
	case core.CodeNotOwner, core.CodeNotServing, core.CodeShuttingDown, core.CodeStaleEpoch, core.CodeUnavailable,
		core.CodeStarting, core.CodePeerDenied, core.CodeStoreUnavailable, core.CodeStoreClosed:
		return true
	}
	return false
}

// outlives reports whether a subscriber that has joined before tries again after an error
// of a join: also where its owner has too much to do, or storage is away.
func outlives(err error) bool {
	switch core.AsError(err).Code {
	case core.CodeTimeout, core.CodeOverloaded, core.CodeTooManyRequests, core.CodeStoreReadOnly:
		return true
	}
	return willPass(err)
}

// try joins once, at the owner of the name in a State.
func (j *joins) try(ctx context.Context, s *State, r subscriptions.JoinRequest, woken func()) (*innerLease, error) {
	owner, ok := s.Owner(r.Name)
	if !ok {
		return nil, core.Errorf(core.CodeNotServing, "the ring has no members")
	}
	r.Wake = woken
	p, at := &innerLease{}, j.local
	p.received.sifted = j.forgets.Load()
	if owner.Session != s.Self.Session {
		link, done, err := j.linkTo(ctx, owner)
		if err != nil {
			return nil, err
		}
		p.node, p.broken, p.done, at = owner.Node, link.Broken(), sync.OnceFunc(done), link
	}
	var err error
	if p.Subscriber, err = at.Join(ctx, r); err != nil {
		p.over()
		return nil, err
	}
	return p, nil
}

// linkTo waits for the link to an owner, but not for so long that another may be owner.
func (j *joins) linkTo(ctx context.Context, owner ring.Member) (Link, func(), error) {
	within, cancel := context.WithTimeout(ctx, linkFor)
	defer cancel()
	link, done, err := j.link(within, owner.Session)
	if err != nil && ctx.Err() == nil {
		err = core.Errorf(core.CodeNotServing, "node %q cannot be reached: %w", owner.Node, err)
	}
	return link, done, err
}

// linkForLease is link for a lease. The Link is kept until done is called, also when the
// session leaves the view: then its node ends the lease when it has drained it.
func (r *Router) linkForLease(ctx context.Context, session uint64) (l Link, done func(), err error) {
	if l, err = r.link(ctx, session); err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.unlock()
	pr := r.peer(session)
	if pr == nil || pr.link != l {
		return nil, nil, core.Errorf(core.CodeNotServing, "session %d has left the view", session)
	}
	pr.leases++
	r.leased[l]++
	return l, func() {
		r.mu.Lock()
		defer r.unlock()
		if r.leased[l]--; r.leased[l] == 0 {
			delete(r.leased, l)
		}
		if pr.leases--; pr.leases == 0 && pr.gone {
			pr.signal()
		}
	}, nil
}

// learn asks for the view that a refusal names.
func (j *joins) learn(err error) {
	if epoch := core.AsError(err).Epoch; epoch > j.ring.State().epoch() {
		j.ring.Learn(epoch)
	}
}

// awaitNewer waits for a newer State than s, a while at most. It is false if ctx ends first.
func awaitNewer(ctx context.Context, s *State, pause time.Duration) bool {
	late := time.NewTimer(pause/2 + rand.N(pause))
	defer late.Stop()
	select {
	case <-late.C:
	case <-s.Changed:
	case <-ctx.Done():
		return false
	}
	return true
}
