package abi

import (
	"encoding/binary"
	"strconv"
)

// ErrCorrupt is what the errors of decoders are, for errors.Is: the bytes are not what they
// say.
const ErrCorrupt = corruption("corrupt")

// corruption is a text of its own, because package fmt adds 40 % to the size of a guest.
type corruption string

func (c corruption) Error() string { return string(c) }

// Is makes every corruption one of ErrCorrupt.
func (c corruption) Is(target error) bool { return target == ErrCorrupt }

// corrupt says what is corrupt, and the numbers that do not fit together.
func corrupt(what string, numbers ...int64) error {
	text := string(ErrCorrupt) + ": " + what
	for i, n := range numbers {
		if i > 0 {
			text += ","
		}
		text += " " + strconv.FormatInt(n, 10)
	}
	return corruption(text)
}

const (
	magic         = "GYB1"
	batchVersion  = 1
	headerBytes   = 32
	fixedBytes    = 64
	alignment     = 8
	maxFieldBytes = 1<<16 - 1
)

// Flag is a property of an event in a batch.
type Flag uint16

// The flags of events.
const (
	JSON      Flag = 1 << 0
	Replay    Flag = 1 << 1
	Truncated Flag = 1 << 2
)

// Tag names an optional field of an event.
type Tag uint16

// The tags.
const (
	Correlation Tag = 1
	Causation   Tag = 2
	OwnTime     Tag = 3
	ContentType Tag = 4
	Tags        Tag = 5
	LinkOrigin  Tag = 6
	Subject     Tag = 7
	Shredded    Tag = 8
)

// ID is the id of an event. The host makes those of appended events, where it is zero.
type ID [16]byte

// Event is one event of a batch.
type Event struct {
	Position   uint64
	Version    uint64
	TimeMicros int64
	ID         ID
	Attempt    uint32
	Flags      Flag
	Stream     []byte
	Type       []byte
	Data       []byte
	Metadata   []byte
	Fields     []byte // written by AppendField, read by Field
}

// AppendField appends an optional field to dst. It cuts a value that is over 65,535 bytes.
func AppendField(dst []byte, tag Tag, value []byte) []byte {
	value = value[:min(len(value), maxFieldBytes)]
	dst = binary.LittleEndian.AppendUint16(dst, uint16(tag))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(value)))
	return append(dst, value...)
}

// Field returns an optional field. ok is false if the event has none.
func (e *Event) Field(tag Tag) (value []byte, ok bool) {
	for b := e.Fields; len(b) >= 4; {
		at, n := Tag(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
		if at == 0 || n > len(b)-4 {
			return nil, false
		}
		if at == tag {
			return b[4 : 4+n : 4+n], true
		}
		b = b[4+n:]
	}
	return nil, false
}

// Header is what a batch says about itself.
type Header struct {
	Count     int
	NowMicros int64 // logical time: of the batch's last event
	Attempt   uint32
	Flags     uint32
}

// BatchWriter encodes a batch. The zero value is ready after Reset.
type BatchWriter struct {
	buf   []byte
	count uint32
}

// Reset begins a batch and keeps the buffer of the last one.
func (w *BatchWriter) Reset(nowMicros int64, attempt, flags uint32) {
	w.count = 0
	b := append(w.buf[:0], magic...)
	b = binary.LittleEndian.AppendUint16(b, batchVersion)
	b = binary.LittleEndian.AppendUint16(b, headerBytes)
	b = binary.LittleEndian.AppendUint64(b, 0) // count and length, known at the end
	b = binary.LittleEndian.AppendUint64(b, uint64(nowMicros))
	b = binary.LittleEndian.AppendUint32(b, attempt)
	w.buf = binary.LittleEndian.AppendUint32(b, flags)
}

// Add adds an event. It returns TooLarge, and adds nothing, if the batch would be over its
// limits.
func (w *BatchWriter) Add(e *Event) error {
	size := pad(fixedBytes + len(e.Stream) + len(e.Type) + len(e.Data) + len(e.Metadata) + len(e.Fields))
	if len(e.Stream) > maxFieldBytes || len(e.Type) > maxFieldBytes || w.count >= MaxBatchEvents || len(w.buf)+size > MaxBatchBytes {
		return TooLarge
	}
	b := binary.LittleEndian.AppendUint32(w.buf, uint32(size))
	b = binary.LittleEndian.AppendUint16(b, fixedBytes)
	b = binary.LittleEndian.AppendUint16(b, uint16(e.Flags))
	b = binary.LittleEndian.AppendUint64(b, e.Position)
	b = binary.LittleEndian.AppendUint64(b, e.Version)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.TimeMicros))
	b = append(b, e.ID[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(e.Stream)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(e.Type)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Metadata)))
	b = binary.LittleEndian.AppendUint32(b, e.Attempt)
	b = append(append(append(append(append(b, e.Stream...), e.Type...), e.Data...), e.Metadata...), e.Fields...)
	for len(b)%alignment != 0 {
		b = append(b, 0)
	}
	w.buf = b
	w.count++
	return nil
}

