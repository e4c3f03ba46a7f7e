package cluster

import "sync/atomic"

// routerCounters are what RouterStats has.
type routerCounters struct {
	forwarded, stale, notServing, inDoubt, resolved atomic.Uint64

	atGate atomic.Int64 // reads that wait for the gate
}

// RouterStats are counters since the Router was made, and gauges.
type RouterStats struct {
	Forwarded  uint64 // Commits that were handed over to another node
	Stale      uint64 // tries that were refused with stale_epoch or not_owner
	NotServing uint64 // tries that were refused because the owner does not serve
	InDoubt    uint64 // Commits whose Link broke before the answer
	Resolved   uint64 // of them, looked up

	Waiting   int // calls that wait for the gate, or for their turn
	Unsettled int // Commits without an answer
}

// Stats returns the counters and gauges.
func (r *Router) Stats() RouterStats {
	r.mu.Lock()
	waiting, unsettled := r.waiting.len, r.load.entries
	r.mu.Unlock()
	n := &r.counted
	return RouterStats{
		Forwarded: n.forwarded.Load(), Stale: n.stale.Load(), NotServing: n.notServing.Load(),
		InDoubt: n.inDoubt.Load(), Resolved: n.resolved.Load(),
		Waiting: waiting + int(r.counted.atGate.Load()), Unsettled: unsettled,
	}
}
