package wasm

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// maxGap is how many zeros may join two data segments. The Go linker leaves out most runs of
// zeros that are longer than a segment's header.
const maxGap = 64

// segment is one of the data section: bytes at an address.
type segment struct {
	at   uint32
	data []byte
}

func (s *segment) end() uint64 { return uint64(s.at) + uint64(len(s.data)) }

// dataSection joins segments that are next to each other. The Go linker makes tens of thousands,
// and wazero keeps a slice of each in every instance.
func (w *meter) dataSection() []byte {
	segments, ok := w.m.activeSegments()
	if !ok {
		return w.m.sections[sectionData]
	}
	slices.SortFunc(segments, func(a, b segment) int { return cmp.Compare(a.at, b.at) })
	joined := segments[:0]
	for _, s := range segments {
		if n := len(joined); n > 0 {
			last := &joined[n-1]
			if uint64(s.at) < last.end() { // the order decides what is there
				return w.m.sections[sectionData]
			}
			if gap := uint64(s.at) - last.end(); gap <= maxGap {
				last.data = append(append(last.data, make([]byte, gap)...), s.data...)
				continue
			}
		}
		joined = append(joined, s)
	}
	out := binary.AppendUvarint(make([]byte, 0, len(w.m.sections[sectionData])), uint64(len(joined)))
	for _, s := range joined {
		out = append(appendSigned(append(out, 0, opI32Const), int64(int32(s.at))), opEnd)
		out = append(binary.AppendUvarint(out, uint64(len(s.data))), s.data...)
	}
	return out
}

// activeSegments returns the segments of a module that are copied to its memory when it starts. It
// is false if there are others, or instructions that name segments by their index: these need a
// data count.
func (m *Module) activeSegments() (segments []segment, ok bool) {
	if m.segments == 0 || m.dataCount >= 0 {
		return nil, false
	}
	r := &reader{data: m.sections[sectionData]}
	for range r.u32() {
		switch flags := r.u32(); flags {
		case 1:
			return nil, false
		case 2:
			r.u32() // the memory
		}
		r.byte() // i32.const
		at := uint32(r.signed(32))
		r.byte()                                                        // end
		segments = append(segments, segment{at, r.bytes(int(r.u32()))}) // without room to append
	}
	return segments, true
}
