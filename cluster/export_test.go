package cluster

import "github.com/gyre-events/gyre/core/ring"

// Without leaves rules out of a node's Membership.
func (c *Config) Without(r ring.Rules) { c.without = r }
