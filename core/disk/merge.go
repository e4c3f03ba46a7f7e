package disk

import (
	"encoding/binary"
	"path/filepath"
	"slices"
	"sort"
)

// mergeRuns makes one run of adjacent ones. It streams: what it holds in
// memory is a block of each, the new filters and samples.
//
// It is also a check: the versions of a stream must go on from one run to the
// next. twice, if not nil, is called for hashes that are there more than once.
func (ix *index) mergeRuns(runs []*run, dir string, twice func(a, b offset) error) (*run, error) {
	head := runs[0].runHeader
	last := runs[len(runs)-1]
	head.last, head.seal, head.nextPosition, head.end = last.last, last.seal, last.nextPosition, last.end
	head.positions, head.rewritten, head.window = 0, 0, newIDWindow()
	var all samples
	for _, r := range runs {
		head.positions += r.positions
		head.rewritten ^= r.rewritten
		head.window.merge(r.window)
		all = append(all, r.samples...)
	}
	w, err := newRunWriter(ix.fs, dir, ix.key, head)
	if err != nil {
		return nil, err
	}
	err = mergeStreams(w, runs)
	if err == nil {
		err = mergeIDs(w, runs, twice)
	}
	if err != nil {
		w.abandon()
		return nil, err
	}
	return w.finish(all)
}

func mergeStreams(w *runWriter, runs []*run) error {
	cursors := make([]*streamCursor, len(runs))
	for i, r := range runs {
		cursors[i] = newStreamCursor(r, "", false)
		if err := cursors[i].next(); err != nil {
			return err
		}
	}
	for {
		least := leastName(cursors)
		if least == nil {
			return nil
		}
		whole := least.stream.part()
		whole.last = whole.first - 1
		for _, c := range cursors {
			if !c.done && c.stream.name == whole.name {
				if !w.head.goesOn(whole.last+1, c.stream.first) {
					return c.run.damaged(0, "a stream does not go on where the run before ends")
				}
				whole.last, whole.changed = c.stream.last(), c.stream.changed
			}
		}
		w.stream(&whole)
		due := whole.first
		for _, c := range cursors {
			if c.done || c.stream.name != whole.name {
				continue
			}
			for ; due < c.stream.first; due++ {
				w.posting(0)
			}
			due += c.stream.count
			if err := c.copyPostings(w); err != nil {
				return err
			}
			if err := c.next(); err != nil {
				return err
			}
		}
		if w.err != nil {
			return w.err
		}
	}
}

// joinRuns makes one run of adjacent ones that are not in the view, in whose place it is.
func (ix *index) joinRuns(runs []*run) (*run, error) {
	for len(runs) > 1 {
		var joined []*run
		for group := range slices.Chunk(runs, mergeAtOnce) {
			r, err := ix.mergeRuns(group, ix.dir, nil)
			if err != nil {
				ix.discard(append(joined, runs...))
				return nil, err
			}
			joined = append(joined, r)
		}
		ix.discard(slices.DeleteFunc(runs, func(r *run) bool {
			return slices.ContainsFunc(joined, func(j *run) bool { return j.name == r.name })
		}))
		runs = joined
	}
	return runs[0], nil
}

// discard closes runs that are not in the view, and removes their files unless one in the view
// has the name. What stays, the next open removes or uses. working is held.
func (ix *index) discard(runs []*run) {
	inView := ix.view.Load().runs
	for _, r := range runs {
		_ = r.file.Close()
		if !slices.ContainsFunc(inView, func(v *run) bool { return v.name == r.name }) {
			_ = ix.fs.Remove(filepath.Join(ix.dir, r.name))
		}
	}
}

// goesOn reports whether a stream may go on with version first where another is due: events
// of the run's segments were removed.
func (h *runHeader) goesOn(due, first uint64) bool {
	return first == due || first > due && h.rewritten != 0 && first-due <= h.positions
}

func leastName(cursors []*streamCursor) *streamCursor {
	var least *streamCursor
	for _, c := range cursors {
		if !c.done && (least == nil || c.stream.name < least.stream.name) {
			least = c
		}
	}
	return least
}

// streamCursor goes through the streams of a run by name, or backward.
type streamCursor struct {
	run      *run
	backward bool
	stream   runStream
	done     bool
	entries  blockStreams
	block    int64 // that is read next
	reader   blockReader
	postings postingReader
}

// newStreamCursor stands before the block that has the first name ≥ from, or
// the names before it. Backward it stands behind the block that has the last name < from, or
// behind the last block if from is "".
func newStreamCursor(r *run, from string, backward bool) *streamCursor {
	c := &streamCursor{run: r, backward: backward, reader: newBlockReader(r, sectionStreams), postings: postingReader{newBlockReader(r, sectionPostings)}}
	if backward {
		c.block = int64(len(r.nameFences)) - 1
		if from != "" {
			c.block = int64(sort.SearchStrings(r.nameFences, from)) - 1
		}
		return c
	}
	c.block = int64(max(sort.Search(len(r.nameFences), func(i int) bool { return r.nameFences[i] > from })-1, 0))
	return c
}

