package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// A run is the index of some adjacent segments in one immutable file, FORMAT.md
// "Runs": blocks of 4 KiB, each with its checksum, and sections that are held
// in memory, each with one.
const (
	blockBytes      = 4096
	postingsInBlock = (blockBytes - 8) / 8
	idsInBlock      = (blockBytes - 8) / 16
	runMagic        = "GYRERUN\x00"
	runVersion      = 5
)

// The sections of a run, in the order they have in the file.
const (
	sectionPostings = iota // blocks
	sectionIDs             // blocks
	sectionStreams         // blocks
	sectionNameFences
	sectionIDFences
	sectionIDBloom
	sectionNameBloom
	sectionSamples
	sections
)

// section is a part of a run's file. The checksum is of those that are loaded
// as a whole.
type section struct {
	at, bytes int64
	sum       uint32
}

// runHeader is the first block of a run.
type runHeader struct {
	log         string
	first, last uint32 // segments
	// seal is the salt of the segment behind the last: random, and not the same in a
	// log that was restored to an older state and has gone on from there.
	seal          uint32
	firstPosition uint64
	nextPosition  uint64 // behind the last
	end           offset // of the last segment
	positions     uint64 // of events, removed ones included
	window        idWindow
	rewritten     uint64 // which of the segments were rewritten when it was made
	sections      [sections]section
}

// run is an open run. Everything but the blocks is in memory.
type run struct {
	runHeader
	file File
	name string

	nameFences []string // the first name of each streams block
	idFences   []uint64 // the first hash of each ids block
	ids, names bloom
	samples    samples
}

// runStream is what a run has of a stream. The postings of a stream with few
// events stand in its entry: they are found with one read instead of two.
type runStream struct {
	name         string
	first, count uint64 // versions
	// Of the first and of the last event.
	created, changed moment
	posting          uint64 // index of the first, if not inline
	inline           []byte // the postings of a stream with at most maxInline events
}

// maxInline keeps a block of entries from having only a few streams: an inline posting
// takes about five bytes.
const maxInline = 64

func (s *runStream) last() uint64 { return s.first + s.count - 1 }

// part is what the run has of the stream, without its postings.
func (s *runStream) part() part {
	return part{name: s.name, first: s.first, last: s.last(), created: s.created, changed: s.changed}
}

// decodeInline fills in the postings of the versions lo to hi and reports
// whether all were there.
func (s *runStream) decodeInline(lo, hi uint64, fill func(version uint64, o offset)) bool {
	b := s.inline
	var o offset
	for version := s.first; version <= hi; version++ {
		delta, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		b = b[n:]
		o += offset(delta)
		switch {
		case version < lo:
		case delta == 0:
			fill(version, 0) // it was removed
		default:
			fill(version, o)
		}
	}
	return true
}

// damagedRun says that a run cannot be believed; it is made anew.
type damagedRun struct {
	run  *run
	name string
	at   int64
	what string
}

func (e *damagedRun) Error() string {
	return fmt.Sprintf("index/%s is damaged at byte %d: %s", e.name, e.at, e.what)
}

func (r *run) damaged(at int64, what string) error { return &damagedRun{r, r.name, at, what} }

func runName(first, last uint32) string { return fmt.Sprintf("%010d-%010d.run", first, last) }

func parseRunName(name string) (first, last uint32, ok bool) {
	a, b, ok := strings.Cut(strings.TrimSuffix(name, ".run"), "-")
	x, errA := strconv.ParseUint(a, 10, 32)
	y, errB := strconv.ParseUint(b, 10, 32)
	first, last = uint32(x), uint32(y)
	return first, last, ok && errA == nil && errB == nil && first > 0 && first <= last && runName(first, last) == name
}

// runSeal and runRewritten are behind the log's identity.
const (
	runSeal      = 268
	runRewritten = 272
)

