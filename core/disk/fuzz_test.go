package disk

import (
	"encoding/binary"
	"fmt"
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
