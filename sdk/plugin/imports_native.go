//go:build !wasip1

package plugin

import (
	"strconv"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin/testhost"
)

// Handle registers the handler of the plugin. Call it once, in an init function: the host runs
// those, and not main. Outside of a sandbox it does nothing.
func Handle(Handler) {}

// Run runs a handler over an encoded batch outside of a sandbox. It is what package plugintest
// is made of.
func Run(h Handler, host *testhost.Host, batch []byte) abi.Verdict {
	c := Context{host: host}
	return c.run(h, batch)
}

// RunJudge runs a Judge over an encoded batch outside of a sandbox.
func RunJudge(j Judge, host *testhost.Host, batch []byte) abi.Verdict {
	c := Context{host: host}
	return c.runJudge(j, batch)
}

// RunQuery runs a QueryFunc outside of a sandbox.
func RunQuery(f QueryFunc, host *testhost.Host, query []byte) abi.Verdict {
	c := Context{host: host}
	return c.runQuery(f, query)
}

// Filter, Map, Partition and Validate register what the plugin judges events with. Call one of them
// once, in an init function. Outside of a sandbox they do nothing.
func Filter(FilterFunc)       {}
func Map(MapFunc)             {}
func Partition(PartitionFunc) {}
func Validate(ValidateFunc)   {}

// hostSide answers what a sandbox would ask its host.
type hostSide = *testhost.Host

// give copies an answer if there is room for it, and returns its length, as imports do.
func give(into, value []byte, e abi.Errno) int32 {
	if e != abi.OK {
		return int32(e)
	}
	if len(value) <= len(into) {
		copy(into, value)
	}
	return int32(len(value))
}

func (c *Context) beginEvent(index int) { c.host.Begin(index) }

func (c *Context) eventResult(index int, action abi.Action, delayMs uint32, message string) {
	c.host.Result(index, action, delayMs, message)
}

func (c *Context) appendEvents(stream string, expected int64, events []byte) int32 {
	return int32(c.host.Append(stream, expected, events))
}

func (c *Context) stateGet(key string, into []byte) int32 {
	value, e := c.host.Get(key)
	return give(into, value, e)
}

func (c *Context) statePut(key string, value []byte) int32 { return int32(c.host.Put(key, value)) }

func (c *Context) stateDelete(key string) int32 { return int32(c.host.Delete(key)) }

func (c *Context) stateScan(prefix, after string, limit int32, into []byte) int32 {
	page, e := c.host.Scan(prefix, after, int(limit), len(into))
	return give(into, page, e)
}

func (c *Context) streamRead(stream string, from int64, limit int32, into []byte) int32 {
	batch, e := c.host.ReadStream(stream, from, int(limit))
	return give(into, batch, e)
}

func (c *Context) configGet(name string, into []byte) int32 {
	value, e := c.host.ConfigOf(name)
	return give(into, value, e)
}

func (c *Context) secretGet(name string, into []byte) int32 {
	value, e := c.host.Secret(name)
	return give(into, value, e)
}

func (c *Context) httpCall(request, into []byte) int32 {
	response, e := c.host.Call(request)
	return give(into, response, e)
}

func (c *Context) fail(code int32, text string) {
	panic("failed with code " + strconv.Itoa(int(code)) + ": " + text)
}

func (c *Context) logLine(level Level, text string) { c.host.Log(level, text) }

func (c *Context) metric(kind abi.Kind, name string, value float64) int32 {
	return int32(c.host.Metric(kind, name, value))
}

func (c *Context) nowMicros() int64 { return c.host.Now() }

func (c *Context) random(p []byte) { c.host.Random(p) }
