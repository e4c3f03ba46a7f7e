package cluster

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// Incoming returns this node's end of a Link of another session.
func (r *Router) Incoming(session uint64) Incoming { return &incoming{router: r} }

type incoming struct{ router *Router }

// Submit is Incoming.Submit.
func (in *incoming) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	in.router.config.Store.Submit(ctx, c, done)
}

// Join is subscriptions.Joiner.Join, at this node.
func (in *incoming) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	return in.router.config.Subscriptions.Join(ctx, r)
}

// Head is Incoming.Head.
func (in *incoming) Head(position uint64) {
	if in.router.config.Head != nil {
		in.router.config.Head(position)
	}
}

// Close is Incoming.Close.
func (in *incoming) Close() {}
