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
func (c *Context) run(h Handler, bytes []byte) (verdict abi.Verdict) {
	batch, err := abi.OpenBatch(bytes)
	i := 0
	// A panic is an error of the event, behind which the batch ends.
	defer func() {
		if p := recover(); p != nil {
			stack := make([]byte, stackBytes)
			c.Log(Error, string(stack[:runtime.Stack(stack, false)]))
			verdict, _ = c.decide(i, &result{action: abi.Retry, reason: "panic: " + textOfPanic(p)})
		}
	}()
	if h == nil {
		h = unregistered
	}
	var from abi.Event
	for ; err == nil; i++ {
		var ok bool
		if ok, err = batch.Next(&from); !ok {
			break
		}
		c.beginEvent(i)
		c.event.set(&from)
		if problem := h(c, &c.event); problem != nil {
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

// unregistered handles events where no handler is registered.
func unregistered(*Context, *Event) error {
	return Stop("no handler is registered: call plugin.Handle in an init function")
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
