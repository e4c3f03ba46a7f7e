package core

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// correlationKey is the name in metadata of what CorrelationOf returns.
const correlationKey = `"correlation_id"`

// CorrelationOf returns the correlation_id in an event's metadata. It is "" if there is
// none, and where it is no string, has a NUL or is longer than MaxCorrelationBytes: the
// API takes no such ids.
func CorrelationOf(metadata []byte) string {
	// Most metadata has no such name; a backslash may hide it.
	if !bytes.Contains(metadata, []byte(correlationKey)) && bytes.IndexByte(metadata, '\\') < 0 {
		return ""
	}
	value := lastMember(metadata, correlationKey)
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	id := unquoteJSON(value)
	if len(id) > MaxCorrelationBytes || bytes.IndexByte(id, 0) >= 0 || !utf8.Valid(id) {
		return ""
	}
	return string(id)
}

// lastMember returns the value of the last member of an object that has a name, which is
// given as JSON. It is a string, or the first byte of anything else.
func lastMember(object []byte, name string) (value []byte) {
	depth, isName := 0, false
	for text := object; len(text) > 0; {
		n := 1
		switch text[0] {
		case '{', '[':
			depth++
			isName = depth == 1
		case '}', ']':
			depth--
		case ',':
			isName = depth == 1
		case '"':
			n = stringLen(text)
			if isName && isSameString(text[:n], name) {
				value = memberValue(text[n:])
			}
			isName = false
		}
		text = text[n:]
	}
	return value
}

// memberValue returns the value in front of which a name stood: a string, or the first
// byte of anything else.
func memberValue(text []byte) []byte {
	text = bytes.TrimLeft(text, " \t\r\n:")
	switch {
	case len(text) == 0:
		return nil
	case text[0] == '"':
		return text[:stringLen(text)]
	}
	return text[:1]
}

// isSameString reports whether two strings of JSON are equal; b has no escapes.
func isSameString(a []byte, b string) bool {
	if bytes.IndexByte(a, '\\') < 0 {
		return string(a) == b
	}
	return string(unquoteJSON(a)) == b[1:len(b)-1]
}

// unquoteJSON returns what a string of JSON says, or nil if it is not one.
func unquoteJSON(text []byte) []byte {
	if bytes.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1]
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		return nil
	}
	return []byte(s)
}
