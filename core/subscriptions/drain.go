package subscriptions

import (
	"context"
	"time"
)

// Drain prepares Release: the subscriptions that lost names stop sending, and Drain returns
// when nothing of them is in flight and everything that was acked is stored, or when ctx
// ends. Answers are taken as before. Another owner then begins after what was handled, so
// no consumer handles an event while another is still at it.
//
// Release has to follow: nothing is sent of these subscriptions any more.
func (o *Owner) Drain(ctx context.Context, lost func(name string) bool) {
	var busy []*host
	for _, h := range o.hosts() {
		if lost(h.incarnation.key.name) && !h.beginDrain() {
			busy = append(busy, h)
		}
	}
	for _, h := range busy {
		h.awaitDrained(ctx)
	}
}

// beginDrain stops sending, and has everything stored. It reports whether that was all.
func (h *host) beginDrain() (drained bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended == nil {
		h.machine.Drain()
		h.draining = true
		for _, s := range h.subs {
			s.recall()
		}
	}
	return h.drained()
}

// drained has everything stored, and reports whether another owner would begin after
// everything that was sent, or the host has ended. mu is held.
func (h *host) drained() bool {
	if h.ended != nil {
		return true
	}
	h.machine.Flush()
	h.advance(time.Now())
	switch {
	case h.ended != nil:
		return true
	case h.machine.InFlight() > 0 || !h.incarnation.key.transient && !h.settled():
		return false
	case !h.incarnation.key.transient && !h.saver.aheadStored():
		h.owner.checkpointer.add(&h.saver)
		return false
	}
	return true
}

// ahead is progress.Ahead beside a checkpoint. It changes only while the host drains: else
// what is finished beyond the checkpoint will soon be below it. mu is held.
func (h *host) ahead(p *progress) []byte {
	if h.draining && h.machine.InFlight() == 0 {
		return encodeAhead(h.machine.Ahead(maxAhead))
	}
	if p.Ahead != nil && len(p.ahead()) == 0 {
		return nil
	}
	return p.Ahead
}

// awaitDrained waits until the host is drained, or ctx ends.
func (h *host) awaitDrained(ctx context.Context) {
	for {
		h.mu.Lock()
		if h.drained() {
			h.mu.Unlock()
			return
		}
		wait := h.waiting.forCommit()
		if h.machine.InFlight() > 0 {
			wait = h.waiting.forEmpty()
		}
		h.mu.Unlock()
		h.saver.expedite()
		select {
		case <-wait:
		case <-h.ctx.Done():
		case <-ctx.Done():
			return
		}
	}
}
