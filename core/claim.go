package core

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
)

// A Claim decides whether a request's writes begin or are withdrawn, so that a caller whose
// context ends gets the right error. It is a value of the context of the request's Commits
// (Claim.Value). Several Commits may share one: it has begun when the first of them has.
// The zero value is ready.
type Claim struct {
	state atomic.Uint32
	// waiting is what the writes wait for before they begin; nil if it is only their turn.
	waiting atomic.Pointer[Error]
}

// The state of a Claim: how many Commits have begun, and two flags above.
const (
	withdrawn uint32 = 1 << 31 // no Commit begins any more, and none has
	abandoned uint32 = 1 << 30 // no Commit begins any more
	flags            = withdrawn | abandoned
)

// WithClaim returns a context with a Claim of its own.
func WithClaim(ctx context.Context) (context.Context, *Claim) {
	c := &claimed{Context: ctx}
	return c, &c.claim
}

type claimed struct {
	context.Context
	claim Claim
}

func (c *claimed) Value(key any) any {
	if v := c.claim.Value(key); v != nil {
		return v
	}
	return c.Context.Value(key)
}

// claimKey is the key of a Claim among the values of a context.
type claimKey struct{}

// ClaimOf returns the Claim of a context, or nil.
func ClaimOf(ctx context.Context) *Claim {
	c, _ := ctx.Value(claimKey{}).(*Claim)
	return c
}

// Value returns c for the Store's key, and nil for any other.
func (c *Claim) Value(key any) any {
	if _, ok := key.(claimKey); ok {
		return c
	}
	return nil
}

// Begin reports whether a Commit may be written. From then on nobody can withdraw it.
func (c *Claim) Begin() bool {
	for {
		state := c.state.Load()
		if state&flags != 0 {
			return false
		}
		if c.state.CompareAndSwap(state, state+1) {
			return true
		}
	}
}

// TakeBack undoes a Begin, for a Commit that certainly was not written and may begin again.
// It reports whether it may: the caller may have been told unknown_outcome meanwhile.
func (c *Claim) TakeBack() bool { return c.state.Add(^uint32(0))&flags == 0 }

// WaitsFor says what the Commit waits for before it begins: the answer to a caller whose
// deadline passes meanwhile. nil means its turn, and the answer is timeout.
func (c *Claim) WaitsFor(why *Error) { c.waiting.Store(why) }

// Withdraw reports whether certainly nothing was or will be written. Otherwise a write
// has begun, and no other will.
func (c *Claim) Withdraw() bool {
	for {
		state := c.state.Load()
		if state&withdrawn != 0 {
			return true
		}
		next := state | abandoned
		if state&^flags == 0 {
			next = withdrawn
		}
		if c.state.CompareAndSwap(state, next) {
			return next == withdrawn
		}
	}
}

// GivenUp is the answer to a caller whose context ended with cause, and withdraws what it
// asked for: what WaitsFor has said, timeout or canceled if nothing was written, otherwise
// unknown_outcome.
func (c *Claim) GivenUp(cause error) *Error {
	switch {
	case !c.Withdraw():
		return Errorf(CodeUnknownOutcome, "the wait ended after the write had begun (%w)", cause)
	case errors.Is(cause, context.DeadlineExceeded):
		if why := c.waiting.Load(); why != nil {
			return why
		}
		return Errorf(CodeTimeout, "the deadline passed before the write began; nothing is written (%w)", cause)
	}
	return Errorf(CodeCanceled, "it was withdrawn before the write began; nothing is written (%w)", cause)
}

// Begin claims a Commit with the Claim of its context, and returns its answer if it has been
// withdrawn.
func Begin(ctx context.Context) error {
	c := ClaimOf(ctx)
	if c == nil {
		c = new(Claim)
	}
	if ctx.Err() != nil || !c.Begin() {
		return c.GivenUp(cmp.Or(context.Cause(ctx), context.Canceled))
	}
	return nil
}
