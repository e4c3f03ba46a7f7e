//go:build !wasip1

package query

import "github.com/gyre-events/gyre/sdk/plugin"

// Handle registers what answers queries. Call it once, in an init function. Outside of a sandbox it
// does nothing.
func Handle(plugin.QueryFunc) {}