func (h *runHeader) encode() []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 0, blockBytes), runMagic...)
	b = le.AppendUint32(b, runVersion)
	b = le.AppendUint32(b, 0) // the checksum
	b = le.AppendUint32(le.AppendUint32(b, h.first), h.last)
	for _, v := range []uint64{h.firstPosition, h.nextPosition, uint64(h.end), h.positions, h.window.first, h.window.last, h.window.others} {
		b = le.AppendUint64(b, v)
	}
	for _, s := range h.sections {
		b = le.AppendUint64(le.AppendUint64(b, uint64(s.at)), uint64(s.bytes))
		b = le.AppendUint32(b, s.sum)
	}
	b = append(b, byte(len(h.log)))
	b = append(b, h.log...)
	b = b[:blockBytes]
	le.PutUint32(b[runSeal:], h.seal)
	le.PutUint64(b[runRewritten:], h.rewritten)
	le.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	return b
}

func decodeRunHeader(b []byte) (h runHeader, ok bool) {
	le := binary.LittleEndian
	if len(b) != blockBytes || string(b[:8]) != runMagic || le.Uint32(b[8:]) != runVersion || le.Uint32(b[12:]) != crc32.Checksum(b[16:], castagnoli) {
		return h, false
	}
	h.first, h.last, h.seal = le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[runSeal:])
	h.rewritten = le.Uint64(b[runRewritten:])
	b = b[24:]
	for _, p := range []*uint64{&h.firstPosition, &h.nextPosition, (*uint64)(&h.end), &h.positions, &h.window.first, &h.window.last, &h.window.others} {
		*p = le.Uint64(b)
		b = b[8:]
	}
	for i := range h.sections {
		h.sections[i] = section{int64(le.Uint64(b)), int64(le.Uint64(b[8:])), le.Uint32(b[16:])}
		b = b[20:]
	}
	n := int(b[0])
	if n > maxLogBytes {
		return h, false
	}
	h.log = string(b[1 : 1+n])
	return h, true
}

// openRun opens a run and loads what is held in memory.
func openRun(fs FS, dir, name string) (*run, error) {
	file, err := fs.OpenFile(filepath.Join(dir, name), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	r := &run{file: file, name: name}
	if err := r.load(); err != nil {
		_ = file.Close()
		return nil, err
	}
	return r, nil
}

func (r *run) load() error {
	b := make([]byte, blockBytes)
	if err := r.read(b, 0); err != nil {
		return err
	}
	var ok bool
	if r.runHeader, ok = decodeRunHeader(b); !ok {
		return r.damaged(0, "the header")
	}
	for i := sectionNameFences; i < sections; i++ {
		s := r.sections[i]
		size, err := r.file.Size()
		if err != nil {
			return err
		}
		if s.at < 0 || s.bytes < 0 || s.at+s.bytes > size {
			return r.damaged(0, "a section lies outside the file")
		}
		b := make([]byte, s.bytes)
		if err := r.read(b, s.at); err != nil {
			return err
		}
		if crc32.Checksum(b, castagnoli) != s.sum || !r.decodeSection(i, b) {
			return r.damaged(s.at, "a section")
		}
	}
	return nil
}

func (r *run) decodeSection(i int, b []byte) (ok bool) {
	switch i {
	case sectionNameFences:
		for len(b) > 0 {
			var name []byte
			if name, b, ok = takeLP(b); !ok {
				return false
			}
			r.nameFences = append(r.nameFences, string(name))
		}
	case sectionIDFences:
		for ; len(b) >= 8; b = b[8:] {
			r.idFences = append(r.idFences, binary.LittleEndian.Uint64(b))
		}
	case sectionIDBloom:
		r.ids, ok = decodeBloom(b)
		return ok
	case sectionNameBloom:
		r.names, ok = decodeBloom(b)
		return ok
	case sectionSamples:
		r.samples, ok = decodeSamples(b)
		return ok
	}
	return len(b) == 0 || i == sectionNameFences
}

const sampleBytes = 20

func (s samples) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, sampleBytes*len(s))
	for _, x := range s {
		b = le.AppendUint64(le.AppendUint64(b, x.position), uint64(x.at))
		b = le.AppendUint32(b, x.left)
	}
	return b
}

