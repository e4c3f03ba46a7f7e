package plugin

import (
	"runtime"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

// Judge is a function that judges events, one by one, and has no effects: a FilterFunc, a MapFunc,
// a PartitionFunc or a ValidateFunc.
type Judge interface {
	judge(p *Pure, e *Event) (abi.Action, string)
}

// FilterFunc says whether a subscription delivers an event. An event that it returns an error for
// is parked with the error's text; so is one that it panics on.
type FilterFunc func(p *Pure, e *Event) (keep bool, err error)

// MapFunc returns the data that a subscription delivers instead of an event's: JSON, of at most
// 1 MiB with the metadata. Errors and panics are as in FilterFunc.
type MapFunc func(p *Pure, e *Event) (data []byte, err error)

// PartitionFunc returns the partition key of an event: UTF-8 of at most 1 KiB. Errors and panics
// are as in FilterFunc.
type PartitionFunc func(p *Pure, e *Event) (key string, err error)

// ValidateFunc says whether an event may be appended. It is refused with the text of the error.
type ValidateFunc func(p *Pure, e *Event) error

// Pure is what a Judge may ask and say. It judges an event the same way each time: it knows the
// event and its configuration, and nothing else.
type Pure struct{ context *Context }

// Config returns a member of the configuration, which is that of the manifest, or all of it for an
// empty name. It is missing if the configuration has none.
func (p *Pure) Config(name string) json.Value { return p.context.Config(name) }

// Log logs the lines of a text, as Context.Log does.
func (p *Pure) Log(level Level, text string) { p.context.Log(level, text) }

func (f FilterFunc) judge(p *Pure, e *Event) (abi.Action, string) {
	keep, err := f(p, e)
	switch {
	case err != nil:
		return unjudged(err)
	case !keep:
		return abi.Skip, ""
	}
	return abi.Ack, ""
}

func (f MapFunc) judge(p *Pure, e *Event) (abi.Action, string) {
	data, err := f(p, e)
	if err != nil {
		return unjudged(err)
	}
	return abi.Ack, text(data)
}

func (f PartitionFunc) judge(p *Pure, e *Event) (abi.Action, string) {
	key, err := f(p, e)
	if err != nil {
		return unjudged(err)
	}
	return abi.Ack, key
}

func (f ValidateFunc) judge(p *Pure, e *Event) (abi.Action, string) {
	if err := f(p, e); err != nil {
		return unjudged(err)
	}
	return abi.Ack, ""
}

// unjudged is the result of an event that a Judge returns an error for.
func unjudged(err error) (abi.Action, string) { return abi.Park, clipped(err.Error()) }

// clipped is a message that the host takes.
func clipped(message string) string { return message[:min(len(message), abi.MaxMessageBytes)] }

// runJudge judges the events of a batch. The batch fails at the first that j panics on: the host
// judges the others in another instance.
func (c *Context) runJudge(j Judge, bytes []byte) abi.Verdict {
	batch, err := abi.OpenBatch(bytes)
	for i := 0; err == nil; i++ {
		var from abi.Event
		var ok bool
		if ok, err = batch.Next(&from); !ok {
			break
		}
		c.beginEvent(i)
		c.event.set(&from)
		action, message, panicked := c.judgeEvent(j)
		c.eventResult(i, action, 0, message)
		if panicked {
			return failed
		}
	}
	if err != nil {
		c.Log(Error, err.Error())
		return failed
	}
	return abi.Done
}

// judgeEvent judges the current event. The stack of a panic is logged.
func (c *Context) judgeEvent(j Judge) (action abi.Action, message string, panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			stack := make([]byte, stackBytes)
			c.Log(Error, string(stack[:runtime.Stack(stack, false)]))
			action, message, panicked = abi.Park, clipped("panic: "+textOfPanic(p)), true
		}
	}()
	action, message = j.judge(&Pure{c}, &c.event)
	return action, message, false
}
