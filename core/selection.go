package core

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Selection selects events of a page by more than a Filter does. An event matches if all
// parts of the Selection match it; a link is selected as the event that it names. The zero
// Selection matches everything.
type Selection struct {
	Filter Filter
	// Category is that of the event's stream (CategoryOf); "" is any.
	Category string
	// Since and Until bound the event's own time: Since ≤ Time < Until. A zero one is open.
	Since, Until time.Time
	// Correlation is the correlation_id in the event's metadata (CorrelationOf); "" is any.
	Correlation string
}

// CategoryOf returns the category of a stream: what its name has before the first '-', or
// the whole name where that would be empty or there is none.
func CategoryOf(stream string) string {
	if category, _, ok := strings.Cut(stream, "-"); ok && category != "" {
		return category
	}
	return stream
}

// IsZero reports whether s matches everything.
func (s *Selection) IsZero() bool {
	return s.Filter.IsZero() && s.Category == "" && s.Since.IsZero() && s.Until.IsZero() && s.Correlation == ""
}

// Match reports whether an event matches.
func (s *Selection) Match(e *Event) bool {
	return s.matchHead(e.Home().Stream, e.Type) && s.matchRest(e)
}

// matchHead reports whether what is cheap to know of an event matches. stream is the one
// that it was written to. Where the reader may not read it, nothing else is looked at, so the
// time that it takes tells nothing of the event.
func (s *Selection) matchHead(stream, typ string) bool {
	return s.Filter.reads(stream) && (s.Category == "" || CategoryOf(stream) == s.Category) && s.Filter.matches(stream, typ)
}

// matchRest reports whether the rest of an event matches.
func (s *Selection) matchRest(e *Event) bool {
	return !(e.Time.Before(s.Since) && !s.Since.IsZero()) &&
		(s.Until.IsZero() || e.Time.Before(s.Until)) &&
		(s.Correlation == "" || CorrelationOf(e.Metadata) == s.Correlation)
}

// needsRest reports whether matchRest decides anything.
func (s *Selection) needsRest() bool {
	return !s.Since.IsZero() || !s.Until.IsZero() || s.Correlation != ""
}

// match reports whether the encoded event that b begins with, whose head is h, matches.
func (s *Selection) match(b []byte, h *eventHead) bool {
	if !s.matchHead(h.home, h.typ) {
		return false
	}
	if !s.needsRest() {
		return true
	}
	var e Event
	if _, err := DecodeEvent(b[:h.size], &e); err != nil {
		panic("core: batch with a malformed event")
	}
	return s.matchRest(&e)
}

// Validate checks s, which comes from a client. The error is invalid_filter.
func (s *Selection) Validate() error {
	if err := s.Filter.Validate(); err != nil {
		return err
	}
	switch {
	case len(s.Category) > MaxStreamNameBytes || !printable(s.Category) || CategoryOf(s.Category) != s.Category:
		return Errorf(CodeInvalidFilter, "%q is not a category: that is the name of a stream before its first -", Clip(s.Category))
	case len(s.Correlation) > MaxCorrelationBytes || strings.IndexByte(s.Correlation, 0) >= 0 || !utf8.ValidString(s.Correlation):
		return Errorf(CodeInvalidFilter, "%q is not a correlation id", Clip(s.Correlation))
	case !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until):
		return Errorf(CodeInvalidFilter, "since %s is not before until %s", s.Since.Format(time.RFC3339Nano), s.Until.Format(time.RFC3339Nano))
	}
	return nil
}
