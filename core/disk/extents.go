package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"sort"
	"sync/atomic"
)

// A segment that was rewritten has fewer bytes in its file than in the log, FORMAT.md
// "Rewritten segments". Its extents say which bytes of the segment are kept, and where in the
// file they are. Everything that refers to the log goes on to do so by the byte in the
// segment.

// errRemoved says that a scavenge has removed the event that is asked for.
var errRemoved = errors.New("the event was removed")

// extents is the map of a rewritten segment. Nil is that of any other: all is kept. It is safe
// for concurrent use.
type extents struct {
	file   File
	header segmentHeader
	// fences are the first extent of each block, so that memory is 8 bytes for 511 extents.
	fences []extent
	recent atomic.Pointer[extentBlock] // the one that was last read
}

// extent is a run of kept bytes: where it begins in the segment, in the upper 32 bits, and in
// the file, in the lower. It ends where the next one begins in the file.
type extent uint64

func newExtent(segment, file int64) extent { return extent(segment)<<32 | extent(uint32(file)) }

func (e extent) segment() int64 { return int64(e >> 32) }
func (e extent) file() int64    { return int64(uint32(e)) }

// follows reports whether e may be the next extent behind before.
func (e extent) follows(before extent) bool {
	n := e.file() - before.file()
	return n > 0 && n <= e.segment()-before.segment()
}

// extentBlock is a block of the map.
type extentBlock struct {
	number  int
	extents []extent // and behind them the first of the next block, or where all ends
}

const (
	extentBytes    = 8
	extentsInBlock = (blockBytes - 8) / extentBytes
)

// piece is a part of a segment that is kept, or is not.
type piece struct {
	kept bool
	end  int64 // in the segment
	file int64 // where in the file it is; where the next kept one is if it is not kept
}

// extentsOf is the map of the segment that is read.
func extentsOf(file io.ReaderAt) *extents {
	if f, ok := file.(*segmentFile); ok {
		return f.extents
	}
	return nil
}

