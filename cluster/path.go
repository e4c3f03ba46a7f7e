package cluster

import (
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
)

// path is a way by which entries reach the owner of what they write, in order: one
// generation of a Link, or an intake of this node's Store, under one epoch (R4).
type path struct {
	owner      uint64 // its session
	epoch      uint64
	intake     *intake // of this node's Store; nil: a Link
	peer       *peer   // that the Link goes to; nil: this node's Store
	from       uint64  // the session of this node that dialed the Link
	generation uint64  // of the Link
	// ended says that nothing more is handed over on it.
	ended bool
	// dead says that no copy of what it had can be written any more (R6a).
	dead      bool
	out       int // entries that it has, and has not answered
	handed    entryList
	doubts    entryList
	resolving bool
}

// node is the name of the owner, or "" if that is this node.
func (p *path) node() string {
	if p.peer == nil {
		return ""
	}
	return p.peer.member.Node
}

// route returns the path to the owner of what e writes, in the newest view. If there is
// none, why says what is missing; nil: a newer view, a Link, or room on it.
func (r *Router) route(e *entry) (to *path, why *core.Error) {
	s := r.state
	if why := s.Serves(time.Now()); why != nil {
		return nil, why
	}
	if s.View.Epoch <= max(r.overUpTo.Load(), e.after) {
		return nil, nil
	}
	owner := s.Self
	if e.home >= 0 {
		var ok bool
		if owner, ok = s.Owners.Owner(e.home); !ok {
			return nil, nil
		}
	}
	if owner.Session == s.Self.Session {
		return r.ownPath(), nil
	}
	return r.peerPath(owner.Session), nil
}

// ownPath returns the path to this node's Store, under the newest epoch. A new one has an
// intake of its own: what an intake has refused once, it refuses for ever (R5).
func (r *Router) ownPath() *path {
	if p := r.own; p != nil && p.epoch == r.epoch() && !p.ended {
		return p
	}
	r.endOwn()
	self := r.state.Self.Session
	r.own = r.addPath(&path{owner: self, epoch: r.epoch(), intake: r.newIntake(self)})
	return r.own
}

// endOwn ends the path to this node's Store, if there is one.
func (r *Router) endOwn() {
	if r.own == nil {
		return
	}
	r.own.ended = true
	r.running.Go(r.own.intake.Close)
	r.passed(r.own)
	r.own = nil
}

// peerPath returns the path by the Link to a session, under the newest epoch, or nil.
func (r *Router) peerPath(session uint64) *path {
	pr := r.peer(session)
	if pr == nil || pr.link == nil || pr.renew {
		return nil
	}
	if pr.full = pr.full || len(pr.queue) >= maxQueued; pr.full {
		return nil
	}
	if p := pr.path; p == nil || p.epoch != r.epoch() {
		if p != nil {
			p.ended = true
			r.passed(p)
		}
		pr.path = r.addPath(&path{owner: session, epoch: r.epoch(), peer: pr, from: pr.from, generation: pr.generation})
	}
	if pr.path.ended {
		return nil // a newer view is on its way
	}
	return pr.path
}

func (r *Router) addPath(p *path) *path {
	r.paths[p] = struct{}{}
	return p
}

// send gives e to p. The error is overloaded.
func (r *Router) send(e *entry, p *path) error {
	if p.peer != nil {
		p.peer.push(e, p)
		return nil
	}
	c := e.commit
	c.Epoch = p.epoch
	r.due.intake = p.intake
	return p.intake.put(&taken{ctx: e.ctx, commit: c, done: func(result core.Result, err error) { r.answered(e, p, result, err) }})
}

// reroutes reports whether the answer to e says that nothing was written and that another
// try may succeed. Then the path ends: whoever answers this answers it to everything
// later on the path (R5).
func (r *Router) reroutes(p *path, e *entry, err error) bool {
	answer := core.AsError(err)
	switch answer.Code {
	case core.CodeStaleEpoch, core.CodeNotOwner:
		e.after = p.epoch
		r.counted.stale.Add(1)
	case core.CodeNotServing, core.CodeShuttingDown:
		if p.peer != nil && !p.ended {
			time.AfterFunc(redialAfter, func() { r.redial(p) })
		}
		r.counted.notServing.Add(1)
	case core.CodeUnknownOutcome:
		return r.lacks(ruleNoRetry)
	default:
		return false
	}
	p.ended = !r.lacks(ruleSticky)
	if answer.Epoch > r.epoch() {
		r.config.Ring.Learn(answer.Epoch)
	} else if answer.Code == core.CodeStaleEpoch {
		r.config.Ring.Learn(p.epoch + 1)
	}
	return true
}

// redial asks for another generation of the Link of a path that the owner has ended,
// unless a newer view has come meanwhile: an owner that just loads it does not serve, too.
func (r *Router) redial(p *path) {
	r.mu.Lock()
	defer r.unlock()
	if pr := p.peer; pr.path == p && p.epoch == r.epoch() {
		pr.renew = true
		pr.slowDown()
		pr.signal()
	}
}

// passed looks whether everything on a path that has ended is answered: then what is in
// doubt can be settled, and the path is over.
func (r *Router) passed(p *path) {
	if !p.ended || p.out > 0 {
		return
	}
	if p.doubts.len == 0 {
		delete(r.paths, p)
		return
	}
	p.dead = p.dead || p.epoch < r.epoch() || r.lacks(ruleDeadCopies)
	if p.dead && !p.resolving {
		p.resolving = true
		r.running.Go(func() { r.resolve(p) })
	}
}

// epochOver says that the copies of a Commit may still be written under an epoch, though
// its answer is unknown_outcome (R8). Nothing else is written under it here.
func (r *Router) epochOver(epoch uint64) {
	if r.lacks(ruleUnknownEnds) {
		return
	}
	for over := r.overUpTo.Load(); over < epoch && !r.overUpTo.CompareAndSwap(over, epoch); {
		over = r.overUpTo.Load()
	}
	r.config.Ring.Renew(epoch)
	r.refuse(epoch, core.NewStaleEpoch(epoch, epoch+1))
}

func isBroken(err error) bool { return errors.Is(err, ErrBroken) }

func errShuttingDown() *core.Error {
	return core.Errorf(core.CodeShuttingDown, "the node is shutting down; nothing is written")
}
