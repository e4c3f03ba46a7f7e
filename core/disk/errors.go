package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/gyre-events/gyre/core"
)

// diskError is for what the system refuses during a long piece of work. err is its cause.
func diskError(err error) error {
	var known *core.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return core.AsError(err)
	case isFull(err):
		return core.Errorf(core.CodeStoreFull, "%w", withoutPath{err})
	}
	return core.Errorf(core.CodeUnavailable, "the disk answered: %w", withoutPath{err})
}

// withoutPath is an error whose text is its reason.
type withoutPath struct{ error }

func (e withoutPath) Error() string { return reason(e.error) }
func (e withoutPath) Unwrap() error { return e.error }

// reason is what the operating system said, without the path it said it of.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Op + ": " + p.Err.Error()
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Op + ": " + l.Err.Error()
	}
	return err.Error()
}

func errorsIsAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
