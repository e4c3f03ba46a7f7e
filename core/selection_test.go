package core

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCategoryOf(t *testing.T) {
	for stream, want := range map[string]string{"order-1": "order", "order": "order", "a-b-c": "a", "-x": "-x", "a-": "a", "-": "-"} {
		if got := CategoryOf(stream); got != want {
			t.Errorf("%q: %q, want %q", stream, got, want)
		}
	}
}

func TestInvalidSelections(t *testing.T) {
	noon := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, s := range map[string]Selection{
		"category":    {Category: "order-1"},
		"control":     {Category: "a\x00"},
		"long":        {Category: strings.Repeat("x", MaxStreamNameBytes+1)},
		"filter":      {Filter: Filter{Types: []string{""}}},
		"no time":     {Since: noon, Until: noon},
		"backward":    {Since: noon.Add(1), Until: noon},
		"correlation": {Correlation: strings.Repeat("x", MaxCorrelationBytes+1)},
		"no text":     {Correlation: "a\x00"},
		"no UTF-8":    {Correlation: "\xff"},
	} {
		if err := s.Validate(); !errors.Is(err, CodeInvalidFilter) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, s := range []Selection{{}, {Category: "-x-y"}, {Since: noon}, {Until: noon}, {Since: noon, Until: noon.Add(1)}} {
		if err := s.Validate(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
