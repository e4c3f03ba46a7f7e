package disk

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// checkRecords compares the database with the log, as far as the database
// reaches; what comes behind is the business of the next Open.
func (v *verifier) checkRecords() error {
	e := v.engine
	if _, err := os.Stat(filepath.Join(e.dir, recordFile)); os.IsNotExist(err) {
		return nil
	}
	wrong := func(detail string) { v.add(Problem{File: recordFile, Detail: detail, Derived: true}) }
	end := v.fresh[len(v.fresh)-1].end
	db := recordDB{dir: e.dir, fs: e.fs, log: e.id}
	if err := db.open(end); err != nil {
		wrong(err.Error())
		return nil
	}
	defer func() { _ = db.close() }()
	// What the log has behind the database's end is laid over it, as at open.
	merged, err := v.recordsOf(&db)
	if err != nil {
		wrong(err.Error())
		return nil
	}
	if len(merged) != len(v.latest) {
		wrong(fmt.Sprintf("it has %d records, the log %d", len(merged), len(v.latest)))
		return nil
	}
	for id, c := range v.latest {
		if m, ok := merged[id]; !ok || m.revision != c.revision || !bytes.Equal(m.value, c.value) {
			wrong(fmt.Sprintf("record %q/%q differs from the log", c.table, c.key))
		}
	}
	return nil
}

// recordsOf is what the database has, and the log behind it.
func (v *verifier) recordsOf(db *recordDB) (map[recordID]recordChange, error) {
	merged, err := db.all()
	if err != nil {
		return nil, err
	}
	lay := func(end offset, c recordChange) {
		if end <= db.applied {
			return
		}
		if c.revision == 0 {
			delete(merged, c.id())
		} else {
			merged[c.id()] = c
		}
	}
	for i := range v.sealed {
		s := &v.sealed[i]
		if at(s.header.number, s.end) <= db.applied {
			continue
		}
		if err := v.engine.replay(s, recordVisitor(&s.header, lay)); err != nil {
			return nil, err
		}
	}
	last := v.fresh[len(v.fresh)-1]
	h, _, err := readHeader(v.engine.fs, filepath.Join(v.engine.logDir(), segmentName(last.last)), last.last)
	if err != nil {
		return nil, err
	}
	file, err := v.engine.files.acquire(last.last)
	if err != nil {
		return nil, err
	}
	defer v.engine.files.release(file)
	_, err = scanSealed(file, last.end.byte(), h, recordVisitor(&h, lay))
	return merged, err
}

// recordVisitor tells of each change with the end of its frame.
func recordVisitor(h *segmentHeader, visit func(end offset, c recordChange)) visitor {
	var end offset
	return visitor{
		frame:  func(o int64, f *frameHeader) { end = at(h.number, o+f.size()) },
		record: func(_ int64, c recordChange) error { visit(end, c); return nil },
	}
}
