package effects

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Asker has a plugin answer queries. The plugin reads the state of the Ground and its config, and
// is denied everything else. An Asker belongs to one goroutine.
type Asker struct {
	stage   *Stage
	program plugins.Program
	handler plugins.Handler // nil before it is started, and after a failure
	said    said

	action abi.Action
	answer []byte
	size   int // of the answer that was given; -1 if there was none
}

// NewAsker returns an Asker on the terms of a binding. The program, which it does not close, is one
// that is handed queries.
func NewAsker(terms *Terms, ground Ground, program plugins.Program) *Asker {
	a := &Asker{program: program}
	a.stage = NewStage(terms, ground, &a.said)
	return a
}

// Ask asks one query. The errors are plugin_failed, plugin_limit, overloaded, that of the end of
// ctx and those of the Ground.
func (a *Asker) Ask(ctx context.Context, query []byte) ([]byte, error) {
	a.stage.reset(ctx, nil)
	a.said, a.action, a.size = said{}, abi.Ack, -1
	if a.handler == nil {
		b := a.stage.terms.binding
		handler, err := a.program.New(ctx, plugins.Connection{Limits: b.Limits, Seed: a.stage.terms.seed(), Effects: a, Reads: a, Output: &a.said})
		if err != nil {
			return nil, a.failed(ctx, "does not start", err)
		}
		a.handler = handler
	}
	verdict, _, err := Call(ctx, a.handler, query)
	if err == nil && ctx.Err() == nil && verdict == abi.Done && a.size >= 0 && a.size <= abi.MaxAnswerBytes && a.stage.storage == nil {
		return a.answer, nil
	}
	a.Close()
	switch {
	case err != nil || ctx.Err() != nil || a.stage.storage != nil:
		return nil, a.failed(ctx, "failed", err)
	case a.size > abi.MaxAnswerBytes:
		return nil, core.Errorf(core.CodePluginLimit, "the answer has %d bytes, at most %d are allowed", a.size, abi.MaxAnswerBytes)
	case a.action == abi.Park:
		return nil, core.Errorf(core.CodePluginFailed, "the query failed: %s%s", plugins.Line(string(a.answer)), &a.said)
	case verdict == abi.Done:
		return nil, core.Errorf(core.CodePluginFailed, "%s returned without an answer%s", abi.Query, &a.said)
	}
	return nil, core.Errorf(core.CodePluginFailed, "%s returned %d%s", abi.Query, verdict, &a.said)
}

// failed is the error of a plugin that has not answered.
func (a *Asker) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return core.AsError(ctx.Err())
	}
	if a.stage.storage != nil {
		return a.stage.storage
	}
	why, isFailure := errors.AsType[*plugins.Failure](err)
	if !isFailure {
		return err
	}
	code := core.CodePluginFailed
	if why.Limit {
		code = core.CodePluginLimit
	}
	return core.Errorf(code, "the query %s: %s%s", what, why.Line(), &a.said)
}

// Close frees the handler. The next query starts another.
func (a *Asker) Close() {
	if a.handler != nil {
		a.handler.Close()
	}
	a.handler = nil
}

// MemoryBytes is how much memory the handler has.
func (a *Asker) MemoryBytes() int64 {
	if a.handler == nil {
		return 0
	}
	return a.handler.MemoryBytes()
}

// Begin is plugins.Effects'.
func (*Asker) Begin(int) {}

// Result is plugins.Effects'. Acknowledged is the answer, and parked why there is none.
func (a *Asker) Result(_ int, action abi.Action, _ time.Duration, message []byte) abi.Errno {
	if action != abi.Ack && action != abi.Park {
		return abi.Invalid
	}
	if a.size = len(message); a.size > abi.MaxAnswerBytes {
		return abi.TooLarge
	}
	a.action, a.answer = action, append([]byte(nil), message...)
	return abi.OK
}

// A query has no effects.

// Append is plugins.Effects'.
func (*Asker) Append(int, []byte, int64, []byte) abi.Errno { return abi.Denied }

// Put is plugins.Effects'.
func (*Asker) Put(int, []byte, []byte) abi.Errno { return abi.Denied }

// Delete is plugins.Effects'.
func (*Asker) Delete(int, []byte) abi.Errno { return abi.Denied }

// Get is plugins.Reads'.
func (a *Asker) Get(key []byte) ([]byte, abi.Errno) { return a.stage.Get(key) }

// Scan is plugins.Reads'.
func (a *Asker) Scan(prefix, after []byte, limit, size int) ([]byte, abi.Errno) {
	return a.stage.Scan(prefix, after, limit, size)
}

// Config is plugins.Reads'.
func (a *Asker) Config(key []byte) ([]byte, abi.Errno) { return a.stage.Config(key) }

// ReadStream is plugins.Reads'. It is denied: the answer is made from the state.
func (*Asker) ReadStream([]byte, int64, int) ([]byte, abi.Errno) { return nil, abi.Denied }

// Secret is plugins.Reads'. It is denied.
func (*Asker) Secret([]byte) ([]byte, abi.Errno) { return nil, abi.Denied }

// HTTP is plugins.Reads'. It is denied.
func (*Asker) HTTP(int, []byte, time.Duration) ([]byte, abi.Errno) { return nil, abi.Denied }

// said is the plugins.Output of a query: the last line is for the error, if there is one.
type said struct{ last string }

// At is Output's. A query is about no event.
func (*said) At(uint64) {}

// Log is plugins.Output's.
func (s *said) Log(level abi.Level, line []byte) {
	if level >= abi.Warn {
		s.last = string(line)
	}
}

// Metric is plugins.Output's. Only handlers have metrics.
func (*said) Metric(abi.Kind, []byte, float64) abi.Errno { return abi.Denied }

// String is what an error ends with.
func (s *said) String() string {
	if s.last == "" {
		return ""
	}
	return fmt.Sprintf("; it has logged: %s", s.last)
}
