package core

import (
	"context"
	"slices"
)

// Admit returns what judges a Commit before it is written, or nil if nothing does. It is
// called by who submits a Commit that appends events, unless that is the system's. It must not
// wait, and the Commit does not change until it is judged.
type Admit func(c *Commit) Judge

// Judge judges the Commit that it was made for. It must not wait. It calls done once, on any
// goroutine and possibly before it returns, with nil to have the Commit written, or with the
// error to answer. ctx is the Commit's: what it has withdrawn need not be judged.
type Judge func(ctx context.Context, done func(refusal error))

// The bounds of what is held, beside the bytes of a queue. A single Commit always fits.
const (
	maxHeld        = 4 * 1024
	maxHeldTouches = 64 * 1024
)

// held are the Commits that are judged, and those that wait behind them because they share a
// stream or a record. They take no room in the queue, so nothing else waits for them. The
// committer's mutex protects all of it.
type held struct {
	all            map[*pending]struct{}
	last           map[touch]*pending // the last of them that touches a stream or a record
	bytes, touches int
}

// hold is what a Commit has that is held, or was.
type hold struct {
	waits   int        // for its verdict, and for what is before it
	behind  []*pending // what waits for it
	ended   bool       // it is held no more
	refusal error      // the verdict: nil if it is to be written
}

// isHeld reports whether something that is held shares a stream or a record with touches.
func (h *held) isHeld(touches []touch) bool {
	return slices.ContainsFunc(touches, func(t touch) bool { return h.last[t.name()] != nil })
}

// name is a touch without what is done to what it names.
func (t touch) name() touch { return t &^ touchWrites }

// hold keeps p out of the queue until it is judged, if it is to be, and all that is held now
// and shares something with it has gone on. It never waits. c.mu is held.
func (c *committer) hold(p *pending, isJudged bool) error {
	h := &c.held
	switch {
	case c.closed:
		return errClosed()
	case len(h.all) > 0 && (len(h.all) >= maxHeld || h.touches+len(p.touches) > maxHeldTouches || h.bytes+p.bytes > c.maxBytes):
		return Errorf(CodeOverloaded, "%d appends of %d bytes are with validators, or wait behind one that is", len(h.all), h.bytes)
	case h.all == nil:
		h.all, h.last = make(map[*pending]struct{}), make(map[touch]*pending)
	}
	p.held = &hold{}
	if isJudged {
		p.held.waits++
	}
	for _, t := range p.touches {
		if before := h.last[t.name()]; before != nil && before != p {
			before.held.behind = append(before.held.behind, p)
			p.held.waits++
		}
		h.last[t.name()] = p
	}
	h.all[p] = struct{}{}
	h.bytes += p.bytes
	h.touches += len(p.touches)
	return nil
}

// judged takes the verdict on p. A Commit that is refused goes on, too: only the engine
// knows whether it was written before (P5).
func (c *committer) judged(p *pending, refusal error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.held.ended {
		return // the store was closed meanwhile
	}
	p.held.refusal = refusal
	ready := []*pending{p}
	for len(ready) > 0 {
		next := ready[0]
		ready = ready[1:]
		if next.held.waits--; next.held.waits > 0 {
			continue
		}
		ready = append(ready, next.held.behind...)
		c.held.remove(next)
		c.push(next)
	}
}

// remove ends the hold of p.
func (h *held) remove(p *pending) {
	delete(h.all, p)
	for _, t := range p.touches {
		if h.last[t.name()] == p {
			delete(h.last, t.name())
		}
	}
	h.bytes -= p.bytes
	h.touches -= len(p.touches)
	p.held.ended = true
}

// empty removes all, and returns them.
func (h *held) empty() []*pending {
	all := make([]*pending, 0, len(h.all))
	for p := range h.all {
		p.held.ended = true
		all = append(all, p)
	}
	*h = held{}
	return all
}

// neverHolds is an expected version that no stream reaches.
const neverHolds Expect = MaxNumber

// forEngine is what the engine gets of p. Of a refused Commit it gets one that can only be a
// duplicate: ids go before versions.
func (p *pending) forEngine() *Commit {
	if p.held == nil || p.held.refusal == nil {
		if p.commit.hasNotices() {
			return p.commit.withNotices()
		}
		return &p.commit
	}
	lookup := &Commit{Appends: slices.Clone(p.commit.Appends), Epoch: p.commit.Epoch}
	for i := range lookup.Appends {
		lookup.Appends[i].Expect = neverHolds
	}
	return lookup
}

// refuse makes the engine's answer to a Commit that is refused the refusal, unless it was written
// before.
func (h *hold) refuse(o *Outcome) {
	if h.refusal != nil && o.Err != nil && AsError(o.Err).Code == CodeWrongExpectedVersion {
		o.Err = h.refusal
	}
}
