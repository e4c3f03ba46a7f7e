package disk

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/gyre-events/gyre/core"
)

// removal is what goes of a segment. It is decided once, item by item in the order of a scan,
// for what is decided may change meanwhile.
type removal struct {
	gone  []uint64       // a bit for each item
	stubs map[int][]byte // of items that go and whose version is remembered
	items int
	going int // of the items

	events, changes uint64 // of those that go
	callers         uint64 // of the changes, those of core.Scavenging.Table
	asOf            mark   // the log had reached it when all was decided
	by              basis  // that it was decided by
}

// add notes the next item.
func (r *removal) add(goes bool) {
	if r.items%64 == 0 {
		r.gone = append(r.gone, 0)
	}
	r.items++
	if goes {
		r.set(r.items - 1)
	}
}

// count counts a change that goes.
func (r *removal) count(c *recordChange, callers string) {
	if r.changes++; c.table == callers {
		r.callers++
	}
}

// set has an item go.
func (r *removal) set(item int) {
	if !r.goes(item) {
		r.gone[item/64] |= 1 << (item % 64)
		r.going++
	}
}

// goes reports whether an item goes. Of no removal none does.
func (r *removal) goes(item int) bool {
	return r != nil && r.gone[item/64]&(1<<(item%64)) != 0
}

// rewriter lays out a segment without what goes, and writes it if it has a file.
type rewriter struct {
	source    *segmentFile
	sealed    *sealedSegment
	removal   *removal
	witnesses map[offset]bool // frames whose headers are to be kept
	pay       func(bytes int) error

	read *window
	file File // nil to learn how long it would be

	item    int
	failed  error // of the frames so far
	frame   rewrittenFrame
	extents []extent
	end     int64  // of the last extent in the segment
	buf     []byte // that is not written
	at      int64  // of its end in the file
	digest  digest // of what is kept
}

// rewrittenFrame is the frame that is laid out.
type rewrittenFrame struct {
	there   bool // there is one
	at      int64
	header  frameHeader
	kept    []byte // its changes that are
	changes int    // how many of them
	gone    int    // how many changes go
	events  []rewrittenEvent
}

// rewrittenEvent is an event of the frame, or what is left of it.
type rewrittenEvent struct {
	at    int64
	bytes int    // of the event, 0 if it goes
	stub  []byte // in its place
}

// digest tells whether two scans have met the same.
type digest struct {
	sum   uint32
	items int
}

func (d *digest) add(o int64, b []byte) {
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], uint64(o))
	d.sum = crc32.Update(crc32.Update(d.sum, castagnoli, place[:]), castagnoli, b)
	d.items++
}

func newRewriter(source *segmentFile, s *sealedSegment, r *removal, file File) *rewriter {
	return &rewriter{
		source: source, sealed: s, removal: r, file: file,
		read: newWindow(source, s.end, scanStrideBytes), at: headerBytes,
	}
}

// layOut goes through the segment.
func (r *rewriter) layOut() error {
	_, err := scanSealed(r.source, r.sealed.end, r.sealed.header, r.visitor())
	if err == nil {
		err = r.failed
	}
	if err == nil {
		err = r.endFrame()
	}
	return err
}

func (r *rewriter) visitor() visitor {
	f := &r.frame
	return visitor{
		frame: func(o int64, h *frameHeader) {
			if r.failed == nil {
				r.failed = r.endFrame()
			}
			if r.failed == nil {
				r.failed = r.pay(int(h.size()))
			}
			*f = rewrittenFrame{there: true, at: o, header: *h, kept: f.kept[:0], events: f.events[:0]}
		},
		record: func(_ int64, c recordChange) error {
			if _, goes := r.next(); goes {
				f.gone++
				return r.failed
			}
			f.changes++
			f.kept = c.encode(f.kept)
			return r.failed
		},
		event: func(o int64, encoded []byte) error {
			item, goes := r.next()
			e := rewrittenEvent{at: o}
			if goes {
				e.stub = r.removal.stubs[item]
			} else {
				e.bytes = len(encoded)
				r.digest.add(o, encoded)
			}
			r.event(e)
			return r.failed
		},
		removed: func(o int64, _ uint64, s *stub) error {
			e := rewrittenEvent{at: o}
			if s != nil {
				if _, goes := r.next(); !goes {
					e.stub = s.encode(r.sealed.header.salt)
				}
			}
			r.event(e)
			return r.failed
		},
	}
}

// next is the next item, and whether it goes.
func (r *rewriter) next() (item int, goes bool) {
	r.item++
	return r.item - 1, r.removal.goes(r.item - 1)
}

func (r *rewriter) event(e rewrittenEvent) {
	if e.stub != nil {
		r.digest.add(e.at, e.stub)
	}
	r.frame.events = append(r.frame.events, e)
}

