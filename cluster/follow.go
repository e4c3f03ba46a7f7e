package cluster

import (
	"context"

	"github.com/gyre-events/gyre/core"
)

// Follow is Log.Follow.
func (r *Router) Follow(ctx context.Context, f core.FollowRequest) (core.Follower, error) {
	if err := r.admit(ctx); err != nil {
		return nil, err
	}
	return r.config.Store.Follow(ctx, f)
}
