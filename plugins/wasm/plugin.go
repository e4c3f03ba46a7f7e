package wasm

import (
	"context"
	"errors"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Plugin returns p as a plugins.Program.
func (p *Program) Plugin() plugins.Program { return plugin{p} }

type plugin struct{ *Program }

// New is plugins.Program.New.
func (p plugin) New(ctx context.Context, c plugins.Connection) (plugins.Handler, error) {
	l := &c.Limits
	config := Config{
		Limits:  Limits{MemoryBytes: l.MemoryBytes, Fuel: l.Fuel, Time: l.Time(), InitTime: l.InitTime()},
		Seed:    c.Seed,
		Effects: c.Effects, Reads: c.Reads, Output: c.Output,
	}
	if p.isCommand() {
		if err := p.checkMemory(&config.Limits); err != nil {
			return nil, failure(ctx, err, true)
		}
		return &command{program: p.Program, config: config}, nil
	}
	instance, err := p.Program.New(ctx, config)
	if err != nil {
		return nil, failure(ctx, err, true)
	}
	return &pluginHandler{instance: instance, fresh: true}, nil
}

// pluginHandler is the plugins.Handler of an instance.
type pluginHandler struct {
	instance *Instance
	fresh    bool // it has handled nothing
}

// Handle is plugins.Handler.Handle.
func (h *pluginHandler) Handle(ctx context.Context, batch []byte) (abi.Verdict, int64, error) {
	verdict, fuel, err := h.instance.Call(ctx, batch)
	if err != nil {
		err = failure(ctx, err, h.fresh)
	}
	h.fresh = false
	return verdict, fuel, err
}

// MemoryBytes is plugins.Handler.MemoryBytes.
func (h *pluginHandler) MemoryBytes() int64 { return int64(h.instance.MemoryBytes()) }

// Close is plugins.Handler.Close.
func (h *pluginHandler) Close() { h.instance.Close() }

// failure returns the plugins.Failure of a trap. The end of ctx is none, nor is an error that
// is not of the guest.
//
// A guest does the same with the same batch if it has seen nothing before. So a fresh one that
// used up its fuel, passed memory that it does not have, or wrote no effect, does so each time. One that
// crashed may have read other streams by then; one that was late may have been on a busy
// machine.
func failure(ctx context.Context, err error, fresh bool) error {
	var trap *Trap
	switch {
	case !errors.As(err, &trap):
		return err
	case trap.Reason == Canceled && ctx.Err() != nil:
		return core.AsError(context.Cause(ctx))
	case trap.Reason == HostFull:
		return err
	}
	again := trap.Reason == OutOfFuel || trap.Reason == OutOfMemory || trap.Reason == OutOfBounds || trap.Reason == BadOutput
	return &plugins.Failure{
		Reason: string(trap.Reason), Detail: trap.Detail, Stack: trap.Stack,
		Permanent: again && fresh, Late: trap.Reason == TimedOut, Limit: trap.Reason.code() == core.CodePluginLimit,
	}
}
