package subscriptions

import (
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
)

// The backoff of a goroutine whose storage is away doubles between these.
const (
	leastBackoff = 100 * time.Millisecond
	mostBackoff  = 5 * time.Second
)

// run starts a goroutine of the host. mu is held, or nobody has the host yet.
func (h *host) run(f func()) {
	h.owner.running.Add(1)
	h.running.Go(func() {
		defer h.owner.running.Done()
		f()
	})
}

// work repeats a step of a goroutine of the host while it reports more or its storage is
// away, and backs off for the latter. Any other error ends the host.
func (h *host) work(doing string, step func(*selector) (more bool, err error)) {
	name, logger := h.incarnation.key.name, h.owner.config.Logger
	sel, err := newSelector(&h.incarnation.Definition, h.owner.Programs())
	if err != nil {
		h.endFor(err)
		return
	}
	if sel.judged && !h.incarnation.key.transient {
		sel.program = h.judging(doing, sel.program)
	}
	defer func() {
		if err := sel.close(); err != nil {
			logger.Warn("closing the expressions of a subscription", "subscription", name, "error", err)
		}
	}()
	h.repeat(doing, func() (bool, error) { return step(sel) })
}

// repeat is work that needs no selector.
func (h *host) repeat(doing string, step func() (more bool, err error)) {
	name, logger := h.incarnation.key.name, h.owner.config.Logger
	backoff := leastBackoff
	for {
		more, err := step()
		if more {
			backoff = leastBackoff
		}
		switch {
		case h.ctx.Err() != nil, err == nil && !more:
			return
		case err == nil:
			continue
		case failed(err):
			h.endFor(err)
			return
		}
		logger.Warn(doing+" for a subscription", "subscription", name, "error", err)
		if !h.sleep(backoff) {
			return
		}
		backoff = min(2*backoff, mostBackoff)
	}
}

// sleep is false when the host ends meanwhile.
func (h *host) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.ctx.Done():
		return false
	}
}

// endFor is end for an error of a goroutine.
func (h *host) endFor(err error) {
	if h.ctx.Err() != nil {
		err = core.Errorf(core.CodeShuttingDown, "the node is shutting down")
	}
	h.end(err)
}

// failed reports whether an error is about more than storage being away for a while.
func failed(err error) bool {
	info := core.AsError(err).Info()
	return !info.Retryable || errors.Is(err, core.CodeStoreClosed)
}
