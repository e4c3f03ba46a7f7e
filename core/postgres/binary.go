package postgres

import (
	"encoding/binary"
	"errors"
	"time"
)

// PostgreSQL's binary formats, written and read by hand: an append passes every
// byte of its events through here, and a read every byte of a page.

// Types of array elements.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidTimestamptz = 1184
	oidUUID        = 2950
)

// epoch2000 is PostgreSQL's epoch in Unix µs.
const epoch2000 = 946_684_800_000_000

// params gathers the parameters of one call in one buffer.
type params struct {
	buf    []byte
	ends   []int
	isNull []bool
}

func (p *params) reset() { p.buf, p.ends, p.isNull = p.buf[:0], p.ends[:0], p.isNull[:0] }

// values are the parameters, as the driver wants them. They share the buffer.
func (p *params) values() [][]byte {
	out := make([][]byte, len(p.ends))
	start := 0
	for i, end := range p.ends {
		if !p.isNull[i] {
			out[i] = p.buf[start:end:end]
		}
		start = end
	}
	return out
}

func (p *params) end(isNull bool) {
	p.ends = append(p.ends, len(p.buf))
	p.isNull = append(p.isNull, isNull)
}

func (p *params) null() { p.end(true) }

func (p *params) int8(n uint64) {
	p.buf = binary.BigEndian.AppendUint64(p.buf, n)
	p.end(false)
}

func (p *params) bool(b bool) {
	p.buf = append(p.buf, bit(b))
	p.end(false)
}

// array begins an array of n elements; element puts each, and end ends it.
func (p *params) array(oid uint32, n int) {
	p.buf = binary.BigEndian.AppendUint32(p.buf, 1) // dimensions
	p.buf = binary.BigEndian.AppendUint32(p.buf, 1) // there may be nulls
	p.buf = binary.BigEndian.AppendUint32(p.buf, oid)
	p.buf = binary.BigEndian.AppendUint32(p.buf, uint32(n))
	p.buf = binary.BigEndian.AppendUint32(p.buf, 1) // the first index
}

func (p *params) elementNull() { p.buf = binary.BigEndian.AppendUint32(p.buf, 0xffff_ffff) }

func (p *params) elementInt8(n uint64) {
	p.buf = binary.BigEndian.AppendUint32(p.buf, 8)
	p.buf = binary.BigEndian.AppendUint64(p.buf, n)
}

func (p *params) elementInt4(n uint32) {
	p.buf = binary.BigEndian.AppendUint32(p.buf, 4)
	p.buf = binary.BigEndian.AppendUint32(p.buf, n)
}

func (p *params) elementInt2(n uint16) {
	p.buf = binary.BigEndian.AppendUint32(p.buf, 2)
	p.buf = binary.BigEndian.AppendUint16(p.buf, n)
}

func (p *params) elementBool(b bool) {
	p.buf = binary.BigEndian.AppendUint32(p.buf, 1)
	p.buf = append(p.buf, bit(b))
}

func elementBytes[T ~string | ~[]byte](p *params, v T) {
	p.buf = binary.BigEndian.AppendUint32(p.buf, uint32(len(v)))
	p.buf = append(p.buf, v...)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// timestamp is t in PostgreSQL's µs.
func timestamp(t time.Time) uint64 { return uint64(t.UnixMicro() - epoch2000) }

// errMalformed is the answer to values that are not of the form that was asked
// for: a server that is not one, or a schema that was changed by hand.
var errMalformed = errors.New("malformed value")

// elements splits an array into its elements; nil is a NULL among them.
func elements(b []byte) ([][]byte, error) {
	if b == nil {
		return nil, nil
	}
	if len(b) < 12 {
		return nil, errMalformed
	}
	if binary.BigEndian.Uint32(b) == 0 {
		return nil, nil
	}
	if binary.BigEndian.Uint32(b) != 1 || len(b) < 20 {
		return nil, errMalformed
	}
	n := binary.BigEndian.Uint32(b[12:])
	b = b[20:]
	if uint64(n)*4 > uint64(len(b)) {
		return nil, errMalformed
	}
	out := make([][]byte, n)
	for i := range out {
		if len(b) < 4 {
			return nil, errMalformed
		}
		size := int32(binary.BigEndian.Uint32(b))
		b = b[4:]
		if size < 0 {
			continue
		}
		if len(b) < int(size) {
			return nil, errMalformed
		}
		out[i], b = b[:size:size], b[size:]
	}
	return out, nil
}

// numbers splits an array of int8; NULL is 0.
func numbers(b []byte) ([]uint64, error) {
	list, err := elements(b)
	if err != nil {
		return nil, err
	}
	out := make([]uint64, len(list))
	for i, v := range list {
		if v == nil {
			continue
		}
		if len(v) != 8 {
			return nil, errMalformed
		}
		out[i] = binary.BigEndian.Uint64(v)
	}
	return out, nil
}
