package core

import (
	"encoding/binary"
	"errors"
	"unsafe"
)

// An encoded event, as the log keeps it and as binary frames carry it:
//
//	uvarint length of what follows
//	uvarint position | uvarint version | i64le recorded, Unix µs | 16 B id
//	lp stream | lp type | u8 format | lp metadata | [lp fields] | data …
//
// lp is a uvarint length and that many bytes. The low four bits of format are
// a Format, bits 4 to 6 are zero. Bit 7 says that optional fields follow the metadata,
// each as u16le tag | u16le length | bytes. Readers skip tags they do not know.
//
// The engine assigns position and version, so it encodes an event once, under its
// lock. The same bytes serve the disk, the tail and every binary connection.

// Tags of optional fields. Values are never reused.
const (
	fieldTime        = 1 // i64le Unix µs: the event's own time, where it is not the recorded one
	fieldContentType = 2 // text
	fieldIncarnation = 3 // u32le, where it is not 1
	fieldLink        = 5 // uvarint position | uvarint version | stream: the place of the event that this links to
	// Reserved: 4 tags, 6 subject, 7 shredded.
)

const (
	formatMask     = 0x0f
	formatReserved = 0x70 // zero, until they mean something
	formatFields   = 0x80

	// fieldHeaderBytes are a field's tag and length.
	fieldHeaderBytes = 4

	// fixedBytes bounds an event's bytes outside its strings and data:
	// six lengths, two numbers, the time, the id, the format and the fields
	// of fixed size.
	fixedBytes = 8*binary.MaxVarintLen64 + 8 + 16 + 1 + (4 + 8) + 4 + (4 + 4)
)

var errMalformedEvent = errors.New("malformed event")

// Placement is what the engine decides about an event when it records it.
type Placement struct {
	Stream      string
	Version     uint64
	Position    uint64
	Recorded    int64 // Unix µs
	Incarnation uint32
	ID          ID // the event's, or the one made for it
}

// MaxEncodedBytes bounds the size of e encoded in stream.
func MaxEncodedBytes(stream string, e *NewEvent) int {
	return fixedBytes + len(stream) + len(e.Type) + len(e.ContentType) + len(e.Metadata) + len(e.Data)
}

// EncodeEvent appends e, placed at p, to dst.
func EncodeEvent(dst []byte, p Placement, e *NewEvent) []byte {
	return encodeEvent(dst, p, nil, e)
}

func encodeEvent(dst []byte, p Placement, link *Origin, e *NewEvent) []byte {
	o := optional{contentType: e.ContentType, incarnation: p.Incarnation, link: link}
	if !e.Time.IsZero() {
		o.time = micros(e.Time)
		o.hasTime = o.time != p.Recorded
	}
	fields := o.size()
	n := uvarintLen(p.Position) + uvarintLen(p.Version) + 8 + 16 + lpLen(len(p.Stream)) + payloadLen(e, fields)

	dst = binary.AppendUvarint(dst, uint64(n))
	dst = binary.AppendUvarint(dst, p.Position)
	dst = binary.AppendUvarint(dst, p.Version)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.Recorded))
	dst = append(dst, p.ID[:]...)
	dst = appendLP(dst, p.Stream)
	return appendPayload(dst, e, &o, fields)
}

// payloadLen is the length of what appendPayload appends.
func payloadLen(e *NewEvent, fields int) int {
	n := lpLen(len(e.Type)) + 1 + lpLen(len(e.Metadata)) + len(e.Data)
	if fields > 0 {
		n += lpLen(fields)
	}
	return n
}

// appendPayload appends the client's part of an event: lp type | u8 format |
// lp metadata | [lp fields] | data. fields is the size of o.
func appendPayload(dst []byte, e *NewEvent, o *optional, fields int) []byte {
	dst = appendLP(dst, e.Type)
	if fields == 0 {
		dst = append(dst, byte(e.Format))
		dst = appendLP(dst, e.Metadata)
		return append(dst, e.Data...)
	}
	dst = append(dst, byte(e.Format)|formatFields)
	dst = appendLP(dst, e.Metadata)
	dst = binary.AppendUvarint(dst, uint64(fields))
	dst = o.append(dst)
	return append(dst, e.Data...)
}

// optional are an event's optional fields.
type optional struct {
	time        int64 // Unix µs, if hasTime
	hasTime     bool
	contentType string // "" = none
	incarnation uint32 // 0 or 1 = none
	link        *Origin
}

func (o *optional) size() (n int) {
	if o.hasTime {
		n += fieldHeaderBytes + 8
	}
	if o.contentType != "" {
		n += fieldHeaderBytes + len(o.contentType)
	}
	if o.incarnation > 1 {
		n += fieldHeaderBytes + 4
	}
	if o.link != nil {
		n += fieldHeaderBytes + o.link.size()
	}
	return n
}

func (o *optional) append(dst []byte) []byte {
	if o.hasTime {
		dst = appendField(dst, fieldTime, 8)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(o.time))
	}
	if o.contentType != "" {
		dst = appendField(dst, fieldContentType, len(o.contentType))
		dst = append(dst, o.contentType...)
	}
	if o.incarnation > 1 {
		dst = appendField(dst, fieldIncarnation, 4)
		dst = binary.LittleEndian.AppendUint32(dst, o.incarnation)
	}
	if o.link != nil {
		dst = appendField(dst, fieldLink, o.link.size())
		dst = o.link.append(dst)
	}
	return dst
}

