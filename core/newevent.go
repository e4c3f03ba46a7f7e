package core

import (
	"encoding/binary"
)

// An event that is still to be appended travels in the same encoding as a
// recorded one (codec.go), without what the engine decides:
//
//	uvarint length of what follows
//	16 B id, all zero = none | lp type | u8 format | lp metadata | [lp fields] | data …

// EncodeNewEvent appends e to dst.
func EncodeNewEvent(dst []byte, e *NewEvent) []byte {
	fields := 0
	if !e.Time.IsZero() {
		fields += 4 + 8
	}
	if e.ContentType != "" {
		fields += 4 + len(e.ContentType)
	}
	n := 16 + lpLen(len(e.Type)) + 1 + lpLen(len(e.Metadata)) + len(e.Data)
	if fields > 0 {
		n += lpLen(fields)
	}

	dst = binary.AppendUvarint(dst, uint64(n))
	dst = append(dst, e.ID[:]...)
	dst = appendLP(dst, e.Type)
	if fields == 0 {
		dst = append(dst, byte(e.Format))
		dst = appendLP(dst, e.Metadata)
		return append(dst, e.Data...)
	}
	dst = append(dst, byte(e.Format)|formatFields)
	dst = appendLP(dst, e.Metadata)
	dst = binary.AppendUvarint(dst, uint64(fields))
	if !e.Time.IsZero() {
		dst = appendField(dst, fieldTime, 8)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(micros(e.Time)))
	}
	if e.ContentType != "" {
		dst = appendField(dst, fieldContentType, len(e.ContentType))
		dst = append(dst, e.ContentType...)
	}
	return append(dst, e.Data...)
}

// DecodeNewEvent decodes the first such event of b into e, without copying: e
// points into b. It returns the encoded length. It checks the form only;
// Commit.Validate and whoever knows JSON check the rest.
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
		d.ok = decodeFields(d.lp(), &f) && d.ok
		e.Time, e.ContentType = f.Time, f.ContentType
	}
	if !d.ok || format&formatReserved != 0 {
		return 0, errMalformedEvent
	}
	e.Data = d.b
	return n, nil
}
