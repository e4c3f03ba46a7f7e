package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"runtime"
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
	dir     string
	fs      FS
	log     string
	db      *bbolt.DB
	applied offset // when it was opened
}

const recordFile = "records.db"

// recordsAtOnce is how many records are put into the database before others may run.
const recordsAtOnce = 32

// maxCheckedBytes is the size up to which the whole database is checked when it
// is opened. A larger one would hold up the start; Verify checks it.
const maxCheckedBytes = 64 << 20

// The buckets, and the keys of the second.
var (
	bucketRecords = []byte("records")
	bucketMeta    = []byte("meta")
	metaLog       = []byte("log")
	metaApplied   = []byte("applied")
)

// openRecordDB opens the database of a log that ends at or behind end, making
// it anew from the newest snapshot, or empty, if it is not there or not right.
func openRecordDB(fs FS, dir, log string, end offset) (recordDB, error) {
	d := recordDB{dir: dir, fs: fs, log: log}
	err := d.open(end)
	if err == nil {
		return d, nil
	}
	if !errors.Is(err, errNotOurs) && !os.IsNotExist(err) {
		var path *os.PathError
		if errors.As(err, &path) {
			return d, openError(err)
		}
	}
	return d, d.remake(end)
}

// errNotOurs says that the database is damaged, or of another log or of more
// of this log than there is.
var errNotOurs = errors.New("the records database does not belong to the log")

func (d *recordDB) path() string { return filepath.Join(d.dir, recordFile) }

// open opens the database if it is there and right.
func (d *recordDB) open(end offset) (err error) {
	if _, err := os.Stat(d.path()); err != nil {
		return err
	}
	if err := d.openFile(); err != nil {
		return err
	}
	// bbolt checks its meta pages and trusts the rest; damage behind them can
	// make it panic, which must not take the server along.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errNotOurs, p)
		}
		if err != nil {
			_ = d.db.Close()
		}
	}()
	return d.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil || tx.Bucket(bucketRecords) == nil || string(meta.Get(metaLog)) != d.log || len(meta.Get(metaApplied)) != 8 {
			return errNotOurs
		}
		if d.applied = offset(binary.LittleEndian.Uint64(meta.Get(metaApplied))); d.applied > end {
			return errNotOurs
		}
		if tx.Size() > maxCheckedBytes {
			return nil
		}
		for err := range tx.Check() {
			return fmt.Errorf("%w: %w", errNotOurs, err)
		}
		return nil
	})
}

func (d *recordDB) openFile() (err error) {
	d.db, err = bbolt.Open(d.path(), 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	if err != nil && !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: %w", errNotOurs, err)
	}
	return err
}

// remake begins the database anew, with what the newest good snapshot has.
func (d *recordDB) remake(end offset) error {
	if err := os.Remove(d.path()); err != nil && !os.IsNotExist(err) {
		return openError(err)
	}
	if err := d.openFile(); err != nil {
		return openError(err)
	}
	changes, applied := d.newestSnapshot(end)
	if err := d.apply(maps.Values(changes), applied); err != nil {
		_ = d.db.Close()
		return openError(err)
	}
	d.applied = applied
	return nil
}

// apply writes changes, which reach up to end in the log.
func (d *recordDB) apply(changes iter.Seq[recordChange], end offset) error {
	return d.db.Update(func(tx *bbolt.Tx) error {
		records, err := tx.CreateBucketIfNotExists(bucketRecords)
		if err != nil {
			return err
		}
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		n := 0
		for c := range changes {
			if n++; n%recordsAtOnce == 0 {
				runtime.Gosched() // as blockWriter.seal
			}
			if key := c.id().dbKey(); c.revision == 0 {
				err = records.Delete(key)
			} else {
				err = records.Put(key, append(binary.AppendUvarint(nil, c.revision), c.value...))
			}
			if err != nil {
				return err
			}
		}
		if err := meta.Put(metaLog, []byte(d.log)); err != nil {
			return err
		}
		return meta.Put(metaApplied, binary.LittleEndian.AppendUint64(nil, uint64(end)))
	})
}

// dbKey orders records by table, then key. No table has a zero byte.
func (id recordID) dbKey() []byte { return []byte(id.table + "\x00" + id.key) }

// idOf is the inverse of dbKey.
func idOf(dbKey []byte) recordID {
	table, key, _ := strings.Cut(string(dbKey), "\x00")
	return recordID{table, key}
}

// revision is that of a record, 0 if there is none.
func (d *recordDB) revision(id recordID) (revision uint64, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketRecords).Get(id.dbKey())
		if v == nil {
			return nil
		}
		var n int
		if revision, n = binary.Uvarint(v); n <= 0 {
			return core.Errorf(core.CodeStoreCorrupt, "a record in %s is malformed", recordFile)
		}
		return nil
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
		revision, n := binary.Uvarint(v)
		if n <= 0 {
			return core.Errorf(core.CodeStoreCorrupt, "a record in %s is malformed", recordFile)
		}
		key := string(k[len(table):])
		if !visit(key, recordChange{table: r.Table, key: key, revision: revision, value: bytes.Clone(v[n:])}) {
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
		for k, v := cursor.Seek(recordID{r.Table, leastKey(r)}.dbKey()); k != nil && bytes.HasPrefix(k, table); k, v = cursor.Next() {
			if !asked(r, string(k[len(table):])) {
				return nil
			}
			if err := visitRow(k, v); err != nil {
				return err
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

// all are the records.
func (d *recordDB) all() (map[recordID]recordChange, error) {
	all := make(map[recordID]recordChange)
	err := d.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
			id := idOf(k)
			revision, n := binary.Uvarint(v)
			if n <= 0 {
				return core.Errorf(core.CodeStoreCorrupt, "a record in %s is malformed", recordFile)
			}
			all[id] = recordChange{table: id.table, key: id.key, revision: revision, value: bytes.Clone(v[n:])}
			return nil
		})
	})
	return all, err
}

func (d *recordDB) close() error {
	if d.db == nil {
		return nil
	}
	return d.db.Close()
}
