package json

import (
	"encoding/binary"
	"iter"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Kind is what a value is.
type Kind byte

// The kinds.
const (
	Missing Kind = iota // there is no value
	Null
	Bool
	Number
	String
	ArrayKind
	ObjectKind
)

// Value is a JSON value, or nothing. The zero Value is Missing.
type Value struct {
	text []byte // begins with the value, and may go on after it
}

// Trusted returns the value of a text that is known to be valid JSON.
func Trusted(text []byte) Value { return Value{text[space(text, 0):]} }

// Kind returns the kind of v.
func (v Value) Kind() Kind {
	if len(v.text) == 0 {
		return Missing
	}
	switch c := v.text[0]; c {
	case '{':
		return ObjectKind
	case '[':
		return ArrayKind
	case '"':
		return String
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	default:
		if c == '-' || c-'0' <= 9 {
			return Number
		}
	}
	return Missing
}

// Exists reports whether there is a value. Null is one.
func (v Value) Exists() bool { return v.Kind() != Missing }

// Raw returns the text of v, without spaces around it, or nil if it is missing.
func (v Value) Raw() []byte {
	if !v.Exists() {
		return nil
	}
	end := skipValue(v.text, 0)
	return v.text[:end:end]
}

// Text returns a string, or "". What is not UTF-8 in it is U+FFFD.
func (v Value) Text() string {
	if v.Kind() != String {
		return ""
	}
	end, plain := skipString(v.text, 0)
	return textOf(v.text[:end], plain)
}

// Int returns a number that is whole and fits, or 0.
func (v Value) Int() int64 {
	var n int64
	for i, c := range v.text {
		if c-'0' <= 9 && i < 18 {
			n = n*10 + int64(c-'0')
		} else if i > 0 && isDelimiter(c) {
			return n
		} else {
			return v.otherInt()
		}
	}
	return n
}

// otherInt is Int of a number that is not just a few digits.
func (v Value) otherInt() int64 {
	if v.Kind() != Number {
		return 0
	}
	number := stringOf(v.text[:skipLiteral(v.text, 0)])
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f != math.Trunc(f) || f < math.MinInt64 || f >= math.MaxInt64 {
		return 0
	}
	return int64(f)
}

// Float returns a number, or 0. One that is out of range is infinite.
func (v Value) Float() float64 {
	if v.Kind() != Number {
		return 0
	}
	f, _ := strconv.ParseFloat(stringOf(v.text[:skipLiteral(v.text, 0)]), 64) // ±Inf is what is wanted of an error
	return f
}

// Bool returns a boolean, or false.
func (v Value) Bool() bool { return len(v.text) > 0 && v.text[0] == 't' }

// Get returns the member of an object, the first if several have the name. It reads the
// members before it: to use many, range over Members.
func (v Value) Get(name string) Value {
	if len(v.text) == 0 || v.text[0] != '{' {
		return Value{}
	}
	if at := member(v.text, 1, name); at > 0 {
		return Value{v.text[at:]}
	}
	return Value{}
}

// Members ranges over the members of an object, in their order.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.Kind() != ObjectKind {
			return
		}
		for at := v.entry(1); at > 0 && v.text[at] == '"'; at = v.after(at) {
			end, plain := skipString(v.text, at)
			name := textOf(v.text[at:end], plain)
			if at = space(v.text, end); at >= len(v.text) || v.text[at] != ':' {
				return
			}
			if at = space(v.text, at+1); at >= len(v.text) || !yield(name, Value{v.text[at:]}) {
				return
			}
		}
	}
}

// Elements ranges over the elements of an array, with their indexes.
func (v Value) Elements() iter.Seq2[int, Value] {
	return func(yield func(int, Value) bool) {
		if v.Kind() != ArrayKind {
			return
		}
		i := 0
		for at := v.entry(1); at > 0; at = v.after(at) {
			if !yield(i, Value{v.text[at:]}) {
				return
			}
			i++
		}
	}
}

// entry returns where the entry is that begins at an offset or behind it, or 0 if there is none.
func (v Value) entry(at int) int {
	if at = space(v.text, at); at >= len(v.text) || v.text[at] == ']' || v.text[at] == '}' {
		return 0
	}
	return at
}

// after returns where the entry is that follows the value at an offset, or 0.
func (v Value) after(at int) int {
	if at = space(v.text, skipValue(v.text, at)); at >= len(v.text) || v.text[at] != ',' {
		return 0
	}
	return v.entry(at + 1)
}

// space returns the offset of what is not space, from at on.
func space(text []byte, at int) int {
	for at < len(text) && text[at] <= ' ' {
		at++
	}
	return at
}

// skipValue returns the offset after the value that begins at an offset. It moves forward.
func skipValue(text []byte, at int) int {
	switch text[at] {
	case '"':
		at, _ = skipString(text, at)
		return at
	case '{', '[':
		return skipContainer(text, at+1)
	}
	return skipLiteral(text, at)
}

