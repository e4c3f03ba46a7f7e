package disk

import (
	"encoding/binary"
	"hash/crc32"
)

// Of a frame in a rewritten segment, parts may be gone. What is left can be verified as that of
// any frame can:
//
//	header 56 B | what is kept of the records | { u32 CRC32C | encoded event, stub or nothing } …
//
// The header and the events' checksums are as they were. Records of which some are gone stand at
// the beginning of their section behind a checksum of their own.

// passGap moves at over frames that are gone.
func (s *scanner) passGap() error {
	if s.extents == nil || s.at >= s.w.end {
		return nil
	}
	p, err := s.extents.at(s.at)
	if err == nil && !p.kept {
		s.at, s.passed = p.end, true
	}
	return err
}

// whole reports whether all of the frame at o is there.
func (s *scanner) whole(o int64, h *frameHeader) (bool, error) {
	if s.extents == nil {
		return true, nil
	}
	p, err := s.extents.at(o)
	return p.kept && p.end >= o+h.size(), err
}

// parts verifies what is there of the frame at o, and visits it. ok is false if anything is not
// as it should be.
func (s *scanner) parts(o int64, h *frameHeader, body []byte, v visitor) (ok bool, err error) {
	first := o + frameHeaderBytes // body[0] is here
	i, end := int64(h.recordsBytes), int64(h.recordsBytes)+int64(h.eventsBytes)
	if int64(len(body)) < end || lastNonZero(body[end:]) >= 0 {
		return false, nil
	}
	records, ok, err := s.keptRecords(first, h, body)
	if err != nil || !ok {
		return false, err
	}
	if err := v.records(o, records); err != nil {
		return false, err
	}
	digest, n := uint32(0), uint32(0)
	for ; i < end; n++ {
		if end-i < eventPrefixBytes {
			return false, nil
		}
		digest = crc32.Update(digest, castagnoli, body[i:i+eventPrefixBytes])
		part, err := s.eventPart(first+i, body[i:end])
		if err != nil || part.bytes == 0 {
			return false, err
		}
		switch {
		case part.encoded != nil && v.event != nil:
			err = v.event(first+i, part.encoded)
		case part.encoded == nil && v.removed != nil:
			err = v.removed(first+i, h.first+uint64(n), part.stub)
		}
		if err != nil {
			return false, err
		}
		i = min(i+part.bytes, end)
	}
	return n == h.events && digest == h.digest, nil
}

// keptRecords is what is kept of the records section, which begins at first.
func (s *scanner) keptRecords(first int64, h *frameHeader, body []byte) (kept []byte, ok bool, err error) {
	section := body[:h.recordsBytes]
	if len(section) == 0 {
		return nil, true, nil
	}
	end := first + int64(len(section))
	p, err := s.extents.at(first)
	switch {
	case err != nil:
		return nil, false, err
	case !p.kept:
		return nil, p.end >= end, nil
	case p.end >= end:
		return section, crc32.Update(s.header.salt, castagnoli, section) == h.recordsSum, nil
	}
	gap, err := s.extents.at(p.end)
	kept = section[:p.end-first]
	if err != nil || gap.end < end || len(kept) <= repackedPrefixBytes {
		return nil, false, err
	}
	sum := binary.LittleEndian.Uint32(kept)
	kept = kept[repackedPrefixBytes:]
	return kept, crc32.Update(s.header.salt, castagnoli, kept) == sum, nil
}

// repackedPrefixBytes are the checksum before records of which some are gone.
const repackedPrefixBytes = 4

// eventPart is an event of a frame, or what is left of it.
type eventPart struct {
	bytes   int64  // to the next one; 0 if it is damaged
	encoded []byte // nil if it was removed
	stub    *stub  // of a removed one, if it has any
}

// eventPart reads the event at o, whose checksum b begins with; b ends with the frame's events.
func (s *scanner) eventPart(o int64, b []byte) (part eventPart, err error) {
	p, err := s.extents.at(o + eventPrefixBytes)
	if err != nil {
		return part, err
	}
	sum, b := binary.LittleEndian.Uint32(b), b[eventPrefixBytes:]
	if p.kept && len(b) > 0 && b[0] != stubMark {
		size := eventSize(b)
		if size <= 0 || size > len(b) || crc32.Update(s.header.salt, castagnoli, b[:size]) != sum {
			return part, nil
		}
		return eventPart{bytes: eventPrefixBytes + int64(size), encoded: b[:size]}, nil
	}
	if p.kept {
		left, ok := decodeStub(b[:min(p.end-o-eventPrefixBytes, int64(len(b)))], s.header.salt)
		if !ok {
			return part, nil
		}
		part.stub = &left
		if p, err = s.extents.at(p.end); err != nil || p.kept {
			return part, err
		}
	}
	part.bytes = p.end - o
	return part, nil
}
