package plugins_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// TestLine: what a module says stays one line that can be seen, of a bounded length.
func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain Ünicode": "plain Ünicode", "two\r\nlines\tand a tab": "two  lines and a tab",
		"\x1b[31m\x00\x7f": "�[31m��", "\u202eturned\u2066": "�turned�", "bad \xff\xfe": "bad ��", "\u0085\u00a0\u2028": "   ",
	} {
		if got := string(plugins.Line(text)); got != want {
			t.Errorf("%q is the line %q, want %q", text, got, want)
		}
	}
	for _, long := range []string{strings.Repeat("é", abi.MaxLineBytes), "x" + strings.Repeat("é", abi.MaxLineBytes), strings.Repeat("\xff", abi.MaxLineBytes)} {
		if got := plugins.AppendLine([]byte("before "), []byte(long)); !utf8.Valid(got) || len(got) > len("before ")+abi.MaxLineBytes || len(got) < abi.MaxLineBytes {
			t.Errorf("a line of %d bytes: %.20q", len(got), got)
		}
	}
	f := plugins.Failure{Reason: "crashed", Detail: "no\nmore", Stack: "one\ntwo\x1b"}
	if got := f.Line(); got != "plugin crashed: no more (in one < two�)" {
		t.Error(got)
	}
}
