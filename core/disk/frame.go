package disk

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/gyre-events/gyre/core"
)

// A frame is one Commit, FORMAT.md "Frames":
//
//	header 56 B | records section | { u32 CRC32C | encoded event } … | zeros to a multiple of 8
//
// The header's checksum covers its place in the file as well; the header has
// the checksum of the records and one over the sequence of the events' own. So
// a frame is valid as a whole or not at all, and an event can be checked alone.
const (
	frameMagic       = 0x31465947 // "GYF1"
	frameHeaderBytes = 56
	frameAlign       = 8
	eventPrefixBytes = 4 // the checksum before each event
)

// Layout of the frame header.
const (
	frmMagic        = 0
	frmChecksum     = 4 // of what follows, seeded with the salt and the offset
	frmRecordsBytes = 8
	frmRecordsSum   = 12
	frmEventsBytes  = 16 // with their checksums
	frmEvents       = 20
	frmEventsDigest = 24 // CRC32C of the events' checksums
	frmFirst        = 32 // position of the first event; of the next one if there is none
	frmDurable      = 40 // the log up to this offset was durable when this was written
	frmRecorded     = 48 // Unix µs
)

type frameHeader struct {
	recordsBytes, recordsSum uint32
	eventsBytes, events      uint32
	digest                   uint32
	first                    uint64
	durable                  offset
	recorded                 int64
}

// size is that of the whole frame.
func (h *frameHeader) size() int64 {
	return align(frameHeaderBytes + int64(h.recordsBytes) + int64(h.eventsBytes))
}

func align(n int64) int64 { return (n + frameAlign - 1) &^ (frameAlign - 1) }

// encode fills b, which begins at byte at of its file.
func (h *frameHeader) encode(b []byte, salt uint32, at int64) {
	le := binary.LittleEndian
	le.PutUint32(b[frmMagic:], frameMagic)
	le.PutUint32(b[frmRecordsBytes:], h.recordsBytes)
	le.PutUint32(b[frmRecordsSum:], h.recordsSum)
	le.PutUint32(b[frmEventsBytes:], h.eventsBytes)
	le.PutUint32(b[frmEvents:], h.events)
	le.PutUint32(b[frmEventsDigest:], h.digest)
	le.PutUint32(b[frmEventsDigest+4:], 0)
	le.PutUint64(b[frmFirst:], h.first)
	le.PutUint64(b[frmDurable:], uint64(h.durable))
	le.PutUint64(b[frmRecorded:], uint64(h.recorded))
	le.PutUint32(b[frmChecksum:], frameHeaderSum(b, salt, at))
}

func frameHeaderSum(b []byte, salt uint32, at int64) uint32 {
	return crc32.Update(salt^uint32(at), castagnoli, b[frmRecordsBytes:frameHeaderBytes])
}

// decodeFrameHeader reads the header at byte at; ok is false if there is none.
func decodeFrameHeader(b []byte, salt uint32, at int64) (h frameHeader, ok bool) {
	le := binary.LittleEndian
	if len(b) < frameHeaderBytes || le.Uint32(b[frmMagic:]) != frameMagic ||
		le.Uint32(b[frmChecksum:]) != frameHeaderSum(b, salt, at) {
		return h, false
	}
	return frameHeader{
		recordsBytes: le.Uint32(b[frmRecordsBytes:]), recordsSum: le.Uint32(b[frmRecordsSum:]),
		eventsBytes: le.Uint32(b[frmEventsBytes:]), events: le.Uint32(b[frmEvents:]),
		digest: le.Uint32(b[frmEventsDigest:]), first: le.Uint64(b[frmFirst:]),
		durable: offset(le.Uint64(b[frmDurable:])), recorded: int64(le.Uint64(b[frmRecorded:])),
	}, true
}

// eventSize is the length of the encoded event that b begins with, its length
// prefix included; 0 if b is too short to tell, -1 if it cannot be an event.
func eventSize(b []byte) int {
	n, k := binary.Uvarint(b)
	switch {
	case k == 0 && len(b) < binary.MaxVarintLen64:
		return 0
	case k <= 0 || n == 0 || n > maxEventRecordBytes:
		return -1
	}
	return k + int(n)
}

// maxEventRecordBytes bounds an encoded event: what core lets through, and
// room for fields to come.
const maxEventRecordBytes = core.MaxEventBytes + 64<<10

