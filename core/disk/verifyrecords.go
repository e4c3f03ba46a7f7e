package disk

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// recordVerifier makes the records of the log once more, in a database of its own,
// and compares. Memory does not grow with the records.
type recordVerifier struct {
	engine  *Engine
	db      recordDB    // begun
	changes *changeTree // that db does not have yet
	bytes   int         // of changes
	count   uint64      // of the records, once all are there
}

func (e *Engine) newRecordVerifier() (*recordVerifier, error) {
	v := &recordVerifier{engine: e, db: recordDB{dir: e.dir, fs: e.fs, log: e.id}, changes: newChangeTree()}
	if err := v.db.begin(); err != nil {
		return nil, openError(err)
	}
	return v, nil
}

// add takes a change of the log, in the log's order.
func (v *recordVerifier) add(c recordChange) error {
	if old, ok := v.changes.Set(c); ok {
		v.bytes -= old.size()
	}
	if v.bytes += c.size(); v.bytes < replayBytes {
		return nil
	}
	return v.flush()
}

func (v *recordVerifier) flush() error {
	err := v.db.db.Update(func(tx *bbolt.Tx) error {
		records, err := tx.CreateBucketIfNotExists(bucketRecords)
		if err != nil {
			return err
		}
		return putChanges(records, v.changes.Scan)
	})
	v.changes, v.bytes = newChangeTree(), 0
	if err != nil {
		return openError(err)
	}
	return nil
}

// finish counts the records.
func (v *recordVerifier) finish() error {
	if err := v.flush(); err != nil {
		return err
	}
	return v.db.db.View(func(tx *bbolt.Tx) error {
		for c, err := range rows(tx) {
			if err != nil {
				return err
			}
			if c.table != timelineTable {
				v.count++
			}
		}
		return nil
	})
}

// install makes the records the log's, which ends at r.
func (v *recordVerifier) install(r reach) error {
	if err := v.db.finish(r, 0); err != nil {
		return openError(err)
	}
	return nil
}

// close removes what was not installed.
func (v *recordVerifier) close() {
	_ = v.db.close()
	_ = v.db.removeTemporary()
}

// checkRecords compares the database with the log.
func (v *verifier) checkRecords() error {
	e := v.engine
	if _, err := os.Stat(filepath.Join(e.dir, recordFile)); os.IsNotExist(err) {
		return nil
	}
	wrong := func(detail string) { v.add(Problem{File: recordFile, Detail: detail, Derived: true}) }
	db := recordDB{dir: e.dir, fs: e.fs, log: e.id}
	if err := db.open(e.holds); err != nil {
		wrong(err.Error())
		return nil
	}
	defer func() { _ = db.close() }()
	later, err := v.changedSince(db.reach.end)
	if err != nil {
		return err
	}
	return db.db.View(func(found *bbolt.Tx) error {
		return v.records.db.db.View(func(want *bbolt.Tx) error {
			err := compareRecords(rows(found), rows(want), later, wrong)
			if err != nil {
				wrong(err.Error())
			}
			return nil
		})
	})
}

// maxDifferences is how many records are named that differ.
const maxDifferences = 10

// compareRecords compares records in the order of their keys. Those that changed
// later than found goes are the business of the next Open.
func compareRecords(found, want iter.Seq2[recordChange, error], later *changeTree, wrong func(detail string)) error {
	next, stop := iter.Pull2(found)
	defer stop()
	differences := 0
	differs := func(c *recordChange, how string) {
		if _, ok := later.Get(*c); ok {
			return
		}
		if differences++; differences <= maxDifferences {
			wrong(fmt.Sprintf("record %q/%q %s", c.table, c.key, how))
		}
	}
	f, err, more := next()
	for w, wErr := range want {
		if wErr != nil {
			return wErr
		}
		for ; more && err == nil && inKeyOrder(f, w); f, err, more = next() {
			differs(&f, "is not in the log")
		}
		switch {
		case err != nil:
			return err
		case !more || inKeyOrder(w, f):
			differs(&w, "is missing")
			continue
		case f.revision != w.revision || !bytes.Equal(f.value, w.value):
			differs(&w, "differs from the log")
		}
		f, err, more = next()
	}
	for ; more && err == nil; f, err, more = next() {
		differs(&f, "is not in the log")
	}
	if differences > maxDifferences {
		wrong(fmt.Sprintf("%d more records differ from the log", differences-maxDifferences))
	}
	return err
}

// changedSince are the changes of the log behind o.
func (v *verifier) changedSince(o offset) (*changeTree, error) {
	changes := newChangeTree()
	visit := func(h *segmentHeader) visitor {
		var end offset
		return visitor{
			frame: func(b int64, f *frameHeader) { end = at(h.number, b+f.size()) },
			record: func(_ int64, c recordChange) error {
				if end > o {
					changes.Set(recordChange{table: c.table, key: c.key})
				}
				return nil
			},
		}
	}
	for i := range v.sealed {
		s := &v.sealed[i]
		if at(s.header.number, s.end) <= o {
			continue
		}
		if err := v.engine.replay(s, visit(&s.header)); err != nil {
			return nil, err
		}
	}
	file, err := v.engine.files.acquire(v.end.end.segment())
	if err != nil {
		return nil, openError(err)
	}
	defer v.engine.files.release(file)
	_, err = scanSealed(file, v.end.end.byte(), v.last, visit(&v.last))
	return changes, err
}
