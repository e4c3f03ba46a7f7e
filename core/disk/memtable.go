package disk

import (
	"sort"
	"strings"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// memtable is the index of one segment while it has none on disk. Only the
// owner of Engine.mu changes it, with mu held as well; so that owner reads it
// without mu, and everyone else with it.
type memtable struct {
	segment uint32
	first   uint64 // position of the segment's first event
	gaps    bool   // the segment was rewritten, so versions of streams may be missing
	key     hashKey

	mu      sync.RWMutex
	streams map[string]*memStream
	ids     idTable
	window  idWindow
	samples samples
	retired bool      // its run is on disk; only streams is kept, as a cache of versions
	names   nameOrder // of streams

	slab  []memStream // memStreams are made many at a time,
	posts []uint32    // and so are the beginnings of their postings
}

// memStream is what one segment has of a stream: versions base+1 … base+len(offs).
type memStream struct {
	name string
	base uint64
	last uint64   // base + len(offs), also when they are gone
	offs []uint32 // where its events are, in version order; 0 of one that was removed
	// created and changed are of its first and of its last event here.
	created, changed moment
}

func newMemtable(h *segmentHeader, expectedEvents int) *memtable {
	return &memtable{
		segment: h.number, first: h.first, gaps: h.rewriting.id != 0, key: h.key,
		streams: make(map[string]*memStream),
		ids:     newIDTable(expectedEvents),
		window:  newIDWindow(),
	}
}

// stream returns the entry of a stream, making it where the segment has none:
// its version before the segment is base.
func (t *memtable) stream(name string, base uint64) *memStream {
	if s := t.streams[name]; s != nil {
		return s
	}
	if len(t.slab) == 0 {
		t.slab = make([]memStream, 128)
	}
	s := &t.slab[0]
	t.slab = t.slab[1:]
	s.name, s.base, s.last = strings.Clone(name), base, base
	t.streams[s.name] = s
	t.names.made = append(t.names.made, s)
	return s
}

// add records the next event of s.
func (t *memtable) add(s *memStream, off uint32, m moment) {
	if cap(s.offs) == 0 {
		const few = 4
		if len(t.posts) < few {
			t.posts = make([]uint32, 256*few)
		}
		s.offs, t.posts = t.posts[:0:few], t.posts[few:]
	}
	if len(s.offs) == 0 {
		s.created = m
	}
	s.changed = m
	s.offs = append(s.offs, off)
	s.last++
}

func (t *memtable) addID(id *core.ID, hash uint64, off uint32) {
	t.ids.add(hash, off)
	t.window.add(id)
}

// addEvent is for replays: it takes everything from the event itself.
func (t *memtable) addEvent(off int64, e *core.Event, left uint32) error {
	s := t.stream(indexName(e.Stream, e.Incarnation), e.Version-1)
	if err := t.goOn(s, off, e.Version, momentOf(e)); err != nil {
		return err
	}
	t.add(s, uint32(off), momentOf(e))
	t.addID(&e.ID, t.key.event(e), uint32(off))
	t.samples.event(e.Position, at(t.segment, off), left)
	return nil
}

// goOn makes a version the next one of s, which the event or stub at off has. Those before
// it that are missing were removed from this segment, so each had a position in it.
func (t *memtable) goOn(s *memStream, off int64, version uint64, m moment) error {
	missing := version - s.last - 1
	if version <= s.last || missing > 0 && !t.gaps || m.position < t.first || missing > m.position-t.first {
		return corrupt(at(t.segment, off), "stream %q goes on with version %d where %d is due", s.name, version, s.last+1)
	}
	for range missing {
		t.add(s, 0, m)
	}
	return nil
}

// addStub remembers the version of an event that was removed.
func (t *memtable) addStub(off int64, position uint64, b *stub) error {
	s := t.stream(indexName(b.stream, b.incarnation), b.version-1)
	m := moment{position, b.recorded}
	if err := t.goOn(s, off, b.version, m); err != nil {
		return err
	}
	t.add(s, 0, m)
	return nil
}

// place is where an event of the table is in the log, 0 if it was removed.
func (t *memtable) place(off uint32) offset {
	if off == 0 {
		return 0
	}
	return at(t.segment, int64(off))
}

// cut drops everything at or behind byte off of the segment.
func (t *memtable) cut(off int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, s := range t.streams {
		n := sort.Search(len(s.offs), func(i int) bool { return int64(s.offs[i]) >= off })
		if n < len(s.offs) {
			s.changed = moment{}
		}
		s.offs = s.offs[:n]
		s.last = s.base + uint64(n)
		if n == 0 {
			delete(t.streams, name)
		}
	}
	t.names.cut(t.streams)
	t.ids.cut(uint32(off))
	t.samples.cut(at(t.segment, off))
}

// retire lets go of everything but the versions.
func (t *memtable) retire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.streams {
		s.offs = nil
	}
	t.ids, t.samples, t.posts = idTable{slots: make([]idSlot, 1), shift: 64}, nil, nil
	t.names.drop()
	t.retired = true
}

// sample says where in the log a position is, so that a reader can begin near
// it: at a frame's header when left is 0, else at an event, with that many
// events left in its frame, itself included.
type sample struct {
	position uint64
	at       offset
	left     uint32
}

// samples are in position order, sampleEveryBytes apart or a little more.
type samples []sample

// sampleEveryBytes is what a read at any position may have to pass over.
const sampleEveryBytes = 32 << 10

func (s *samples) due(o offset) bool {
	return len(*s) == 0 || o-(*s)[len(*s)-1].at >= sampleEveryBytes
}

// frame notes a frame header if it is time for a sample.
func (s *samples) frame(position uint64, o offset) {
	if s.due(o) {
		*s = append(*s, sample{position, o, 0})
	}
}

// event notes an event inside a frame.
func (s *samples) event(position uint64, o offset, left uint32) {
	if s.due(o) {
		*s = append(*s, sample{position, o, left})
	}
}

func (s *samples) cut(o offset) {
	n := sort.Search(len(*s), func(i int) bool { return (*s)[i].at >= o })
	*s = (*s)[:n]
}

// before finds the last sample at or before position.
func (s samples) before(position uint64) (sample, bool) {
	n := s.behind(position)
	if n == 0 {
		return sample{}, false
	}
	return s[n-1], true
}

// behind is the index of the first sample behind position.
func (s samples) behind(position uint64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].position > position })
}