func pad(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// Bytes returns the batch, which is valid until the next Reset.
func (w *BatchWriter) Bytes() []byte {
	binary.LittleEndian.PutUint32(w.buf[8:], w.count)
	binary.LittleEndian.PutUint32(w.buf[12:], uint32(len(w.buf)))
	return w.buf
}

// Batch reads a batch, event by event.
type Batch struct {
	Header
	rest []byte
	left int
}

// OpenBatch reads the header of a batch.
func OpenBatch(b []byte) (Batch, error) {
	if len(b) < headerBytes || string(b[:4]) != magic {
		return Batch{}, corrupt("no batch; bytes:", int64(len(b)))
	}
	length, total := int(binary.LittleEndian.Uint16(b[6:])), binary.LittleEndian.Uint32(b[12:])
	if v := binary.LittleEndian.Uint16(b[4:]); v != batchVersion || length < headerBytes || length > len(b) || int64(total) != int64(len(b)) {
		return Batch{}, corrupt("batch; version, length of header, bytes, bytes as it says:", int64(v), int64(length), int64(len(b)), int64(total))
	}
	count := binary.LittleEndian.Uint32(b[8:])
	if int64(count) > int64(len(b)-length)/fixedBytes {
		return Batch{}, corrupt("batch; events, bytes:", int64(count), int64(len(b)))
	}
	return Batch{
		Header: Header{
			Count:     int(count),
			NowMicros: int64(binary.LittleEndian.Uint64(b[16:])),
			Attempt:   binary.LittleEndian.Uint32(b[24:]),
			Flags:     binary.LittleEndian.Uint32(b[28:]),
		},
		rest: b[length:],
		left: int(count),
	}, nil
}

// Next decodes the next event. ok is false after the last.
func (b *Batch) Next(e *Event) (ok bool, err error) {
	if b.left == 0 {
		if len(b.rest) > 0 {
			return false, corrupt("batch; bytes after the last event:", int64(len(b.rest)))
		}
		return false, nil
	}
	r := b.rest
	if len(r) < fixedBytes {
		return false, corrupt("batch; bytes left, events left:", int64(len(r)), int64(b.left))
	}
	entry, fixed := int64(binary.LittleEndian.Uint32(r)), int(binary.LittleEndian.Uint16(r[4:]))
	stream, typ := int(binary.LittleEndian.Uint16(r[48:])), int(binary.LittleEndian.Uint16(r[50:]))
	data, metadata := int64(binary.LittleEndian.Uint32(r[52:])), int64(binary.LittleEndian.Uint32(r[56:]))
	if entry > int64(len(r)) || entry%alignment != 0 || fixed < fixedBytes || int64(fixed)+int64(stream)+int64(typ)+data+metadata > entry {
		return false, corrupt("event; bytes, fixed, stream, type, data, metadata:", entry, int64(fixed), int64(stream), int64(typ), data, metadata)
	}
	e.Flags = Flag(binary.LittleEndian.Uint16(r[6:]))
	e.Position = binary.LittleEndian.Uint64(r[8:])
	e.Version = binary.LittleEndian.Uint64(r[16:])
	e.TimeMicros = int64(binary.LittleEndian.Uint64(r[24:]))
	e.ID = ID(r[32:48])
	e.Attempt = binary.LittleEndian.Uint32(r[60:])
	rest := r[fixed:entry:entry]
	e.Stream, rest = cut(rest, stream)
	e.Type, rest = cut(rest, typ)
	e.Data, rest = cut(rest, int(data))
	e.Metadata, e.Fields = cut(rest, int(metadata))
	b.rest = r[entry:]
	b.left--
	return true, nil
}

func cut(b []byte, n int) (before, after []byte) { return b[:n:n], b[n:] }
