package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// recordChange is what a Commit did to a record, as the log keeps it:
//
//	u8 kind | uvarint revision | lp table | lp key | lp value
//
// The revision is in it, so that a replay sets it and may be repeated.
type recordChange struct {
	table, key string
	revision   uint64 // after the change; 0 where the record is deleted
	value      []byte
}

// recordID names a record.
type recordID struct{ table, key string }

func (c *recordChange) id() recordID { return recordID{c.table, c.key} }

// inKeyOrder is the order of the database's keys.
func inKeyOrder(a, b recordChange) bool {
	if a.table != b.table {
		return a.table < b.table
	}
	return a.key < b.key
}

const (
	changePut    = 1
	changeDelete = 2
)

// maxChangeOverhead bounds what is in the log beside table, key and value.
const maxChangeOverhead = 1 + 4*binary.MaxVarintLen64

var errMalformedChange = errors.New("malformed record")

func (c *recordChange) encode(dst []byte) []byte {
	kind := byte(changePut)
	if c.revision == 0 {
		kind = changeDelete
	}
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, c.revision)
	dst = appendLP(dst, c.table)
	dst = appendLP(dst, c.key)
	return appendLP(dst, c.value)
}

// eachRecordChange decodes a records section. The changes own their bytes.
func eachRecordChange(b []byte, visit func(recordChange) error) error {
	for len(b) > 0 {
		c, rest, err := takeRecordChange(b)
		if err != nil {
			return err
		}
		c.value = bytes.Clone(c.value)
		if err := visit(c); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// takeRecordChange decodes the change that b begins with. Its value is a part of b.
func takeRecordChange(b []byte) (c recordChange, rest []byte, err error) {
	kind := b[0]
	revision, n := binary.Uvarint(b[1:])
	if n <= 0 || kind != changePut && kind != changeDelete || (kind == changeDelete) != (revision == 0) {
		return c, nil, errMalformedChange
	}
	rest = b[1+n:]
	var parts [3][]byte
	for i := range parts {
		var ok bool
		if parts[i], rest, ok = takeLP(rest); !ok {
			return c, nil, errMalformedChange
		}
	}
	return recordChange{table: string(parts[0]), key: string(parts[1]), revision: revision, value: parts[2]}, rest, nil
}

func appendLP[T ~string | ~[]byte](dst []byte, v T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func takeLP(b []byte) (v, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, false
	}
	return b[k : k+int(n)], b[k+int(n):], true
}
