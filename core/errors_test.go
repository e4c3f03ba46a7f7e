package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestErrorsAreTheirCode(t *testing.T) {
	err := error(NewStreamNotFound("a"))
	wrapped := fmt.Errorf("read: %w", err)
	for _, e := range []error{err, wrapped} {
		if !errors.Is(e, CodeStreamNotFound) || errors.Is(e, CodeNotFound) {
			t.Errorf("%v is stream_not_found: %v, not_found: %v", e, errors.Is(e, CodeStreamNotFound), errors.Is(e, CodeNotFound))
		}
		var typed *Error
		if !errors.As(e, &typed) || typed.Stream != "a" {
			t.Errorf("%v as an Error: %+v", e, typed)
		}
	}
	if got, want := err.Error(), `stream_not_found: stream "a" has no events`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestErrorsCarryWhatTheyAreAbout(t *testing.T) {
	id := NewID()
	if e := NewWrongVersion("a", NoStream, 7); *e.Expected != NoStream || *e.Actual != 7 || e.Stream != "a" ||
		e.Detail != `stream "a" is at version 7, expected no_stream` {
		t.Errorf("%+v", e)
	}
	if e := NewDuplicateEvent("a", id); e.EventID != id || e.Stream != "a" || !strings.Contains(e.Detail, id.String()) {
		t.Errorf("%+v", e)
	}
}

func TestErrorfKeepsItsCause(t *testing.T) {
	e := Errorf(CodeUnavailable, "dial: %w", io.ErrUnexpectedEOF)
	if !errors.Is(e, io.ErrUnexpectedEOF) || !errors.Is(e, CodeUnavailable) || e.Detail != "dial: unexpected EOF" {
		t.Errorf("%+v", e)
	}
	if e := Errorf(CodeUnavailable, "plain"); e.Unwrap() != nil {
		t.Errorf("%+v has a cause", e)
	}
	e = Errorf(CodeUnavailable, "%w and %w", io.EOF, context.Canceled)
	if !errors.Is(e, CodeUnavailable) || !errors.Is(e, io.EOF) || !errors.Is(e, context.Canceled) {
		t.Errorf("%+v", e)
	}
}

func TestAsError(t *testing.T) {
	original := NewStreamNotFound("a")
	cases := []struct {
		err  error
		code Code
	}{
		{original, CodeStreamNotFound},
		{fmt.Errorf("read: %w", original), CodeStreamNotFound},
		{context.DeadlineExceeded, CodeTimeout},
		{fmt.Errorf("wait: %w", context.Canceled), CodeCanceled},
		{Errorf(CodeUnknownOutcome, "gone: %w", context.Canceled), CodeUnknownOutcome},
		{errors.New("a secret"), CodeInternal},
	}
	for _, c := range cases {
		e := AsError(c.err)
		if e.Code != c.code || c.code != CodeStreamNotFound && !errors.Is(e, c.err) {
			t.Errorf("%v: %+v, want %s, with its cause", c.err, e, c.code)
		}
		if c.code == CodeInternal && strings.Contains(e.Error(), "secret") {
			t.Errorf("%v crosses the wire", e)
		}
	}
	if e := AsError(nil); e != nil {
		t.Errorf("nil as an Error: %+v", e)
	}
	if e := AsError(fmt.Errorf("read: %w", original)); e != original {
		t.Errorf("%+v, want the original", e)
	}
}

func TestClip(t *testing.T) {
	long := strings.Repeat("ü", 100)
	for _, s := range []string{"", "a", long, "x" + long, strings.Repeat("\x80", 100), strings.Repeat("a", 80)} {
		got := Clip(s)
		if len(got) > 80+len("…") || len(s) <= 80 && got != s || utf8.ValidString(s) != utf8.ValidString(got) && got != "…" {
			t.Errorf("clip %q: %q", s, got)
		}
	}
}