func decodeSamples(b []byte) (samples, bool) {
	le := binary.LittleEndian
	s := make(samples, 0, len(b)/sampleBytes)
	for ; len(b) >= sampleBytes; b = b[sampleBytes:] {
		s = append(s, sample{le.Uint64(b), offset(le.Uint64(b[8:])), le.Uint32(b[16:])})
	}
	return s, len(b) == 0
}

// blocks are used again: a look-up needs one for a moment.
var blocks = sync.Pool{New: func() any { return new([blockBytes]byte) }}

// block reads the i-th block of a section and verifies it.
func (r *run) block(b *[blockBytes]byte, kind int, i int64) error {
	s := r.sections[kind]
	o := s.at + i*blockBytes
	if i < 0 || (i+1)*blockBytes > s.bytes {
		return r.damaged(s.at, "a block is referred to that is not there")
	}
	if err := r.read(b[:], o); err != nil {
		return err
	}
	if !validBlock(b[:], o) {
		return r.damaged(o, "a block")
	}
	return nil
}

// blockSum is the checksum of a block, which covers its place as well.
func blockSum(b []byte, o int64) uint32 {
	return crc32.Update(uint32(o/blockBytes), castagnoli, b[4:])
}

func validBlock(b []byte, o int64) bool {
	return binary.LittleEndian.Uint32(b) == blockSum(b, o)
}

// read fills b. A run that cannot be read is as good as damaged: what is in it
// can be made anew elsewhere on the disk.
func (r *run) read(b []byte, o int64) error {
	n, err := r.file.ReadAt(b, o)
	switch {
	case n == len(b):
		return nil
	case err == nil || err == io.EOF:
		return r.damaged(o, "the file ends")
	}
	return r.damaged(o, reason(err))
}

// stream finds what the run has of a stream. The result refers to b, which is
// overwritten.
func (r *run) stream(b *[blockBytes]byte, name string, hash uint64) (s runStream, ok bool, err error) {
	if !r.names.has(hash) {
		return s, false, nil
	}
	i := sort.Search(len(r.nameFences), func(i int) bool { return r.nameFences[i] > name }) - 1
	if i < 0 {
		return s, false, nil
	}
	if err := r.block(b, sectionStreams, int64(i)); err != nil {
		return s, false, err
	}
	for it := (blockStreams{b: b}); it.next(); {
		if string(it.name) == name {
			s, ok = it.stream(r.firstPosition)
			if !ok {
				err = r.damaged(r.sections[sectionStreams].at+int64(i)*blockBytes, "an entry")
			}
			return s, ok, err
		}
	}
	return s, false, nil
}

// lastVersion is the newest version of a stream in the run.
func (r *run) lastVersion(name string, hash uint64) (version uint64, ok bool, err error) {
	b := blocks.Get().(*[blockBytes]byte)
	defer blocks.Put(b)
	s, ok, err := r.stream(b, name, hash)
	return s.last(), ok, err
}

// blockStreams goes through the entries of a streams block:
//
//	u32 checksum | u32 bytes used | { lp name | lp entry } …
//
// An entry is: uvarint incarnation, first version, count, the first event's position
// from the run's first, the last one's from that, the first one's recorded time, the last
// one's from that, and either the index of the first posting or, of up to maxInline events,
// the postings themselves, each as the uvarint difference from the one before, 0 for one that
// was removed.
type blockStreams struct {
	b      *[blockBytes]byte
	at     int
	name   []byte
	entry  []byte
	starts []int // of the entries before at, once previous was called
}

func (it *blockStreams) next() bool {
	used := int(binary.LittleEndian.Uint32(it.b[4:]))
	it.at = max(it.at, 8)
	if used > blockBytes || it.at >= used {
		return false
	}
	name, rest, ok := takeLP(it.b[it.at:used])
	if !ok {
		return false
	}
	entry, rest, ok := takeLP(rest)
	if !ok {
		return false
	}
	it.name, it.entry, it.at = name, entry, used-len(rest)
	return true
}

