package core

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// ParseFrom parses where a follow of stream begins, as URLs and the command line say it:
// start or origin, end or current, the number of the first event (a version, or a
// position of All), a time of RFC 3339, or a cursor. The error is invalid_cursor.
func ParseFrom(s, stream string) (From, error) {
	switch s {
	case "start", "origin", "0", "1":
		return From{}, nil
	case "end", "current":
		return From{Kind: FromEnd}, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n > 0 && n <= MaxNumber {
		return FromAfter(n-1, stream), nil
	}
	if t, ok := ParseTime(s); ok {
		return From{Kind: FromTime, Time: t}, nil
	}
	c, err := ParseCursor(s)
	if err != nil {
		return From{}, Errorf(CodeInvalidCursor, "%q is not start, end, a number, a time or a cursor", Clip(s))
	}
	return c.From(), nil
}

// FromAfter is the place after a version of stream, or after a position of All.
func FromAfter(n uint64, stream string) From {
	if stream == All {
		return From{Kind: AfterPosition, N: n}
	}
	return From{Kind: AfterVersion, N: n}
}

// The JSON form of a From is "start" or "end" ("origin" and "current" are taken too), or
// an object with one of these:
//
//	position, version  the first event to be delivered, inclusive
//	after              an object with one of these two: the last event before
//	cursor             a place in one particular log, behind an event
//	time               of the first event, recorded then or later
//	progress           the name of a client's stored place (Progress)

// MarshalJSON writes the form.
func (f From) MarshalJSON() ([]byte, error) {
	var name string
	var value any
	switch f.Kind {
	case FromStart:
		return []byte(`"start"`), nil
	case FromEnd:
		return []byte(`"end"`), nil
	case AfterVersion:
		name, value = "version", f.N+1
	case AfterProgress:
		name, value = "progress", f.Progress
	case FromTime:
		name, value = "time", f.Time.UTC().Format(time.RFC3339Nano)
	default:
		name, value = "position", f.N+1
		if f.Log != "" {
			name, value = "cursor", Cursor{Log: f.Log, Position: f.N}.String()
		}
	}
	return json.Marshal(map[string]any{name: value})
}

// UnmarshalJSON takes the form and nothing else: the error is invalid_cursor.
func (f *From) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case `"start"`, `"origin"`, "null":
		*f = From{}
		return nil
	case `"end"`, `"current"`:
		*f = From{Kind: FromEnd}
		return nil
	}
	name, value, err := oneField(text, `"start", "end" or `, "cursor", "position", "version", "time", "after", "progress")
	if err != nil {
		return err
	}
	if name != "after" {
		return f.take(name, value)
	}
	if name, value, err = oneField(value, "", "position", "version"); err != nil {
		return err
	}
	return f.takeNumber(name, value, false)
}

// oneField is the one field of an object that is set, of those that it may have. otherwise is
// what else the text could have been.
func oneField(text []byte, otherwise string, names ...string) (name string, value []byte, err error) {
	var fields map[string]json.RawMessage
	if len(text) == 0 || text[0] != '{' || json.Unmarshal(text, &fields) != nil {
		return "", nil, Errorf(CodeInvalidCursor, "%s is not a place to begin: it is %san object with one of %s", Clip(string(text)), otherwise, strings.Join(names, ", "))
	}
	set := 0
	for _, n := range names {
		if v, ok := fields[n]; ok && string(v) != "null" {
			name, value = n, v
			set++
		}
	}
	if set != 1 {
		return "", nil, Errorf(CodeInvalidCursor, "a place to begin has one of %s", strings.Join(names, ", "))
	}
	return name, value, nil
}

// takeNumber sets f to the place of a position or version.
func (f *From) takeNumber(name string, value []byte, inclusive bool) error {
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil || n > MaxNumber || n == MaxNumber && !inclusive {
		return Errorf(CodeInvalidCursor, "a place to begin cannot have the %s %s", name, Clip(string(value)))
	}
	if inclusive {
		n = max(n, 1) - 1
	}
	*f = From{Kind: AfterPosition, N: n}
	if name == "version" {
		f.Kind = AfterVersion
	}
	return nil
}

// take sets f to the place that a field names.
func (f *From) take(name string, value []byte) error {
	if name == "position" || name == "version" {
		return f.takeNumber(name, value, true)
	}
	wrong := Errorf(CodeInvalidCursor, "a place to begin cannot have the %s %s", name, Clip(string(value)))
	var text string
	if json.Unmarshal(value, &text) != nil {
		return wrong
	}
	switch name {
	case "progress":
		*f = From{Kind: AfterProgress, Progress: text}
		return ValidateProgressName(text)
	case "cursor":
		c, err := ParseCursor(text)
		*f = c.From()
		return err
	}
	t, ok := ParseTime(text)
	if !ok {
		return Errorf(CodeInvalidCursor, "%q is not a time in RFC 3339", Clip(text))
	}
	*f = From{Kind: FromTime, Time: t}
	return nil
}
