package validators

import (
	"context"
	"time"
)

// until is a context that ends at a time. It sets a timer only if somebody waits for its end,
// which most judgements do not: context.WithDeadline would be a tenth of their cost. It belongs to
// one goroutine.
type until struct {
	context.Context
	end    time.Time
	timed  context.Context // nil: nobody waits
	cancel context.CancelFunc
}

// Deadline is part of context.Context.
func (u *until) Deadline() (time.Time, bool) { return u.end, true }

// Done is part of context.Context.
func (u *until) Done() <-chan struct{} {
	if u.timed == nil {
		u.timed, u.cancel = context.WithDeadline(u.Context, u.end)
	}
	return u.timed.Done()
}

// Err is part of context.Context.
func (u *until) Err() error {
	switch {
	case u.timed != nil:
		return u.timed.Err()
	case time.Now().Before(u.end):
		return nil
	}
	return context.DeadlineExceeded
}

// release stops the timer, if there is one.
func (u *until) release() {
	if u.cancel != nil {
		u.cancel()
	}
}
