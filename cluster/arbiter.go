package cluster

import (
	"context"

	"github.com/gyre-events/gyre/core/ring"
)

// Arbiter keeps sessions and views, in the storage that keeps the log. It is implemented by
// core/postgres and core/memory; package arbitertest is its contract. All methods are safe
// for concurrent use. Errors are those of the storage, beside those that are named. A call
// that failed without one of these may have taken place.
//
// The log's epoch can move without a view: a plain node that takes the store over moves
// it. Then the newest view is older than the epoch, no Commit succeeds under it, and the
// next view is proposed with Standing.Epoch as its base. View base is the newest view that
// is stored; without one every session may propose.
type Arbiter interface {
	// Register begins a session for a process start in the ring of a name, and returns its
	// number. A session of the same node id is superseded: it is no longer listed. The
	// error is store_in_use if a node without a ring has the store, and cluster_mismatch
	// if the sessions of other nodes are of a ring of another name, or cannot be in one
	// ring with m (ring.Member.Mismatch).
	Register(ctx context.Context, name string, m ring.Member, secret [32]byte) (session uint64, err error)
	// Beat reports that a session lives, that it has released what it lost up to an epoch,
	// and whether it is draining; and returns all that others have reported. The error is
	// node_superseded if a newer session has its node id, and not_member if the session
	// has ended otherwise: it left, or a proposal ended it. Then the node registers again.
	Beat(ctx context.Context, session, released uint64, draining bool) (ring.Standing, error)
	// Propose stores next, whose epoch is base+1, and moves the log's epoch with it. The
	// error is stale_epoch if the log's epoch is not base. It is not_member if
	// next.Proposer has no session, if it is not a member of view base while one of those
	// is not gone, or if fewer members of next than its quorum have a session: the
	// statement itself looks. dead lists the sessions that the proposer holds dead: they
	// count as gone, and end with it. next.At is set by the storage.
	Propose(ctx context.Context, base uint64, next ring.View, dead []uint64) error
	// Views lists views in the order of their epochs, after one, and at most limit. Only
	// the newest are kept, 1,000 at least.
	Views(ctx context.Context, after uint64, limit int) ([]ring.View, error)
	// Leave ends a session. One that has ended already is no error.
	Leave(ctx context.Context, session uint64) error
}
