package plugin

import (
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

// State is a map from keys to values, which is changed together with the place in the log. A key
// has 1 to 512 bytes of UTF-8, a value at most 256 KiB, and a batch changes at most 4,096.
// The binding has to grant state. Reads see what was written before.
type State struct{ c *Context }

// Get returns the value of a key, or nil if there is none.
func (s State) Get(key string) ([]byte, error) {
	value, err := s.peek(key)
	if value == nil || err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(value)), value...), nil
}

// peek is Get of a value that is valid until the next read.
func (s State) peek(key string) ([]byte, error) {
	value, err := s.c.read(func(into []byte) int32 { return s.c.stateGet(key, into) })
	if err == nil || errors.Is(err, ErrNotFound) {
		return value, nil
	}
	return nil, err
}

// Put sets the value of a key.
func (s State) Put(key string, value []byte) error { return errorOf(s.c.statePut(key, value)) }

// Delete removes a key. It is no error if there is none.
func (s State) Delete(key string) error { return errorOf(s.c.stateDelete(key)) }

// Int returns a number that PutInt or Add has stored, or 0 if there is none. A value that is no
// number is ErrInvalid.
func (s State) Int(key string) (int64, error) {
	value, err := s.peek(key)
	if value == nil || err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text(value), 10, 64)
	if err != nil {
		return 0, ErrInvalid
	}
	return n, nil
}

// PutInt stores a number, as decimal digits.
func (s State) PutInt(key string, n int64) error {
	var digits [20]byte
	return s.Put(key, strconv.AppendInt(digits[:0], n, 10))
}

// Add adds to a number, and returns the sum.
func (s State) Add(key string, n int64) (int64, error) {
	old, err := s.Int(key)
	if err != nil {
		return 0, err
	}
	return old + n, s.PutInt(key, old+n)
}

// JSON returns a value that is a JSON text; it is missing if there is none. A value that is not JSON
// is a *json.SyntaxError.
func (s State) JSON(key string) (json.Value, error) {
	value, err := s.Get(key)
	if value == nil || err != nil {
		return json.Value{}, err
	}
	return json.Parse(value)
}

// scanBytes is room for an entry of the largest size, and a page of small ones.
const (
	scanBytes   = 8 + abi.MaxStateKeyBytes + abi.MaxValueBytes
	scanEntries = 1024
)

// Scan calls visit with the entries whose keys begin with a prefix, in the byte order of keys,
// until it returns false. Key and value are valid until it returns. It may change the state.
func (s State) Scan(prefix string, visit func(key string, value []byte) bool) error {
	page := make([]byte, scanBytes)
	for after := ""; ; {
		n := s.c.stateScan(prefix, after, scanEntries, page)
		if n <= 0 {
			return errorOf(n)
		}
		for rest := page[:min(int(n), len(page))]; len(rest) > 0; {
			key, value, next, ok := entry(rest)
			if !ok {
				return abi.IO
			}
			after = string(key)
			if !visit(after, value) {
				return nil
			}
			rest = next
		}
	}
}

// entry cuts an entry from a page of a scan.
func entry(b []byte) (key, value, rest []byte, ok bool) {
	if len(b) < 8 {
		return nil, nil, nil, false
	}
	k, v := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
	if k+v > uint64(len(b)-8) {
		return nil, nil, nil, false
	}
	b = b[8:]
	return b[:k], b[k : k+v], b[k+v:], true
}
