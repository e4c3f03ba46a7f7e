package cluster

import (
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// State is what a node knows of the ring at a moment. It does not change; Membership makes
// another one, and closes Changed.
type State struct {
	// Self is this node's session. Its Session is 0 before it is registered.
	Self ring.Member
	// View is the newest that the node knows; its Epoch is 0 if there is none.
	View   *ring.View
	Owners *ring.Owners // of View
	Before *ring.Owners // of the view before; nil if the node has seen none
	// Standing is that of the last beat.
	Standing *ring.Standing
	// Alive counts the members of the view that are alive: their session beats and gossip
	// holds them alive.
	Alive int
	// Closed is why the node does not serve, or nil. Its code is no_node_available.
	Closed *core.Error
	// SyncMissing is the nodes that this one waits for before it serves for the first time.
	SyncMissing ring.Missing
	// Filtered says that the node is outside the view because all members deny it: it is an
	// entry node.
	Filtered bool
	// Settled says that this node holds all that it owns in the view, and that every session which
	// an earlier view names holds nothing by that any more.
	Settled bool
	// Entries are the sessions outside of the view that may serve as entry nodes.
	Entries []ring.Member
	// ServesUntil is when the session is no longer fresh, by this process's clock. The
	// next beat makes another State before.
	ServesUntil time.Time
	// Changed is closed when there is a newer State.
	Changed <-chan struct{}

	changed chan struct{} // Changed
	held    *ring.SlotSet // see Holds; nil: none
}

// Serves returns nil while the gate is open, and else why it is not.
func (s *State) Serves(now time.Time) *core.Error {
	if s.Closed == nil && !fresh(s.ServesUntil, now) {
		return notServing("the storage was not reached for too long")
	}
	return s.Closed
}

// maxSuspended is by how much the wall clock may run ahead of the monotonic clock between
// two beats. The monotonic clock stands still while a machine is suspended.
const maxSuspended = time.Second

// fresh reports whether until has not come, by the monotonic clock, and by the wall clock
// not for long.
func fresh(until, now time.Time) bool {
	return isLeft(until.Sub(now), until.Round(0).Sub(now.Round(0)))
}

// isLeft is fresh of the times that are left by both clocks.
func isLeft(left, leftByWall time.Duration) bool {
	return left > 0 && left-leftByWall <= maxSuspended
}

// isMember reports whether the view names this session.
func (s *State) isMember() bool {
	_, ok := s.View.Member(s.Self.Session)
	return ok
}

// Owner returns the owner of a name in the view.
func (s *State) Owner(name string) (ring.Member, bool) {
	if s.Owners == nil {
		return ring.Member{}, false
	}
	return s.Owners.Owner(ring.Slot(name))
}

// Holds reports whether this node may host what is in a slot: it serves, it owns the slot
// in the view, and nobody else can still believe that the slot is his.
func (s *State) Holds(slot int, now time.Time) bool {
	return s.Serves(now) == nil && s.held != nil && s.held.Has(slot)
}

// Ring is what a Router asks of a Membership. No method blocks.
type Ring interface {
	// State returns the newest State.
	State() *State
	// Learn asks for the views up to an epoch, which another node knows. State.Changed says
	// when they are there.
	Learn(epoch uint64)
	// Renew asks for a view after the one of an epoch, with the same members if need be:
	// what is still on its way under that epoch must not be written any more.
	Renew(epoch uint64)
	// Refused tells that nothing listens at the address of a session.
	Refused(session uint64)
}
