package cluster

import (
	"context"

	"github.com/gyre-events/gyre/core"
)

// Append is Log.Append.
func (r *Router) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	return r.config.Store.Append(ctx, c)
}

// Submit takes c to the owner of the first stream that it writes, and returns at once.
// done is called once with the answer, possibly before Submit returns. It must not block.
// Two Commits of one goroutine that share a stream are written in the order of submission,
// whoever owns the stream meanwhile. ctx and its Claim are those of core.Store.Submit.
func (r *Router) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	r.config.Store.Submit(ctx, c, done)
}
