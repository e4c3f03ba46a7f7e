package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

const (
	// maxTaken bounds the Commits of one intake that are not answered.
	maxTaken = 16 * 1024
	// learnWithin bounds the wait for views that the entry node knows (R1).
	learnWithin = 3 * time.Second
)

// incoming is this node's end of another node's Link.
type incoming struct{ *intake }

// Incoming returns this node's end of a Link that a session of another node has dialed.
func (r *Router) Incoming(session uint64) Incoming { return incoming{r.newIntake(session)} }

// Submit is Incoming.Submit.
func (in incoming) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	if err := in.put(&taken{ctx: ctx, commit: c, done: done, claim: core.ClaimOf(ctx)}); err != nil {
		done(core.Result{}, err)
		return
	}
	in.advance(false)
}

// Join is subscriptions.Joiner.Join, at this node.
func (in incoming) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	return in.router.config.Subscriptions.Join(ctx, r)
}

// Head is Incoming.Head.
func (in incoming) Head(position uint64) {
	if in.router.config.Head != nil {
		in.router.config.Head(position)
	}
}

// intake takes Commits of one entry node into this node's Store, in order, if this node
// owns what they write. It is the owner's end of a Link, or of the path of this node's
// own entries. Whoever has put Commits into it takes them; its goroutine, which ends with
// Close, does so where that has to wait.
type intake struct {
	router  *Router
	session uint64
	ctx     context.Context // ends with Close
	end     context.CancelFunc
	wake    chan struct{} // has room for one
	// reported is the position of the newest answer: the node that gets it looks up to there.
	reported atomic.Uint64

	mu     sync.Mutex // protects the fields below
	queue  []*taken
	taking bool     // somebody takes what is queued
	spare  []*taken // room for what is queued meanwhile
	held   []*taken // in order: those that are not answered, and some that are
	live   int      // of held, not answered
	closed bool
	idle   chan struct{} // closed when nothing is held; nil until somebody waits
	// upTo is the epoch up to which everything is refused, with why (R5).
	upTo uint64
	why  *core.Error
}

// taken is a Commit that an intake has, and the context of it in the Store. Its claim is
// that of the caller, who may withdraw it, too, or its own.
type taken struct {
	ctx      context.Context
	commit   core.Commit
	done     func(core.Result, error)
	intake   *intake
	claim    *core.Claim
	own      core.Claim
	answered bool // protected by intake.mu
}

// Deadline is part of context.Context. The Store does not ask.
func (t *taken) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done ends the wait for room in the Store.
func (t *taken) Done() <-chan struct{} { return t.intake.ctx.Done() }

// Err is part of context.Context.
func (t *taken) Err() error { return t.ctx.Err() }

// Value is part of context.Context.
func (t *taken) Value(key any) any { return t.claim.Value(key) }

// intakes are those of a Router that are not closed.
type intakes struct {
	mu  sync.Mutex
	all map[*intake]struct{} // protected by mu
}

// aware returns the sessions of nodes whose Commits were answered when the log had reached
// head.
func (ins *intakes) aware(head uint64) (sessions []uint64) {
	ins.mu.Lock()
	defer ins.mu.Unlock()
	for in := range ins.all {
		if in.reported.Load() >= head {
			sessions = append(sessions, in.session)
		}
	}
	return sessions
}

func (r *Router) newIntake(session uint64) *intake {
	in := &intake{router: r, session: session, wake: make(chan struct{}, 1)}
	in.ctx, in.end = context.WithCancel(r.closing)
	r.intakes.mu.Lock()
	r.intakes.all[in] = struct{}{}
	r.intakes.mu.Unlock()
	r.running.Go(in.run)
	return in
}

// put queues t, for advance.
func (in *intake) put(t *taken) error {
	t.intake = in
	if t.claim == nil {
		t.claim = &t.own
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.closed:
		return core.Errorf(core.CodeNotServing, "the connection is closed; nothing is written")
	case in.live >= maxTaken:
		return core.Errorf(core.CodeOverloaded, "%d appends wait for an answer", in.live)
	}
	in.queue = append(in.queue, t)
	in.hold(t)
	return nil
}

