package ring

import (
	"math"
	"time"
)

// SyncForever is a Sync.Timeout that never ends.
const SyncForever = time.Duration(math.MaxInt64)

// Sync is the nodes that a node waits for when it starts, and for how long.
type Sync struct {
	Mandatory, Optional []string // node ids
	// Timeout is for how long. 0: it does not wait at all; SyncForever: until all are up,
	// the optional ones too.
	Timeout time.Duration
}

// TimeoutMs is the Timeout in milliseconds; -1 for SyncForever.
func (s Sync) TimeoutMs() int64 {
	if s.Timeout == SyncForever {
		return -1
	}
	return s.Timeout.Milliseconds()
}

// Missing is the nodes of a Sync that are not up.
type Missing struct {
	Mandatory []string `json:"mandatory,omitempty"`
	Optional  []string `json:"optional,omitempty"`
}

// Len returns how many there are.
func (m Missing) Len() int { return len(m.Mandatory) + len(m.Optional) }

// Barrier holds a node back when it starts, until the nodes of its Sync are up. It opens as
// soon as all are up. At the end of the Timeout it opens if only optional ones are missing,
// and else the node fails.
//
// A barrier that is open closes again if a node goes away before the Timeout ends and before
// this node serves. Once it is over, it stays open.
type Barrier struct {
	sync  Sync
	began time.Duration
	over  bool
}

// NewBarrier begins a Barrier.
func NewBarrier(began time.Duration, s Sync) *Barrier {
	return &Barrier{sync: s, began: began, over: s.Timeout == 0}
}

// BarrierState is what a Barrier says of its node.
type BarrierState uint8

// The states.
const (
	BarrierOpen BarrierState = iota
	BarrierWaits
	BarrierFailed // a mandatory node is missing at the end of the Timeout
)

// Look returns the nodes that are not up, and whether the Barrier is open. up reports whether
// a node is up. The Look that ends the Timeout still returns the missing optional nodes; later
// ones return none.
func (b *Barrier) Look(now time.Duration, up func(node string) bool) (missing Missing, state BarrierState) {
	if b.over {
		return Missing{}, BarrierOpen
	}
	missing = Missing{without(b.sync.Mandatory, up), without(b.sync.Optional, up)}
	late := b.sync.Timeout != SyncForever && now-b.began >= b.sync.Timeout
	switch {
	case late && len(missing.Mandatory) > 0:
		return missing, BarrierFailed
	case late:
		b.over = true
		return missing, BarrierOpen
	case missing.Len() > 0:
		return missing, BarrierWaits
	}
	return missing, BarrierOpen
}

// without returns the nodes that are not up.
func without(nodes []string, up func(node string) bool) (missing []string) {
	for _, node := range nodes {
		if !up(node) {
			missing = append(missing, node)
		}
	}
	return missing
}

// Pass ends the Barrier: the node serves.
func (b *Barrier) Pass() { b.over = true }
