package postgres

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// maxCorrelationBytes is how long a correlation_id may be for people to find its
// events by it. The API takes no longer ones, and an index could not.
const maxCorrelationBytes = 128

// correlations are those of the n events that are to be written, in order; nil if
// none has one.
func (p *plan) correlations(n int) []string {
	var ids []string
	i := 0
	p.eachEvent(func(e *core.NewEvent) {
		if id := correlationOf(e.Metadata); id != "" {
			if ids == nil {
				ids = make([]string, n)
			}
			ids[i] = id
		}
		i++
	})
	return ids
}

// correlationOf is the correlation_id in metadata, or "" where there is none that a
// text of PostgreSQL can hold.
func correlationOf(metadata []byte) string {
	// Most metadata has no such name; a backslash may hide it.
	if !bytes.Contains(metadata, []byte(`"correlation_id"`)) && bytes.IndexByte(metadata, '\\') < 0 {
		return ""
	}
	var fields struct {
		ID string `json:"correlation_id"`
	}
	if len(metadata) == 0 || json.Unmarshal(metadata, &fields, jsontext.AllowDuplicateNames(true)) != nil {
		return ""
	}
	if len(fields.ID) > maxCorrelationBytes || strings.IndexByte(fields.ID, 0) >= 0 {
		return ""
	}
	return fields.ID
}
