package disk

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
)

// runWriter writes a run in one pass: the streams in the order of their names,
// each with its postings, and the ids in the order of their hashes. How large
// the first two sections are at most follows from the number of positions, so all
// three are written side by side; what the first leaves free is a hole in the
// file.
type runWriter struct {
	fs   FS
	dir  string
	name string
	file File
	key  hashKey
	head runHeader
	err  error // the first; later calls do nothing

	postings, ids, streams blockWriter
	nextPosting            uint64
	inline                 inlineStream
	nameFences, idFences   []byte
	idBloom                bloom
	names                  []uint64 // hashes, for a filter of just the right size
}

// newRunWriter begins the file of a run with at most as many events as head has positions.
func newRunWriter(fs FS, dir string, key hashKey, head runHeader) (*runWriter, error) {
	w := &runWriter{fs: fs, dir: dir, key: key, head: head, name: runName(head.first, head.last)}
	file, err := fs.OpenFile(w.temporary(), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	w.file = file
	inBlocks := func(n, per uint64) int64 { return int64((n + per - 1) / per * blockBytes) }
	o := int64(blockBytes)
	w.postings = newBlockWriter(file, o, postingsInBlock*8)
	o += inBlocks(head.positions, postingsInBlock)
	w.ids = newBlockWriter(file, o, idsInBlock*16)
	o += inBlocks(head.positions, idsInBlock)
	w.streams = newBlockWriter(file, o, blockBytes-8)
	w.idBloom = newBloom(int(head.positions))
	return w, nil
}

func (w *runWriter) temporary() string { return filepath.Join(w.dir, w.name+".tmp") }

// inlineStream is a stream whose entry waits for its postings.
type inlineStream struct {
	name  string
	entry []byte // is used again
	left  uint64 // postings
	last  offset
}

// stream begins the next stream, whose name and versions s has; its postings follow.
func (w *runWriter) stream(s *part) {
	name, count := s.name, s.last-s.first+1
	entry := w.inline.entry[:0]
	for _, v := range [...]uint64{
		1, s.first, count, s.created.position - w.head.firstPosition, s.changed.position - s.created.position,
		uint64(s.created.recorded), uint64(s.changed.recorded - s.created.recorded),
	} {
		entry = binary.AppendUvarint(entry, v)
	}
	w.names = append(w.names, w.key.name(name))
	if count <= maxInline {
		w.inline = inlineStream{name: name, entry: entry, left: count}
		return
	}
	entry = binary.AppendUvarint(entry, w.nextPosting)
	w.entry(name, entry)
	w.inline.entry = entry
	w.nextPosting += count
}

// posting adds the place of the stream's next event, 0 if it was removed.
func (w *runWriter) posting(o offset) {
	p := &w.inline
	if p.left == 0 {
		w.postings.add64(uint64(o))
		return
	}
	if o == 0 {
		p.entry = append(p.entry, 0)
	} else {
		p.entry = binary.AppendUvarint(p.entry, uint64(o-p.last))
		p.last = o
	}
	if p.left--; p.left == 0 {
		w.entry(p.name, p.entry)
	}
}

func (w *runWriter) entry(name string, entry []byte) {
	var buf [maxStreamEntryBytes]byte
	b := appendLP(buf[:0], name)
	b = binary.AppendUvarint(b, uint64(len(entry)))
	if w.streams.add(append(b, entry...)) {
		w.nameFences = appendLP(w.nameFences, name)
	}
}

const maxStreamEntryBytes = 1024

func (w *runWriter) id(hash uint64, o offset) {
	if w.ids.add128(hash, uint64(o)) {
		w.idFences = binary.LittleEndian.AppendUint64(w.idFences, hash)
	}
	w.idBloom.add(hash)
}

// finish completes the file, makes it durable under its name, and opens it.
func (w *runWriter) finish(s samples) (*run, error) {
	for i, b := range [...]*blockWriter{&w.postings, &w.ids, &w.streams} {
		b.flush()
		w.head.sections[i] = section{at: b.from, bytes: b.end() - b.from}
		if b.err != nil && w.err == nil {
			w.err = b.err
		}
	}
	nameBloom := newBloom(len(w.names))
	for _, hash := range w.names {
		nameBloom.add(hash)
	}
	o := w.streams.end()
	memory := [...][]byte{w.nameFences, w.idFences, w.idBloom.encode(), nameBloom.encode(), s.encode()}
	for i, b := range memory {
		w.head.sections[sectionNameFences+i] = section{o, int64(len(b)), crc32.Checksum(b, castagnoli)}
		w.write(b, o)
		o += int64(len(b))
	}
	w.write(w.head.encode(), 0)
	if w.err == nil {
		w.err = w.file.Sync()
	}
	if closeErr := w.file.Close(); w.err == nil {
		w.err = closeErr
	}
	if w.err == nil {
		w.err = w.fs.Rename(w.temporary(), filepath.Join(w.dir, w.name))
	}
	if w.err == nil {
		w.err = w.fs.SyncDir(w.dir)
	}
	if w.err != nil {
		_ = w.fs.Remove(w.temporary())
		return nil, w.err
	}
	return openRun(w.fs, w.dir, w.name)
}

// abandon removes what was written.
func (w *runWriter) abandon() {
	_ = w.file.Close()
	_ = w.fs.Remove(w.temporary())
}

func (w *runWriter) write(b []byte, o int64) {
	if w.err == nil {
		_, w.err = w.file.WriteAt(b, o)
	}
}

// blockWriter fills blocks one after another and writes many at a time.
type blockWriter struct {
	file  File
	from  int64 // of the first block
	at    int64 // of the first block in buf
	room  int   // bytes of payload in a block
	start int   // of the current block in buf
	buf   []byte
	err   error
}

const blockWriterBytes = 64 * blockBytes

func newBlockWriter(file File, from int64, room int) blockWriter {
	return blockWriter{file: file, from: from, at: from, room: room, start: -1, buf: make([]byte, 0, blockWriterBytes)}
}

// end is behind the last complete block.
func (w *blockWriter) end() int64 { return w.at + int64(len(w.buf)) }

// reserve makes room for n bytes and reports whether a block begins with them.
func (w *blockWriter) reserve(n int) bool {
	if w.start >= 0 && len(w.buf)-w.start-8+n <= w.room {
		return false
	}
	w.seal()
	if len(w.buf) == blockWriterBytes {
		w.write()
	}
	w.start = len(w.buf)
	w.buf = append(w.buf, 0, 0, 0, 0, 0, 0, 0, 0)
	return true
}

func (w *blockWriter) add(b []byte) bool {
	begins := w.reserve(len(b))
	w.buf = append(w.buf, b...)
	return begins
}

func (w *blockWriter) add64(v uint64) {
	w.reserve(8)
	w.buf = binary.LittleEndian.AppendUint64(w.buf, v)
}

func (w *blockWriter) add128(a, b uint64) bool {
	begins := w.reserve(16)
	w.buf = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(w.buf, a), b)
	return begins
}

// seal completes the current block: the second word is how many bytes it has,
// or how many ids where they are of one size. Between blocks it lets others run: a
// goroutine that only computes may have a processor for 10 ms, and appends wait.
func (w *blockWriter) seal() {
	if w.start < 0 {
		return
	}
	used := uint32(len(w.buf) - w.start)
	if w.room == idsInBlock*16 {
		used = (used - 8) / 16
	}
	w.buf = w.buf[:w.start+blockBytes]
	b := w.buf[w.start:]
	binary.LittleEndian.PutUint32(b[4:], used)
	binary.LittleEndian.PutUint32(b, blockSum(b, w.at+int64(w.start)))
	w.start = -1
	runtime.Gosched()
}

func (w *blockWriter) write() {
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = w.file.WriteAt(w.buf, w.at)
	}
	w.at += int64(len(w.buf))
	clear(w.buf)
	w.buf = w.buf[:0]
}

func (w *blockWriter) flush() {
	w.seal()
	w.write()
}
