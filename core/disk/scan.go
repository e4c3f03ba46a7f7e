package disk

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/gyre-events/gyre/core"
)

// scanner goes through the frames of one segment in order, checking all of
// them.
type scanner struct {
	w       *window
	extents *extents
	header  segmentHeader
	at      int64  // of the next frame
	next    uint64 // the position that the next event must have
	visit   visitor
	invalid string // what is wrong with the frame at at, once scan has returned
	// passed says that frames before at were removed: next is then the least that is due.
	passed bool
}

// visitor receives what a scan finds. Any of its fields may be nil. The bytes
// are valid during the call.
type visitor struct {
	frame  func(at int64, h *frameHeader)
	event  func(at int64, encoded []byte) error
	record func(at int64, c recordChange) error
	// removed is called in the place of event for one that was removed, if others of its
	// frame or changes of records were not. s is nil unless its version is remembered.
	removed func(at int64, position uint64, s *stub) error
}

// scanStrideBytes is the unit of sequential reading; past it, more gains
// nothing measurable.
const scanStrideBytes = 1 << 20

func newScanner(file File, end int64, h segmentHeader, v visitor) *scanner {
	return &scanner{
		w: newWindow(file, end, scanStrideBytes), extents: extentsOf(file),
		header: h, at: headerBytes, next: h.first, visit: v,
	}
}

// scan visits every frame up to the first that is not valid, where at then
// stands. The error is one of reading or of the visitor, not of the frames.
func (s *scanner) scan() error {
	for {
		if err := s.passGap(); err != nil {
			return err
		}
		h, body, ok, err := s.frameAt(s.at)
		if err != nil || !ok {
			return err
		}
		if h.first < s.next || h.first > s.next && !s.passed {
			return corrupt(at(s.header.number, s.at), "a frame begins with position %d where %d is due", h.first, s.next)
		}
		if err := s.deliver(&h, body); err != nil {
			return err
		}
		s.next, s.passed = h.first+uint64(h.events), false
		s.at += h.size()
	}
}

// frameAt returns the header and the body of the frame at o; ok is false if
// there is none that is valid.
func (s *scanner) frameAt(o int64) (h frameHeader, body []byte, ok bool, err error) {
	b, err := s.w.at(o, frameHeaderBytes)
	if err != nil {
		return h, nil, false, err
	}
	h, ok = decodeFrameHeader(b, s.header.salt, o)
	if !ok || o+h.size() > s.w.end {
		s.invalid = "a frame header is damaged or missing"
		return h, nil, false, nil
	}
	body, err = s.w.at(o+frameHeaderBytes, int(h.size()-frameHeaderBytes))
	if err != nil {
		return h, nil, false, err
	}
	whole, err := s.whole(o, &h)
	if err != nil {
		return h, nil, false, err
	}
	if whole {
		ok = h.checkBody(body, s.header.salt)
	} else if ok, err = s.parts(o, &h, body, visitor{}); err != nil {
		return h, nil, false, err
	}
	if !ok {
		s.invalid = "a frame is damaged"
		return h, nil, false, nil
	}
	return h, body, true, nil
}

// checkBody verifies all that follows the header, the padding too: nothing of
// a segment is outside every checksum.
func (h *frameHeader) checkBody(body []byte, salt uint32) bool {
	records, events := int64(h.recordsBytes), int64(h.eventsBytes)
	if int64(len(body)) < records+events || crc32.Update(salt, castagnoli, body[:records]) != h.recordsSum && records > 0 {
		return false
	}
	for _, b := range body[records+events:] {
		if b != 0 {
			return false
		}
	}
	return h.checkEvents(body[records:records+events], salt, nil)
}