// DecodeEvent decodes the first event of b into e, without copying: e points
// into b. It returns the encoded length. Malformed input is an error, never a panic.
func DecodeEvent(b []byte, e *Event) (int, error) {
	body, n, ok := takeLP(b)
	if !ok {
		return 0, errMalformedEvent
	}
	size := n
	d := decoder{b: body, ok: true}
	e.Position = d.uvarint()
	e.Version = d.uvarint()
	recorded := int64(d.uint64())
	copy(e.ID[:], d.take(16))
	e.Stream = stringOf(d.lp())
	e.Type = stringOf(d.lp())
	format := d.byte()
	e.Metadata = d.lp()
	e.Recorded = fromMicros(recorded)
	e.Time = e.Recorded
	e.Format = Format(format & formatMask)
	e.ContentType = ""
	e.Incarnation = 1
	e.Link = Origin{}
	if format&formatFields != 0 {
		d.ok = decodeFields(d.lp(), e) && d.ok
	}
	if !d.ok || e.Format > Bytes || format&formatReserved != 0 {
		return 0, errMalformedEvent
	}
	e.Data = d.b
	e.Raw = b[:size:size]
	return size, nil
}

func decodeFields(b []byte, e *Event) bool {
	for len(b) > 0 {
		if len(b) < 4 {
			return false
		}
		tag, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if len(b) < 4+n {
			return false
		}
		v := b[4 : 4+n]
		switch {
		case tag == fieldTime && n == 8:
			e.Time = fromMicros(int64(binary.LittleEndian.Uint64(v)))
		case tag == fieldContentType:
			e.ContentType = stringOf(v)
		case tag == fieldIncarnation && n == 4:
			e.Incarnation = binary.LittleEndian.Uint32(v)
		case tag == fieldLink:
			var ok bool
			if e.Link, ok = decodeOrigin(v); !ok {
				return false
			}
		case tag == fieldTime || tag == fieldIncarnation:
			return false
		}
		b = b[4+n:]
	}
	return true
}

// eventHead is what the tail needs to route an event: its encoded length,
// position, version, stream and type.
type eventHead struct {
	size              int
	position, version uint64
	recorded          int64 // Unix µs
	stream, typ       string
	// home is the stream that the event was written to; for a link, another one, with the
	// event's place.
	home                      string
	homePosition, homeVersion uint64
	// bare reports that it is a link without the event's content.
	bare bool
	// incarnation is that of stream.
	incarnation uint32
}

// isLink reports whether it is a link. A stream has an event once, so the streams
// differ.
func (h *eventHead) isLink() bool { return h.home != h.stream }

// inAll reports whether readers of $all get the event. system is whether they have asked
// for those of the system's streams.
func (h *eventHead) inAll(system bool) bool {
	return !h.isLink() && (system || !IsSystem(h.stream))
}

func decodeHead(b []byte) (h eventHead, ok bool) {
	body, n, ok := takeLP(b)
	if !ok {
		return h, false
	}
	d := decoder{b: body, ok: true}
	h.size = n
	h.position = d.uvarint()
	h.version = d.uvarint()
	h.recorded = int64(d.uint64())
	d.take(16)
	h.stream = stringOf(d.lp())
	h.typ = stringOf(d.lp())
	h.home, h.incarnation = h.stream, 1
	if format := d.byte(); format&formatFields != 0 {
		d.lp() // metadata
		fields := d.lp()
		if v := findField(fields, fieldIncarnation); len(v) == 4 {
			h.incarnation = binary.LittleEndian.Uint32(v)
		}
		if link := findField(fields, fieldLink); link != nil {
			o, ok := decodeOrigin(link)
			d.ok = d.ok && ok
			h.home, h.homePosition, h.homeVersion = o.Stream, o.Position, o.Version
			h.bare = len(d.b) == 0 && Format(format&formatMask) == JSON
		}
	}
	return h, d.ok
}

// decodePlace decodes the front of an event, and its length.
func decodePlace(b []byte) (p Place, ok bool) {
	body, n, ok := takeLP(b)
	if !ok {
		return p, false
	}
	d := decoder{b: body, ok: true}
	p.Size = n
	p.Position = d.uvarint()
	p.Version = d.uvarint()
	p.RecordedMicros = int64(d.uint64())
	d.take(16)
	p.Stream = stringOf(d.lp())
	return p, d.ok
}

// decoder takes values off the front of b. ok is false once one was missing.
type decoder struct {
	b  []byte
	ok bool
}

func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.ok, d.b = false, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.ok, d.b = false, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) lp() []byte {
	v, n, ok := takeLP(d.b)
	if !ok {
		d.ok, d.b = false, nil
		return nil
	}
	d.b = d.b[n:]
	return v
}

// takeLP splits a length-prefixed value off b; n is its whole length.
func takeLP(b []byte) (v []byte, n int, ok bool) {
	l, k := binary.Uvarint(b)
	if k <= 0 || l > uint64(len(b)-k) {
		return nil, 0, false
	}
	n = k + int(l)
	return b[k:n:n], n, true
}

func appendLP[T ~string | ~[]byte](dst []byte, v T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func appendField(dst []byte, tag uint16, n int) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, tag)
	return binary.LittleEndian.AppendUint16(dst, uint16(n))
}

func lpLen(n int) int { return uvarintLen(uint64(n)) + n }

func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

// stringOf returns b as a string without a copy. Batches are immutable once they can
// be read, so this is sound.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// MaxNumber bounds versions and positions: a JSON number is exact up to it.
const MaxNumber = 1<<53 - 1
