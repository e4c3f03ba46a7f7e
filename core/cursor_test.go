package core

import (
	"errors"
	"strings"
	"testing"
)

func TestCursor(t *testing.T) {
	for _, c := range []Cursor{{"a", 0}, {"k3j9x", 42}, {"0", MaxNumber}} {
		got, err := ParseCursor(c.String())
		if err != nil || got != c {
			t.Errorf("%+v by way of %q: %+v, %v", c, c.String(), got, err)
		}
		if from := c.From(); from.Kind != AfterPosition || from.N != c.Position || from.Log != c.Log {
			t.Errorf("%+v begins at %+v", c, from)
		}
	}
	for _, bad := range []string{
		"", ".", "a", "a.", ".1", "a.-1", "a.+1", "a.01", "a.1 ", " a.1", "a.1.2", "A.1", "a-b.1", "ü.1", "a.0x1",
		"a.9007199254740992", "a.18446744073709551616", strings.Repeat("a", MaxCursorBytes-1) + ".1",
	} {
		if c, err := ParseCursor(bad); !errors.Is(err, CodeInvalidCursor) || c != (Cursor{}) {
			t.Errorf("parse %q: %+v, %v, want invalid_cursor", bad, c, err)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("k3j9x.42")
	f.Add("a.")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err == nil && (c.String() != s || c.Position > MaxNumber) {
			t.Errorf("parse %q: %+v", s, c)
		}
		if err != nil && !errors.Is(err, CodeInvalidCursor) {
			t.Errorf("parse %q: %v", s, err)
		}
	})
}
