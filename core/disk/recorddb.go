package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/gyre-events/gyre/core"
)

// recordDB is the records in a bbolt database: in one bucket each record's
// revision and value, in another how far in which log they reach. It is
// derived from the log, and made anew when anything about it is wrong.
type recordDB struct {
	dir string
	fs  FS
	log string // identity
	db  *bbolt.DB

	reach  reach // when it was opened
	logged int64 // bytes of changes from the newest snapshot to there
}

const (
	recordFile = "records.db"
	// recordTemporary is a database that is being made. It is renamed when it is whole.
	recordTemporary = "records.db.tmp"
)

const (
	// recordsAtOnce is how many records are put into the database before others may run.
	recordsAtOnce = 32
	// buildBytes of changes are a transaction where a database is made anew.
	buildBytes = 4 << 20
	// maxCheckedBytes is the size up to which the whole database is checked when it
	// is opened. A larger one would hold up the start; Verify checks it.
	maxCheckedBytes = 64 << 20
)

// The buckets, and the keys of the second.
var (
	bucketRecords = []byte("records")
	bucketMeta    = []byte("meta")
	metaLog       = []byte("log")
	metaReach     = []byte("reach")
	metaLogged    = []byte("logged")
)

// errNotOurs says that the database is damaged, or of another log or of more
// of this log than there is.
var errNotOurs = errors.New("the records database does not belong to the log")

func (d *recordDB) path() string { return filepath.Join(d.dir, recordFile) }

// openRecordDB opens the database of the log that holds knows, or makes it anew from
// the newest snapshot, or empty, if it is not there or not right. report is called with
// the bytes of the snapshot that are read.
func openRecordDB(d recordDB, holds func(*reach) bool, logger *slog.Logger, report func(done, total int64)) (recordDB, error) {
	err := d.removeTemporary()
	if err == nil {
		err = d.removeLost(holds)
	}
	if err != nil {
		return d, openError(err)
	}
	if err = d.open(holds); err == nil {
		return d, nil
	}
	var path *os.PathError
	if !errors.Is(err, errNotOurs) && !os.IsNotExist(err) && errors.As(err, &path) {
		return d, openError(err)
	}
	if err := d.makeAnew(logger.With("because", err), report); err != nil {
		if d.db != nil {
			_ = d.db.Close()
		}
		return d, openError(err)
	}
	return d, nil
}

// makeAnew makes the database anew, with what the newest good snapshot has.
func (d *recordDB) makeAnew(logger *slog.Logger, report func(done, total int64)) error {
	if err := d.begin(); err != nil {
		return err
	}
	s := d.newestSnapshot()
	if s == nil {
		return d.finish(reach{}, 0)
	}
	defer func() { _ = s.file.Close() }()
	logger.Warn("making the records anew from their snapshot", "snapshot", snapshotName(s.reach.end), "bytes", s.size)
	f, reported := filler{db: d}, int64(0)
	err := s.each(func(c recordChange, done int64) error {
		if done-reported >= buildBytes {
			reported = done
			report(done, s.size)
		}
		return f.add(c)
	})
	if err == nil {
		err = f.flush()
	}
	if err != nil {
		return err
	}
	report(s.size, s.size)
	return d.finish(s.reach, 0)
}

// open opens the database if it is there and right: of the log that holds knows.
func (d *recordDB) open(holds func(*reach) bool) (err error) {
	if _, err := os.Stat(d.path()); err != nil {
		return err
	}
	// bbolt checks its meta pages and trusts the rest. Damage there, or the end of the
	// file, can make it panic or read outside of its map, which must not take the server
	// along.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errNotOurs, p)
		}
		if err != nil {
			_ = d.close()
		}
	}()
	if err := d.openFile(recordFile); err != nil {
		return err
	}
	return d.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil || tx.Bucket(bucketRecords) == nil || string(meta.Get(metaLog)) != d.log || len(meta.Get(metaLogged)) != 8 {
			return errNotOurs
		}
		var ok bool
		if d.reach, ok = decodeReach(meta.Get(metaReach)); !ok || !holds(&d.reach) {
			return errNotOurs
		}
		d.logged = int64(binary.LittleEndian.Uint64(meta.Get(metaLogged)))
		if tx.Size() > maxCheckedBytes {
			return nil
		}
		if err := checkPages(tx); err != nil {
			return fmt.Errorf("%w: %w", errNotOurs, err)
		}
		return nil
	})
}

