package cluster

import (
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// Without leaves rules out of a node's Membership.
func (c *Config) Without(r ring.Rules) { c.without = r }

// BeatAfterStop has m take a beat as a process does that was stopped since the last one, and returns
// why it does not serve then.
func (m *Membership) BeatAfterStop() *core.Error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.servesUntil = now.Add(-time.Second)
	m.take(now, now, m.standing, nil)
	return m.state.Load().Closed
}
