package core

import "encoding/binary"

// A link is stored without a copy of the event. It is an encoded event with the link's
// stream, version, position and recorded time, the event's id and type, no metadata and
// no data, and a field with the event's place. Followers and filters need no more.
// Engines add the rest when a link is read, so deleting an event also deletes it from
// every link.

// EncodeLink appends a link at p to the event at origin, without the event's content.
// p.ID is the event's id, and typ its type.
func EncodeLink(dst []byte, p Placement, origin Origin, typ string) []byte {
	return encodeEvent(dst, p, &origin, &NewEvent{Type: typ})
}

// EncodeLinked appends a link at p as it is read: with the content of the event at
// origin. e.Time must be set.
func EncodeLinked(dst []byte, p Placement, origin Origin, e *NewEvent) []byte {
	return encodeEvent(dst, p, &origin, e)
}

// Resolve appends e, a link made by EncodeLink, as it is read. event is the event that
// it names.
func (e *Event) Resolve(dst []byte, event *Event) []byte {
	p := Placement{
		Stream: e.Stream, Version: e.Version, Position: e.Position,
		Recorded: micros(e.Recorded), Incarnation: e.Incarnation, ID: e.ID,
	}
	return encodeEvent(dst, p, &e.Link, &NewEvent{
		Type: event.Type, Time: event.Time, Format: event.Format, ContentType: event.ContentType,
		Data: event.Data, Metadata: event.Metadata,
	})
}

// MaxLinkBytes bounds what EncodeLink appends.
const MaxLinkBytes = fixedBytes + 2*binary.MaxVarintLen64 + fieldHeaderBytes + 2*MaxStreamNameBytes + MaxEventTypeBytes

// InAll reports whether readers of $all get the encoded event that b begins with: it is
// no link and, unless they have asked for those, of no stream of the system. It runs for
// every event read from $all, so it decodes as little as possible.
func InAll(b []byte, system bool) bool {
	i := skipToStream(b)
	if name := skipUvarint(b, i); !system && name < len(b) && b[name] == '$' {
		return false
	}
	return !isLinkAt(b, i)
}

// IsLink reports whether b begins with an encoded link.
func IsLink(b []byte) bool { return isLinkAt(b, skipToStream(b)) }

// skipToStream returns the index of the stream of an encoded event, with its length.
func skipToStream(b []byte) int {
	i := skipUvarint(b, 0)
	i = skipUvarint(b, i)
	return skipUvarint(b, i) + 8 + 16
}

// isLinkAt is IsLink of an event whose stream is at i.
func isLinkAt(b []byte, i int) bool {
	i = skipLP(b, i)
	i = skipLP(b, i)
	if i >= len(b) || b[i]&formatFields == 0 {
		return false
	}
	if i = skipLP(b, i+1); i >= len(b) {
		return false
	}
	fields, _, _ := takeLP(b[i:])
	return findField(fields, fieldLink) != nil
}

// skipUvarint returns the index behind the uvarint at i of b, or behind its end.
func skipUvarint(b []byte, i int) int {
	for i < len(b) && b[i] >= 0x80 {
		i++
	}
	return i + 1
}

// skipLP returns the index behind the length-prefixed value at i of b, or behind its end.
func skipLP(b []byte, i int) int {
	if i < len(b) && b[i] < 0x80 {
		return i + 1 + int(b[i])
	}
	if i >= len(b) {
		return i
	}
	_, n, ok := takeLP(b[i:])
	if !ok {
		return len(b)
	}
	return i + n
}

func (o *Origin) size() int { return uvarintLen(o.Position) + uvarintLen(o.Version) + len(o.Stream) }

func (o *Origin) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, o.Position)
	dst = binary.AppendUvarint(dst, o.Version)
	return append(dst, o.Stream...)
}

func decodeOrigin(b []byte) (Origin, bool) {
	d := decoder{b: b, ok: true}
	o := Origin{Position: d.uvarint(), Version: d.uvarint()}
	o.Stream = stringOf(d.b)
	return o, d.ok && o.Version > 0 && o.Stream != ""
}

// findField returns the value of an optional field, or nil.
func findField(b []byte, tag uint16) []byte {
	for len(b) >= fieldHeaderBytes {
		n := fieldHeaderBytes + int(binary.LittleEndian.Uint16(b[2:]))
		if n > len(b) {
			return nil
		}
		if binary.LittleEndian.Uint16(b) == tag {
			return b[fieldHeaderBytes:n]
		}
		b = b[n:]
	}
	return nil
}
