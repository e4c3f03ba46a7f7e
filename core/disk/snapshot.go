package disk

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A snapshot is the first run of the records under a second name. It has all records as of
// an offset. Where the runs are lost, they go on from it; without one, records would be
// made anew from the whole log.
const keptSnapshots = 2

func snapshotName(o offset) string { return fmt.Sprintf("records-%016x.snap", uint64(o)) }

func parseSnapshotName(name string) (offset, bool) {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(name, ".snap"), "records-")
	n, err := strconv.ParseUint(digits, 16, 64)
	return offset(n), ok && err == nil && snapshotName(offset(n)) == name
}

// listSnapshots lists the snapshots in a directory, the newest first.
func listSnapshots(fs FS, dir string) (found []offset, err error) {
	if dir == "" {
		return nil, nil
	}
	names, err := fs.List(dir)
	for _, name := range names {
		if o, ok := parseSnapshotName(name); ok {
			found = append(found, o)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found, err
}

// adopt makes the newest good snapshot the first run, or returns nil.
func (d *recordDB) adopt(snapshots []offset, holds func(*reach) bool) (*recordRun, error) {
	for _, o := range snapshots {
		name := filepath.Join(d.snapshots, snapshotName(o))
		r, err := d.openRun(recordFile{name, 0, o}, holds)
		if err != nil {
			continue
		}
		_ = r.file.Close()
		f := recordFile{filepath.Join(d.dir, recordRunName(0, o)), 0, o}
		_ = d.fs.Remove(f.path)
		if err = d.fs.Link(name, f.path); err == nil {
			err = d.fs.SyncDir(d.dir)
		}
		if err != nil {
			d.logger.Warn("a snapshot of the records cannot be used", "error", err)
			return nil, nil
		}
		d.logger.Warn("the records go on from their snapshot", "snapshot", filepath.Base(name))
		return d.openRun(f, holds)
	}
	return nil, nil
}

// removeLost removes the snapshots that are not of the log that holds knows. Those of a lost
// tail would count as newer than the log's own.
func (d *recordDB) removeLost(holds func(*reach) bool) error {
	found, err := listSnapshots(d.fs, d.snapshots)
	for _, o := range found {
		name := filepath.Join(d.snapshots, snapshotName(o))
		r, err := openRecordRun(d.fs, name)
		if err == nil {
			_ = r.file.Close()
			if r.log == d.log && r.reach.end == o && holds(&r.reach) {
				continue
			}
		}
		if err := d.fs.Remove(name); err != nil {
			return err
		}
	}
	return err
}

func (d *recordDB) removeOldSnapshots() error { return d.keepSnapshots(keptSnapshots) }

// keepSnapshots removes all but the newest n.
func (d *recordDB) keepSnapshots(n int) error {
	found, err := listSnapshots(d.fs, d.snapshots)
	for _, o := range found[min(n, len(found)):] {
		if err := d.fs.Remove(filepath.Join(d.snapshots, snapshotName(o))); err != nil {
			return err
		}
	}
	return err
}
