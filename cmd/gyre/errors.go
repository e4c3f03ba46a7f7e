package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gyre-events/gyre/core"
)

// The exit codes. They are documented in the root command's help.
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

// usageError is a command line that makes no sense.
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

// advised is an error for which there is better advice than the catalogue's.
type advised struct {
	error
	try string
}

func (e *advised) Unwrap() error { return e.error }

// report prints err and returns the exit code for it.
func (a *app) report(ctx context.Context, err error) int {
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(a.stderr, "Error: %s\nTry: %s\n", usage.detail, usage.try)
		return exitUsage
	}
	if ctx.Err() != nil {
		// Whatever the error says, its reason is the signal.
		fmt.Fprintln(a.stderr, "Interrupted.")
		return exitInterrupted
	}
	var coded *core.Error
	if !errors.As(err, &coded) {
		if !errors.Is(err, context.DeadlineExceeded) {
			fmt.Fprintf(a.stderr, "Error: %v\n", err)
			return exitOther
		}
		coded = core.AsError(err)
	}
	info := coded.Info()
	try := info.Fix
	var better *advised
	if errors.As(err, &better) {
		try, err = better.try, better.error
	}
	fmt.Fprintf(a.stderr, "Error: %s\nTry: %s\nMore: gyre explain %s\n", detailOf(err, coded), try, coded.Code)
	return exitCodes[info.Class]
}

// detailOf is what err says, without the code that the last line names.
func detailOf(err error, coded *core.Error) string {
	if direct, ok := err.(*core.Error); ok {
		return direct.Detail
	}
	var at *lineError
	if errors.As(err, &at) {
		return fmt.Sprintf("%s: %s", at.where(), coded.Detail)
	}
	return err.Error()
}
