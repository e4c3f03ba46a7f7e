package cluster

import (
	"cmp"
	"context"

	"github.com/gyre-events/gyre/core"
)

// entry is a Commit at the node that it was submitted to. The Router's mutex protects the
// fields below state.
type entry struct {
	ctx    context.Context
	commit core.Commit
	done   func(core.Result, error)
	bytes  int
	home   int // the slot that decides the owner; -1: it is made here

	state  entryState
	path   *path       // that it is handed over or in doubt on
	after  uint64      // only views of a greater epoch will do
	sent   bool        // it was handed over to another node
	head   uint64      // of the log, as far as it was known before that
	why    *core.Error // what it waits for; nil: its turn
	stop   func() bool // ends the wait for the end of ctx; nil: nobody waits for that
	queued place       // among those that wait, or that its path has
	single [1]place    // room for the places of most entries
	places []place     // in its order sets
}

// entryState is what the Router knows of an entry.
type entryState uint8

const (
	clean    entryState = iota // nothing can write it
	handed                     // its path has it
	doubtful                   // its path has ended before its answer
	settled                    // it is answered
)

func newEntry(ctx context.Context, c core.Commit, done func(core.Result, error)) *entry {
	e := &entry{ctx: ctx, commit: c, done: done, bytes: bytesOf(&c)}
	e.queued.entry = e
	var room [4]int
	slots, home := slotsOf(&c, room[:0])
	e.home = home
	e.places = e.single[:0]
	if len(slots) > 1 {
		e.places = make([]place, 0, len(slots))
	}
	for _, slot := range slots {
		e.places = append(e.places, place{entry: e, slot: slot})
	}
	return e
}

// bytesOf is about how much memory c holds.
func bytesOf(c *core.Commit) (n int) {
	for i := range c.Appends {
		a := &c.Appends[i]
		for k := range a.Events {
			n += len(a.Events[k].Data) + len(a.Events[k].Metadata)
		}
		n += len(a.Links) * len(core.ID{})
	}
	for i := range c.Streams {
		n += len(c.Streams[i].Stream)
	}
	for i := range c.Records {
		n += len(c.Records[i].Key) + len(c.Records[i].Value)
	}
	return n
}

// giveIDs gives an id to every event that has none, and to a move without events, in a copy
// of what the caller sent: a forwarded Commit may have to be looked up (R6).
func (e *entry) giveIDs() {
	if e.commit.Moves() && e.commit.Progress.ID.IsZero() {
		move := *e.commit.Progress
		move.ID = core.NewID()
		e.commit.Progress = &move
	}
	owned := false
	for i := range e.commit.Appends {
		copied := false
		for k := range e.commit.Appends[i].Events {
			if !e.commit.Appends[i].Events[k].ID.IsZero() {
				continue
			}
			if !owned {
				e.commit.Appends, owned = append([]core.Append(nil), e.commit.Appends...), true
			}
			a := &e.commit.Appends[i]
			if !copied {
				a.Events, copied = append([]core.NewEvent(nil), a.Events...), true
			}
			a.Events[k].ID = core.NewID()
		}
	}
}

// overtaken reports whether a later entry of one of its orders has been decided.
func (e *entry) overtaken() bool {
	for i := range e.places {
		if e.places[i].overtaken {
			return true
		}
	}
	return false
}

// waitsFor says what e waits for before it is handed over.
func (e *entry) waitsFor(why *core.Error) {
	if e.why == why {
		return
	}
	e.why = why
	if claim := core.ClaimOf(e.ctx); claim != nil {
		claim.WaitsFor(why)
	}
}

// givenUp is the answer to a caller whose context has ended.
func (e *entry) givenUp() error {
	claim := core.ClaimOf(e.ctx)
	if claim == nil {
		claim = new(core.Claim)
		claim.WaitsFor(e.why)
		if e.state != clean {
			claim.Begin()
		}
	}
	return claim.GivenUp(cmp.Or(context.Cause(e.ctx), context.Canceled))
}

// Append is Log.Append.
func (r *Router) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	return core.AppendWith(ctx, c, r.Submit)
}

// Submit takes c to the owner of the first stream that it writes, and returns at once. This
// node makes a Commit of the system itself, under the view's epoch: storage orders those.
// done is called once with the answer, possibly before Submit returns. It must not block.
// Two Commits of one goroutine that share a stream are written in the order of submission,
// whoever owns the stream meanwhile. ctx and its Claim are those of core.Store.Submit.
func (r *Router) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	if err := c.Validate(); err != nil {
		done(core.Result{}, err)
		return
	}
	if err := ofOneKind(&c); err != nil {
		done(core.Result{}, err)
		return
	}
	e := newEntry(ctx, c, done)
	r.mu.Lock()
	r.submit(e)
	if in := r.unlocked(); in != nil {
		in.advance(false)
	}
}

func (r *Router) submit(e *entry) {
	r.look()
	if err := r.hasRoom(e); err != nil {
		r.due.answers = append(r.due.answers, answer{e.done, core.Result{}, err})
		return
	}
	r.load.entries++
	r.load.bytes += e.bytes
	for i := range e.places {
		r.orders[e.places[i].slot].add(&e.places[i])
	}
	if r.try(e); e.state == clean {
		r.wait(e)
	}
}

// hasRoom returns why no entry is taken in. r.mu is held, as in all that follow.
func (r *Router) hasRoom(e *entry) error {
	switch {
	case r.closed:
		return errShuttingDown()
	case r.load.entries > 0 && r.load.bytes+e.bytes > maxBytes:
		return core.Errorf(core.CodeOverloaded, "the appends that wait for an answer hold %d bytes", r.load.bytes)
	}
	return nil
}

