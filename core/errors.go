package core

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Error is every error that Gyre answers. Its Code is from the catalogue
// (catalogue.go) and is what callers branch on; Detail says what happened,
// with values. The other fields are set where the code has use for them.
//
// Test with errors.Is(err, core.CodeStreamNotFound), or read the fields
// through errors.As.
type Error struct {
	Code   Code
	Detail string

	Stream   string  // the stream it is about
	Expected *Expect // of wrong_expected_version and record_conflict
	Actual   *uint64 // version or revision, of the same
	EventID  ID      // of duplicate_event, event_not_found
	Element  *int    // which append, check or record of a Commit, counted on in that order from 0
	Limit    int64   // of the *_too_large and too_many_* codes
	Offset   *int64  // in the log file, of store_corrupt

	Positions []uint64 // of unexpected_ack

	cause error
}

// Error is the code and the detail.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Unwrap gives the error below, for the logs of the server: it never crosses
// the wire.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is(err, code) work.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// Info is the catalogue's entry of e's code.
func (e *Error) Info() CodeInfo { return e.Code.Info() }

// Errorf makes an Error of a code. %w verbs keep their causes.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Detail: err.Error()}
	switch err.(type) {
	case interface{ Unwrap() error }, interface{ Unwrap() []error }:
		e.cause = err
	}
	return e
}

// AsError is err as an Error: itself where it is one, the deadline and cancel
// codes for those of a context, else internal, with err as its cause and
// nothing of it in the detail.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeTimeout, Detail: "the deadline passed before the answer was there", cause: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeCanceled, Detail: "the caller gave up", cause: err}
	}
	return &Error{Code: CodeInternal, Detail: "an unexpected error; the server's log has the rest", cause: err}
}

// NewWrongVersion is the answer to an expectation that does not hold; engines
// use it.
func NewWrongVersion(stream string, expected Expect, actual uint64) *Error {
	e := Errorf(CodeWrongExpectedVersion, "stream %q is at version %d, expected %s", clip(stream), actual, expected)
	e.Stream, e.Expected, e.Actual = stream, &expected, &actual
	return e
}

// NewDuplicateEvent is the answer to an id that is known in another place,
// order or company than the Commit's; engines use it.
func NewDuplicateEvent(stream string, id ID) *Error {
	e := Errorf(CodeDuplicateEvent, "event id %s, sent for stream %q, is already in the log, but not as part of this append", id, clip(stream))
	e.Stream, e.EventID = stream, id
	return e
}

// NewDuplicateLink is the answer to a link to an event that is in the stream already,
// and not by an earlier try of the Commit; engines use it.
func NewDuplicateLink(stream string, id ID) *Error {
	e := Errorf(CodeDuplicateEvent, "event %s is in stream %q already, and a stream has an event once", id, clip(stream))
	e.Stream, e.EventID = stream, id
	return e
}

// NewLinkNotFound is the answer to a link to an event that is not in the log;
// engines use it.
func NewLinkNotFound(stream string, id ID) *Error {
	e := Errorf(CodeEventNotFound, "event %s, to be linked into stream %q, is not in the log", id, clip(stream))
	e.Stream, e.EventID = stream, id
	return e
}

// NewStaleEpoch is the answer to a Commit made under another epoch than the log's;
// engines use it.
func NewStaleEpoch(epoch, now uint64) *Error {
	return Errorf(CodeStaleEpoch, "the commit was made under epoch %d, the log is at epoch %d", epoch, now)
}

// NewStreamNotFound is the answer to a read of a stream without events.
func NewStreamNotFound(stream string) *Error {
	e := Errorf(CodeStreamNotFound, "stream %q has no events", clip(stream))
	e.Stream = stream
	return e
}

// clip shortens what a client sent for use in a message.
func clip(s string) string {
	const max = 80
	if len(s) <= max {
		return s
	}
	n := max
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
