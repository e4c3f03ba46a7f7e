package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// The exit codes. The root command's help documents them.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitDenied      = 5
	exitUnavailable = 6
	exitTimeout     = 7
	exitNotClean    = 8
	exitInterrupted = 130
)

// exitCodes maps the classes of the error catalogue.
var exitCodes = map[core.Class]int{
	core.ClassOther:       exitOther,
	core.ClassUsage:       exitUsage,
	core.ClassNotFound:    exitNotFound,
	core.ClassConflict:    exitConflict,
	core.ClassDenied:      exitDenied,
	core.ClassUnavailable: exitUnavailable,
	core.ClassTimeout:     exitTimeout,
	core.ClassNotClean:    exitNotClean,
	core.ClassInterrupted: exitInterrupted,
}

// usageError is a command line that is not valid.
type usageError struct {
	detail string
	try    string
}

func (e *usageError) Error() string { return e.detail }

// usagef starts a usageError with what to try instead.
func usagef(try string, args ...any) *usageError {
	return &usageError{try: fmt.Sprintf(try, args...)}
}

// because completes a usageError.
func (e *usageError) because(detail string, args ...any) error {
	e.detail = fmt.Sprintf(detail, args...)
	return e
}

// advised is an error with better advice than the catalogue's.
type advised struct {
	error
	try string
}

func (e *advised) Unwrap() error { return e.error }

// lateError is an error whose reason is a deadline. Its code says what became of the work;
// its exit code is that of a timeout.
type lateError struct{ error }

func (e *lateError) Unwrap() error { return e.error }

// failure is an error as it is reported.
type failure struct {
	*wire.Error        // as the API's problem documents have it
	exit        int    // code
	words       string // for a person
}

// report prints err and returns the exit code for it.
func (a *app) report(ctx context.Context, err error) int {
	f := failureOf(ctx, err)
	if a.output == asJSON || a.output == asNDJSON {
		text, err := wire.Marshal(f.Error)
		if err == nil {
			f.words = string(text) + "\n"
		}
	}
	fmt.Fprint(a.stderr, f.words)
	return f.exit
}

func failureOf(ctx context.Context, err error) failure {
	var usage *usageError
	var coded *core.Error
	switch {
	case errors.As(err, &usage):
		e := wire.NewError(core.Errorf(core.CodeInvalidRequest, "%s", usage.detail))
		e.Fix = usage.try
		return failure{e, exitUsage, fmt.Sprintf("Error: %s\nTry: %s\n", e.Detail, e.Fix)}
	case ctx.Err() != nil && errors.Is(err, core.CodeUnknownOutcome):
		f := codedFailure(err)
		f.exit = exitInterrupted
		return f
	case ctx.Err() != nil:
		// Whatever the error says, its reason is the signal.
		e := wire.NewError(core.Errorf(core.CodeCanceled, "interrupted"))
		return failure{e, exitInterrupted, "Interrupted.\n"}
	case errors.As(err, &coded) || errors.Is(err, context.DeadlineExceeded):
		return codedFailure(err)
	}
	e := wire.NewError(err)
	e.Detail, e.Fix = err.Error(), "" // it is ours: there is nothing to hide, and no server's log
	return failure{e, exitOther, fmt.Sprintf("Error: %s\n", e.Detail)}
}

// codedFailure is for an error of the catalogue.
func codedFailure(err error) failure {
	coded := core.AsError(err)
	e := wire.NewError(coded)
	var better *advised
	if errors.As(err, &better) {
		e.Fix = better.try
	}
	e.Detail = detailOf(err, coded)
	exit := exitCodes[coded.Info().Class]
	var late *lateError
	if errors.As(err, &late) {
		exit = exitTimeout
	}
	return failure{e, exit, fmt.Sprintf("Error: %s\nTry: %s\nMore: gyre explain %s\n", e.Detail, e.Fix, e.Code)}
}

// adviseHelp returns err with the advice to read the help of its command, if it is invalid_request
// without advice of its own. That of the catalogue is about the API.
func adviseHelp(command string, err error) error {
	var better *advised
	var usage *usageError
	if core.AsError(err).Code != core.CodeInvalidRequest || errors.As(err, &better) || errors.As(err, &usage) {
		return err
	}
	return &advised{err, command + " --help"}
}

// detailOf returns the text of err without its code, which is printed beside it.
func detailOf(err error, coded *core.Error) string {
	switch e := err.(type) {
	case *core.Error:
		return e.Detail
	case *advised:
		return detailOf(e.error, coded)
	case *lateError:
		return detailOf(e.error, coded)
	case *lineError:
		return fmt.Sprintf("%s: %s", e.where(), coded.Detail)
	}
	return err.Error()
}
