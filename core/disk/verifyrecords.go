package disk

import (
	"bytes"
	"fmt"
	"iter"
	"path/filepath"
)

// recordVerifier makes the records of the log once more, in the work directory, and
// compares. Memory does not grow with the records.
type recordVerifier struct {
	engine  *Engine
	db      recordDB
	changes *changeTree // that db does not have yet
	bytes   int         // of changes
	count   uint64      // of the records, once all are there
}

func (v *verifier) newRecordVerifier() *recordVerifier {
	e := v.engine
	return &recordVerifier{
		engine: e, db: recordDB{fs: e.fs, dir: v.workDir(), log: e.id, key: e.key, logger: e.config.Logger}, changes: newChangeTree(),
	}
}

// add takes a change of the log, in the log's order.
func (v *recordVerifier) add(c recordChange) error {
	if old, ok := v.changes.Set(c); ok {
		v.bytes -= old.size()
	}
	if v.bytes += c.size(); v.bytes < replayBytes {
		return nil
	}
	// How far in the log the changes reach is known at its end.
	return v.flush(reach{end: v.db.reach().end + 1})
}

func (v *recordVerifier) flush(r reach) error {
	err := v.db.apply(v.changes.Scan, v.changes.Len(), r, 0)
	v.changes, v.bytes = newChangeTree(), 0
	for err == nil && len(v.db.mergeable()) > 0 {
		err = v.db.merge(v.db.mergeable, never)
	}
	if err != nil {
		return openError(err)
	}
	return nil
}

// finish makes one run of the records of the log, which ends at r, and counts them.
func (v *recordVerifier) finish(r reach) error {
	if err := v.flush(r); err != nil {
		return err
	}
	if err := v.db.merge(v.db.all, never); err != nil {
		return openError(err)
	}
	for c, err := range rowsOf(v.db.runs) {
		if err != nil {
			return err
		}
		if c.table != timelineTable && c.table != lifecycleTable {
			v.count++
		}
	}
	return nil
}

// install makes the records the log's.
func (v *recordVerifier) install() error {
	e := v.engine
	d := recordDB{fs: e.fs, dir: e.recordsDir(), log: e.id, key: e.key, logger: e.config.Logger, snapshots: e.dir}
	files, old, err := d.files()
	if err != nil {
		return openError(err)
	}
	for _, f := range files {
		old = append(old, f.path)
	}
	snapshots, err := listSnapshots(d.fs, d.snapshots)
	if err != nil {
		return openError(err)
	}
	for _, o := range snapshots {
		old = append(old, filepath.Join(d.snapshots, snapshotName(o)))
	}
	if err := d.tidy(old); err != nil {
		return openError(err)
	}
	run := v.db.runs[0]
	made := run.path
	run.path = filepath.Join(d.dir, filepath.Base(made))
	if err := e.fs.Rename(made, run.path); err != nil {
		return openError(err)
	}
	if err := e.fs.SyncDir(d.dir); err != nil {
		return openError(err)
	}
	d.snapshot(run)
	return nil
}

// checkRecords compares the records that there are with the log.
func (v *verifier) checkRecords() error {
	e := v.engine
	db := recordDB{fs: e.fs, dir: e.recordsDir(), log: e.id, key: e.key, logger: e.config.Logger}
	found, err := db.find(e.holds)
	if err != nil {
		return openError(err)
	}
	defer found.close()
	v.report.Problems = append(v.report.Problems, found.problems...)
	if len(found.chain) == 0 {
		return nil
	}
	newest := found.chain[len(found.chain)-1]
	later, err := v.changedSince(newest.reach.end)
	if err != nil {
		return err
	}
	wrong := func(detail string) { v.add(Problem{File: "records", Detail: detail, Derived: true}) }
	if err := compareRecords(rowsOf(found.chain), rowsOf(v.records.db.runs), later, wrong); err != nil {
		wrong(err.Error())
	}
	return nil
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
