package core

import (
	"context"
	"sync"
)

// headReads reads the log's head for followers that begin. Callers that come while a
// read is under way share the next one: however many begin at once, storage gets two reads.
type headReads struct {
	turn chan struct{} // holds 1 while a read is under way

	mu   sync.Mutex // protects the field below
	next *headRead  // not begun yet; nil if no caller waits
}

// headRead is one read, for all callers that wait for it.
type headRead struct {
	done chan struct{} // closed when the fields below are written
	head uint64
	err  error
	// abandoned says that err is the end of the context of the caller that read.
	abandoned bool
}

func makeHeadReads() headReads { return headReads{turn: make(chan struct{}, 1)} }

// share returns what a read returns that begins after the call of share.
func (h *headReads) share(ctx context.Context, read func(context.Context) (uint64, error)) (uint64, error) {
	for {
		r := h.wait()
		select {
		case <-r.done:
		case h.turn <- struct{}{}:
			h.lead(ctx, r, read)
			<-h.turn
		case <-ctx.Done():
			return 0, AsError(ctx.Err())
		}
		if !r.abandoned || ctx.Err() != nil {
			return r.head, r.err
		}
	}
}

// wait returns the read that begins next.
func (h *headReads) wait() *headRead {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next == nil {
		h.next = &headRead{done: make(chan struct{})}
	}
	return h.next
}

// lead does a read, unless that is done. The caller has the turn.
func (h *headReads) lead(ctx context.Context, r *headRead, read func(context.Context) (uint64, error)) {
	h.mu.Lock()
	begins := h.next == r
	if begins {
		h.next = nil // later callers wait for another
	}
	h.mu.Unlock()
	if begins {
		r.head, r.err = read(ctx)
		r.abandoned = r.err != nil && ctx.Err() != nil
		close(r.done)
	}
}
