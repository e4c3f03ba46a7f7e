package wire

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what an answer says of unknown fields.
const (
	maxIgnored      = 8
	maxIgnoredBytes = 64
)

// Ignored are the names of the first fields that this version does not know.
func (m *Subscribe) Ignored() (names []string) {
	if len(m.Unknown) == 0 {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(m.Unknown))
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	for len(names) < maxIgnored && dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return names
		}
		names = append(names, cut(name.String(), maxIgnoredBytes))
		if err := dec.SkipValue(); err != nil {
			return names
		}
	}
	return names
}

// cut shortens a text to whole characters.
func cut(s string, most int) string {
	for i := range s {
		if i > most {
			return s[:i] + "…"
		}
	}
	return s
}
