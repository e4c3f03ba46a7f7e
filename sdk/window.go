package sdk

import (
	"context"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
)

// window bounds what is sent and not yet answered, in requests and in bytes. A
// single request always fits.
type window struct {
	maxCount, maxBytes int
	full               func() // called before a caller waits; may be nil

	mu           sync.Mutex // protects the fields below
	count, bytes int
	free         chan struct{} // closed when something is released; nil without waiting callers
}

// acquire waits for room until ctx ends or the time is by.
func (w *window) acquire(ctx context.Context, by time.Time, bytes int) error {
	var late <-chan time.Time
	for {
		w.mu.Lock()
		if w.count == 0 || w.count < w.maxCount && w.bytes+bytes <= w.maxBytes {
			w.count++
			w.bytes += bytes
			w.mu.Unlock()
			return nil
		}
		if w.free == nil {
			w.free = make(chan struct{})
		}
		free := w.free
		w.mu.Unlock()
		if late == nil {
			late = time.After(time.Until(by))
			if w.full != nil {
				w.full()
			}
		}
		select {
		case <-free:
		case <-late:
			return core.Errorf(core.CodeTimeout, "there was no room among the requests in flight")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *window) release(bytes int) {
	w.mu.Lock()
	w.count--
	w.bytes -= bytes
	if w.free != nil {
		close(w.free)
		w.free = nil
	}
	w.mu.Unlock()
}
