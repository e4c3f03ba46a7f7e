package wire

import (
	"encoding/binary"
	"math"

	"github.com/gyre-events/gyre/core"
)

// The fields of a COMMIT.
const (
	tagProgress = 1
	tagStream   = 2 // a change of a whole stream; there may be several
	// tagIncarnation is the incarnation that an append or a change of a stream expects. There may
	// be one for each, behind the changes. Only nodes send it.
	tagIncarnation = 3
)

// fieldHeaderBytes is the size of the tag and the length of a field.
const fieldHeaderBytes = 4

// hasFields reports whether a COMMIT of c has fields.
func hasFields(c *core.Commit) bool {
	return c.Progress != nil || len(c.Streams) > 0 || c.ExpectsIncarnation()
}

// maxFieldsBytes bounds the fields of a COMMIT.
func maxFieldsBytes(c *core.Commit) int {
	n := maxProgressBytes(c.Progress)
	for i := range c.Streams {
		n += maxStreamOpBytes(&c.Streams[i])
	}
	if c.ExpectsIncarnation() {
		n += (len(c.Appends) + len(c.Streams)) * maxIncarnationBytes
	}
	return n
}

// maxIncarnationBytes bounds the field of an incarnation.
const maxIncarnationBytes = fieldHeaderBytes + 2*binary.MaxVarintLen32

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
	for i := range c.Appends {
		fields = appendIncarnation(fields, i, c.Appends[i].Incarnation)
	}
	for i := range c.Streams {
		fields = appendIncarnation(fields, len(c.Appends)+len(c.Checks)+i, c.Streams[i].Incarnation)
	}
	dst = binary.AppendUvarint(dst, uint64(len(fields)))
	return append(dst, fields...)
}

// appendIncarnation appends the field of the incarnation that an element expects, if it does.
func appendIncarnation(dst []byte, element int, incarnation uint32) []byte {
	if incarnation == 0 {
		return dst
	}
	var space [maxIncarnationBytes]byte
	field := binary.AppendUvarint(space[:0], uint64(element))
	return appendField(dst, tagIncarnation, binary.AppendUvarint(field, uint64(incarnation)))
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
		case tag == tagIncarnation && b.Checked:
			if err := takeIncarnation(c, fields[:size]); err != nil {
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

// takeIncarnation takes the field of an incarnation into the element that expects it.
func takeIncarnation(c *core.Commit, field []byte) error {
	b := Frames{rest: field}
	var element, incarnation uint64
	if err := b.numbers(&element, &incarnation); err != nil {
		return err
	}
	appends, others := uint64(len(c.Appends)), uint64(len(c.Appends)+len(c.Checks))
	var to *uint32
	switch {
	case element < appends:
		to = &c.Appends[element].Incarnation
	case element >= others && element-others < uint64(len(c.Streams)):
		to = &c.Streams[element-others].Incarnation
	}
	if to == nil || *to != 0 || incarnation == 0 || incarnation > math.MaxUint32 || len(b.rest) > 0 {
		return errCut
	}
	*to = uint32(incarnation)
	return nil
}
