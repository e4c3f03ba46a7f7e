package query

import "github.com/gyre-events/gyre/sdk/plugin"

var registered plugin.QueryFunc

// Handle registers what answers queries. Call it once, in an init function.
func Handle(f plugin.QueryFunc) { registered = f }

//go:wasmexport gyre_query
func gyreQuery(length int32) int32 { return plugin.RunQuery(registered, length) }
