package effects

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/outside"
)

// Outside is what a node has for handlers beside the store. It is safe for concurrent use.
type Outside interface {
	// Secret returns a secret of the node.
	Secret(name string) (value string, ok bool)
	// Call sends a request to another server.
	Call(ctx context.Context, r *outside.Request) (*outside.Response, error)
}

// maxCalls bounds the calls of a batch.
const maxCalls = 16

// Reach lets handlers reach what is outside of the store. Without it they are told that it is
// unsupported: whoever runs them wants no more than their effects.
func (x *Stage) Reach(o Outside) { x.outside = o }

// Withheld reports whether a handler without an outside has asked for it at an event of the batch, so that
// what it did is not what it would do. A secret counts for all events of the handler: it may be kept.
func (x *Stage) Withheld(event int) bool { return x.noSecret || slices.Contains(x.withheld, event) }

// Secret is plugins.Reads'. What it returns is masked from then on where the handler says it.
func (x *Stage) Secret(key []byte) ([]byte, abi.Errno) {
	name := string(key)
	if e := x.grants(plugins.CanReadSecret, "to read secret ", name); e != abi.OK {
		return nil, e
	}
	if x.outside == nil {
		x.noSecret = true
		return nil, abi.Unsupported
	}
	value, ok := x.outside.Secret(name)
	if !ok {
		x.out.Log(abi.Error, plugins.Line("this node does not have the secret "+name+": add it to the file of --plugin-secrets-file"))
		return nil, x.refuse(abi.NotFound, "this node does not have the secret %s", name)
	}
	x.mask.add(value)
	return []byte(value), abi.OK
}

// calls counts the calls of a batch.
type calls struct {
	made    int
	event   int // of the last one
	ordinal int // of the next one of that event
}

// next counts a call for an event, and returns its ordinal there.
func (c *calls) next(event int) int {
	if event != c.event {
		c.event, c.ordinal = event, 0
	}
	c.made++
	c.ordinal++
	return c.ordinal - 1
}

// HTTP is plugins.Reads'. A call is made at least once: again if the batch is handled again, with
// the same key. It is unsupported for an event whose appends are held back: another generation
// has made the call.
func (x *Stage) HTTP(event int, request []byte, within time.Duration) ([]byte, abi.Errno) {
	if event < 0 || event >= len(x.sources) || x.isBehind(event) {
		return nil, abi.Invalid
	}
	r, err := outside.Decode(request)
	if err != nil {
		return nil, x.refuse(abi.Invalid, "%v", err)
	}
	granted, private := x.terms.grants.Calls(r.Server)
	source := &x.sources[event]
	switch {
	case !granted:
		return nil, x.grants(plugins.CanCallHTTP, "to call ", r.Server)
	case x.outside == nil:
		if !slices.Contains(x.withheld, event) {
			x.withheld = append(x.withheld, event)
		}
		return nil, abi.Unsupported
	case x.ground.HoldsBack(source.Position):
		return nil, abi.Unsupported
	case x.calls.made == maxCalls:
		return nil, x.refuse(abi.Quota, "a batch makes at most %d calls of other servers", maxCalls)
	}
	r.Private, r.Key = private, x.terms.callKey(source.ID, x.calls.next(event))
	ctx, cancel := context.WithTimeout(x.ctx, within)
	defer cancel()
	response, err := x.outside.Call(ctx, r)
	if err != nil {
		return nil, x.notCalled(r, err)
	}
	return response.Encode(), abi.OK
}

// notCalled says why a call has failed.
func (x *Stage) notCalled(r *outside.Request, err error) abi.Errno {
	why := fmt.Sprintf("%s %s failed: %v", r.Method, r.Server, err)
	e := abi.IO
	switch {
	case errors.Is(err, outside.ErrPrivate):
		e, why = abi.Denied, why+fmt.Sprintf("; a grant of http:%s/private would allow it", r.Server)
	case errors.Is(err, outside.ErrTooLarge):
		e = abi.TooLarge
	}
	reports{x}.Log(abi.Warn, plugins.Line(why))
	return x.refuse(e, "%s", why)
}
