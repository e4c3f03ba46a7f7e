package core

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
)

// A Claim decides once whether a request's writes begin or are withdrawn, so that a caller
// whose context ends gets the right error. It is a value of the context of the request's
// Commits (Claim.Value). Several Commits may share one: it has begun when the first of
// them has. The zero value is ready.
type Claim struct{ state atomic.Uint32 }

// The states of a Claim.
const (
	undecided uint32 = iota
	begun
	withdrawn
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

// claimOf returns the Claim of a context, or nil.
func claimOf(ctx context.Context) *Claim {
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
	return c.state.CompareAndSwap(undecided, begun) || c.state.Load() == begun
}

// Withdraw reports whether certainly nothing was or will be written. Otherwise a write
// has begun.
func (c *Claim) Withdraw() bool {
	return c.state.CompareAndSwap(undecided, withdrawn) || c.state.Load() == withdrawn
}

// GivenUp is the answer to a caller whose context ended with cause, and withdraws what it
// asked for: timeout or canceled if nothing was written, otherwise unknown_outcome.
func (c *Claim) GivenUp(cause error) *Error {
	switch {
	case !c.Withdraw():
		return Errorf(CodeUnknownOutcome, "the wait ended after the write had begun (%w)", cause)
	case errors.Is(cause, context.DeadlineExceeded):
		return Errorf(CodeTimeout, "the deadline passed before the write began; nothing is written (%w)", cause)
	}
	return Errorf(CodeCanceled, "it was withdrawn before the write began; nothing is written (%w)", cause)
}

// begin claims a Commit for a step, and returns its answer if it has been withdrawn.
func begin(ctx context.Context) error {
	c := claimOf(ctx)
	if c == nil {
		c = new(Claim)
	}
	if ctx.Err() != nil || !c.Begin() {
		return c.GivenUp(cmp.Or(context.Cause(ctx), context.Canceled))
	}
	return nil
}
