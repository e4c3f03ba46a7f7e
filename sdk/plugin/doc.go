// Package plugin is for plugins written in Go: code that Gyre runs next to the log, in a
// sandbox. A plugin handles the events of a subscription. What it appends, its state and its
// place in the log are written together, or not at all, so each event has its effect once.
//
// A plugin is a program that registers a Handler:
//
//	func init() { plugin.Handle(count) }
//
//	func main() {} // it is never called
//
//	func count(c *plugin.Context, e *plugin.Event) error {
//		_, err := c.State().Add(e.Type, 1)
//		return err
//	}
//
// gyre plugin new makes a directory with such a program, gyre plugin build makes a module of
// it with the Go toolchain (1.24 or newer), gyre plugin test runs it over events of a file, and gyre
// plugin deploy puts it to work. The unit tests of a handler run without a sandbox; see package
// plugintest.
//
// # What a handler may do
//
// A handler gets the events of its lane one after the other. It may append events to streams
// (Context.Append), keep state (Context.State), read its configuration (Context.Config), log
// and count. The manifest gyre.plugin.json asks for what it needs, and the binding grants it;
// what is not granted is ErrDenied.
//
// What it returns decides about its event:
//
//	nil                    the event is done
//	Skip                   the event is done, and counted as skipped
//	Retry(after, reason)   what it did for the event is dropped; it is tried again later
//	Park(reason)           the same, but the event is set aside, and those after it go on
//	Stop(reason)           the binding stops until somebody resumes it
//	any other error        as Retry, after the backoff of the binding; so is a panic
//
// A handler that is tried too often is parked or stopped by the binding's error policy.
//
// # Plugins that judge events
//
// A filter, a map and a partitioner shape a subscription, and a validator may refuse an append.
// They have no effects: such a plugin registers one function, and its manifest says its kind.
//
//	func init() { plugin.Filter(large) }
//
//	func large(p *plugin.Pure, e *plugin.Event) (keep bool, err error) {
//		return e.JSON().Get("total").Int() >= 100, nil
//	}
//
// The kinds are filter, map, partition and validate, the functions Filter, Map, Partition and
// Validate. An event that a filter, a map or a partitioner returns an error for is parked.
//
// # Queries
//
// A handler or a projection may answer queries from its state, too, with what package query
// registers. A query has an instance of its own, and changes nothing.
//
//	func init() { plugin.Handle(count); query.Handle(top) }
//
// # Determinism
//
// There are no files, no sockets and no clock. Context.Now is the time of the event, and
// Context.Random depends on the event. A handler that keeps what it knows in its state, not in
// variables, does the same with the same events, whoever runs it and however they are cut into
// batches. Variables are a cache at best: they are lost whenever an instance is replaced.
//
// A handler runs in one goroutine. It may start others, which must end before it returns.
//
// # Size and speed
//
// A module has about 2.2 MB, most of which is the Go runtime. Packages fmt, encoding/json and reflect add most of what is larger,
// and encoding/json is 13 times as slow in a guest as outside: use package json of this SDK.
package plugin