func (s *scanner) deliver(h *frameHeader, body []byte) error {
	if s.visit.frame != nil {
		s.visit.frame(s.at, h)
	}
	if whole, err := s.whole(s.at, h); err != nil || !whole {
		if err == nil {
			_, err = s.parts(s.at, h, body, s.visit)
		}
		return err
	}
	if err := s.visit.records(s.at, body[:h.recordsBytes]); err != nil || s.visit.event == nil {
		return err
	}
	first := s.at + frameHeaderBytes + int64(h.recordsBytes)
	events := body[h.recordsBytes : h.recordsBytes+h.eventsBytes]
	for i := 0; i < len(events); {
		n := eventSize(events[i+eventPrefixBytes:])
		if err := s.visit.event(first+int64(i), events[i+eventPrefixBytes:][:n]); err != nil {
			return err
		}
		i += eventPrefixBytes + n
	}
	return nil
}

// records visits the changes in a records section of the frame at o.
func (v *visitor) records(o int64, section []byte) error {
	if v.record == nil {
		return nil
	}
	return eachRecordChange(section, func(c recordChange) error { return v.record(o, c) })
}

// tail is what is known of a segment's end after a scan.
type tail struct {
	end     int64 // behind the last valid frame
	garbage int64 // behind the last byte that is not zero; ≤ end if all are
	durable int64 // up to here some frame knows the segment to be durable
	next    uint64
}

// scanTail scans the last segment and decides where it ends. A frame records
// up to where the log was durable when it was written: damage at or behind the
// greatest such offset is a write that was cut off, damage before it is damage
// to something acknowledged, and that is refused, never skipped.
func scanTail(file File, h segmentHeader, v visitor) (tail, error) {
	size, err := file.Size()
	if err != nil {
		return tail{}, err
	}
	known, visitFrame := offset(0), v.frame
	v.frame = func(o int64, f *frameHeader) {
		known = max(known, f.durable)
		if visitFrame != nil {
			visitFrame(o, f)
		}
	}
	s := newScanner(file, size, h, v)
	if err := s.scan(); err != nil {
		return tail{}, err
	}
	t := tail{end: s.at, next: s.next, durable: headerBytes}
	if known.segment() == h.number {
		t.durable = known.byte()
	}
	damage, durable := s.invalid, at(h.number, s.at)
	for o := s.at; o < size; {
		b, err := s.w.at(o, scanStrideBytes)
		if err != nil {
			return t, err
		}
		if len(b) == 0 {
			break
		}
		if i := lastNonZero(b); i >= 0 {
			t.garbage = o + int64(i) + 1
		}
		stride := int64(len(b))
		for _, i := range candidates(b) {
			f, _, ok, err := s.frameAt(o + i)
			if err != nil {
				return t, err
			}
			if ok {
				durable = max(durable, f.durable)
			}
		}
		o += align(stride)
	}
	if durable > at(h.number, t.end) {
		return t, corrupt(at(h.number, t.end), "%s, before the last acknowledged event", damage)
	}
	return t, nil
}

// candidates are the places in b where a frame may begin.
func candidates(b []byte) []int64 {
	var found []int64
	for i := 0; i+4 <= len(b); i += frameAlign {
		if binary.LittleEndian.Uint32(b[i:]) == frameMagic {
			found = append(found, int64(i))
		}
	}
	return found
}

func lastNonZero(b []byte) int {
	i := len(b) - 1
	for i >= 7 && binary.LittleEndian.Uint64(b[i-7:]) == 0 {
		i -= 8
	}
	for i >= 0 && b[i] == 0 {
		i--
	}
	return i
}

// scanSealed scans a segment whose valid end is recorded in the next one's
// header. Anything else than valid frames, and gaps, up to just there is damage. next is the
// position behind its last event; the least that it may be if there is a gap behind that.
func scanSealed(file File, end int64, h segmentHeader, v visitor) (next uint64, err error) {
	s := newScanner(file, end, h, v)
	if err := s.scan(); err != nil {
		return 0, err
	}
	if s.at != end {
		return 0, corrupt(at(h.number, s.at), "%s", s.invalid)
	}
	return s.next, nil
}

// decode is core.DecodeEvent of exactly b.
func decode(b []byte, e *core.Event) bool {
	n, err := core.DecodeEvent(b, e)
	return err == nil && n == len(b)
}
