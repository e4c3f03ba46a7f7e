package plugin

import (
	"errors"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
)

// The errors of a Context's methods, for errors.Is.
var (
	ErrInvalid     error = abi.Invalid     // an argument, such as a key that is empty or not UTF-8
	ErrDenied      error = abi.Denied      // the binding does not grant it
	ErrTooLarge    error = abi.TooLarge    // a key, a value or an event
	ErrNotFound    error = abi.NotFound    // the stream, or the secret
	ErrIO          error = abi.IO          // the other server gave no response
	ErrQuota       error = abi.Quota       // effects of the batch, or state of the binding
	ErrConflict    error = abi.Conflict    // the stream is at another version
	ErrUnsupported error = abi.Unsupported // here: a dry run or a rebuild calls no other server
)

// result is an error that decides about an event.
type result struct {
	action abi.Action
	stop   bool
	after  time.Duration
	reason string
}

func (r *result) Error() string { return r.reason }

// Skip passes an event over: it is done, and counted as skipped.
var Skip error = &result{action: abi.Skip, reason: "skipped"}

// Retry drops what the handler did for the event. It is tried again after a time, or after the
// backoff of the binding if that is 0.
func Retry(after time.Duration, reason string) error {
	return &result{action: abi.Retry, after: after, reason: reason}
}

// Park drops what the handler did for the event and sets it aside with the reason, until
// somebody replays or drops it. Those after it go on.
func Park(reason string) error { return &result{action: abi.Park, reason: reason} }

// Stop drops what the handler did for the batch, and stops the binding until somebody resumes it.
func Stop(reason string) error { return &result{stop: true, reason: reason} }

// resultOf returns what err decides: the result that it is or wraps, with the text of err.
func resultOf(err error) *result {
	r := new(result)
	if !errors.As(err, &r) {
		return &result{action: abi.Retry, reason: err.Error()}
	}
	decided := *r
	decided.reason = err.Error()
	return &decided
}
