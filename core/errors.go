package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Error is every error that Gyre returns. Callers branch on its Code, which is in the
// catalogue (catalogue.go). Detail says what happened, with values. The other fields
// are set if they apply to the code.
//
// Test with errors.Is(err, core.CodeStreamNotFound), or read the fields
// through errors.As.
type Error struct {
	Code   Code
	Detail string

	Stream   string  // the stream it is about
	Expected *Expect // of wrong_expected_version, record_conflict and progress_conflict
	Actual   *uint64 // version, revision or position, of the same
	EventID  ID      // of duplicate_event, event_not_found
	Element  *int    // index among the appends, checks, changes of streams and records of a Commit, in that order
	Limit    int64   // of the *_too_large and too_many_* codes
	Offset   *int64  // in the log file, of store_corrupt
	Epoch    uint64  // the newest that is known, of stale_epoch, not_owner and not_serving; 0 if none is
	// RetryAfter is when to try again, of overloaded and too_many_wrong_keys; 0 if that is not known.
	RetryAfter time.Duration

	Positions []uint64 // of unexpected_ack
	Versions  []uint64 // of unexpected_ack, where the events were named by versions
	// Known is set by duplicate_event. It has the events and links that their streams have
	// already, numbered from 0 over the Commit's Appends, in rising order.
	Known []int

	cause error
}

// Error returns the code and the detail.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Unwrap returns the cause, for the server's logs. It never crosses the wire.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is(err, code) work.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// Info returns the catalogue's entry of e's code.
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

// AsError returns err as an Error: itself if it is one, timeout or canceled for a
// context's error, else internal. An internal error has err as its cause, and nothing
// of it in the detail.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeTimeout, Detail: "the deadline passed before there was an answer", cause: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeCanceled, Detail: "the caller gave up", cause: err}
	}
	return &Error{Code: CodeInternal, Detail: "an unexpected error; the server's log has the rest", cause: err}
}

// NewWrongVersion makes the error of an expected version that does not hold, for engines.
func NewWrongVersion(stream string, expected Expect, actual uint64) *Error {
	e := Errorf(CodeWrongExpectedVersion, "stream %q is at version %d, expected %s", Clip(stream), actual, expected)
	e.Stream, e.Expected, e.Actual = stream, &expected, &actual
	return e
}

// newWrongIncarnation makes the error of a stream whose events are not of the expected incarnation.
// It says no versions: the stream may well be at the expected one.
func newWrongIncarnation(stream string, expected, actual uint32) *Error {
	e := Errorf(CodeWrongExpectedVersion, "stream %q is in incarnation %d, expected %d", Clip(stream), actual, expected)
	e.Stream = stream
	return e
}

// NewDuplicateEvent makes the error of an id that is known, but not as a part of the same
// append, for engines.
func NewDuplicateEvent(stream string, id ID) *Error {
	e := Errorf(CodeDuplicateEvent, "event id %s, sent for stream %q, is already in the log, but not as part of this append", id, Clip(stream))
	e.Stream, e.EventID = stream, id
	return e
}

// NewDuplicateLink makes the error of a link to an event that is in the stream, and not
// by an earlier try of the Commit, for engines.
func NewDuplicateLink(stream string, id ID) *Error {
	e := Errorf(CodeDuplicateEvent, "event %s is in stream %q already, and a stream has an event once", id, Clip(stream))
	e.Stream, e.EventID = stream, id
	return e
}

// NewEventNotFound makes the error of an id that no event has.
func NewEventNotFound(id ID) *Error {
	e := Errorf(CodeEventNotFound, "no event has the id %s", id)
	e.EventID = id
	return e
}

// NewLinkNotFound makes the error of a link to an event that is not in the log, for
// engines.
func NewLinkNotFound(stream string, id ID) *Error {
	e := Errorf(CodeEventNotFound, "event %s, to be linked into stream %q, is not in the log", id, Clip(stream))
	e.Stream, e.EventID = stream, id
	return e
}

// NewStaleEpoch makes the error of a Commit made under another epoch than the log's, for
// engines.
func NewStaleEpoch(epoch, now uint64) *Error {
	e := Errorf(CodeStaleEpoch, "the commit was made under epoch %d, the log is at epoch %d", epoch, now)
	e.Epoch = now
	return e
}

// NewStreamNotFound makes the error of a read of a stream without events.
func NewStreamNotFound(stream string) *Error {
	e := Errorf(CodeStreamNotFound, "stream %q has no events", Clip(stream))
	e.Stream = stream
	return e
}

// IsAbsent reports whether err is that a stream cannot be read because it has no events, is
// deleted, or is tombstoned.
func IsAbsent(err error) bool {
	return errors.Is(err, CodeStreamNotFound) || errors.Is(err, CodeStreamDeleted) || errors.Is(err, CodeStreamTombstoned)
}

// Clip shortens what a client sent for use in a message.
func Clip(s string) string { return ClipTo(s, 80) }

// ClipTo shortens a text to most bytes, and makes it valid UTF-8.
func ClipTo(s string, most int) string {
	end := ""
	if len(s) > most {
		for most > 0 && !utf8.RuneStart(s[most]) {
			most--
		}
		s, end = s[:most], "…"
	}
	return strings.ToValidUTF8(s, "�") + end
}
