package disk

import (
	"cmp"
	"errors"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// recordDB is the records as of some place in the log: a chain of runs, each of the part
// of the log behind the one before. A name in a later run hides it in the earlier ones.
// All of it is derived from the log.
type recordDB struct {
	fs     FS
	dir    string // of the runs
	log    string // identity
	key    hashKey
	logger *slog.Logger
	// snapshots is the directory that the first run has a second name in; "" for none.
	snapshots string

	merging sync.Mutex // makes one merge at a time; taken before mu
	mu      sync.Mutex
	runs    []*recordRun // in the log's order; the slice does not change. mu protects it
}

// openRecordDB opens as much as there is of the records of the log that holds knows. The
// log has the rest.
func openRecordDB(d *recordDB, holds func(*reach) bool) error {
	err := d.removeLost(holds)
	if err != nil {
		return openError(err)
	}
	found, err := d.find(holds)
	if err != nil {
		return openError(err)
	}
	d.runs = found.chain
	for _, p := range found.problems {
		d.logger.Error("some records are made anew from the log", "because", p.Detail, "file", p.File)
	}
	err = d.tidy(append(found.others, filepath.Join(d.snapshots, "records.db"))) // of earlier versions
	if err == nil {
		err = d.removeOldSnapshots()
	}
	if err != nil {
		d.logger.Warn("files of the records that are not needed cannot be removed", "error", err)
	}
	return nil
}

// foundRuns is what there is in the directories.
type foundRuns struct {
	chain    []*recordRun
	others   []string // files that are not needed
	problems []Problem
}

func (f *foundRuns) close() {
	for _, r := range f.chain {
		_ = r.file.Close()
	}
}

// recordFile is a file that may be a run of the chain.
type recordFile struct {
	path      string
	from, end offset
}

// find opens the runs that make a chain from the log's beginning: each time the one that
// goes the furthest. It changes nothing but the name of a snapshot, which the chain
// begins with if its first run is lost.
func (d *recordDB) find(holds func(*reach) bool) (found foundRuns, err error) {
	files, others, err := d.files()
	if err != nil {
		return found, err
	}
	found.others = others
	defer func() {
		if err != nil {
			found.close()
		}
	}()
	snapshots, err := listSnapshots(d.fs, d.snapshots)
	if err != nil {
		return found, err
	}
	for end := offset(0); ; {
		r := d.furthest(files, end, holds, &found)
		if r == nil && end == 0 {
			if r, err = d.adopt(snapshots, holds); err != nil {
				return found, err
			}
		}
		if r == nil {
			break
		}
		found.chain = append(found.chain, r)
		end = r.reach.end
	}
	for _, f := range files {
		if !slices.ContainsFunc(found.chain, func(r *recordRun) bool { return r.path == f.path }) {
			found.others = append(found.others, f.path)
		}
	}
	return found, nil
}

// files lists the runs, and what is left of writing them.
func (d *recordDB) files() (files []recordFile, others []string, err error) {
	names, err := d.fs.List(d.dir)
	for _, name := range names {
		path := filepath.Join(d.dir, name)
		if from, end, ok := parseRecordRunName(name); ok {
			files = append(files, recordFile{path, from, end})
		} else if strings.HasSuffix(name, ".tmp") {
			others = append(others, path)
		}
	}
	return files, others, err
}

// furthest opens the run that begins at from and goes the furthest of those that are
// right, or nil. What is wrong with others is noted.
func (d *recordDB) furthest(files []recordFile, from offset, holds func(*reach) bool, found *foundRuns) *recordRun {
	var here []recordFile
	for _, f := range files {
		if f.from == from && f.end > from {
			here = append(here, f)
		}
	}
	slices.SortFunc(here, func(a, b recordFile) int { return cmp.Compare(b.end, a.end) })
	for _, f := range here {
		r, err := d.openRun(f, holds)
		if err == nil {
			return r
		}
		p := Problem{File: filepath.Join(filepath.Base(d.dir), filepath.Base(f.path)), Detail: err.Error(), Derived: true}
		var damage *damagedRecords
		if errors.As(err, &damage) {
			p.Offset, p.Detail = damage.at, damage.what+" is damaged"
		}
		found.problems = append(found.problems, p)
	}
	return nil
}

// errNotOurs says that a run is of another log, or of more of this log than there is.
var errNotOurs = errors.New("the records do not belong to the log")

// maxCheckedBytes is the size up to which a run is read when it is opened. A longer one
// would hold up the start; its blocks are checked when they are needed, and by Verify.
const maxCheckedBytes = 64 << 20

// openRun opens a run of the log that holds knows.
func (d *recordDB) openRun(f recordFile, holds func(*reach) bool) (*recordRun, error) {
	r, err := openRecordRun(d.fs, f.path)
	if err != nil {
		return nil, err
	}
	switch {
	case r.log != d.log || r.from != f.from || r.reach.end != f.end || !holds(&r.reach):
		err = errNotOurs
	case r.size() <= maxCheckedBytes:
		err = r.check()
	}
	if err != nil {
		_ = r.file.Close()
		return nil, err
	}
	return r, nil
}

// tidy removes files that are not needed.
func (d *recordDB) tidy(paths []string) error {
	for _, path := range paths {
		if err := d.fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// reach is how far the records go.
func (d *recordDB) reach() reach {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.runs) == 0 {
		return reach{}
	}
	return d.runs[len(d.runs)-1].reach
}

// size is the bytes of all runs.
func (d *recordDB) size() (bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.runs {
		bytes += r.size()
	}
	return bytes
}

// acquire returns the runs, which stay open until they are released.
func (d *recordDB) acquire() []*recordRun {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.runs {
		r.readers++
	}
	return d.runs
}

func (d *recordDB) release(runs []*recordRun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range runs {
		if r.readers--; r.readers == 0 && r.retired {
			_ = r.file.Close() // it was only read
		}
	}
}

// apply writes changes, n at most, in the order of their names. They reach up to r in
// the log, where they had so many bytes.
func (d *recordDB) apply(changes iter.Seq[recordChange], n int, r reach, logged int64) error {
	head := recordRunHeader{log: d.log, from: d.reach().end, reach: r, logged: logged}
	w, err := newRecordRunWriter(d.fs, d.dir, d.key, head, n)
	if err != nil {
		return err
	}
	var row recordRow
	for c := range changes {
		if row.revision, row.value = c.revision, c.value; row.revision == 0 {
			row.value = nil
		}
		row.name = c.id().appendName(row.name[:0])
		if row.revision > 0 || head.from > 0 {
			w.add(&row)
		}
	}
	run, err := w.finish()
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.runs = append(slices.Clone(d.runs), run)
	d.mu.Unlock()
	if run.from == 0 {
		d.snapshot(run)
	}
	return nil
}

// appendName appends what orders records by table, then key. No table has a zero byte.
func (id recordID) appendName(dst []byte) []byte {
	return append(append(append(dst, id.table...), 0), id.key...)
}

// revision is that of a record, 0 if there is none.
func (d *recordDB) revision(id recordID) (revision uint64, err error) {
	err = d.lookUp([][]byte{id.appendName(nil)}, func(row *recordRow) bool {
		revision = row.revision
		return true
	})
	return revision, err
}

// lookUp visits the rows with some names, in their order, until visit returns false.
func (d *recordDB) lookUp(names [][]byte, visit func(row *recordRow) bool) error {
	runs := d.acquire()
	defer d.release(runs)
	c := lookUps.Get().(*recordCursor)
	defer func() {
		*c = recordCursor{buf: c.buf[:0]}
		lookUps.Put(c)
	}()
	for _, name := range names {
		hash := nameHash(d.key, name)
		for _, r := range slices.Backward(runs) {
			*c = recordCursor{run: r, buf: c.buf[:0]}
			row, err := c.get(name, hash)
			if err != nil {
				return d.condemn(err)
			}
			if row == nil {
				continue
			}
			if row.revision > 0 && !visit(row) {
				return nil
			}
			break
		}
	}
	return nil
}

// lookUps are cursors, which are used again for their buffers.
var lookUps = sync.Pool{New: func() any { return new(recordCursor) }}

// scan visits the records that r asks for, in the order of their keys, until
// visit returns false.
func (d *recordDB) scan(r core.RecordsRequest, visit func(key string, c recordChange) bool) error {
	visitRow := func(row *recordRow) bool {
		c := row.change()
		return visit(c.key, c)
	}
	table := recordID{r.Table, ""}.appendName(nil)
	if r.Keys != nil {
		var names [][]byte
		for _, key := range slices.Compact(slices.Sorted(slices.Values(r.Keys))) {
			if asked(r, key) {
				names = append(names, recordID{r.Table, key}.appendName(nil))
			}
		}
		return d.lookUp(names, visitRow)
	}
	open := d.acquire()
	defer d.release(open)
	m := newRecordMerge(open, 0)
	for _, s := range runs(r) {
		if err := m.seek(recordID{r.Table, s.least}.appendName(nil)); err != nil {
			return d.condemn(err)
		}
		for m.row != nil && hasPrefix(m.row.name, table) && s.has(string(m.row.name[len(table):])) {
			if m.row.revision > 0 && !visitRow(m.row) {
				return nil
			}
			if err := m.next(); err != nil {
				return d.condemn(err)
			}
		}
	}
	return nil
}

// condemn notes that a run is damaged: its file goes, so that the next start makes its
// records anew. Until then those that it has in blocks that are right are served.
func (d *recordDB) condemn(err error) error {
	var damage *damagedRecords
	if !errors.As(err, &damage) {
		return err
	}
	d.mu.Lock()
	first := !damage.run.condemned
	damage.run.condemned = true
	d.mu.Unlock()
	if first {
		d.logger.Error("some records are damaged; the next start makes them anew from the log", "error", err)
		_ = d.fs.Remove(damage.run.path)
		if damage.run.from == 0 && d.snapshots != "" {
			_ = d.fs.Remove(filepath.Join(d.snapshots, snapshotName(damage.run.reach.end)))
		}
	}
	return core.Errorf(core.CodeStoreCorrupt, "%w; start the node again, which makes the records anew", err)
}

// rows yields all records in the order of their names.
func rowsOf(runs []*recordRun) iter.Seq2[recordChange, error] {
	return func(yield func(recordChange, error) bool) {
		m := newRecordMerge(runs, mergeAheadBytes)
		for err := m.seek(nil); err != nil || m.row != nil; err = m.next() {
			if err != nil {
				yield(recordChange{}, err)
				return
			}
			if m.row.revision > 0 && !yield(m.row.change(), nil) {
				return
			}
		}
	}
}

func (d *recordDB) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for _, r := range d.runs {
		err = errors.Join(err, r.file.Close())
	}
	d.runs = nil
	return err
}