// wait lets a clean entry wait until it can be handed over.
func (r *Router) wait(e *entry) {
	if r.waiting.len+int(r.counted.atGate.Load()) >= r.config.MaxWaiting {
		r.settle(e, core.Result{}, core.Errorf(core.CodeOverloaded, "%d calls wait already", r.config.MaxWaiting))
		return
	}
	r.waiting.add(&e.queued)
	r.watchCaller(e)
}

// watchCaller has gone called when e's caller gives up. That costs more than a hand-over,
// so it is done only where somebody waits.
func (r *Router) watchCaller(e *entry) {
	if e.stop == nil {
		e.stop = context.AfterFunc(e.ctx, func() { r.gone(e) })
	}
}

// gone takes out a clean entry whose caller has given up (R7), and one that is handed over
// under an epoch that is over: it was written before, or never will be.
func (r *Router) gone(e *entry) {
	r.mu.Lock()
	defer r.unlock()
	switch {
	case e.state == clean:
		r.settle(e, core.Result{}, e.givenUp())
	case e.state == handed && (e.path.epoch < r.epoch() || r.lacks(ruleKeepsPlace)):
		r.forget(e)
	}
}

// forget settles an entry whose caller has given up, and which the log may have.
func (r *Router) forget(e *entry) {
	for i := range e.places {
		e.places[i].overtake()
	}
	r.settle(e, core.Result{}, e.givenUp())
}

// try hands a clean entry over, if there is a path and R4 lets it go there.
func (r *Router) try(e *entry) {
	if e.state != clean {
		return
	}
	to, why := r.route(e)
	if why != nil && r.config.FailAtOnce {
		r.settle(e, core.Result{}, why)
		return
	}
	e.waitsFor(why)
	for i := range e.places {
		if before := e.places[i].prev; before != nil && !before.entry.isOn(to) && !r.lacks(ruleOnePath) {
			r.watchCaller(before.entry)
			return
		}
	}
	if to != nil {
		r.handOver(e, to)
	}
}

// isOn reports whether e is handed over on p. Then so is all that is before it in its
// orders (R4): it was when e was handed over, and p ends when something comes back.
func (e *entry) isOn(p *path) bool { return e.state == handed && p != nil && e.path == p }

// handOver gives e to a path.
func (r *Router) handOver(e *entry, p *path) {
	if err := r.begin(e); err != nil {
		r.settle(e, core.Result{}, err)
		return
	}
	if p.peer != nil && !e.sent {
		e.sent, e.head = true, r.config.Store.State().Head
	}
	e.queued.leave()
	e.state, e.path = handed, p
	for i := range e.places {
		e.places[i].overtaken = false
	}
	p.handed.add(&e.queued)
	p.out++
	if err := r.send(e, p); err != nil {
		p.out--
		r.settle(e, core.Result{}, err)
		return
	}
	r.retryNext(e)
}

// begin claims e for its path: from now on its caller cannot withdraw it (R7).
func (r *Router) begin(e *entry) error {
	if r.lacks(ruleClaims) {
		return nil
	}
	return core.Begin(e.ctx)
}

// answered is called with the answer that p gives to e, once.
func (r *Router) answered(e *entry, p *path, result core.Result, err error) {
	r.mu.Lock()
	defer r.unlock()
	r.answer(e, p, result, err)
}

func (r *Router) answer(e *entry, p *path, result core.Result, err error) {
	p.out--
	defer r.passed(p)
	if !e.isOn(p) {
		return // forgotten
	}
	switch {
	case err == nil:
		result.Node = p.node()
		r.decided(e, result, nil)
	case isBroken(err):
		r.counted.inDoubt.Add(1)
		p.ended = true
		e.queued.leave()
		e.state = doubtful
		p.doubts.add(&e.queued)
	case r.reroutes(p, e, err):
		r.comesBack(e)
	default:
		r.decided(e, result, err)
	}
}

// comesBack takes e back from its path, clean. If its caller was told unknown_outcome
// meanwhile, it is not handed over again (R7).
func (r *Router) comesBack(e *entry) {
	e.queued.leave()
	mayBegin := true
	if claim := core.ClaimOf(e.ctx); claim != nil {
		mayBegin = claim.TakeBack()
	}
	e.state, e.path = clean, nil
	if !mayBegin || e.ctx.Err() != nil {
		r.settle(e, core.Result{}, e.givenUp())
		return
	}
	r.waiting.add(&e.queued)
	r.watchCaller(e)
	r.due.entries = append(r.due.entries, e)
}

// decided settles an entry by an answer that may come from the log.
func (r *Router) decided(e *entry, result core.Result, err error) {
	for i := range e.places {
		e.places[i].overtake()
	}
	r.settle(e, result, err)
}

// settle answers e, which leaves its orders.
func (r *Router) settle(e *entry, result core.Result, err error) {
	e.queued.leave()
	e.state, e.path = settled, nil
	r.retryNext(e)
	for i := range e.places {
		e.places[i].leave()
	}
	if e.stop != nil {
		e.stop()
	}
	r.load.bytes -= e.bytes
	r.load.entries--
	r.due.answers = append(r.due.answers, answer{e.done, result, err})
}

// retryNext has those tried again that are next to e in its orders.
func (r *Router) retryNext(e *entry) {
	for i := range e.places {
		if next := e.places[i].next; next != nil && next.entry.state == clean {
			r.due.entries = append(r.due.entries, next.entry)
		}
	}
}
