package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// someSegment is a valid segment with a few frames.
func someSegment() (segmentHeader, []byte) {
	h := segmentHeader{number: 1, salt: 42, log: "fuzz", first: 1}
	b := &frameBuilder{}
	b.reset(headerBytes, h.salt)
	position := uint64(0)
	for i := range 3 {
		b.begin(frameHeader{first: position + 1, durable: at(1, b.end()), recorded: 7})
		b.records([]recordChange{{table: "t", key: "k", revision: uint64(i), value: []byte("v")}})
		for range i + 1 {
			position++
			e := core.NewEvent{Type: "t", Data: []byte("data")}
			b.event(core.Placement{Stream: "s", Version: position, Position: position, ID: core.ID{1: 7, 15: byte(position)}}, &e)
		}
		b.finish()
	}
	return h, append(h.encode(), b.buf...)
}

// FuzzFrame changes a frame: either nothing is different, or it is not valid.
func FuzzFrame(f *testing.F) {
	h, data := someSegment()
	f.Add(data[headerBytes:], uint32(0), byte(0))
	f.Add(data[headerBytes:], uint32(60), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, flip uint32, by byte) {
		if len(b) > 0 {
			b[int(flip)%len(b)] ^= by
		}
		frame, ok := decodeFrameHeader(b, h.salt, headerBytes)
		if !ok || frame.size() > int64(len(b)) {
			return
		}
		body := b[frameHeaderBytes:frame.size()]
		if !frame.checkBody(body, h.salt) {
			return
		}
		// What passes every checksum is what was written.
		if string(body) != string(data[headerBytes+frameHeaderBytes:][:len(body)]) {
			t.Fatalf("a frame that was never written is valid")
		}
	})
}

// FuzzSegment puts anything where a segment is expected. It is read as one or
// refused; nothing panics, and what is delivered can be decoded.
func FuzzSegment(f *testing.F) {
	h, data := someSegment()
	f.Add(data, uint32(0), byte(0))
	f.Add(data, uint32(headerBytes+100), byte(4))
	f.Add(data[:headerBytes+30], uint32(16), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, flip uint32, by byte) {
		if len(b) > 0 {
			b[int(flip)%len(b)] ^= by
		}
		got, err := decodeSegmentHeader(b, 1)
		if err == nil && got != h {
			return // another's header, with a checksum of its own
		}
		fs := newFaultFS()
		fs.set("segment", b)
		file, err := fs.OpenFile("segment", 0)
		if err != nil {
			t.Fatal(err)
		}
		r := newReplay(&h, nil)
		v := r.visitor()
		v.record = nil
		end, err := scanTail(file, h, v)
		if err == nil && end.end < headerBytes {
			t.Fatalf("the segment ends at %d", end.end)
		}
	})
}

// FuzzRecordChanges decodes anything as a records section.
func FuzzRecordChanges(f *testing.F) {
	c := recordChange{table: "t", key: "k", revision: 3, value: []byte("v")}
	f.Add(c.encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := eachRecordChange(b, func(c recordChange) error {
			again = c.encode(again)
			return nil
		})
		if err == nil && len(again) > len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(again))
		}
	})
}

// FuzzRun decodes anything as a header and a block of a run.
func FuzzRun(f *testing.F) {
	h := runHeader{log: "fuzz", first: 1, last: 2, window: newIDWindow()}
	f.Add(h.encode(), make([]byte, blockBytes))
	f.Fuzz(func(t *testing.T, header, block []byte) {
		if got, ok := decodeRunHeader(header); ok && string(got.encode()[:16]) != string(header[:16]) {
			t.Fatalf("a run header changes on the way")
		}
		var b [blockBytes]byte
		copy(b[:], block)
		n := 0
		for it := (blockStreams{b: &b}); it.next(); n++ {
			if len(it.name) > int(binary.LittleEndian.Uint32(b[4:])) {
				t.Fatalf("a name is longer than its block")
			}
			if s, ok := it.stream(h.firstPosition); ok && s.inline != nil {
				s.decodeInline(s.first, s.last(), func(uint64, offset) {})
			}
		}
		if n > blockBytes {
			t.Fatalf("%d streams in a block", n)
		}
		for it := (blockStreams{b: &b}); it.previous(); {
			n--
		}
		if n != 0 {
			t.Fatalf("a block has %d more streams forward than backward", n)
		}
		decodeBloom(block)
		decodeSamples(block)
	})
}