// openExtents loads the map of a segment, if it was rewritten.
func openExtents(file File, number uint32) (*extents, error) {
	sector := make([]byte, headerBytes)
	n, err := file.ReadAt(sector, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if n < headerBytes || binary.LittleEndian.Uint32(sector[hdrVersion:]) != rewrittenVersion {
		return nil, nil
	}
	x := &extents{file: file}
	if x.header, err = decodeSegmentHeader(sector, number); err != nil {
		return nil, err
	}
	return x, x.loadFences()
}

func (x *extents) loadFences() error {
	r := &x.header.rewriting
	size, err := x.file.Size()
	if err != nil {
		return err
	}
	from := r.kept + int64(r.blocks)*blockBytes
	b := make([]byte, max(min(int64(r.blocks)*extentBytes, size-from), 0))
	if from+int64(r.blocks)*extentBytes != size {
		return x.damaged(size, "the file does not have the size that its header gives")
	}
	if n, err := x.file.ReadAt(b, from); n < len(b) {
		return x.unread(from, err)
	}
	if crc32.Checksum(b, castagnoli) != r.sum {
		return x.damaged(from, "the map is damaged")
	}
	for ; len(b) > 0; b = b[extentBytes:] {
		x.fences = append(x.fences, extent(binary.LittleEndian.Uint64(b)))
	}
	if !x.inOrder() {
		return x.damaged(from, "the map is damaged")
	}
	return nil
}

// inOrder reports whether the fences lead from the beginning to the end.
func (x *extents) inOrder() bool {
	if len(x.fences) == 0 {
		return x.header.rewriting.kept == headerBytes
	}
	if first := x.fences[0]; first.file() != headerBytes || first.segment() < headerBytes {
		return false
	}
	for i := range x.fences[1:] {
		if !x.fences[i+1].follows(x.fences[i]) {
			return false
		}
	}
	return x.last().follows(x.fences[len(x.fences)-1])
}

// last is where all extents end.
func (x *extents) last() extent {
	return newExtent(x.header.rewriting.end, x.header.rewriting.kept)
}

func (x *extents) damaged(o int64, what string) error {
	return corrupt(at(x.header.number, o), "%s", what)
}

// unread is the error of a read that was too short.
func (x *extents) unread(o int64, err error) error {
	if err == nil || err == io.EOF {
		return x.damaged(o, "the file is cut off")
	}
	return err
}

// block reads a block of the map and checks it.
func (x *extents) block(number int) (*extentBlock, error) {
	if b := x.recent.Load(); b != nil && b.number == number {
		return b, nil
	}
	var raw [blockBytes]byte
	o := x.header.rewriting.kept + int64(number)*blockBytes
	if n, err := x.file.ReadAt(raw[:], o); n < len(raw) {
		return nil, x.unread(o, err)
	}
	used := binary.LittleEndian.Uint32(raw[4:])
	if !validBlock(raw[:], o) || used <= 8 || used > blockBytes || (used-8)%extentBytes != 0 {
		return nil, x.damaged(o, "the map is damaged")
	}
	b := &extentBlock{number: number, extents: make([]extent, 0, extentsInBlock+1)}
	for i := uint32(8); i < used; i += extentBytes {
		b.extents = append(b.extents, extent(binary.LittleEndian.Uint64(raw[i:])))
	}
	if number+1 < len(x.fences) {
		b.extents = append(b.extents, x.fences[number+1])
	} else {
		b.extents = append(b.extents, x.last())
	}
	for i, e := range b.extents {
		if i == 0 && e != x.fences[number] || i > 0 && !e.follows(b.extents[i-1]) {
			return nil, x.damaged(o, "the map is damaged")
		}
	}
	x.recent.Store(b)
	return b, nil
}

// at is the piece that byte o of the segment is in, from there on.
func (x *extents) at(o int64) (piece, error) {
	switch {
	case x == nil || o < 0 || o >= x.header.rewriting.end:
		return piece{kept: true, end: math.MaxInt64, file: o}, nil
	case o < headerBytes:
		return piece{kept: true, end: headerBytes, file: o}, nil
	}
	i := sort.Search(len(x.fences), func(i int) bool { return x.fences[i].segment() > o }) - 1
	if i < 0 {
		p := piece{end: x.header.rewriting.end, file: headerBytes}
		if len(x.fences) > 0 {
			p.end = x.fences[0].segment()
		}
		return p, nil
	}
	b, err := x.block(i)
	if err != nil {
		return piece{}, err
	}
	k := sort.Search(len(b.extents)-1, func(k int) bool { return b.extents[k].segment() > o }) - 1
	e, next := b.extents[k], b.extents[k+1]
	if end := e.segment() + next.file() - e.file(); o < end {
		return piece{kept: true, end: end, file: e.file() + o - e.segment()}, nil
	}
	return piece{end: next.segment(), file: next.file()}, nil
}

// mayEnd reports whether records that have a frame, or none, up to byte o of the segment may reach up to
// end: the frames between, if any, were removed.
func (x *extents) mayEnd(o, end int64) bool {
	if o == end {
		return true
	}
	p, err := x.at(o)
	return err == nil && !p.kept && o < end && end <= p.end
}

// ReadAt reads bytes of the segment; those that are not kept are zeros. What is kept of a part
// of the segment is together in the file, so it is read with one call and then spread.
func (x *extents) ReadAt(b []byte, o int64) (int, error) {
	n := max(min(int64(len(b)), x.header.rewriting.end-o), 0)
	done := int64(0)
	if o < headerBytes && n > 0 {
		done = int64(copy(b[:n], x.header.original()[o:]))
	}
	if err := x.spread(b[done:n], o+done); err != nil {
		return 0, err
	}
	if n < int64(len(b)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (x *extents) spread(b []byte, o int64) error {
	if len(b) == 0 {
		return nil
	}
	end := o + int64(len(b))
	from, err := x.at(o)
	if err != nil {
		return err
	}
	upTo := piece{file: x.header.rewriting.kept}
	if end < x.header.rewriting.end {
		if upTo, err = x.at(end); err != nil {
			return err
		}
	}
	// Read into the end of b: each piece then moves forward, over what was moved before.
	read := b[int64(len(b))-(upTo.file-from.file):]
	if n, err := x.file.ReadAt(read, from.file); n < len(read) {
		return x.unread(from.file+int64(n), err)
	}
	for i := o; i < end; {
		p, err := x.at(i)
		if err != nil {
			return err
		}
		part := b[i-o : min(p.end, end)-o]
		if p.kept {
			copy(part, read[p.file-from.file:])
		} else {
			clear(part)
		}
		i += int64(len(part))
	}
	return nil
}

// removed reports whether the event at o was removed, and where the next one of its frame is
// then; behind the last one of the frame, the gap may go on beyond it.
func (x *extents) removed(o int64) (next int64, ok bool, err error) {
	if x == nil {
		return 0, false, nil
	}
	p, err := x.at(o)
	if err != nil || !p.kept {
		return p.end, !p.kept, err
	}
	p, err = x.at(o + eventPrefixBytes)
	if err != nil || !p.kept {
		return p.end, !p.kept, err
	}
	var first [1]byte
	if n, err := x.file.ReadAt(first[:], p.file); n < len(first) {
		return 0, false, x.unread(p.file, err)
	}
	if first[0] != stubMark {
		return 0, false, nil
	}
	p, err = x.at(p.end)
	return p.end, !p.kept, err
}

// A stub stands in the place of a removed event that was the last of its stream, so that its
// version is never given again:
//
//	u8 0 | u32 CRC32C of what follows, seed = salt | u64 recorded |
//	uvarint incarnation | uvarint version | lp stream
//
// No event begins with a zero.
type stub struct {
	stream      string
	version     uint64
	incarnation uint32
	recorded    int64 // Unix µs
}

const (
	stubMark        = 0
	stubPrefixBytes = 1 + 4
	stubTimeBytes   = 8
)

func (s *stub) encode(salt uint32) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, stubPrefixBytes), uint64(s.recorded))
	b = binary.AppendUvarint(b, uint64(s.incarnation))
	b = appendLP(binary.AppendUvarint(b, s.version), s.stream)
	binary.LittleEndian.PutUint32(b[1:], crc32.Update(salt, castagnoli, b[stubPrefixBytes:]))
	return b
}

// decodeStub decodes exactly b.
func decodeStub(b []byte, salt uint32) (s stub, ok bool) {
	if len(b) <= stubPrefixBytes+stubTimeBytes || b[0] != stubMark || binary.LittleEndian.Uint32(b[1:]) != crc32.Update(salt, castagnoli, b[stubPrefixBytes:]) {
		return s, false
	}
	var incarnation uint64
	s.recorded = int64(binary.LittleEndian.Uint64(b[stubPrefixBytes:]))
	b = b[stubPrefixBytes+stubTimeBytes:]
	if b, ok = takeUvarint(b, &incarnation); !ok || incarnation == 0 || incarnation > math.MaxUint32 {
		return s, false
	}
	if b, ok = takeUvarint(b, &s.version); !ok || s.version == 0 {
		return s, false
	}
	name, rest, ok := takeLP(b)
	s.stream, s.incarnation = string(name), uint32(incarnation)
	return s, ok && len(rest) == 0
}
