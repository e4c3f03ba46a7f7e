package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// The segment header, FORMAT.md "Segments". It has a sector of its own, which
// is written and synced before any frame and never again.
const (
	headerBytes = 4096
	// formatVersion is written to every segment, rewrittenVersion to those that a scavenge
	// has rewritten. Readers refuse a greater one.
	formatVersion    = 1
	rewrittenVersion = 2

	segmentMagic = "GYRESEG\x00"
	headerUsed   = 148 // of headerBytes; the rest is zero
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentHeader says what a segment is and how the one before it ended.
type segmentHeader struct {
	version  uint32 // of the format; formatVersion once it is written
	number   uint32
	salt     uint32 // seeds every checksum of the segment
	log      string // identity, at most maxLogBytes
	key      hashKey
	prevEnd  int64  // valid length of the segment before; 0 in the first
	first    uint64 // position that the segment's first event has or will have
	recorded int64  // the last recorded time before this segment
	// rewriting is zero but in a segment of rewrittenVersion.
	rewriting rewriting
}

// rewriting is what the header of a rewritten segment says beside.
type rewriting struct {
	id     uint32 // random, not 0: another for each time that a segment is rewritten
	blocks uint32 // of the map
	end    int64  // of the segment in the log: as the next header gives it
	kept   int64  // where in the file the kept bytes end, and the map begins
	sum    uint32 // CRC32C of the map's fences
	// asOf is a place that the log had reached when it was decided what goes: the records
	// before it cannot be made any more. It is zero in segments of earlier versions. Its frame is
	// not kept.
	asOf mark
}

const (
	maxLogBytes = 24
	// identityBytes is the length of the identity of a new log.
	identityBytes = 16
)

// Layout of the header.
const (
	hdrMagic    = 0
	hdrVersion  = 8
	hdrChecksum = 12 // CRC32C of the sector with this field zero
	hdrNumber   = 16
	hdrSalt     = 20
	hdrPrevEnd  = 24
	hdrFirst    = 32
	hdrRecorded = 40
	hdrKey      = 48 // 16 bytes
	hdrLog      = 64 // length byte and up to maxLogBytes

	// u32 id, u32 blocks, u64 end, u64 kept, u32 sum; u64 offset, u64 position, i64 recorded
	hdrRewriting = 96
)

func (h *segmentHeader) encode() []byte {
	b := make([]byte, headerBytes)
	le := binary.LittleEndian
	copy(b[hdrMagic:], segmentMagic)
	le.PutUint32(b[hdrVersion:], h.version)
	le.PutUint32(b[hdrNumber:], h.number)
	le.PutUint32(b[hdrSalt:], h.salt)
	le.PutUint64(b[hdrPrevEnd:], uint64(h.prevEnd))
	le.PutUint64(b[hdrFirst:], h.first)
	le.PutUint64(b[hdrRecorded:], uint64(h.recorded))
	le.PutUint64(b[hdrKey:], h.key[0])
	le.PutUint64(b[hdrKey+8:], h.key[1])
	b[hdrLog] = byte(len(h.log))
	copy(b[hdrLog+1:hdrLog+1+maxLogBytes], h.log)
	r := &h.rewriting
	le.PutUint32(b[hdrRewriting:], r.id)
	le.PutUint32(b[hdrRewriting+4:], r.blocks)
	le.PutUint64(b[hdrRewriting+8:], uint64(r.end))
	le.PutUint64(b[hdrRewriting+16:], uint64(r.kept))
	le.PutUint32(b[hdrRewriting+24:], r.sum)
	le.PutUint64(b[hdrRewriting+28:], uint64(r.asOf.end))
	le.PutUint64(b[hdrRewriting+36:], r.asOf.head)
	le.PutUint64(b[hdrRewriting+44:], uint64(r.asOf.recorded))
	le.PutUint32(b[hdrChecksum:], crc32.Checksum(b, castagnoli))
	return b
}

// decodeSegmentHeader reads the header sector of segment number. A version
// that is greater than ours is reported before anything else is believed.
func decodeSegmentHeader(b []byte, number uint32) (segmentHeader, error) {
	var h segmentHeader
	if len(b) < headerBytes || string(b[:len(segmentMagic)]) != segmentMagic {
		return h, corrupt(at(number, 0), "the segment header is damaged")
	}
	b = b[:headerBytes]
	le := binary.LittleEndian
	sum := le.Uint32(b[hdrChecksum:])
	crc := crc32.Update(0, castagnoli, b[:hdrChecksum])
	crc = crc32.Update(crc, castagnoli, []byte{0, 0, 0, 0})
	crc = crc32.Update(crc, castagnoli, b[hdrChecksum+4:])
	if crc != sum {
		return h, corrupt(at(number, 0), "the segment header is damaged")
	}
	v := le.Uint32(b[hdrVersion:])
	if v > rewrittenVersion {
		return h, core.Errorf(core.CodeStoreNewer, "segment %s has format %d, this gyre reads up to %d", segmentName(number), v, rewrittenVersion)
	}
	h = segmentHeader{
		version: v, number: le.Uint32(b[hdrNumber:]), salt: le.Uint32(b[hdrSalt:]),
		prevEnd: int64(le.Uint64(b[hdrPrevEnd:])), first: le.Uint64(b[hdrFirst:]),
		recorded: int64(le.Uint64(b[hdrRecorded:])),
		key:      hashKey{le.Uint64(b[hdrKey:]), le.Uint64(b[hdrKey+8:])},
	}
	n := int(b[hdrLog])
	if n > maxLogBytes || h.number != number {
		return h, corrupt(at(number, 0), "the segment header is another file's")
	}
	h.log = string(b[hdrLog+1 : hdrLog+1+n])
	if v != rewrittenVersion {
		return h, nil
	}
	b = b[hdrRewriting:]
	h.rewriting = rewriting{
		id: le.Uint32(b), blocks: le.Uint32(b[4:]),
		end: int64(le.Uint64(b[8:])), kept: int64(le.Uint64(b[16:])), sum: le.Uint32(b[24:]),
		asOf: mark{end: offset(le.Uint64(b[28:])), head: le.Uint64(b[36:]), recorded: int64(le.Uint64(b[44:]))},
	}
	if r := &h.rewriting; r.id == 0 || r.kept < headerBytes || r.end < r.kept || r.end > math.MaxUint32 {
		return h, corrupt(at(number, 0), "the segment header says what cannot be")
	}
	return h, nil
}

// mark is what tells one rewriting of a segment from another, and from none, which is 0. Those of
// several segments are joined with XOR.
func (r *rewriting) mark(number uint32) uint64 {
	if r.id == 0 {
		return 0
	}
	return mum(uint64(number)<<32|uint64(r.id)^mixA, mixB)
}

// original is the header that the segment had before it was rewritten.
func (h *segmentHeader) original() []byte {
	was := *h
	was.version, was.rewriting = formatVersion, rewriting{}
	return was.encode()
}

func segmentName(number uint32) string { return fmt.Sprintf("%010d.seg", number) }

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 || segmentName(uint32(n)) != name {
		return 0, false
	}
	return uint32(n), true
}

// newWord makes a word of n letters and digits that nobody else has made.
func newWord(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[randomUint64()&31]
	}
	return string(b)
}

// randomUint64 comes from the runtime's generator, which the operating system
// seeds.
func randomUint64() uint64 { return rand.Uint64() }

// corrupt is the refusal of damaged data. The detail names the file, Offset is
// the byte in it.
func corrupt(o offset, format string, args ...any) *core.Error {
	e := core.Errorf(core.CodeStoreCorrupt, "%s at byte %d of log/%s", fmt.Sprintf(format, args...), o.byte(), segmentName(o.segment()))
	b := o.byte()
	e.Offset = &b
	return e
}
