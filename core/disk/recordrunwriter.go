package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
)

// recordRunWriter writes a run in one pass, the rows in the order of their names.
type recordRunWriter struct {
	fs   FS
	path string
	file File
	head recordRunHeader
	key  hashKey
	err  error // the first; later calls do nothing

	at     int64  // of buf in the file
	buf    []byte // blocks that are not written
	block  int    // where the open one begins in buf; -1: none is open
	first  []byte // its first name
	fences []byte
	filter bloom
}

// recordWriteBytes are written with one call.
const recordWriteBytes = 256 << 10

// newRecordRunWriter begins a run of a part of the log, with at most so many rows.
func newRecordRunWriter(fs FS, dir string, key hashKey, head recordRunHeader, rows int) (*recordRunWriter, error) {
	w := &recordRunWriter{
		fs: fs, path: filepath.Join(dir, recordRunName(head.from, head.reach.end)), head: head, key: key,
		at: headerBytes, block: -1, filter: newBloom(rows),
	}
	w.head.rows = 0
	var err error
	w.file, err = fs.OpenFile(w.temporary(), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	return w, err
}

func (w *recordRunWriter) temporary() string { return w.path + ".tmp" }

// add adds a row. Between blocks it lets others run, as blockWriter.seal does.
func (w *recordRunWriter) add(row *recordRow) {
	if w.block < 0 {
		w.block, w.first = len(w.buf), append(w.first[:0], row.name...)
		w.buf = append(w.buf, make([]byte, blockPrefixBytes)...)
	}
	w.buf = row.encode(w.buf)
	w.filter.add(nameHash(w.key, row.name))
	w.head.rows++
	if len(w.buf)-w.block >= recordBlockBytes {
		w.seal()
	}
}

// seal completes the open block.
func (w *recordRunWriter) seal() {
	if w.block < 0 {
		return
	}
	b := w.buf[w.block:]
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-blockPrefixBytes))
	binary.LittleEndian.PutUint32(b, recordBlockSum(b, w.at+int64(w.block)))
	w.fences = binary.AppendUvarint(appendLP(w.fences, w.first), uint64(len(b)))
	w.block = -1
	if len(w.buf) >= recordWriteBytes {
		w.flush()
	}
	runtime.Gosched()
}

func (w *recordRunWriter) flush() {
	w.write(w.buf, w.at)
	w.at += int64(len(w.buf))
	w.buf = w.buf[:0]
}

// write writes b, and has the system take it to the disk soon: a long run that is left
// to the sync at its end holds up those of the log.
func (w *recordRunWriter) write(b []byte, o int64) {
	if w.err == nil {
		_, w.err = w.file.WriteAt(b, o)
	}
	if w.err == nil {
		w.err = writeSoon(w.file, o, int64(len(b)))
	}
}

// finish completes the file, makes it durable under its name, and opens it.
func (w *recordRunWriter) finish() (*recordRun, error) {
	w.seal()
	w.flush()
	filter := w.filter.encode()
	w.head.fences = section{w.at, int64(len(w.fences)), crc32.Checksum(w.fences, castagnoli)}
	w.head.filter = section{w.at + int64(len(w.fences)), int64(len(filter)), crc32.Checksum(filter, castagnoli)}
	w.write(w.fences, w.head.fences.at)
	w.write(filter, w.head.filter.at)
	w.write(w.head.encode(), 0)
	if w.err == nil {
		w.err = w.file.Sync()
	}
	w.err = errors.Join(w.err, w.file.Close())
	if w.err == nil {
		w.err = w.fs.Rename(w.temporary(), w.path)
	}
	if w.err == nil {
		w.err = w.fs.SyncDir(filepath.Dir(w.path))
	}
	if w.err != nil {
		_ = w.fs.Remove(w.temporary())
		return nil, w.err
	}
	return openRecordRun(w.fs, w.path)
}

// abandon removes what was written.
func (w *recordRunWriter) abandon() {
	_ = w.file.Close()
	_ = w.fs.Remove(w.temporary())
}
