package wire

import (
	"encoding/binary"

	"github.com/gyre-events/gyre/core"
)

// The fields of a COMMIT.
const (
	tagProgress = 1
	tagStream   = 2 // a change of a whole stream; there may be several
)

// fieldHeaderBytes is the size of the tag and the length of a field.
const fieldHeaderBytes = 4

// hasFields reports whether a COMMIT of c has fields.
func hasFields(c *core.Commit) bool { return c.Progress != nil || len(c.Streams) > 0 }

// maxFieldsBytes bounds the fields of a COMMIT.
func maxFieldsBytes(c *core.Commit) int {
	n := maxProgressBytes(c.Progress)
	for i := range c.Streams {
		n += maxStreamOpBytes(&c.Streams[i])
	}
	return n
}

// maxProgressBytes bounds the field of a Progress.
func maxProgressBytes(p *core.Progress) int {
	if p == nil {
		return 0
	}
	const numbers, sizes = 2 * binary.MaxVarintLen64, 2 * binary.MaxVarintLen32
	return fieldHeaderBytes + numbers + sizes + len(core.ID{}) + len(p.Log) + len(p.Name)
}

// maxStreamOpBytes bounds the field of a StreamOp.
func maxStreamOpBytes(op *core.StreamOp) int {
	return fieldHeaderBytes + 1 + binary.MaxVarintLen64 + len(op.Stream)
}

// appendFields appends the fields of a COMMIT, behind their size.
func appendFields(dst []byte, c *core.Commit) []byte {
	fields := make([]byte, 0, maxFieldsBytes(c))
	if p := c.Progress; p != nil {
		field := make([]byte, 0, maxProgressBytes(p))
		field = binary.AppendUvarint(field, p.From)
		field = binary.AppendUvarint(field, p.To)
		field = append(field, p.ID[:]...)
		field = binary.AppendUvarint(field, uint64(len(p.Log)))
		fields = appendField(fields, tagProgress, append(append(field, p.Log...), p.Name...))
	}
	for i := range c.Streams {
		op := &c.Streams[i]
		field := make([]byte, 0, maxStreamOpBytes(op))
		field = append(field, byte(op.Action))
		field = binary.AppendVarint(field, int64(op.Expect))
		fields = appendField(fields, tagStream, append(field, op.Stream...))
	}
	dst = binary.AppendUvarint(dst, uint64(len(fields)))
	return append(dst, fields...)
}

func appendField(dst []byte, tag uint16, field []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, tag)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(field)))
	return append(dst, field...)
}

// fields takes the fields of a COMMIT. The Commit is refused if one is not known: it may be
// a condition.
func (b *commitBlock) fields(c *core.Commit) error {
	n, err := b.count(1)
	if err != nil {
		return err
	}
	fields := b.rest[:n]
	b.rest = b.rest[n:]
	for len(fields) > 0 {
		if len(fields) < fieldHeaderBytes {
			return errCut
		}
		tag, size := binary.LittleEndian.Uint16(fields), int(binary.LittleEndian.Uint16(fields[2:]))
		fields = fields[fieldHeaderBytes:]
		switch {
		case size > len(fields), tag == tagProgress && c.Progress != nil:
			return errCut
		case tag == tagProgress:
			if c.Progress, err = decodeProgress(fields[:size]); err != nil {
				return err
			}
		case tag == tagStream:
			if err := b.stream(c, fields[:size]); err != nil {
				return err
			}
		case b.bad == nil:
			b.bad = core.Errorf(core.CodeNotSupported, "field %d of an append is not known here", tag)
		}
		fields = fields[size:]
	}
	return nil
}

// stream takes the field of a StreamOp. It keeps one more than there may be, which is enough
// for Commit.Validate to refuse them.
func (b *commitBlock) stream(c *core.Commit, field []byte) error {
	if len(field) == 0 {
		return errCut
	}
	expect, n := binary.Varint(field[1:])
	if n <= 0 {
		return errCut
	}
	if len(c.Streams) <= core.MaxCommitStreams {
		op := core.StreamOp{Stream: string(field[1+n:]), Expect: core.Expect(expect), Action: core.StreamAction(field[0])}
		c.Streams = append(c.Streams, op)
	}
	return nil
}