// FuzzRecordRun reads anything as a run of records. Whatever is accepted is in order, and
// each record is found.
func FuzzRecordRun(f *testing.F) {
	key := hashKey{1, 2}
	head := recordRunHeader{log: "fuzz", reach: reach{end: at(1, 8192), frame: at(1, 8000)}}
	fs := newFaultFS()
	w, err := newRecordRunWriter(fs, "records", key, head, 3)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 3 {
		w.add(&recordRow{name: recordID{"t", fmt.Sprint(i)}.appendName(nil), revision: uint64(i), value: make([]byte, 10_000)})
	}
	r, err := w.finish()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fs.contents(r.path))
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := newFaultFS()
		fs.set("records/x.run", b)
		r, err := openRecordRun(fs, "records/x.run")
		if err != nil || r.check() != nil {
			return
		}
		last := ""
		for c := (recordCursor{run: r}); ; {
			if err := c.next(); err != nil {
				t.Fatal(err)
			}
			if c.done {
				break
			}
			if name := string(c.row.name); last != "" && name <= last {
				t.Fatalf("%q comes after %q", name, last)
			} else {
				last = name
			}
		}
	})
}

// FuzzExtents reads anything as the map of a rewritten segment, with right checksums. Whatever is
// accepted leads from the beginning of the segment to its end, and can be read.
func FuzzExtents(f *testing.F) {
	seed := binary.LittleEndian.AppendUint64(nil, uint64(newExtent(headerBytes, headerBytes)))
	seed = binary.LittleEndian.AppendUint64(seed, uint64(newExtent(headerBytes+100, headerBytes+56)))
	f.Add(seed, uint32(headerBytes+200), uint16(80))
	f.Add(seed[8:], uint32(headerBytes+200), uint16(80))
	f.Add((&stub{"s", 7, 2, 9}).encode(0), uint32(0), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, end uint32, kept uint16) {
		if s, ok := decodeStub(b, 0); ok {
			if again, ok := decodeStub(s.encode(0), 0); !ok || again != s {
				t.Fatalf("%+v becomes %+v", s, again)
			}
		}
		fs := newFaultFS()
		fs.set("segment", rewrittenOf(b, int64(end), headerBytes+int64(kept)))
		file, err := fs.OpenFile("segment", 0)
		if err != nil {
			t.Fatal(err)
		}
		x, err := openExtents(file, 1)
		if err != nil || x == nil {
			return
		}
		for o := int64(0); o < int64(end); {
			p, err := x.at(o)
			if err != nil {
				return
			}
			if p.end <= o || p.end > int64(end) || p.file > headerBytes+int64(kept) {
				t.Fatalf("byte %d is in %+v", o, p)
			}
			part := make([]byte, min(p.end-o+1, 1<<16))
			if n, err := x.ReadAt(part, o); n < len(part) && o+int64(len(part)) <= int64(end) {
				var known *core.Error
				if !errors.As(err, &known) {
					t.Fatalf("%d of %d bytes from %d on, %v", n, len(part), o, err)
				}
			}
			o = p.end
		}
	})
}

// rewrittenOf is the file of a rewritten segment with extents from b.
func rewrittenOf(b []byte, end, kept int64) []byte {
	data := make([]byte, kept)
	var fences []byte
	for extents := range slices.Chunk(b[:len(b)/extentBytes*extentBytes], extentsInBlock*extentBytes) {
		var block [blockBytes]byte
		binary.LittleEndian.PutUint32(block[4:], uint32(8+copy(block[8:], extents)))
		binary.LittleEndian.PutUint32(block[:], blockSum(block[:], int64(len(data))))
		data = append(data, block[:]...)
		fences = append(fences, extents[:extentBytes]...)
	}
	h := segmentHeader{version: rewrittenVersion, number: 1, log: "fuzz", first: 1, rewriting: rewriting{
		id: 1, blocks: uint32(len(fences) / extentBytes), end: end, kept: kept, sum: crc32.Checksum(fences, castagnoli),
	}}
	copy(data, h.encode())
	return append(data, fences...)
}
