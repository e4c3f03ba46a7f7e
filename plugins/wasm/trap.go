package wasm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Reason says why the host stopped a guest.
type Reason string

// The reasons.
const (
	OutOfFuel   Reason = "out of fuel"             // it used its budget
	TimedOut    Reason = "timed out"               // its deadline passed
	Canceled    Reason = "canceled"                // the caller gave up
	OutOfMemory Reason = "out of memory"           // it starts with more than its limit
	HostFull    Reason = "host is out of memory"   // the instances of the node have all that they may have
	OutOfBounds Reason = "out of bounds"           // it passed memory to the host that it does not have
	Failed      Reason = "failed"                  // it said so: fail, proc_exit, abort
	BadOutput   Reason = "wrote what is no effect" // as a command of stdio_1
	Crashed     Reason = "crashed"                 // its code trapped: unreachable, division by zero, stack overflow, …
	HostError   Reason = "error in the host"       // a defect of the host, not of the guest
	Discarded   Reason = "instance is discarded"   // the instance was used after its end
)

// code returns the error code of a Trap.
func (r Reason) code() core.Code {
	switch r {
	case OutOfFuel, TimedOut, OutOfMemory:
		return core.CodePluginLimit
	case OutOfBounds, Failed, BadOutput, Crashed:
		return core.CodePluginFailed
	case Canceled:
		return core.CodeCanceled
	case HostFull:
		return core.CodeOverloaded
	}
	return core.CodeInternal // HostError, Discarded
}

// Trap is the error of a call that did not return. Its instance is closed. It is a
// core.Error of the code plugin_failed, plugin_limit, canceled, overloaded or internal.
type Trap struct {
	Reason Reason
	Detail string // what the guest or the runtime says
	Stack  string // the functions of the guest, innermost first; may be empty
}

func (t *Trap) Error() string {
	text := "plugin " + string(t.Reason)
	if t.Detail != "" {
		text += ": " + t.Detail
	}
	return text
}

// Unwrap returns the core.Error.
func (t *Trap) Unwrap() error { return &core.Error{Code: t.Reason.code(), Detail: t.Error()} }

// stop ends the guest's call from inside an import.
func stop(reason Reason, format string, args ...any) {
	panic(&Trap{Reason: reason, Detail: fmt.Sprintf(format, args...)})
}

const (
	stackTitle = "\nwasm stack trace:\n"
	goStack    = "\n\nGo runtime stack trace:"
)

// trapOf makes a Trap of what the runtime returns.
func trapOf(err error) *Trap {
	text, stack, _ := strings.Cut(err.Error(), stackTitle)
	stack, _, isHost := strings.Cut(stack, goStack)
	trap := &Trap{Reason: Crashed, Detail: strings.TrimPrefix(text, "wasm error: ")}
	if stopped := new(Trap); errors.As(err, &stopped) {
		trap = &Trap{Reason: stopped.Reason, Detail: stopped.Detail}
	} else if isHost || strings.Contains(text, "(recovered by wazero)") {
		trap.Reason = HostError
	}
	trap.Stack = frames(stack)
	return trap
}
