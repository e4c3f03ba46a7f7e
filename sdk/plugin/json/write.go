package json

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// Object writes a JSON object. Its methods return it.
type Object struct{ text []byte }

// NewObject returns an Object without members.
func NewObject() *Object { return &Object{make([]byte, 0, 128)} }

func (o *Object) name(name string) {
	separator := byte(',')
	if len(o.text) == 0 {
		separator = '{'
	}
	o.text = append(appendString(append(o.text, separator), name), ':')
}

// Text adds a string.
func (o *Object) Text(name, value string) *Object {
	o.name(name)
	o.text = appendString(o.text, value)
	return o
}

// Int adds a number.
func (o *Object) Int(name string, value int64) *Object {
	o.name(name)
	o.text = strconv.AppendInt(o.text, value, 10)
	return o
}

// Float adds a number, or null if it is infinite or not a number.
func (o *Object) Float(name string, value float64) *Object {
	o.name(name)
	o.text = appendFloat(o.text, value)
	return o
}

// Bool adds a boolean.
func (o *Object) Bool(name string, value bool) *Object {
	o.name(name)
	o.text = strconv.AppendBool(o.text, value)
	return o
}

// Raw adds a JSON text, such as one of Value.Raw or Object.Bytes. One without bytes is null.
func (o *Object) Raw(name string, value []byte) *Object {
	o.name(name)
	o.text = appendRaw(o.text, value)
	return o
}

// Bytes returns the object. Nothing may be added afterwards.
func (o *Object) Bytes() []byte { return closed(o.text, '{', '}') }

// Array writes a JSON array. Its methods return it.
type Array struct{ text []byte }

// NewArray returns an Array without elements.
func NewArray() *Array { return &Array{make([]byte, 0, 128)} }

func (a *Array) separate() {
	separator := byte(',')
	if len(a.text) == 0 {
		separator = '['
	}
	a.text = append(a.text, separator)
}

// Text adds a string.
func (a *Array) Text(value string) *Array {
	a.separate()
	a.text = appendString(a.text, value)
	return a
}

// Int adds a number.
func (a *Array) Int(value int64) *Array {
	a.separate()
	a.text = strconv.AppendInt(a.text, value, 10)
	return a
}

// Raw adds a JSON text, such as one of Value.Raw or Object.Bytes. One without bytes is null.
func (a *Array) Raw(value []byte) *Array {
	a.separate()
	a.text = appendRaw(a.text, value)
	return a
}

// Bytes returns the array. Nothing may be added afterwards.
func (a *Array) Bytes() []byte { return closed(a.text, '[', ']') }

func closed(text []byte, begin, end byte) []byte {
	if len(text) == 0 {
		text = append(text, begin)
	}
	return append(text, end)
}

func appendRaw(dst, value []byte) []byte {
	if len(value) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, value...)
}

func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendString quotes s. What is not UTF-8 in it becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}
