package plugin

import (
	"runtime"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

// QueryFunc answers a query, a text of at most 64 KiB that means what the plugin says, from the
// state of a lane. The answer has at most 1 MiB; people and other programs expect JSON. Package query
// registers it.
type QueryFunc func(v *View, query []byte) (answer []byte, err error)

// View is what a QueryFunc may read. It has no effects: a change of the state is ErrDenied. Each read
// is of the moment when it is made.
type View struct{ context *Context }

// State returns the state of the lane.
func (v *View) State() State { return v.context.State() }

// Config returns a member of the configuration, or all of it for an empty name. It is missing if the
// configuration has none.
func (v *View) Config(name string) json.Value { return v.context.Config(name) }

// Log logs the lines of a text. The last warning or error is part of the message of a query that
// fails.
func (v *View) Log(level Level, text string) { v.context.Log(level, text) }

// runQuery answers a query. One that f returns an error for, or panics on, fails with the text.
func (c *Context) runQuery(f QueryFunc, query []byte) (verdict abi.Verdict) {
	defer func() {
		if p := recover(); p != nil {
			stack := make([]byte, stackBytes)
			c.Log(Info, string(stack[:runtime.Stack(stack, false)]))
			c.eventResult(0, abi.Park, 0, clipped("panic: "+textOfPanic(p)))
			verdict = failed
		}
	}()
	answer, err := f(&View{c}, query)
	if err != nil {
		c.eventResult(0, abi.Park, 0, clipped(err.Error()))
		return failed
	}
	c.eventResult(0, abi.Ack, 0, text(answer))
	return abi.Done
}
