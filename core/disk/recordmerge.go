package disk

import (
	"bytes"
	"path/filepath"
	"slices"
)

const (
	// mergeAheadBytes of a run are read at once where all of it is read.
	mergeAheadBytes = 256 << 10
	// snapshotBytes of changes at least are logged between two times that all runs become
	// one, and as many as the first one has: what it costs stays in proportion.
	snapshotBytes = 64 << 20
	// maxRecordRuns may wait to be merged; a flush waits then.
	maxRecordRuns = 32
)

// recordMerge goes through the rows of several runs as if they were one: of rows with
// one name it takes that of the newest run.
type recordMerge struct {
	cursors []recordCursor // the newest run's first
	row     *recordRow     // nil behind the last; valid until the next call
}

func newRecordMerge(runs []*recordRun, ahead int64) *recordMerge {
	m := &recordMerge{}
	for _, r := range slices.Backward(runs) {
		m.cursors = append(m.cursors, recordCursor{run: r, ahead: ahead})
	}
	return m
}

// seek goes to the first row whose name is not before name.
func (m *recordMerge) seek(name []byte) error {
	for i := range m.cursors {
		if err := m.cursors[i].seek(name); err != nil {
			return err
		}
	}
	m.choose()
	return nil
}

func (m *recordMerge) next() error {
	name := m.row.name
	var here *recordCursor // it goes on last: the name is its
	for i := range m.cursors {
		c := &m.cursors[i]
		if &c.row == m.row {
			here = c
			continue
		}
		if !c.done && bytes.Equal(c.row.name, name) {
			if err := c.next(); err != nil {
				return err
			}
		}
	}
	if err := here.next(); err != nil {
		return err
	}
	m.choose()
	return nil
}

func (m *recordMerge) choose() {
	m.row = nil
	for i := range m.cursors {
		if c := &m.cursors[i]; !c.done && (m.row == nil || bytes.Compare(c.row.name, m.row.name) < 0) {
			m.row = &c.row
		}
	}
}

func hasPrefix(name, prefix []byte) bool { return bytes.HasPrefix(name, prefix) }

// mergeable are the newest runs that together are as long as the run before them, with
// that one; or all, if enough was logged since the first was made. Each run is then
// longer than all behind it, so there are few, and a change is written a few times.
func (d *recordDB) mergeable() []*recordRun {
	d.mu.Lock()
	defer d.mu.Unlock()
	sound := d.runs
	for i, r := range d.runs {
		if r.condemned {
			sound = d.runs[i+1:]
		}
	}
	var newer, logged int64
	first := len(sound)
	for i := len(sound) - 1; i >= 0; i-- {
		r := sound[i]
		if i < len(sound)-1 && newer >= r.size() || i == 0 && r.from == 0 && logged >= max(snapshotBytes, r.size()) {
			first = i
		}
		newer += r.size()
		logged += r.logged
	}
	return sound[first:]
}

// all are the runs. It is a choice of those to merge, as mergeable is.
func (d *recordDB) all() []*recordRun {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.runs
}

// crowded reports whether so many runs wait to be merged that no other should come.
func (d *recordDB) crowded() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.runs) >= maxRecordRuns
}

// merge makes one run of those that are picked, if there are several, which follow each
// other. It streams: what it holds in memory is a few blocks, the filter and the fences.
func (d *recordDB) merge(pick func() []*recordRun, stopping func() bool) error {
	d.merging.Lock()
	defer d.merging.Unlock()
	old := pick()
	if len(old) < 2 {
		return nil
	}
	merged, err := d.mergeRuns(old, d.dir, stopping)
	if err != nil {
		return d.condemn(err)
	}
	d.mu.Lock()
	i := slices.Index(d.runs, old[0])
	d.runs = slices.Concat(d.runs[:i], []*recordRun{merged}, d.runs[i+len(old):])
	for _, r := range old {
		if r.retired = true; r.readers == 0 {
			_ = r.file.Close() // it was only read
		}
	}
	d.mu.Unlock()
	for _, r := range old {
		_ = d.fs.Remove(r.path) // if it stays, the next open removes it
	}
	if merged.from == 0 {
		d.snapshot(merged)
	}
	return nil
}

// never stops a merge.
func never() bool { return false }

func (d *recordDB) mergeRuns(old []*recordRun, dir string, stopping func() bool) (*recordRun, error) {
	first, last := old[0], old[len(old)-1]
	head := recordRunHeader{log: d.log, from: first.from, reach: last.reach}
	rows := uint64(0)
	for _, r := range old {
		rows += r.rows
		head.logged += r.logged
	}
	w, err := newRecordRunWriter(d.fs, dir, d.key, head, int(rows))
	if err != nil {
		return nil, err
	}
	m := newRecordMerge(old, mergeAheadBytes)
	for err = m.seek(nil); err == nil && m.row != nil; err = m.next() {
		if m.row.revision > 0 || head.from > 0 { // a deletion hides nothing in the first run
			w.add(m.row)
		}
		if w.block < 0 && stopping() {
			err = errStopped
			break
		}
	}
	if err == nil {
		err = w.err
	}
	if err != nil {
		w.abandon()
		return nil, err
	}
	return w.finish()
}

// snapshot gives the first run a second name, in the data directory, where it is found if
// the directory of the runs is lost. The one before it stays, too.
func (d *recordDB) snapshot(run *recordRun) {
	if d.snapshots == "" {
		return
	}
	name := filepath.Join(d.snapshots, snapshotName(run.reach.end))
	_ = d.fs.Remove(name)
	err := d.fs.Link(run.path, name)
	if err == nil {
		err = d.fs.SyncDir(d.snapshots)
	}
	if err == nil {
		err = d.removeOldSnapshots()
	}
	if err != nil {
		d.logger.Warn("the records have no snapshot; if they are lost, they are made anew from the whole log", "error", err)
	}
}