// skipContainer returns the offset after the object or array whose first bracket is before an
// offset.
func skipContainer(text []byte, at int) int {
	for open := 1; at < len(text); {
		if len(text)-at >= 8 {
			n := leading(brackets(binary.LittleEndian.Uint64(text[at:])))
			if at += n; n == 8 {
				continue
			}
		}
		switch text[at] {
		case '"':
			at, _ = skipString(text, at)
			continue
		case '{', '[':
			open++
		case '}', ']':
			if open--; open == 0 {
				return at + 1
			}
		}
		at++
	}
	return at
}

// member returns where the value of a member is, in the object whose bracket is before an offset,
// or 0. It is one loop with few calls, because those are slow in guests.
func member(text []byte, at int, name string) int {
	for at < len(text) {
		if len(text)-at >= 8 {
			n := leading(brackets(binary.LittleEndian.Uint64(text[at:])))
			if at += n; n == 8 {
				continue
			}
		}
		switch text[at] {
		case '"':
			end, plain := skipString(text, at)
			quoted := text[at:end]
			for at = end; at < len(text) && text[at] <= ' '; at++ {
			}
			if at >= len(text) || text[at] != ':' { // it is a value
				continue
			}
			if plain && len(quoted) == len(name)+2 && string(quoted[1:len(quoted)-1]) == name || !plain && textOf(quoted, false) == name {
				return space(text, at+1)
			}
		case '{', '[':
			at = skipContainer(text, at+1)
			continue
		case '}', ']':
			return 0
		}
		at++
	}
	return 0
}

// skipLiteral returns the offset after a number, true, false or null.
func skipLiteral(text []byte, at int) int {
	for at < len(text) && !isDelimiter(text[at]) {
		at++
	}
	return at
}

// isDelimiter reports whether a number, true, false or null ends before c.
func isDelimiter(c byte) bool {
	return c <= ' ' || c == ',' || c == '}' || c == ']' || c == ':' || c == '"' || c == '{' || c == '['
}

// skipString returns the offset after the string whose quote is at an offset, and whether it
// is without escapes and ASCII.
func skipString(text []byte, at int) (end int, plain bool) {
	plain = true
	for at++; at < len(text); at++ {
		if len(text)-at >= 8 {
			n := leading(special(binary.LittleEndian.Uint64(text[at:])))
			if at += n; n == 8 {
				at--
				continue
			}
		}
		c := text[at]
		if c == '"' {
			return at + 1, plain
		}
		if c == '\\' {
			plain = false
			at++
		} else if c >= utf8.RuneSelf {
			plain = false
		}
	}
	return len(text), plain
}

// Eight bytes are looked at together: a byte of a mask has its highest bit set where a byte of
// the word is of a kind, at least up to the first that is.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// zeros marks bytes that are zero.
func zeros(w uint64) uint64 { return (w - ones) & ^w & highs }

// special marks quotes, escapes and what is not ASCII.
func special(w uint64) uint64 { return zeros(w^ones*'"') | zeros(w^ones*'\\') | w&highs }

// brackets marks quotes and brackets, and a few other bytes.
func brackets(w uint64) uint64 { return zeros(w^ones*'"') | zeros((w|ones*0x26)^ones*0x7f) }

// leading returns how many bytes of a word come before the first that is marked.
func leading(mask uint64) int { return bits.TrailingZeros64(mask) / 8 }

// stringOf is b as a string, which shares its bytes: they do not change.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// textOf returns what a quoted string says.
func textOf(quoted []byte, plain bool) string {
	if len(quoted) < 2 {
		return ""
	}
	b := quoted[1 : len(quoted)-1]
	if plain {
		return stringOf(b)
	}
	return unescape(b)
}

// unescape returns what is between the quotes of a string. It does what encoding/json does:
// what is no character becomes U+FFFD.
func unescape(b []byte) string {
	out := make([]byte, 0, len(b)+utf8.UTFMax)
	for len(b) > 0 {
		if b[0] == '\\' {
			var r rune
			r, b = escaped(b)
			out = utf8.AppendRune(out, r)
			continue
		}
		r, n := utf8.DecodeRune(b)
		out = utf8.AppendRune(out, r)
		b = b[n:]
	}
	return stringOf(out)
}

// escaped decodes the escape that b begins with, and returns what follows.
func escaped(b []byte) (rune, []byte) {
	if len(b) < 2 {
		return utf8.RuneError, nil
	}
	switch c := b[1]; c {
	case 'b':
		return '\b', b[2:]
	case 'f':
		return '\f', b[2:]
	case 'n':
		return '\n', b[2:]
	case 'r':
		return '\r', b[2:]
	case 't':
		return '\t', b[2:]
	case 'u':
		r := hex4(b)
		if r < 0 {
			return utf8.RuneError, b[2:]
		}
		b = b[6:]
		if !utf16.IsSurrogate(r) {
			return r, b
		}
		if pair := utf16.DecodeRune(r, hex4(b)); pair != utf8.RuneError {
			return pair, b[6:]
		}
		return utf8.RuneError, b
	default:
		return rune(c), b[2:]
	}
}

// hex4 decodes the \uXXXX that b begins with, or returns -1.
func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range b[2:6] {
		d := hexDigit(c)
		if d < 0 {
			return -1
		}
		r = r<<4 | d
	}
	return r
}

func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return -1
}
