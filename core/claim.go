package core

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
)

// A Claim decides once whether a Commit begins or is withdrawn, so that whoever waits
// for the Commit can say which. It is found in the context that is submitted with the
// Commit: that context's Value returns what Claim.Value does. The zero value is ready.
type Claim struct{ state atomic.Uint32 }

// The states of a Claim.
const (
	undecided uint32 = iota
	begun
	withdrawn
)

// claimKey is the key of a Claim among the values of a context.
type claimKey struct{}

// Value returns c for the key that a Store looks it up by, and nil for any other.
func (c *Claim) Value(key any) any {
	if _, ok := key.(claimKey); ok {
		return c
	}
	return nil
}

// Begin reports whether the Commit may be written. From then on nobody can withdraw it.
func (c *Claim) Begin() bool {
	return c.state.CompareAndSwap(undecided, begun) || c.state.Load() == begun
}

// Withdraw reports whether the Commit will certainly not be written. Otherwise it has
// begun.
func (c *Claim) Withdraw() bool {
	return c.state.CompareAndSwap(undecided, withdrawn) || c.state.Load() == withdrawn
}

// GivenUp is the answer to a Commit whose context ended with cause before its outcome
// was known: unknown_outcome if it has begun, otherwise timeout or canceled.
func GivenUp(cause error, begun bool) *Error {
	switch {
	case begun:
		return Errorf(CodeUnknownOutcome, "the wait for the append ended (%w) after its write had begun", cause)
	case errors.Is(cause, context.DeadlineExceeded):
		return Errorf(CodeTimeout, "the deadline passed before the append began; it is not written (%w)", cause)
	}
	return Errorf(CodeCanceled, "the append was withdrawn before it began; it is not written (%w)", cause)
}

// begin claims what is submitted with ctx for a step, and returns the answer if it has
// been withdrawn.
func begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return GivenUp(err, false)
	}
	if c, ok := ctx.Value(claimKey{}).(*Claim); ok && !c.Begin() {
		return GivenUp(cmp.Or(context.Cause(ctx), context.Canceled), false)
	}
	return nil
}

// claimed is a context with a Claim.
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