func (c *streamCursor) next() error {
	next, step := c.entries.next, int64(1)
	if c.backward {
		next, step = c.entries.previous, -1
	}
	for c.entries.b == nil || !next() {
		if c.block < 0 || c.block == int64(len(c.run.nameFences)) {
			c.done = true
			return nil
		}
		b, err := c.reader.block(c.block)
		if err != nil {
			return err
		}
		c.entries = blockStreams{b: b}
		c.block += step
	}
	var ok bool
	if c.stream, ok = c.entries.stream(c.run.firstPosition); !ok {
		return c.run.damaged(c.run.sections[sectionStreams].at, "an entry")
	}
	return nil
}

// copyPostings writes those of the stream that the cursor stands at.
func (c *streamCursor) copyPostings(w *runWriter) error {
	s := &c.stream
	if s.inline == nil {
		return c.postings.copy(w, s.posting, s.count)
	}
	if !s.decodeInline(s.first, s.last(), func(_ uint64, o offset) { w.posting(o) }) {
		return c.run.damaged(c.run.sections[sectionStreams].at, "an entry")
	}
	return nil
}

// blockReader reads the blocks of a section in order or backward, many at a time.
type blockReader struct {
	run   *run
	kind  int
	buf   []byte
	first int64 // block in buf
}

func newBlockReader(r *run, kind int) blockReader { return blockReader{run: r, kind: kind} }

const blockReaderBlocks = 16

func (b *blockReader) block(i int64) (*[blockBytes]byte, error) {
	s := b.run.sections[b.kind]
	if i < b.first || i >= b.first+int64(len(b.buf)/blockBytes) {
		from, n := i, min(blockReaderBlocks, s.bytes/blockBytes-i)
		if i < 0 || n <= 0 {
			return nil, b.run.damaged(s.at, "a block is referred to that is not there")
		}
		if i < b.first {
			from = max(0, i+1-blockReaderBlocks)
			n = i + 1 - from
		}
		if b.buf == nil {
			b.buf = make([]byte, 0, blockReaderBlocks*blockBytes)
		}
		b.buf = b.buf[:n*blockBytes]
		if err := b.run.read(b.buf, s.at+from*blockBytes); err != nil {
			b.buf = b.buf[:0]
			return nil, err
		}
		b.first = from
		for k := range n {
			if o := s.at + (from+k)*blockBytes; !validBlock(b.buf[k*blockBytes:(k+1)*blockBytes], o) {
				b.buf = b.buf[:0]
				return nil, b.run.damaged(o, "a block")
			}
		}
	}
	return (*[blockBytes]byte)(b.buf[(i-b.first)*blockBytes:]), nil
}

type postingReader struct{ blockReader }

// copy writes n postings from index from on.
func (p *postingReader) copy(w *runWriter, from, n uint64) error {
	for k := from; k < from+n; {
		b, err := p.block(int64(k / postingsInBlock))
		if err != nil {
			return err
		}
		for i := k % postingsInBlock; i < postingsInBlock && k < from+n; i++ {
			w.posting(offset(binary.LittleEndian.Uint64(b[8+8*i:])))
			k++
		}
	}
	return nil
}

// idCursor goes through the ids of a run by hash.
type idCursor struct {
	reader blockReader
	hash   uint64
	at     offset
	block  int64
	b      *[blockBytes]byte
	i, n   int
	done   bool
}

func (c *idCursor) next() error {
	if c.i == c.n {
		if c.block == int64(len(c.reader.run.idFences)) {
			c.done = true
			return nil
		}
		var err error
		if c.b, err = c.reader.block(c.block); err != nil {
			return err
		}
		c.block++
		c.i, c.n = 0, min(int(binary.LittleEndian.Uint32(c.b[4:])), idsInBlock)
		if c.n == 0 {
			return c.reader.run.damaged(0, "an empty block")
		}
	}
	c.hash = binary.LittleEndian.Uint64(c.b[8+16*c.i:])
	c.at = offset(binary.LittleEndian.Uint64(c.b[16+16*c.i:]))
	c.i++
	return nil
}

func mergeIDs(w *runWriter, runs []*run, twice func(a, b offset) error) error {
	cursors := make([]*idCursor, 0, len(runs))
	for _, r := range runs {
		c := &idCursor{reader: newBlockReader(r, sectionIDs)}
		if err := c.next(); err != nil {
			return err
		}
		if !c.done {
			cursors = append(cursors, c)
		}
	}
	var hash uint64
	var before offset // 0 = none yet
	for len(cursors) > 0 {
		k := 0
		for i := 1; i < len(cursors); i++ {
			if cursors[i].hash < cursors[k].hash {
				k = i
			}
		}
		c := cursors[k]
		if twice != nil && before != 0 && c.hash == hash {
			if err := twice(before, c.at); err != nil {
				return err
			}
		}
		hash, before = c.hash, c.at
		w.id(c.hash, c.at)
		if err := c.next(); err != nil {
			return err
		}
		if c.done {
			cursors = append(cursors[:k], cursors[k+1:]...)
		}
	}
	return w.err
}
