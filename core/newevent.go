package core

import (
	"encoding/binary"
)

// An event to append travels in the encoding of a recorded one (codec.go), without the
// fields that the engine decides:
//
//	uvarint length of what follows
//	16 B id, all zero = none | lp type | u8 format | lp metadata | [lp fields] | data …

// EncodeNewEvent appends e to dst.
func EncodeNewEvent(dst []byte, e *NewEvent) []byte {
	o := optional{contentType: e.ContentType, hasTime: !e.Time.IsZero()}
	if o.hasTime {
		o.time = micros(e.Time)
	}
	fields := o.size()
	dst = binary.AppendUvarint(dst, uint64(16+payloadLen(e, fields)))
	dst = append(dst, e.ID[:]...)
	return appendPayload(dst, e, &o, fields)
}

// DecodeNewEvent decodes the first such event of b into e, without copying: e
// points into b. It returns the encoded length. It checks the form only;
// Commit.Validate and the API check the rest.
func DecodeNewEvent(b []byte, e *NewEvent) (int, error) {
	body, n, ok := takeLP(b)
	if !ok {
		return 0, errMalformedEvent
	}
	d := decoder{b: body, ok: true}
	*e = NewEvent{}
	copy(e.ID[:], d.take(16))
	e.Type = stringOf(d.lp())
	format := d.byte()
	e.Metadata = d.lp()
	e.Format = Format(format & formatMask)
	if format&formatFields != 0 {
		var f Event
		fields := d.lp()
		d.ok = decodeFields(fields, &f) && d.ok
		e.Time, e.ContentType = f.Time, f.ContentType
		if e.Time.IsZero() && findField(fields, fieldTime) != nil {
			e.Time = e.Time.Add(1) // not none, but out of range
		}
	}
	if !d.ok || format&formatReserved != 0 {
		return 0, errMalformedEvent
	}
	e.Data = d.b
	return n, nil
}