// endFrame lays out the frame whose parts are known now.
func (r *rewriter) endFrame() error {
	f := &r.frame
	if !f.there || !f.keeps() && !r.witnesses[at(r.sealed.header.number, f.at)] {
		return nil
	}
	o := f.at + frameHeaderBytes
	if err := r.copy(f.at, o); err != nil {
		return err
	}
	end := o + int64(f.header.recordsBytes)
	whole := f.gone == 0 // and so is the padding behind the last part
	if whole {
		if err := r.copy(o, end); err != nil {
			return err
		}
	} else if f.changes > 0 {
		sum := crc32.Update(r.sealed.header.salt, castagnoli, f.kept)
		if err := r.put(o, append(binary.LittleEndian.AppendUint32(nil, sum), f.kept...)); err != nil {
			return err
		}
	}
	if f.changes > 0 {
		r.digest.add(f.at, f.kept)
	}
	for i := range f.events {
		e := &f.events[i]
		o := e.at + eventPrefixBytes
		err := r.copy(e.at, o+int64(e.bytes))
		if err == nil && e.stub != nil {
			err = r.put(o, e.stub)
		}
		if err != nil {
			return err
		}
		whole = e.bytes > 0
	}
	if !whole {
		return nil
	}
	end += int64(f.header.eventsBytes)
	return r.copy(end, f.at+f.header.size())
}

// keeps reports whether there is anything in the frame that does not go.
func (f *rewrittenFrame) keeps() bool {
	for i := range f.events {
		if e := &f.events[i]; e.bytes > 0 || e.stub != nil {
			return true
		}
	}
	return f.changes > 0
}

// copy keeps the bytes of a part of the segment, as far as they are there.
func (r *rewriter) copy(from, to int64) error {
	for from < to {
		p, err := r.source.extents.at(from)
		if err != nil {
			return err
		}
		end := min(p.end, to)
		for p.kept && from < end {
			b, err := r.read.at(from, int(min(end-from, scanStrideBytes)))
			if err != nil {
				return err
			}
			if len(b) == 0 {
				return corrupt(at(r.sealed.header.number, from), "the segment is cut off")
			}
			if err := r.put(from, b); err != nil {
				return err
			}
			from += int64(len(b))
		}
		from = end
	}
	return nil
}

// put writes what stands at byte o of the segment.
func (r *rewriter) put(o int64, b []byte) error {
	if len(r.extents) == 0 || o != r.end {
		r.extents = append(r.extents, newExtent(o, r.at))
	}
	r.end = o + int64(len(b))
	r.at += int64(len(b))
	if r.file == nil {
		return nil
	}
	r.buf = append(r.buf, b...)
	if len(r.buf) < fillBytes {
		return nil
	}
	return r.flush()
}

func (r *rewriter) flush() error {
	o, b := r.at-int64(len(r.buf)), r.buf
	r.buf = r.buf[:0]
	if len(b) == 0 {
		return nil
	}
	if _, err := r.file.WriteAt(b, o); err != nil {
		return err
	}
	if err := writeSoon(r.file, o, int64(len(b))); err != nil {
		return err
	}
	return r.pay(len(b))
}

// size is how long the file is, or would be.
func (r *rewriter) size() int64 { return r.at + r.blocks()*blockBytes + r.blocks()*extentBytes }

func (r *rewriter) blocks() int64 {
	return int64((len(r.extents) + extentsInBlock - 1) / extentsInBlock)
}

// finish writes the map and the header, and makes the file durable.
func (r *rewriter) finish() (segmentHeader, error) {
	h := r.sealed.header
	if err := r.flush(); err != nil {
		return h, err
	}
	w := newBlockWriter(r.file, r.at, extentsInBlock*extentBytes)
	var fences []byte
	for i, e := range r.extents {
		if i%extentsInBlock == 0 {
			fences = binary.LittleEndian.AppendUint64(fences, uint64(e))
		}
		w.add64(uint64(e))
	}
	w.flush()
	if w.err != nil {
		return h, w.err
	}
	h.version = rewrittenVersion
	h.rewriting = rewriting{
		id: uint32(randomUint64()) | 1, blocks: uint32(r.blocks()), end: r.sealed.end, kept: r.at,
		sum: crc32.Checksum(fences, castagnoli), asOf: r.removal.asOf,
	}
	if _, err := r.file.WriteAt(fences, w.end()); err != nil {
		return h, err
	}
	if _, err := r.file.WriteAt(h.encode(), 0); err != nil {
		return h, err
	}
	return h, r.file.Sync()
}

// check reads what was written, with header h. It has all that was to be kept of the segment and
// nothing else, and an index can be made of it.
func (r *rewriter) check(written *segmentFile, h *segmentHeader) error {
	again := newRewriter(written, r.sealed, nil, nil)
	again.pay = r.pay
	if err := again.layOut(); err != nil {
		return err
	}
	if again.digest != r.digest {
		return core.Errorf(core.CodeUnavailable, "the disk does not give back what was written to it")
	}
	index := newReplay(h, nil).visitor()
	index.record = nil
	_, err := scanSealed(written, r.sealed.end, *h, index)
	return err
}
