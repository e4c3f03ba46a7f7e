package cluster

import (
	"context"

	"github.com/gyre-events/gyre/core/ring"
)

// Arbiter keeps sessions and views, in the storage that keeps the log. It is implemented by
// core/postgres and core/memory; package arbitertest is its contract. All methods are safe
// for concurrent use. Errors are those of the storage, beside those that are named.
type Arbiter interface {
	// Register begins a session for a process start, and returns its number. A session of
	// the same node id is superseded: it is no longer listed, and its beats fail. The
	// error is store_in_use if a node without a ring has the store, and cluster_mismatch
	// if the ring has another name or speaks another protocol.
	Register(ctx context.Context, m ring.Member, secret [32]byte) (session uint64, err error)
	// Beat tells that a session lives, that it has released what it lost up to an epoch,
	// and whether it is draining; and returns all that others have told. The error is
	// node_superseded if the session has been superseded, or has left.
	Beat(ctx context.Context, session, released uint64, draining bool) (ring.Standing, error)
	// Propose stores next, whose epoch is base+1, and moves the log's epoch with it. The
	// error is stale_epoch if the log's epoch is not base. It is not_member if neither
	// next.Proposer is a member of view base nor all its members are gone, or if fewer
	// members of next than its quorum have a session: the statement itself looks.
	// dead lists the sessions that the proposer holds dead: they end with it.
	Propose(ctx context.Context, base uint64, next ring.View, dead []uint64) error
	// Views lists views in the order of their epochs, after one, and at most limit.
	Views(ctx context.Context, after uint64, limit int) ([]ring.View, error)
	// Leave ends a session.
	Leave(ctx context.Context, session uint64) error
}
