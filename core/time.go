package core

import (
	"bytes"
	"time"
)

// ParseTime parses a time of RFC 3339, in UTC. Letters may be small, and a leap second
// is the first instant of the minute after it.
func ParseTime(s string) (t time.Time, ok bool) {
	const seconds, fraction = len("2006-01-02T15:04:"), len("2006-01-02T15:04:05")
	// Package time takes a comma before the fraction, hours of one digit, and offsets of
	// 24 hours or 60 minutes.
	if len(s) <= fraction || s[10]|0x20 != 't' || s[13] != ':' || s[fraction] == ',' {
		return t, false
	}
	if zone := s[len(s)-len("00:00"):]; s[len(s)-1]|0x20 != 'z' && (zone[:2] > "23" || zone[3:] > "59") {
		return t, false
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), true
	}
	text := bytes.ToUpper([]byte(s))
	leap := s[seconds:fraction] == "60"
	if leap {
		copy(text[seconds:], "59")
	}
	t, err := time.Parse(time.RFC3339, string(text))
	if t = t.UTC(); err != nil || leap && (t.Hour() != 23 || t.Minute() != 59) {
		return time.Time{}, false
	}
	if leap {
		t = t.Add(time.Second)
	}
	return t, true
}

// ParseEventTime parses the time of an event. The error is invalid_event_time, also for
// times that the log cannot store.
func ParseEventTime(s string) (time.Time, error) {
	t, ok := ParseTime(s)
	if !ok {
		return t, Errorf(CodeInvalidEventTime, "%q is not a time in RFC 3339", Clip(s))
	}
	if t.Before(earliest) || t.After(latest) {
		return t, Errorf(CodeInvalidEventTime, "%q is out of range", Clip(s))
	}
	return t, nil
}