// checkEvents verifies every event's checksum and the digest over them.
// events is the section as it is in the frame; found is called with each
// event's place in it.
func (h *frameHeader) checkEvents(events []byte, salt uint32, found func(at int, encoded []byte)) bool {
	var digest uint32
	n, i := uint32(0), 0
	for i < len(events) {
		if len(events)-i < eventPrefixBytes {
			return false
		}
		size := eventSize(events[i+eventPrefixBytes:])
		if size <= 0 || size > len(events)-i-eventPrefixBytes {
			return false
		}
		encoded := events[i+eventPrefixBytes : i+eventPrefixBytes+size]
		if crc32.Update(salt, castagnoli, encoded) != binary.LittleEndian.Uint32(events[i:]) {
			return false
		}
		digest = crc32.Update(digest, castagnoli, events[i:i+eventPrefixBytes])
		if found != nil {
			found(i, encoded)
		}
		n++
		i += eventPrefixBytes + size
	}
	return n == h.events && digest == h.digest
}

// frameBuilder lays frames one after another into a buffer that will be
// written at base of a segment.
type frameBuilder struct {
	buf  []byte
	base int64
	salt uint32
	offs []uint32 // where in the file each event of the buffer is
	last uint64   // position of the last of them
	// hidden says that readers of $all do not get some of them.
	hidden bool

	// Of the frame that is being built.
	start  int // in buf
	first  int // in offs
	sums   []byte
	header frameHeader
}

func (f *frameBuilder) reset(base int64, salt uint32) {
	f.buf, f.offs, f.base, f.salt, f.hidden = f.buf[:0], f.offs[:0], base, salt, false
}

// end is the offset in the file that the next frame will have.
func (f *frameBuilder) end() int64 { return f.base + int64(len(f.buf)) }

// frameOffs are the places of the frame's events.
func (f *frameBuilder) frameOffs() []uint32 { return f.offs[f.first:] }

// holds returns the bytes from byte o of the file on, if they are in the
// buffer.
func (f *frameBuilder) holds(o int64) ([]byte, bool) {
	if o < f.base || o >= f.end() {
		return nil, false
	}
	return f.buf[o-f.base:], true
}

func (f *frameBuilder) begin(h frameHeader) {
	f.header = h
	f.start, f.first = len(f.buf), len(f.offs)
	f.sums = f.sums[:0]
	f.buf = append(f.buf, make([]byte, frameHeaderBytes)...)
}

// records appends the records section. It comes before any event.
func (f *frameBuilder) records(ops []recordChange) {
	from := len(f.buf)
	for i := range ops {
		f.buf = ops[i].encode(f.buf)
	}
	section := f.buf[from:]
	f.header.recordsBytes = uint32(len(section))
	f.header.recordsSum = crc32.Update(f.salt, castagnoli, section)
}

func (f *frameBuilder) event(p core.Placement, e *core.NewEvent) {
	from := len(f.buf)
	f.buf = core.EncodeEvent(append(f.buf, 0, 0, 0, 0), p, e)
	f.seal(from, p.Position)
}

func (f *frameBuilder) link(p core.Placement, origin core.Origin, typ string) {
	from := len(f.buf)
	f.buf = core.EncodeLink(append(f.buf, 0, 0, 0, 0), p, origin, typ)
	f.seal(from, p.Position)
}

// seal puts the checksum before the event that begins at from.
func (f *frameBuilder) seal(from int, position uint64) {
	sum := crc32.Update(f.salt, castagnoli, f.buf[from+eventPrefixBytes:])
	binary.LittleEndian.PutUint32(f.buf[from:], sum)
	f.sums = binary.LittleEndian.AppendUint32(f.sums, sum)
	f.offs = append(f.offs, uint32(f.base)+uint32(from))
	f.last = position
}

// batch adds the events of the buffer to b, without their checksums.
func (f *frameBuilder) batch(b *core.Batch) {
	if len(f.offs) == 0 {
		return
	}
	if b.Block == nil {
		b.Block = make([]byte, 0, len(f.buf))
	}
	for _, off := range f.offs {
		encoded := f.buf[int64(off)-f.base+eventPrefixBytes:]
		b.Block = append(b.Block, encoded[:eventSize(encoded)]...)
	}
	if b.Count == 0 {
		b.First = f.last - uint64(len(f.offs)) + 1
	}
	b.Count += len(f.offs)
	b.Last = f.last
	b.Hidden = b.Hidden || f.hidden
}

// finish completes the frame and returns the offset behind it.
func (f *frameBuilder) finish() int64 {
	h := &f.header
	h.events = uint32(len(f.offs) - f.first)
	h.eventsBytes = uint32(len(f.buf) - f.start - frameHeaderBytes - int(h.recordsBytes))
	h.digest = crc32.Update(0, castagnoli, f.sums)
	for len(f.buf)%frameAlign != 0 {
		f.buf = append(f.buf, 0)
	}
	h.encode(f.buf[f.start:], f.salt, f.base+int64(f.start))
	return f.end()
}