// previous is next from the end of the block to its beginning.
func (it *blockStreams) previous() bool {
	if it.starts == nil {
		for start := 8; it.next(); start = it.at {
			it.starts = append(it.starts, start)
		}
	}
	n := len(it.starts)
	if n == 0 {
		return false
	}
	it.at, it.starts = it.starts[n-1], it.starts[:n-1]
	return it.next()
}

// stream decodes the entry, which is referred to. firstPosition is the run's.
func (it *blockStreams) stream(firstPosition uint64) (s runStream, ok bool) {
	var incarnation, created, changed, recorded, later uint64
	b := it.entry
	for _, v := range [...]*uint64{&incarnation, &s.first, &s.count, &created, &changed, &recorded, &later} {
		if b, ok = takeUvarint(b, v); !ok {
			return s, false
		}
	}
	s.created = moment{firstPosition + created, int64(recorded)}
	s.changed = moment{s.created.position + changed, int64(recorded + later)}
	s.name = string(it.name)
	if s.count <= maxInline {
		s.inline = b
		return s, true
	}
	b, ok = takeUvarint(b, &s.posting)
	return s, ok && len(b) == 0
}

// takeUvarint takes a number from the front of b.
func takeUvarint(b []byte, v *uint64) (rest []byte, ok bool) {
	x, n := binary.Uvarint(b)
	if n <= 0 {
		return b, false
	}
	*v = x
	return b[n:], true
}

// postingsOf fills in what the run has of a stream's versions lo to hi. It
// returns the last version that is below the run's; hi if the run has none.
func (r *run) postingsOf(name string, hash, lo, hi uint64, offs []offset) (below uint64, err error) {
	b := blocks.Get().(*[blockBytes]byte)
	defer blocks.Put(b)
	s, ok, err := r.stream(b, name, hash)
	if err != nil || !ok || s.first > hi {
		return hi, err
	}
	first, last := max(lo, s.first), min(hi, s.last())
	if s.inline != nil {
		if !s.decodeInline(first, last, func(version uint64, o offset) { offs[version-lo] = o }) {
			return hi, r.damaged(r.sections[sectionStreams].at, "an entry")
		}
		return s.first - 1, nil
	}
	loaded := int64(-1)
	for version := first; version <= last; version++ {
		k := s.posting + version - s.first
		if want := int64(k / postingsInBlock); want != loaded {
			if err := r.block(b, sectionPostings, want); err != nil {
				return hi, err
			}
			loaded = want
		}
		offs[version-lo] = offset(binary.LittleEndian.Uint64(b[8+8*(k%postingsInBlock):]))
	}
	return s.first - 1, nil
}

// hasAny reports whether the run has one of the hashes of ids. The filter is
// asked for all of them first, so that its cache misses overlap.
func (r *run) hasAny(hashes []uint64) (bool, error) {
	for _, h := range hashes {
		if !r.ids.has(h) {
			continue
		}
		if found, err := r.findID(nil, h); err != nil || len(found) > 0 {
			return len(found) > 0, err
		}
	}
	return false, nil
}

// findID appends the places of the events whose ids have a hash.
func (r *run) findID(offs []offset, hash uint64) ([]offset, error) {
	if !r.ids.has(hash) {
		return offs, nil
	}
	// Equal hashes may begin in the block before the one whose fence is equal.
	i := max(sort.Search(len(r.idFences), func(i int) bool { return r.idFences[i] >= hash })-1, 0)
	b := blocks.Get().(*[blockBytes]byte)
	defer blocks.Put(b)
	for ; i < len(r.idFences) && r.idFences[i] <= hash; i++ {
		if err := r.block(b, sectionIDs, int64(i)); err != nil {
			return offs, err
		}
		n := min(int(binary.LittleEndian.Uint32(b[4:])), idsInBlock)
		k := sort.Search(n, func(k int) bool { return binary.LittleEndian.Uint64(b[8+16*k:]) >= hash })
		for ; k < n && binary.LittleEndian.Uint64(b[8+16*k:]) == hash; k++ {
			offs = append(offs, offset(binary.LittleEndian.Uint64(b[16+16*k:])))
		}
	}
	return offs, nil
}
