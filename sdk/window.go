package sdk

import (
	"context"
	"sync"
)

// window bounds what is sent and not yet answered, in requests and in bytes. A
// single request always fits.
type window struct {
	maxCount, maxBytes int

	mu           sync.Mutex // protects the fields below
	count, bytes int
	free         chan struct{} // closed when something is released; nil if nobody waits
}

func (w *window) acquire(ctx context.Context, bytes int) error {
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
		select {
		case <-free:
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
