package disk

import (
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/gyre-events/gyre/core"
)

// RestorePoint is a place in the history of a log. One of its fields is set.
type RestorePoint struct {
	// Position keeps the Commits whose events are at it or before, and all that was written
	// before the next event.
	Position *uint64
	// Time keeps the Commits that were recorded up to a time.
	Time time.Time
}

// keeps reports whether a frame is before the point.
func (p *RestorePoint) keeps(h *frameHeader) bool {
	if p.Position != nil {
		return h.events == 0 || h.first+uint64(h.events)-1 <= *p.Position
	}
	return h.recorded <= p.Time.UnixMicro()
}

// findCut finds where the log ends that is restored. The error is invalid_restore_point.
func (r *restore) findCut() (offset, error) {
	end := at(uint32(len(r.headers)), r.backup.End.Byte)
	if r.Until == nil {
		return end, nil
	}
	if err := r.checkPoint(); err != nil {
		return 0, err
	}
	for i := r.firstToScan(); i < len(r.headers); i++ {
		cut, found, err := r.cutIn(&r.backup.Files[i], &r.headers[i])
		if err != nil {
			return 0, err
		}
		if found {
			return cut.end, r.checkCut(&cut)
		}
	}
	return end, nil
}

// checkPoint refuses what the backup does not know about.
func (r *restore) checkPoint() error {
	if p, last := r.Until.Position, r.backup.End.Position; p != nil {
		if *p > last {
			return core.Errorf(core.CodeInvalidRestorePoint, "position %d is behind the last of the backup, %d", *p, last)
		}
		return nil
	}
	if r.Until.Time.After(r.backup.Taken) {
		return core.Errorf(core.CodeInvalidRestorePoint, "%s is after the time of the backup, %s", sayTime(r.Until.Time), sayTime(r.backup.Taken))
	}
	return nil
}

func sayTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// checkCut refuses a place before the first event, but for position 0, and a place before a
// scavenge: what it has removed was needed then.
func (r *restore) checkCut(cut *mark) error {
	switch p := r.Until.Position; {
	case cut.head > 0 || p != nil && *p == 0:
	case p != nil:
		return core.Errorf(core.CodeInvalidRestorePoint, "position %d is inside the first Commit", *p)
	default:
		return core.Errorf(core.CodeInvalidRestorePoint, "at %s the log had no events yet", sayTime(r.Until.Time))
	}
	earliest := r.backup.Earliest
	if earliest == nil {
		return nil
	}
	name, err := parseBackupName(&core.BackupFile{Name: earliest.File, Version: segmentVersion(0, 0)})
	if err != nil {
		return damagedBackup(manifestName, "%s", core.AsError(err).Detail)
	}
	if cut.end >= at(name.segment, earliest.Byte) {
		return nil
	}
	return core.Errorf(core.CodeInvalidRestorePoint, "a scavenge has removed what was needed before position %d, %s", earliest.Position, sayTime(earliest.Time))
}

// firstToScan is the index of the last segment that begins before the point.
func (r *restore) firstToScan() int {
	return max(sort.Search(len(r.headers), func(i int) bool {
		h := &r.headers[i]
		if r.Until.Position != nil {
			return h.first > *r.Until.Position
		}
		return h.recorded > r.Until.Time.UnixMicro()
	})-1, 0)
}

// cutIn finds the first frame of a segment that is not kept.
func (r *restore) cutIn(f *core.BackupFile, h *segmentHeader) (cut mark, found bool, err error) {
	file, err := r.fs.OpenFile(filepath.Join(r.Backup, storedName(f)), os.O_RDONLY)
	if err != nil {
		return cut, false, err
	}
	segment, err := newSegmentFile(file, h.number)
	if err != nil {
		return cut, false, damagedBackup(storedName(f), "%s", core.AsError(err).Detail)
	}
	defer func() { _ = segment.Close() }()
	end := f.Bytes
	if h.rewriting.id != 0 {
		end = h.rewriting.end
	}
	_, err = scanSealed(segment, end, *h, visitor{frame: func(o int64, frame *frameHeader) {
		if !found && !r.Until.keeps(frame) {
			cut, found = mark{end: at(h.number, o), head: frame.first - 1}, true
		}
	}})
	if err != nil {
		err = damagedBackup(storedName(f), "%s", core.AsError(err).Detail)
	}
	return cut, found, err
}
