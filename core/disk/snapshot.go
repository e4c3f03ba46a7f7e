package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"
)

// A snapshot is all records as of an offset in one file, FORMAT.md "Record
// snapshots". Without one, records that were lost would be made anew from the
// whole log.
const (
	snapshotMagic   = "GYRESNP\x00"
	snapshotVersion = 1
	keptSnapshots   = 2
	snapshotBuffer  = 1 << 20
)

func snapshotName(o offset) string { return fmt.Sprintf("records-%016x.snap", uint64(o)) }

func parseSnapshotName(name string) (offset, bool) {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(name, ".snap"), "records-")
	n, err := strconv.ParseUint(digits, 16, 64)
	return offset(n), ok && err == nil && snapshotName(offset(n)) == name
}

// writeSnapshot writes what the database has, and removes old snapshots.
func (d *recordDB) writeSnapshot() error {
	return d.db.View(func(tx *bbolt.Tx) error {
		o := offset(binary.LittleEndian.Uint64(tx.Bucket(bucketMeta).Get(metaApplied)))
		name := filepath.Join(d.dir, snapshotName(o))
		file, err := d.fs.OpenFile(name+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
		if err != nil {
			return err
		}
		w := &snapshotWriter{file: file}
		if err := w.add(snapshotHeader(d.log, o)); err != nil {
			return err
		}
		err = tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
			id := idOf(k)
			revision, n := binary.Uvarint(v)
			c := recordChange{table: id.table, key: id.key, revision: revision, value: v[max(n, 0):]}
			return w.add(c.encode(nil))
		})
		if err == nil {
			err = w.finish()
		}
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
		return d.removeSnapshots()
	})
}

func snapshotHeader(log string, o offset) []byte {
	b := append([]byte(nil), snapshotMagic...)
	b = binary.LittleEndian.AppendUint32(b, snapshotVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(o))
	return appendLP(b, log)
}

// snapshotWriter writes through a buffer and keeps the checksum of it all,
// which ends the file.
type snapshotWriter struct {
	file File
	at   int64
	buf  []byte
	sum  uint32
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

func (w *snapshotWriter) finish() error {
	w.buf = binary.LittleEndian.AppendUint32(w.buf, w.sum)
	if err := w.flush(); err != nil {
		return err
	}
	return w.file.Sync()
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

// newestSnapshot is what the newest snapshot has that is whole and of this
// log, as changes to nothing. Without one, it is nothing, up to the log's
// beginning.
func (d *recordDB) newestSnapshot(end offset) (map[recordID]recordChange, offset) {
	found, err := d.snapshots()
	if err != nil {
		return nil, 0
	}
	for _, o := range found {
		if o > end {
			continue
		}
		if changes, err := d.readSnapshot(o); err == nil {
			return changes, o
		}
	}
	return nil, 0
}

func (d *recordDB) readSnapshot(o offset) (map[recordID]recordChange, error) {
	file, err := d.fs.OpenFile(filepath.Join(d.dir, snapshotName(o)), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil {
		return nil, err
	}
	header := snapshotHeader(d.log, o)
	if len(b) < len(header)+4 || string(b[:len(header)]) != string(header) {
		return nil, errNotOurs
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, errNotOurs
	}
	changes := make(map[recordID]recordChange)
	err = eachRecordChange(body[len(header):], func(c recordChange) error {
		changes[c.id()] = c
		return nil
	})
	return changes, err
}
