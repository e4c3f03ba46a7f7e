package core

import (
	"encoding/json"
	"strconv"
	"time"
)

// The JSON form of a From is "start", "end", or an object with one of cursor,
// position, version and time.

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
		name, value = "version", f.N
	case FromTime:
		name, value = "time", f.Time.UTC().Format(time.RFC3339Nano)
	default:
		name, value = "position", f.N
		if f.Log != "" {
			name, value = "cursor", Cursor{Log: f.Log, Position: f.N}.String()
		}
	}
	return json.Marshal(map[string]any{name: value})
}

// UnmarshalJSON takes the form and nothing else: the error is invalid_cursor.
func (f *From) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case `"start"`, "null":
		*f = From{}
		return nil
	case `"end"`:
		*f = From{Kind: FromEnd}
		return nil
	}
	var fields map[string]json.RawMessage
	if len(text) == 0 || text[0] != '{' || json.Unmarshal(text, &fields) != nil {
		return Errorf(CodeInvalidCursor, "from cannot be %s", clip(string(text)))
	}
	set := 0
	for _, name := range []string{"cursor", "position", "version", "time"} {
		value, ok := fields[name]
		if !ok || string(value) == "null" {
			continue
		}
		set++
		if err := f.take(name, value); err != nil {
			return err
		}
	}
	if set != 1 {
		return Errorf(CodeInvalidCursor, "from names one of cursor, position, version and time")
	}
	return nil
}

// take sets f to the place that a field names.
func (f *From) take(name string, value []byte) error {
	wrong := Errorf(CodeInvalidCursor, "from cannot have the %s %s", name, clip(string(value)))
	if name == "position" || name == "version" {
		n, err := strconv.ParseUint(string(value), 10, 64)
		if err != nil || n > MaxNumber {
			return wrong
		}
		*f = From{Kind: AfterPosition, N: n}
		if name == "version" {
			f.Kind = AfterVersion
		}
		return nil
	}
	var text string
	if json.Unmarshal(value, &text) != nil {
		return wrong
	}
	if name == "cursor" {
		c, err := ParseCursor(text)
		*f = c.From()
		return err
	}
	t, ok := ParseTime(text)
	if !ok {
		return Errorf(CodeInvalidCursor, "%q is not a time in RFC 3339", clip(text))
	}
	*f = From{Kind: FromTime, Time: t}
	return nil
}
