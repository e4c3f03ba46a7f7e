package plugin

import (
	"runtime"

	"github.com/gyre-events/gyre/plugins/abi"
)

// Handler handles one event. The context and the event are valid until it returns.
type Handler func(c *Context, e *Event) error

// failed is the verdict of a batch that cannot be read.
const failed abi.Verdict = -1

// run handles a batch, event by event, up to the first that is not done: what the events
// before it did is committed, and the host goes on with that event in another instance.
func (c *Context) run(h Handler, bytes []byte) abi.Verdict {
	batch, err := abi.OpenBatch(bytes)
	for i := 0; err == nil; i++ {
		var from abi.Event
		var ok bool
		if ok, err = batch.Next(&from); !ok {
			break
		}
		c.beginEvent(i)
		c.event.set(&from)
		if problem := c.handle(h); problem != nil {
			if verdict, done := c.decide(i, resultOf(problem)); done {
				return verdict
			}
		}
	}
	if err != nil {
		c.Log(Error, err.Error())
		return failed
	}
	return abi.Done
}

// decide tells the host the result of an event. done is whether the batch ends with it.
func (c *Context) decide(event int, r *result) (verdict abi.Verdict, done bool) {
	if r.stop {
		c.Log(Error, r.reason)
		return abi.Stop, true
	}
	delay := min(max(r.after.Milliseconds(), 0), maxDelayMs)
	c.eventResult(event, r.action, uint32(delay), clipped(r.reason))
	return abi.Done, r.action != abi.Skip
}

const maxDelayMs = 1<<32 - 1

// stackBytes is how much of a panic's stack is logged.
const stackBytes = 4 << 10

// handle calls the handler. A panic is an error, and its stack is logged.
func (c *Context) handle(h Handler) (err error) {
	if h == nil {
		return Stop("no handler is registered: call plugin.Handle in an init function")
	}
	defer func() {
		if p := recover(); p != nil {
			stack := make([]byte, stackBytes)
			c.Log(Error, string(stack[:runtime.Stack(stack, false)]))
			err = &result{action: abi.Retry, reason: "panic: " + textOfPanic(p)}
		}
	}()
	return h(c, &c.event)
}

func textOfPanic(p any) string {
	switch p := p.(type) {
	case error:
		return p.Error()
	case string:
		return p
	case interface{ String() string }:
		return p.String()
	}
	return "of a type without text"
}