// checkPages checks the whole database. bbolt does so in a goroutine that nothing keeps from
// a fault, so everything that it follows is followed here before.
func checkPages(tx *bbolt.Tx) error {
	pages := int(tx.Size()) / tx.DB().Info().PageSize
	for id := 0; id < pages; id++ {
		page, err := tx.Page(id)
		if err != nil {
			return err
		}
		if page.Type == "free" {
			continue
		}
		if id += page.OverflowCount; id >= pages {
			return errors.New("a page has no end")
		}
	}
	records := tx.Bucket(bucketRecords)
	cursor := records.Cursor()
	for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
		if _, err := changeOf(k, v); err != nil {
			return err
		}
		if !bytes.Equal(records.Get(k), v) {
			return errors.New("a record is not found")
		}
	}
	var first error
	for err := range tx.Check() { // to its end: it reads the pages until then
		if first == nil {
			first = err
		}
	}
	return first
}

// openFile opens a file of the directory. Its list of free pages is kept in the
// file: without it, bbolt reads all of a database to open it.
func (d *recordDB) openFile(name string) (err error) {
	d.db, err = bbolt.Open(filepath.Join(d.dir, name), 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if err != nil && !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return err
}

// begin makes a database that is not synced, nor has its name, until finish.
func (d *recordDB) begin() error {
	if err := d.removeTemporary(); err != nil {
		return err
	}
	if err := d.openFile(recordTemporary); err != nil {
		return err
	}
	d.db.NoSync = true
	return nil
}

// finish makes what was begun the log's database, as far as r.
func (d *recordDB) finish(r reach, logged int64) error {
	if err := d.db.Sync(); err != nil {
		return err
	}
	d.db.NoSync = false
	if err := d.apply(func(func(recordChange) bool) {}, r, logged); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(d.dir, recordTemporary), d.path()); err != nil {
		return err
	}
	d.reach, d.logged = r, logged
	return d.fs.SyncDir(d.dir)
}

// removeTemporary removes databases and snapshots that are not finished.
func (d *recordDB) removeTemporary() error {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		finished, ok := strings.CutSuffix(name, ".tmp")
		if _, isSnapshot := parseSnapshotName(finished); !ok || !isSnapshot {
			continue
		}
		if err := d.fs.Remove(filepath.Join(d.dir, name)); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(d.dir, recordTemporary)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// apply writes changes, which reach up to r in the log.
func (d *recordDB) apply(changes iter.Seq[recordChange], r reach, logged int64) error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		records, err := tx.CreateBucketIfNotExists(bucketRecords)
		if err != nil {
			return err
		}
		if err := putChanges(records, changes); err != nil {
			return err
		}
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if err := meta.Put(metaLog, []byte(d.log)); err != nil {
			return err
		}
		if err := meta.Put(metaLogged, binary.LittleEndian.AppendUint64(nil, uint64(logged))); err != nil {
			return err
		}
		return meta.Put(metaReach, r.encode(nil))
	})
}