func (in *intake) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// hold adds t to held, without those that are answered if they are many. in.mu is held.
func (in *intake) hold(t *taken) {
	if len(in.held) == cap(in.held) && in.live < len(in.held)/2 {
		in.held = slices.DeleteFunc(in.held, func(t *taken) bool { return t.answered })
	}
	in.held = append(in.held, t)
	in.live++
}

// run takes what was put when it is signaled.
func (in *intake) run() {
	for {
		select {
		case <-in.wake:
			in.advance(true)
		case <-in.ctx.Done():
			return
		}
	}
}

// advance takes what is queued, in order, unless another goroutine does. Without wait it
// leaves to run what has to wait and what is put meanwhile. It calls back, so the caller has
// no lock.
func (in *intake) advance(wait bool) {
	in.mu.Lock()
	if in.taking {
		in.mu.Unlock()
		return // the other looks at the queue once more
	}
	in.taking = true
	for again := true; again && len(in.queue) > 0; again = wait {
		queue := in.queue
		in.queue = in.spare[:0]
		in.mu.Unlock()
		n := in.takeAll(queue, wait)
		in.mu.Lock()
		if n < len(queue) {
			in.queue = slices.Concat(queue[n:], in.queue)
		}
		clear(queue)
		in.spare = queue
	}
	in.taking = false
	left := len(in.queue) > 0
	in.mu.Unlock()
	if left {
		in.signal()
	}
}

// takeAll returns how many it has taken: all, or as many as need no wait.
func (in *intake) takeAll(queue []*taken, wait bool) int {
	for i, t := range queue {
		if !in.take(t, wait) {
			return i
		}
	}
	return len(queue)
}

// take gives a Commit to the Store, or refuses it. It returns false if it would have to
// wait for that and may not.
func (in *intake) take(t *taken, wait bool) bool {
	if !wait && in.router.config.Ring.State().epoch() < t.commit.Epoch {
		return false
	}
	if err := in.check(t); err != nil {
		if in.answer(t) {
			t.done(core.Result{}, err)
		}
		return true
	}
	written := func(result core.Result, err error) { in.written(t, result, err) }
	if !wait {
		return in.router.config.Store.TrySubmit(t, t.commit, written)
	}
	in.router.config.Store.Submit(t, t.commit, written)
	return true
}

// check returns why this node does not take t in (R1, R5, R10). A refusal stands for all
// that is later on its path.
func (in *intake) check(t *taken) *core.Error {
	if in.router.lacks(ruleEntryEpoch) {
		t.commit.Epoch = in.router.config.Ring.State().epoch()
	}
	epoch := t.commit.Epoch
	if why := in.refused(epoch); why != nil {
		return why
	}
	state := in.learn(epoch)
	in.mu.Lock()
	defer in.mu.Unlock()
	if t.answered {
		return in.why
	}
	if epoch > in.upTo {
		if why := in.router.refuses(state, &t.commit); why != nil && in.router.lacks(ruleSticky) {
			return why
		} else if why != nil {
			in.upTo, in.why = epoch, why
		}
	}
	if epoch <= in.upTo {
		return in.why
	}
	return nil
}

// refused returns why everything under an epoch is refused, or nil: then the view of the
// epoch may be worth waiting for.
func (in *intake) refused(epoch uint64) *core.Error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if epoch > in.upTo {
		return nil
	}
	return in.why
}

// learn returns a State whose view has an epoch or a later one, if it comes in time.
func (in *intake) learn(epoch uint64) *State {
	ring := in.router.config.Ring
	state := ring.State()
	if state.epoch() >= epoch {
		return state
	}
	late := time.NewTimer(learnWithin)
	defer late.Stop()
	for state.epoch() < epoch {
		ring.Learn(epoch)
		select {
		case <-state.Changed:
			state = ring.State()
		case <-late.C:
			return state
		case <-in.ctx.Done():
			return state
		}
	}
	return state
}

