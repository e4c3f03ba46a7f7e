package disk

import (
	"math"
	"sort"

	"github.com/gyre-events/gyre/core"
)

// view is a picture of the index that nobody changes: which part knows which
// segments. Tables still grow, so what a reader finds there is bounded by the
// mark that it loaded before the view.
type view struct {
	segments []segment   // all of the log, in order
	runs     []*run      // of the oldest segments, in order
	tables   []*memtable // of the rest, in order; the last is of the segment that is written
	retired  []*memtable // of the newest segments that have a run, newest first
	gaps     bool        // a segment was rewritten: events were removed from the log
}

// segment is what readers need to know of one.
type segment struct {
	number uint32
	salt   uint32
	first  uint64 // position
	end    int64  // valid length; math.MaxInt64 while it is written
	before int64  // bytes of the log in the segments before it
	// rewritten is what the rewriting of the segment adds to the mark of a run; 0 if it was
	// not rewritten. removed is how many of its bytes are not in its file.
	rewritten uint64
	removed   int64
}

// rewrite notes what h says of a rewriting of its segment.
func (v *view) rewrite(h *segmentHeader) {
	if r := &h.rewriting; r.id != 0 {
		s := v.segment(h.number)
		s.rewritten, s.removed = r.mark(h.number), r.end-r.kept
		v.gaps = true
	}
}

// sealed reports whether nothing is added to the segment any more.
func (s *segment) sealed() bool { return s.end < math.MaxInt64 }

// segment returns the entry of a number that is in the log.
func (v *view) segment(number uint32) *segment {
	return &v.segments[number-v.segments[0].number]
}

// bytesBefore is how much of the log is before o.
func (v *view) bytesBefore(o offset) int64 {
	if len(v.segments) == 0 || o.segment() < v.segments[0].number {
		return 0
	}
	return v.segment(o.segment()).before + o.byte()
}

// sample finds a place to begin reading at to get to position.
func (v *view) sample(position uint64) sample {
	i := max(sort.Search(len(v.segments), func(i int) bool { return v.segments[i].first > position })-1, 0)
	s := sample{position: v.segments[i].first, at: at(v.segments[i].number, headerBytes)}
	v.inSamples(position, func(all samples) {
		found, ok := all.before(position)
		s = later(s, found, ok)
	})
	return s
}

// sampleBehind is the log offset of the first sample behind position; ok is false if its part
// of the index has none.
func (v *view) sampleBehind(position uint64) (o offset, ok bool) {
	v.inSamples(position, func(all samples) {
		if i := all.behind(position); i < len(all) {
			o, ok = all[i].at, true
		}
	})
	return o, ok
}

// inSamples calls look with the samples of the part of the index that has a position, which
// are valid during the call.
func (v *view) inSamples(position uint64, look func(samples)) {
	for k := len(v.tables) - 1; k >= 0; k-- {
		if t := v.tables[k]; t.first <= position {
			t.mu.RLock()
			defer t.mu.RUnlock()
			look(t.samples)
			return
		}
	}
	if k := sort.Search(len(v.runs), func(i int) bool { return v.runs[i].firstPosition > position }) - 1; k >= 0 {
		look(v.runs[k].samples)
	}
}

func later(a, b sample, ok bool) sample {
	if ok && b.at > a.at {
		return b
	}
	return a
}

// version is that of a stream at m.
func (v *view) version(ix *index, name string, m *mark) (uint64, error) {
	for k := len(v.tables) - 1; k >= 0; k-- {
		if s, ok := v.tables[k].versionAt(name, m.end); ok {
			return s, nil
		}
	}
	return ix.versionOnDisk(v, name)
}

// versionAt is the version of a stream as of end; ok is false if the segment
// has nothing of it.
func (t *memtable) versionAt(name string, end offset) (version uint64, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.streams[name]
	if s == nil {
		return 0, false
	}
	if end.segment() > t.segment {
		return s.last, true
	}
	return s.base + uint64(visible(s.offs, t.segment, end)), true
}

// visible counts the offsets before end; the ones that are not are few and at
// the end.
func visible(offs []uint32, segment uint32, end offset) int {
	n := len(offs)
	for n > 0 && at(segment, int64(offs[n-1])) >= end {
		n--
	}
	return n
}

// postings fills offs with the places of the versions from lo on; 0 stays where the event
// was removed. It answers errRetired if the index has moved on, and the caller takes a new view.
func (v *view) postings(ix *index, name string, lo uint64, offs []offset) error {
	need := lo + uint64(len(offs)) - 1 // the versions up to it are missing
	for k := len(v.tables) - 1; k >= 0 && need >= lo; k-- {
		below, err := v.tables[k].postings(name, lo, need, offs)
		if err != nil {
			return err
		}
		need = min(need, below)
	}
	if need < lo {
		return nil
	}
	hash := ix.key.name(name)
	for k := len(v.runs) - 1; k >= 0 && need >= lo; k-- {
		below, err := v.runs[k].postingsOf(name, hash, lo, need, offs)
		if err != nil {
			return err
		}
		need = min(need, below)
	}
	if need >= lo && !v.gaps {
		return core.Errorf(core.CodeInternal, "the index does not have version %d of stream %q", need, name)
	}
	return nil
}

// postings fills in what the table has of the versions lo to hi. It returns
// the last version that is below the table's; hi if the table has none.
func (t *memtable) postings(name string, lo, hi uint64, offs []offset) (below uint64, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.streams[name]
	if s == nil || s.base >= hi {
		return hi, nil
	}
	if t.retired {
		return 0, errRetired
	}
	for version := max(lo, s.base+1); version <= hi && version <= s.last; version++ {
		offs[version-lo] = t.place(s.offs[version-s.base-1])
	}
	return s.base, nil
}