func putChanges(records *bbolt.Bucket, changes iter.Seq[recordChange]) (err error) {
	n := 0
	for c := range changes {
		if n++; n%recordsAtOnce == 0 {
			runtime.Gosched() // as blockWriter.seal
		}
		if key := c.id().dbKey(); c.revision == 0 {
			err = records.Delete(key)
		} else {
			err = records.Put(key, rowOf(key, &c))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// filler puts records, in the order of their keys, into a database that was begun.
type filler struct {
	db      *recordDB
	changes []recordChange
	bytes   int
}

func (f *filler) add(c recordChange) error {
	f.changes = append(f.changes, c)
	if f.bytes += c.size(); f.bytes < buildBytes {
		return nil
	}
	return f.flush()
}

func (f *filler) flush() error {
	err := f.db.db.Update(func(tx *bbolt.Tx) error {
		records, err := tx.CreateBucketIfNotExists(bucketRecords)
		if err != nil {
			return err
		}
		records.FillPercent = 0.95 // nothing comes in between
		return putChanges(records, slices.Values(f.changes))
	})
	f.changes, f.bytes = f.changes[:0], 0
	return err
}

// dbKey orders records by table, then key. No table has a zero byte.
func (id recordID) dbKey() []byte { return []byte(id.table + "\x00" + id.key) }

// rowOf is what the database has under a key: u32 checksum | uvarint revision | value. The
// checksum is of the key and what follows, for bbolt has none of its own.
func rowOf(key []byte, c *recordChange) []byte {
	row := make([]byte, 4, 4+binary.MaxVarintLen64+len(c.value))
	row = append(binary.AppendUvarint(row, c.revision), c.value...)
	binary.LittleEndian.PutUint32(row, rowSum(key, row))
	return row
}

func rowSum(key, row []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, row[4:])
}

// changeOf is the put that a row of the database stands for.
func changeOf(k, row []byte) (recordChange, error) {
	if len(row) > 4 && binary.LittleEndian.Uint32(row) == rowSum(k, row) {
		if revision, n := binary.Uvarint(row[4:]); n > 0 {
			table, key, _ := strings.Cut(string(k), "\x00")
			return recordChange{table: table, key: key, revision: revision, value: row[4+n:]}, nil
		}
	}
	return recordChange{}, core.Errorf(core.CodeStoreCorrupt, "a record in %s is damaged", recordFile)
}

// revision is that of a record, 0 if there is none.
func (d *recordDB) revision(id recordID) (revision uint64, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		k := id.dbKey()
		v := tx.Bucket(bucketRecords).Get(k)
		if v == nil {
			return nil
		}
		c, err := changeOf(k, v)
		revision = c.revision
		return err
	})
	return revision, err
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// scan visits the records that r asks for, in the order of their keys, until
// visit returns false.
func (d *recordDB) scan(r core.RecordsRequest, visit func(key string, c recordChange) bool) error {
	table := recordID{r.Table, ""}.dbKey()
	visitRow := func(k, v []byte) error {
		c, err := changeOf(k, v)
		if err != nil {
			return err
		}
		if c.value = bytes.Clone(c.value); !visit(c.key, c) {
			return errEnough
		}
		return nil
	}
	err := d.db.View(func(tx *bbolt.Tx) error {
		records := tx.Bucket(bucketRecords)
		if r.Keys != nil {
			return eachKey(records, r, visitRow)
		}
		cursor := records.Cursor()
		for _, s := range runs(r) {
			for k, v := cursor.Seek(recordID{r.Table, s.least}.dbKey()); bytes.HasPrefix(k, table) && s.has(string(k[len(table):])); k, v = cursor.Next() {
				if err := visitRow(k, v); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// eachKey visits the rows of r.Keys, in order.
func eachKey(records *bbolt.Bucket, r core.RecordsRequest, visit func(k, v []byte) error) error {
	for _, key := range slices.Compact(slices.Sorted(slices.Values(r.Keys))) {
		k := recordID{r.Table, key}.dbKey()
		if v := records.Get(k); v != nil && asked(r, key) {
			if err := visit(k, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// rows yields all records in the order of their keys; the values are valid during tx.
func rows(tx *bbolt.Tx) iter.Seq2[recordChange, error] {
	return func(yield func(recordChange, error) bool) {
		cursor := tx.Bucket(bucketRecords).Cursor()
		for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
			if c, err := changeOf(k, v); !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// size is that of the database.
func (d *recordDB) size() (bytes int64) {
	_ = d.db.View(func(tx *bbolt.Tx) error { bytes = tx.Size(); return nil }) // never an error
	return bytes
}

func (d *recordDB) close() error {
	if d.db == nil {
		return nil
	}
	return d.db.Close()
}

// snapshotSize is that of the newest snapshot, 0 if there is none.
func (d *recordDB) snapshotSize() int64 {
	found, err := d.snapshots()
	if err != nil || len(found) == 0 {
		return 0
	}
	file, err := d.fs.OpenFile(filepath.Join(d.dir, snapshotName(found[0])), os.O_RDONLY)
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	size, err := file.Size()
	if err != nil {
		return 0
	}
	return size
}