// refuses returns why this node does not write c under its epoch.
func (r *Router) refuses(s *State, c *core.Commit) *core.Error {
	if over := r.overUpTo.Load(); c.Epoch <= over {
		return core.NewStaleEpoch(c.Epoch, max(over+1, s.epoch()))
	}
	if c.Epoch < s.epoch() {
		return core.NewStaleEpoch(c.Epoch, s.epoch())
	}
	if c.Epoch > s.epoch() {
		return r.notServing(s, "the view of epoch %d is not known here", c.Epoch)
	}
	if why := s.Serves(time.Now()); why != nil {
		return r.notServing(s, "the owner does not serve: %s", why.Detail)
	}
	home := homeOf(c)
	if home == "" {
		return nil
	}
	if owner, ok := s.Owner(home); !ok || owner.Session != s.Self.Session {
		err := core.Errorf(core.CodeNotOwner, "%s owns %q in the view of epoch %d", owner.Node, home, s.epoch())
		err.Epoch = s.epoch()
		return err
	}
	return nil
}

func (r *Router) notServing(s *State, format string, args ...any) *core.Error {
	err := core.Errorf(core.CodeNotServing, format, args...)
	err.Epoch = s.epoch()
	return err
}

// written is called with the Store's answer.
func (in *intake) written(t *taken, result core.Result, err error) {
	r := in.router
	switch {
	case err == nil:
		if !result.Duplicate {
			in.reported.Store(result.Position)
			r.written(&t.commit, result, r.config.Store.State().Head)
		}
	case errors.Is(err, core.CodeUnknownOutcome):
		r.epochOver(t.commit.Epoch)
	case errors.Is(err, core.CodeStaleEpoch):
		r.config.Ring.Learn(core.AsError(err).Epoch)
	}
	if in.answer(t) {
		t.done(result, err)
	}
}

// answer reports whether t is the caller's to answer.
func (in *intake) answer(t *taken) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if t.answered {
		return false
	}
	t.answered = true
	in.settle()
	return true
}

// settle counts an answer. in.mu is held.
func (in *intake) settle() {
	if in.live--; in.live > 0 {
		return
	}
	clear(in.held)
	in.held = in.held[:0]
	if in.idle != nil {
		close(in.idle)
		in.idle = nil
	}
}

// refuse withdraws what has not begun under an epoch or an earlier one, and refuses what
// is still to come under it (R5, R10).
func (in *intake) refuse(upTo uint64, why *core.Error) {
	in.mu.Lock()
	if upTo <= in.upTo {
		in.mu.Unlock()
		return
	}
	if in.closed || !in.router.lacks(ruleSticky) {
		in.upTo, in.why = upTo, why
	}
	withdrawn := in.withdraw(upTo)
	in.mu.Unlock()
	for _, t := range withdrawn {
		t.done(core.Result{}, why)
	}
}

// withdraw takes out what has not begun, and returns it in order. It goes backwards: what
// the Store begins meanwhile is before all that is withdrawn. in.mu is held.
func (in *intake) withdraw(upTo uint64) []*taken {
	var withdrawn []*taken
	for _, t := range slices.Backward(in.held) {
		if !t.answered && t.commit.Epoch <= upTo && t.claim.Withdraw() {
			t.answered = true
			withdrawn = append(withdrawn, t)
		}
	}
	for range withdrawn {
		in.settle()
	}
	slices.Reverse(withdrawn)
	return withdrawn
}

// Close withdraws what has not begun and waits for what has, unless the Router closes.
func (in *intake) Close() {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	in.refuse(^uint64(0), core.Errorf(core.CodeNotServing, "the connection is closed; nothing is written"))
	in.end()
	in.mu.Lock()
	if in.idle == nil {
		in.idle = make(chan struct{})
	}
	idle := in.idle
	if in.live == 0 {
		close(idle)
		in.idle = nil
	}
	in.mu.Unlock()
	select {
	case <-idle:
	case <-in.router.closing.Done():
	}
	in.router.intakes.mu.Lock()
	delete(in.router.intakes.all, in)
	in.router.intakes.mu.Unlock()
}

// refuse is intake.refuse of all intakes.
func (r *Router) refuse(upTo uint64, why *core.Error) {
	r.intakes.mu.Lock()
	all := make([]*intake, 0, len(r.intakes.all))
	for in := range r.intakes.all {
		all = append(all, in)
	}
	r.intakes.mu.Unlock()
	for _, in := range all {
		in.refuse(upTo, why)
	}
}
