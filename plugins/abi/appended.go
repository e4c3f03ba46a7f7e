package abi

import "encoding/binary"

const appendedBytes = 32

// Content says what the data of an appended event is.
type Content uint16

// The contents.
const (
	ContentJSON  Content = 0
	ContentBytes Content = 1
)

// Appended is an event that a guest appends.
type Appended struct {
	ID       ID
	Content  Content
	Type     []byte
	Data     []byte
	Metadata []byte
}

// AppendEvent appends an encoded event to dst. It returns TooLarge, and dst as it was, if
// the event cannot be encoded.
func AppendEvent(dst []byte, e *Appended) ([]byte, error) {
	size := appendedBytes + len(e.Type) + len(e.Data) + len(e.Metadata)
	if len(e.Type) > maxFieldBytes || size > MaxEffectBytes {
		return dst, TooLarge
	}
	b := binary.LittleEndian.AppendUint32(dst, uint32(size))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(e.Type)))
	b = binary.LittleEndian.AppendUint16(b, uint16(e.Content))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Metadata)))
	b = append(b, e.ID[:]...)
	return append(append(append(b, e.Type...), e.Data...), e.Metadata...), nil
}

// NextEvent decodes the first event of b and returns what follows it.
func NextEvent(b []byte, e *Appended) (rest []byte, err error) {
	if len(b) < appendedBytes {
		return nil, corrupt("no event; bytes:", int64(len(b)))
	}
	entry, typ := int64(binary.LittleEndian.Uint32(b)), int(binary.LittleEndian.Uint16(b[4:]))
	data, metadata := int64(binary.LittleEndian.Uint32(b[8:])), int64(binary.LittleEndian.Uint32(b[12:]))
	content := Content(binary.LittleEndian.Uint16(b[6:]))
	if entry > int64(len(b)) || appendedBytes+int64(typ)+data+metadata > entry || content > ContentBytes {
		return nil, corrupt("event; bytes, content, type, data, metadata:", entry, int64(content), int64(typ), data, metadata)
	}
	*e = Appended{ID: ID(b[16:32]), Content: content}
	fields := b[appendedBytes:entry:entry]
	e.Type, fields = cut(fields, typ)
	e.Data, fields = cut(fields, int(data))
	e.Metadata, _ = cut(fields, int(metadata))
	return b[entry:], nil
}
