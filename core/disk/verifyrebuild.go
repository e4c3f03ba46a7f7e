package disk

import (
	"path/filepath"
	"slices"
)

// rebuild replaces the index by the one that was just made, and the records by
// those of the log.
func (v *verifier) rebuild() error {
	e := v.engine
	dir := filepath.Join(e.dir, "index")
	names, err := e.fs.List(dir)
	if err != nil {
		return openError(err)
	}
	for _, name := range names {
		if err := e.fs.Remove(filepath.Join(dir, name)); err != nil {
			return openError(err)
		}
	}
	for _, r := range v.fresh[:len(v.sealed)] {
		if err := e.fs.Rename(filepath.Join(v.workDir(), r.name), filepath.Join(dir, r.name)); err != nil {
			return openError(err)
		}
	}
	if err := e.fs.SyncDir(dir); err != nil {
		return openError(err)
	}
	if err := v.records.install(); err != nil {
		return err
	}
	v.report.Problems = slices.DeleteFunc(v.report.Problems, func(p Problem) bool { return p.Derived })
	v.report.Rebuilt = true
	return nil
}
