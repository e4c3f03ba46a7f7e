package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"
)

// A snapshot is all records as of an offset in one file, FORMAT.md "Records".
// Without one, records that were lost would be made anew from the whole log.
const (
	snapshotMagic   = "GYRESNP\x00"
	snapshotVersion = 2
	keptSnapshots   = 2
	snapshotBuffer  = 1 << 20
)

func snapshotName(o offset) string { return fmt.Sprintf("records-%016x.snap", uint64(o)) }

func parseSnapshotName(name string) (offset, bool) {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(name, ".snap"), "records-")
	n, err := strconv.ParseUint(digits, 16, 64)
	return offset(n), ok && err == nil && snapshotName(offset(n)) == name
}

// writeSnapshot writes what the database has, removes old snapshots, and returns
// the size of the new one.
func (d *recordDB) writeSnapshot() (size int64, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		r, ok := decodeReach(tx.Bucket(bucketMeta).Get(metaReach))
		if !ok {
			return errNotOurs
		}
		name := filepath.Join(d.dir, snapshotName(r.end))
		file, err := d.fs.OpenFile(name+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
		if err != nil {
			return err
		}
		w := &snapshotWriter{file: file}
		err = w.all(d.snapshotHeader(&r), tx)
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			err = d.fs.Rename(name+".tmp", name)
		}
		if err == nil {
			err = d.fs.SyncDir(d.dir)
		}
		if err != nil {
			_ = d.fs.Remove(name + ".tmp")
			return err
		}
		size = w.at
		return d.removeSnapshots()
	})
	return size, err
}

func (d *recordDB) snapshotHeader(r *reach) []byte {
	b := append([]byte(nil), snapshotMagic...)
	b = binary.LittleEndian.AppendUint32(b, snapshotVersion)
	b = r.encode(b)
	return appendLP(b, d.log)
}

// snapshotWriter writes through a buffer and keeps the checksum of it all,
// which ends the file.
type snapshotWriter struct {
	file File
	at   int64
	buf  []byte
	sum  uint32
}

func (w *snapshotWriter) all(header []byte, tx *bbolt.Tx) error {
	if err := w.add(header); err != nil {
		return err
	}
	var encoded []byte
	for c, err := range rows(tx) {
		if err != nil {
			return err
		}
		encoded = c.encode(encoded[:0])
		if err := w.add(encoded); err != nil {
			return err
		}
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf, w.sum)
	if err := w.flush(); err != nil {
		return err
	}
	return w.file.Sync()
}

func (w *snapshotWriter) add(b []byte) error {
	w.sum = crc32.Update(w.sum, castagnoli, b)
	w.buf = append(w.buf, b...)
	if len(w.buf) < snapshotBuffer {
		return nil
	}
	return w.flush()
}

func (w *snapshotWriter) flush() error {
	_, err := w.file.WriteAt(w.buf, w.at)
	w.at += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

// snapshots lists the snapshots, the newest first.
func (d *recordDB) snapshots() ([]offset, error) {
	names, err := d.fs.List(d.dir)
	var found []offset
	for _, name := range names {
		if o, ok := parseSnapshotName(name); ok {
			found = append(found, o)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found, err
}

func (d *recordDB) removeSnapshots() error {
	found, err := d.snapshots()
	for _, o := range found[min(keptSnapshots, len(found)):] {
		if err := d.fs.Remove(filepath.Join(d.dir, snapshotName(o))); err != nil {
			return err
		}
	}
	return err
}

// snapshot is an open one, as far as its header is checked.
type snapshot struct {
	file   File
	reach  reach
	header int // its length
	size   int64
}

// removeLost removes the snapshots that are not of the log that holds knows. Those of a lost
// tail would count as newer than the log's own.
func (d *recordDB) removeLost(holds func(*reach) bool) error {
	found, err := d.snapshots()
	for _, o := range found {
		s, err := d.openSnapshot(o)
		if err == nil {
			_ = s.file.Close()
			if holds(&s.reach) {
				continue
			}
		}
		if err := d.fs.Remove(filepath.Join(d.dir, snapshotName(o))); err != nil {
			return err
		}
	}
	return err
}

// newestSnapshot opens the newest snapshot that is whole. It is nil if there is none.
func (d *recordDB) newestSnapshot() *snapshot {
	found, err := d.snapshots()
	if err != nil {
		return nil
	}
	for _, o := range found {
		s, err := d.openSnapshot(o)
		if err != nil {
			continue
		}
		if s.check() == nil {
			return s
		}
		_ = s.file.Close()
	}
	return nil
}

func (d *recordDB) openSnapshot(o offset) (*snapshot, error) {
	file, err := d.fs.OpenFile(filepath.Join(d.dir, snapshotName(o)), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	s := &snapshot{file: file}
	if s.size, err = file.Size(); err == nil {
		err = s.readHeader(d, o)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return s, nil
}

func (s *snapshot) readHeader(d *recordDB, o offset) error {
	b := make([]byte, len(d.snapshotHeader(&reach{})))
	if _, err := s.file.ReadAt(b, 0); err != nil {
		return err
	}
	from := len(snapshotMagic) + 4
	var ok bool
	if s.reach, ok = decodeReach(b[from : from+reachBytes]); !ok || s.reach.end != o || string(b) != string(d.snapshotHeader(&s.reach)) {
		return errNotOurs
	}
	s.header = len(b)
	return nil
}

// check compares the checksum.
func (s *snapshot) check() error {
	sum := crc32.New(castagnoli)
	if s.size < int64(s.header)+4 {
		return errNotOurs
	}
	if _, err := io.CopyBuffer(sum, io.NewSectionReader(s.file, 0, s.size-4), make([]byte, snapshotBuffer)); err != nil {
		return err
	}
	var end [4]byte
	if _, err := s.file.ReadAt(end[:], s.size-4); err != nil && err != io.EOF {
		return err
	}
	if binary.LittleEndian.Uint32(end[:]) != sum.Sum32() {
		return errNotOurs
	}
	return nil
}

// snapshotStride is what is read of a snapshot at a time: a few of the largest records.
const snapshotStride = 4 << 20

// each visits the records, in the order of their keys, with how far in the file it is.
func (s *snapshot) each(visit func(c recordChange, done int64) error) error {
	end := s.size - 4
	w := newWindow(s.file, end, snapshotStride)
	for o := int64(s.header); o < end; {
		b, err := w.at(o, maxChangeBytes)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return errNotOurs
		}
		c, rest, err := takeRecordChange(b)
		if err != nil {
			return err
		}
		c.value = bytes.Clone(c.value)
		o += int64(len(b) - len(rest))
		if err := visit(c, o); err != nil {
			return err
		}
	}
	return nil
}
