package wire

import (
	"time"

	"github.com/gyre-events/gyre/core"
)

// Selection is a core.Selection in a message or a query. Its times are of RFC 3339.
type Selection struct {
	Filter      *Filter `json:"filter,omitzero"`
	Category    string  `json:"category,omitzero"`
	Since       string  `json:"since,omitzero"`
	Until       string  `json:"until,omitzero"`
	Correlation string  `json:"correlation,omitzero"`
}

// NewSelection returns the Selection for s.
func NewSelection(s *core.Selection) Selection {
	w := Selection{Category: s.Category, Since: ExactTime(s.Since), Until: ExactTime(s.Until), Correlation: s.Correlation}
	if len(s.Filter.Streams)+len(s.Filter.Types) > 0 {
		w.Filter = &Filter{Streams: s.Filter.Streams, Types: s.Filter.Types}
	}
	return w
}

// Core returns what s selects. The error is invalid_filter.
func (s *Selection) Core() (selection core.Selection, err error) {
	if s.Filter != nil {
		selection.Filter = core.Filter{Streams: s.Filter.Streams, Types: s.Filter.Types}
	}
	selection.Category, selection.Correlation = s.Category, s.Correlation
	if selection.Since, err = bound("since", s.Since); err == nil {
		selection.Until, err = bound("until", s.Until)
	}
	if err == nil {
		err = selection.Validate()
	}
	return selection, err
}

// bound parses a time; "" is the zero time.
func bound(name, text string) (time.Time, error) {
	t, ok := core.ParseTime(text)
	if text != "" && !ok {
		return t, core.Errorf(core.CodeInvalidFilter, "%s %q is not a time in RFC 3339", name, core.Clip(text))
	}
	return t, nil
}

// ExactTime is t in RFC 3339 with all its digits; "" for the zero time.
func ExactTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// ParsePlaceTime parses the time at which a page begins; "" is the zero time. The error is
// invalid_cursor.
func ParsePlaceTime(text string) (time.Time, error) {
	t, ok := core.ParseTime(text)
	if text != "" && !ok {
		return t, core.Errorf(core.CodeInvalidCursor, "%q is not a time in RFC 3339", core.Clip(text))
	}
	return t, nil
}
