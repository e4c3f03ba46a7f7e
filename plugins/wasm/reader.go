package wasm

import (
	"fmt"
	"unicode/utf8"

	"github.com/gyre-events/gyre/core"
)

// InvalidError says why a module is refused, and where in its bytes. It is a core.Error of
// the code invalid_module, too.
type InvalidError struct {
	Section string // "import", "code", …; empty before the first section
	Offset  int    // in the file
	Reason  string
	Fix     string // what the author of the module can do; may be empty
}

// Unwrap returns the core.Error.
func (e *InvalidError) Unwrap() error {
	return &core.Error{Code: core.CodeInvalidModule, Detail: e.Error()}
}

func (e *InvalidError) Error() string {
	where := fmt.Sprintf("offset %#x", e.Offset)
	if e.Section != "" {
		where = e.Section + " section, " + where
	}
	text := "invalid module: " + e.Reason + " (" + where + ")"
	if e.Fix != "" {
		text += "; " + e.Fix
	}
	return text
}

// reader decodes one section. The first error sticks: after it every read returns zero and
// nothing is left, so loops over counts end by themselves.
type reader struct {
	data    []byte
	at      int // next byte of data
	base    int // offset of data in the file
	section string
	err     *InvalidError
}

// sub returns a reader of the next n bytes, which r skips.
func (r *reader) sub(n int, section string) *reader {
	base := r.base + r.at
	data := r.bytes(n)
	return &reader{data: data, base: base, section: section, err: r.err}
}

func (r *reader) left() int { return len(r.data) - r.at }

func (r *reader) more() bool { return r.err == nil && r.at < len(r.data) }

// fail records an error at the byte that is next.
func (r *reader) fail(format string, args ...any) {
	r.failAt(r.at, "", format, args...)
}

func (r *reader) failAt(at int, fix, format string, args ...any) {
	if r.err == nil {
		r.err = &InvalidError{Section: r.section, Offset: r.base + at, Reason: fmt.Sprintf(format, args...), Fix: fix}
	}
	r.at = len(r.data)
}

func (r *reader) byte() byte {
	if r.at >= len(r.data) {
		r.fail("unexpected end")
		return 0
	}
	r.at++
	return r.data[r.at-1]
}

// bytes returns the next n bytes, without copying them.
func (r *reader) bytes(n int) []byte {
	if n < 0 || n > r.left() {
		r.fail("%d bytes are announced, %d are left", n, r.left())
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at : r.at]
}

// u32 decodes an unsigned LEB128 number of at most 5 bytes.
func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v > 1<<32-1 {
				r.failAt(r.at-1, "", "number over 32 bits")
				return 0
			}
			return uint32(v)
		}
	}
	r.failAt(r.at-1, "", "number over 32 bits")
	return 0
}

// signed decodes a signed LEB128 number of the given width in bits.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		b := r.byte()
		v |= int64(b&0x7f) << shift
		if b >= 0x80 {
			continue
		}
		// The unused bits of a last byte repeat the sign.
		if used := bits - shift; used < 7 {
			if top := int8(b<<1) >> used; top != 0 && top != -1 {
				break
			}
		}
		if shift += 7; shift < 64 && b&0x40 != 0 {
			v |= -1 << shift
		}
		return v
	}
	r.failAt(max(0, r.at-1), "", "number over %d bits", bits)
	return 0
}

// count decodes the number of things that follow, each of at least one byte, and refuses
// more than limit or than can follow.
func (r *reader) count(what string, limit int) int {
	at := r.at
	n := r.u32()
	switch {
	case int64(n) > int64(limit):
		r.failAt(at, "", "%d %s, at most %d are allowed", n, what, limit)
		return 0
	case int64(n) > int64(r.left()):
		r.failAt(at, "", "%d %s are announced, %d bytes are left", n, what, r.left())
		return 0
	}
	return int(n)
}

// index decodes an index below n.
func (r *reader) index(what string, n int) uint32 {
	at := r.at
	i := r.u32()
	if int64(i) >= int64(n) {
		r.failAt(at, "", "%s %d does not exist, there are %d", what, i, n)
		return 0
	}
	return i
}

// name decodes a UTF-8 string of at most limit bytes.
func (r *reader) name(limit int) string {
	at := r.at
	b := r.bytes(r.count("bytes of a name", limit))
	if !utf8.Valid(b) {
		r.failAt(at, "", "a name is not UTF-8")
		return ""
	}
	return string(b)
}

// end refuses bytes that are left over.
func (r *reader) end() {
	if r.err == nil && r.left() > 0 {
		r.fail("%d bytes are left over", r.left())
	}
}
