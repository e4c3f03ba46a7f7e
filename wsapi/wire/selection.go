package wire

import (
	"time"

	"github.com/gyre-events/gyre/core"
)

// Selection is a core.Selection in a message or a query. Its times are of RFC 3339. What is nil was
// not given.
type Selection struct {
	Filter      *Filter `json:"filter,omitzero"`
	Category    *string `json:"category,omitzero"`
	Since       *string `json:"since,omitzero"`
	Until       *string `json:"until,omitzero"`
	Correlation *string `json:"correlation,omitzero"`
}

// NewSelection returns the Selection for s.
func NewSelection(s *core.Selection) Selection {
	w := Selection{Category: given(s.Category), Since: ExactTime(s.Since), Until: ExactTime(s.Until), Correlation: given(s.Correlation)}
	if len(s.Filter.Streams)+len(s.Filter.Types) > 0 {
		w.Filter = &Filter{Streams: s.Filter.Streams, Types: s.Filter.Types}
	}
	return w
}

// given is text that is given unless it is empty.
func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// Core returns what s selects. The error is invalid_filter.
func (s *Selection) Core() (selection core.Selection, err error) {
	if s.Filter != nil {
		selection.Filter = core.Filter{Streams: s.Filter.Streams, Types: s.Filter.Types}
	}
	if selection.Category, err = notEmpty("category", s.Category); err != nil {
		return selection, err
	}
	if selection.Correlation, err = notEmpty("correlation", s.Correlation); err != nil {
		return selection, err
	}
	if selection.Since, err = ParseTime(core.CodeInvalidFilter, "since", s.Since); err != nil {
		return selection, err
	}
	if selection.Until, err = ParseTime(core.CodeInvalidFilter, "until", s.Until); err != nil {
		return selection, err
	}
	return selection, selection.Validate()
}

// notEmpty returns a text that is not empty if it is given. In a core.Selection the empty one
// selects everything.
func notEmpty(name string, text *string) (string, error) {
	switch {
	case text == nil:
		return "", nil
	case *text == "":
		return "", core.Errorf(core.CodeInvalidFilter, "%s is empty; leave it out to select by nothing", name)
	}
	return *text, nil
}

// ParseTime parses a time of a request, which is zero if none is given. The error has the code.
func ParseTime(code core.Code, name string, text *string) (time.Time, error) {
	if text == nil {
		return time.Time{}, nil
	}
	t, ok := core.ParseTime(*text)
	switch {
	case !ok:
		return t, core.Errorf(code, "%s %q is not a time of RFC 3339 with a zone, such as 2026-11-23T10:00:00Z", name, core.Clip(*text))
	case t.IsZero():
		return t, core.Errorf(code, "%s %q is out of range", name, core.Clip(*text))
	}
	return t, nil
}

// ExactTime is t in RFC 3339 with all its digits; nil for the zero time.
func ExactTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return given(t.UTC().Format(time.RFC3339Nano))
}
