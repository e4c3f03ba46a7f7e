package plugins

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gyre-events/gyre/plugins/abi"
)

// AppendLine appends a text of a module as one line of at most abi.MaxLineBytes. White space is a
// space. U+FFFD stands for what cannot be seen, such as what turns the direction of a text around,
// and for bad UTF-8: the line cannot change the terminal.
func AppendLine(dst, text []byte) []byte {
	for room := abi.MaxLineBytes; len(text) > 0; {
		r, n := utf8.DecodeRune(text)
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case !unicode.IsPrint(r):
			r = utf8.RuneError
		}
		if room -= utf8.RuneLen(r); room < 0 {
			return dst
		}
		dst, text = utf8.AppendRune(dst, r), text[n:]
	}
	return dst
}

// Line returns a text as the line that AppendLine makes of it.
func Line(text string) []byte { return AppendLine(nil, []byte(text)) }

// maxFrames bounds the functions that an error names.
const maxFrames = 6

// Line returns a failure as a line: what went wrong, and in which functions.
func (f *Failure) Line() string {
	text := string(Line(f.Error()))
	if f.Stack != "" {
		frames := strings.Split(f.Stack, "\n")
		text += " (in " + string(Line(strings.Join(frames[:min(len(frames), maxFrames)], " < "))) + ")"
	}
	return text
}
