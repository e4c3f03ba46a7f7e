package disk

import (
	"cmp"
	"encoding/binary"
	"io"
)

// reach says how far in the log some records go: they have the changes of all
// frames that end at or before end. The bytes of the last of these frames' header
// are a witness: a log that was restored from an older copy and has gone on from
// there has other frames, or ends before them.
type reach struct {
	end    offset
	frame  offset // the last frame before end; byte 0 of the segment if there is none in it
	header [frameHeaderBytes]byte
}

const reachBytes = 8 + 8 + frameHeaderBytes

func (r *reach) encode(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.end))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.frame))
	return append(dst, r.header[:]...)
}

func decodeReach(b []byte) (r reach, ok bool) {
	if len(b) != reachBytes {
		return r, false
	}
	r.end, r.frame = offset(binary.LittleEndian.Uint64(b)), offset(binary.LittleEndian.Uint64(b[8:]))
	copy(r.header[:], b[16:])
	return r, true
}

// reachAt is the reach of everything up to m, which is durable.
func (e *Engine) reachAt(m mark) (reach, error) {
	r := reach{end: m.end, frame: m.frame}
	file, err := e.files.acquire(m.frame.segment())
	if err != nil {
		return r, err
	}
	defer e.files.release(file)
	if p, err := file.extents.at(m.frame.byte()); err != nil || !p.kept {
		return r, cmp.Or(err, errRemoved)
	}
	_, err = file.ReadAt(r.header[:], m.frame.byte())
	return r, err
}

// holds reports whether the log is the one that r is of, up to there. It must be
// called before anything is written.
func (e *Engine) holds(r *reach) bool {
	if r.end == 0 {
		return true
	}
	v, number := e.index.view.Load(), r.end.segment()
	if r.frame.segment() != number || number < 1 || int(number) > len(v.segments) {
		return false
	}
	file, err := e.files.acquire(number)
	if err != nil {
		return false
	}
	defer e.files.release(file)
	var found [frameHeaderBytes]byte
	if _, err := file.ReadAt(found[:], r.frame.byte()); err != nil && err != io.EOF || found != r.header {
		return false
	}
	if r.frame.byte() == 0 {
		return file.extents.mayEnd(headerBytes, r.end.byte())
	}
	size, err := file.Size()
	if err != nil {
		return false
	}
	s := newScanner(file, size, segmentHeader{number: number, salt: v.segment(number).salt}, visitor{})
	h, _, ok, err := s.frameAt(r.frame.byte())
	return err == nil && ok && file.extents.mayEnd(r.frame.byte()+h.size(), r.end.byte())
}
