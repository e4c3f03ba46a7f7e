package effects

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Batch is a batch for a handler. The zero Batch is ready to use.
type Batch struct {
	Events []core.Event
	writer abi.BatchWriter
	fields []byte // scratch
}

// Compose makes the batch of as many of n events, from the first, as fit one. raw returns the
// one at an index, encoded, which is not to change before the batch is done with. The first is
// attempted for the given time. A failure is that of the first event, which fits none.
func (b *Batch) Compose(n int, raw func(i int) []byte, attempt int, flags abi.Flag) (int, *Failure) {
	for {
		fit, err := b.encode(n, raw, attempt, flags)
		switch {
		case err == nil:
			return n, nil
		case fit == 0:
			return 1, newFailure(Failure{Reason: err.Error(), Park: true})
		}
		n = fit
	}
}

// encode encodes the batch. It returns how many events it could encode, and why not all.
func (b *Batch) encode(n int, raw func(i int) []byte, attempt int, flags abi.Flag) (fit int, err error) {
	b.Events = b.Events[:0]
	for i := range n {
		var e core.Event
		if _, err := core.DecodeEvent(raw(i), &e); err != nil {
			return i, err
		}
		b.Events = append(b.Events, e)
	}
	now := b.Events[n-1].Recorded.UnixMicro()
	b.writer.Reset(now, uint32(attempt), 0)
	for i := range b.Events {
		if err := b.add(&b.Events[i], attempt, flags); err != nil {
			return i, fmt.Errorf("event %d cannot be handed to a plugin: %w", b.Events[i].Position, err)
		}
		attempt = 1 // those behind the first are not begun
	}
	return n, nil
}

func (b *Batch) add(e *core.Event, attempt int, flags abi.Flag) error {
	out := EventOf(e, b.fields[:0])
	out.Attempt, out.Flags = uint32(attempt), out.Flags|flags
	b.fields = out.Fields
	return b.writer.Add(&out)
}

// Start makes a handler whose effects are staged. The failure says that it has not begun.
func (x *Stage) Start(ctx context.Context, p plugins.Program) (plugins.Handler, *Failure) {
	x.reset(ctx, nil)
	x.noSecret = false
	handler, err := p.New(ctx, plugins.Connection{Limits: x.terms.binding.Limits, Seed: x.terms.seed(), Effects: x, Reads: x, Output: reports{x}})
	switch {
	case ctx.Err() != nil:
		if err == nil {
			handler.Close()
		}
		return nil, &Failure{Storage: ctx.Err()}
	case err != nil:
		f := x.mask.failure(crashed(err))
		f.NotBegun = true
		return nil, f
	}
	return handler, nil
}

// Handle has a handler, which Start has made, handle a batch. It returns how many events, from
// the first, are to be acknowledged with their effects, why not all of them, if so, and the fuel
// that was used.
func (x *Stage) Handle(ctx context.Context, h plugins.Handler, b *Batch) (done int, fuel int64, f *Failure) {
	x.reset(ctx, b.Events)
	x.steps.begin(len(b.Events) == 1)
	verdict, fuel, err := Call(ctx, h, b.writer.Bytes())
	switch {
	case ctx.Err() != nil:
		return 0, fuel, &Failure{Storage: ctx.Err()}
	case x.storage != nil:
		return 0, fuel, &Failure{Storage: x.storage}
	case err != nil && x.broken != nil && len(b.Events) == 1: // as a verdict other than done
		return 0, fuel, x.mask.failure(x.explain(x.broken))
	case err != nil:
		return 0, fuel, x.mask.failure(x.explain(crashed(err)))
	}
	if done, f = x.outcome(verdict); f != nil {
		f = x.mask.failure(x.explain(f))
	}
	return done, fuel, f
}

// Call calls a handler. One in Go that panics has crashed, and nothing else with it.
func Call(ctx context.Context, h plugins.Handler, batch []byte) (verdict abi.Verdict, fuel int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &plugins.Failure{Reason: "panicked", Detail: fmt.Sprint(p), Stack: string(debug.Stack())}
		}
	}()
	return h.Handle(ctx, batch)
}
