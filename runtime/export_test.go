package runtime

import "github.com/gyre-events/gyre/core"

// Log is where the node writes for itself: the Router, if it is in a ring.
func (n *Node) Log() core.Log {
	if n.ring != nil {
		return n.ring.router
	}
	return n.store
}
