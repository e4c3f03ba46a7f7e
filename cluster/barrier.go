package cluster

import (
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// syncing holds a node back until the nodes that it waits for are up (ring.Barrier). While
// it waits, it beats and gossips like any other, so that others see that it is up. It asks
// to be left out of views, and its gate is closed.
type syncing struct {
	barrier *ring.Barrier
	on      bool // it waits
	missing ring.Missing
	failure *core.Error // a mandatory node is missing at the deadline
}

// lookAtBarrier checks which nodes are up, and opens or closes the barrier. mu is held.
func (m *Membership) lookAtBarrier(now time.Time) {
	missing, state := m.syncing.barrier.Look(m.now(now), func(node string) bool { return m.whyDown(node) == "" })
	on := state != ring.BarrierOpen
	switch {
	case state == ring.BarrierFailed && m.syncing.failure == nil:
		m.syncing.failure = core.Errorf(core.CodeSyncNodesMissing, "mandatory nodes are not up after %v: %s",
			m.config.Sync.Timeout, m.describeDown(ring.Missing{Mandatory: missing.Mandatory}))
	case !on && missing.Len() > 0:
		m.log.Warn("the node goes on without optional nodes", "after", m.config.Sync.Timeout.String(), "missing", m.describeDown(missing))
		missing = ring.Missing{}
	case !on && m.syncing.on:
		m.log.Info("all nodes that this one waits for are up")
	}
	m.syncing.missing = missing
	if on != m.syncing.on {
		m.setSyncing(on)
	}
}

// setSyncing announces whether the node waits. mu is held.
func (m *Membership) setSyncing(on bool) {
	m.syncing.on = on
	m.gossip.say(func(said *meta) { said.Syncing = on })
	kick(m.announceNow)
	kick(m.beatNow)
}

// whyDown says why a node is not up, or "". A node is up if its newest session beats and
// gossip reaches it. mu is held.
func (m *Membership) whyDown(node string) string {
	if m.standing != nil {
		for _, s := range m.standing.Sessions {
			if s.Node == node {
				return m.problem(s.Member)
			}
		}
	}
	return node + " has not started"
}

// describeDown says why nodes are not up. mu is held.
func (m *Membership) describeDown(missing ring.Missing) string {
	var list []string
	for _, node := range missing.Mandatory {
		list = append(list, m.whyDown(node))
	}
	for _, node := range missing.Optional {
		list = append(list, m.whyDown(node)+" (optional)")
	}
	return strings.Join(list, "; ")
}
