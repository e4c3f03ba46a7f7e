package disk

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// RestoreConfig says what is restored and where to.
type RestoreConfig struct {
	// Backup is the folder of the backup.
	Backup string
	// To is the log that is made. Its Dir is empty or not there. Its Progress reports bytes of the
	// backup and then of the log.
	To Config
	// Until is up to where; nil means all of the backup.
	Until *RestorePoint
}

// RestoreResult is what a restore has made.
type RestoreResult struct {
	Log   string // the new identity
	From  string // that of the log which was backed up
	Head  uint64
	Blobs int
	Bytes int64 // of the log
}

// restoringName is the folder that becomes log/ when a restore has ended. A directory that has it
// is refused by Open.
const restoringName = "restoring"

// Restore makes a log from a backup, as it was at a place, with an identity of its own. Places of
// the log that was backed up stay valid up to where the two part, and are log_changed behind it.
// The log is there when its folder gets its name, at the end: whatever ends a restore before
// that leaves what Open refuses with restore_unfinished, and what another Restore replaces.
//
// Errors: folder_not_empty, backup_not_found, backup_damaged, invalid_restore_point; store_locked
// if another process restores to the directory. None of them leaves anything behind.
func Restore(ctx context.Context, config RestoreConfig) (RestoreResult, error) {
	if err := config.To.validate(); err != nil {
		return RestoreResult{}, err
	}
	r := &restore{RestoreConfig: config, ctx: ctx, fs: config.To.FS}
	result, err := r.run()
	return result, diskError(err)
}

// restore is one that runs.
type restore struct {
	RestoreConfig
	ctx context.Context // of the call
	fs  FS

	backup  core.Backup
	headers []segmentHeader // of all segments of the backup
	cut     offset          // where the log ends that is made
	log     string          // its identity
	made    int64           // bytes of the segments
	done    int64           // bytes
	total   int64
}

func (r *restore) run() (RestoreResult, error) {
	var err error
	if r.backup, err = readManifest(r.fs, r.Backup); err != nil {
		return RestoreResult{}, err
	}
	if r.headers, err = checkFiles(r.fs, r.Backup, &r.backup); err != nil {
		return RestoreResult{}, err
	}
	if r.cut, err = r.findCut(); err != nil {
		return RestoreResult{}, err
	}
	lock, err := r.begin()
	if err != nil {
		return RestoreResult{}, err
	}
	defer func() { _ = lock.Close() }()
	result, err := r.make()
	if err != nil {
		r.remove()
	}
	return result, err
}

// begin locks the directory, and sees to it that it has nothing but what an earlier restore has
// left.
func (r *restore) begin() (lock io.Closer, err error) {
	if lock, err = lockTarget(r.fs, r.To.Dir); err != nil {
		return nil, err
	}
	if err = r.clear(); err == nil {
		err = r.fs.MakeDir(r.restoring())
	}
	if err != nil {
		_ = lock.Close()
	}
	return lock, err
}

func (r *restore) restoring() string { return filepath.Join(r.To.Dir, restoringName) }

// clear removes what a restore that has not ended has left, and refuses anything else.
func (r *restore) clear() error {
	names, err := r.fs.List(r.To.Dir)
	if err != nil {
		return err
	}
	if isRestoring(names) {
		return r.removeAll()
	}
	for _, name := range names {
		if name != lostAndFound {
			return core.Errorf(core.CodeFolderNotEmpty, "%s has a file %s", r.To.Dir, name)
		}
	}
	return nil
}

// isRestoring reports whether a data directory with these files is that of a restore which
// has not ended.
func isRestoring(names []string) bool {
	restoring := false
	for _, name := range names {
		if name == logFolder {
			return false
		}
		restoring = restoring || name == restoringName
	}
	return restoring
}

// remove removes what was made, after an error. What is left then, the next Restore removes.
func (r *restore) remove() {
	if names, err := r.fs.List(r.To.Dir); err == nil && isRestoring(names) {
		_ = r.removeAll()
		_ = r.fs.Remove(r.restoring())
		_ = r.fs.Remove(r.To.Dir) // unless it has something else
	}
}

// removeAll removes all files that a restore makes. The folder of the log goes last: it says
// that they are a restore's.
func (r *restore) removeAll() error {
	for _, folder := range []string{"index", "records", blobFolder, "", restoringName} {
		dir := filepath.Join(r.To.Dir, folder)
		names, err := r.fs.List(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if folder == "" && name != lockName && !strings.HasSuffix(name, ".snap") {
				continue
			}
			if err := r.fs.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		if folder != "" && folder != restoringName {
			if err := r.fs.Remove(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// make makes the log.
func (r *restore) make() (result RestoreResult, err error) {
	r.log = newWord(identityBytes)
	for i := range r.backup.Files {
		r.total += 2 * r.backup.Files[i].Bytes
	}
	if err := r.copyFiles(); err != nil {
		return result, err
	}
	if result, err = r.open(); err != nil {
		return result, err
	}
	if err := r.fs.SyncDir(r.To.Dir); err != nil {
		return result, err
	}
	if err := r.fs.Rename(r.restoring(), filepath.Join(r.To.Dir, logFolder)); err != nil {
		return result, err
	}
	r.report(r.total)
	return result, r.fs.SyncDir(r.To.Dir)
}

func (r *restore) copyFiles() error {
	if err := r.fs.MakeDir(filepath.Join(r.To.Dir, blobFolder)); err != nil {
		return err
	}
	for i := range r.backup.Files {
		f := &r.backup.Files[i]
		name, err := parseBackupName(f)
		switch {
		case err != nil:
		case name.segment == 0:
			err = r.copyBlob(f)
		case name.segment <= r.cut.segment():
			err = r.copySegment(f, &r.headers[i])
		default:
			r.report(f.Bytes)
		}
		if err != nil {
			return err
		}
	}
	err := r.fs.SyncDir(filepath.Join(r.To.Dir, blobFolder))
	if err == nil {
		err = r.fs.SyncDir(r.restoring())
	}
	return err
}

func (r *restore) report(bytes int64) {
	r.done = min(r.done+bytes, r.total)
	r.To.Progress(r.done, r.total)
}

func (r *restore) copyBlob(f *core.BackupFile) error {
	return r.copyFile(f, filepath.Join(r.To.Dir, filepath.FromSlash(f.Name)), func(file File, content io.Reader) error {
		return copyTo(file, content)
	})
}

// copySegment copies a segment, under a header with the new identity. The last one ends at the
// cut, with zeros behind it as a segment that is written has them.
func (r *restore) copySegment(f *core.BackupFile, was *segmentHeader) error {
	h := *was
	h.log = r.log
	r.made += f.Bytes
	if h.number == r.cut.segment() {
		r.made += r.cut.byte() - f.Bytes
	}
	return r.copyFile(f, filepath.Join(r.restoring(), segmentName(h.number)), func(file File, content io.Reader) error {
		if h.number < r.cut.segment() {
			if err := copyTo(file, content); err != nil {
				return err
			}
		} else if err := r.copyLast(file, content); err != nil {
			return err
		}
		_, err := file.WriteAt(h.encode(), 0)
		return err
	})
}

// copyLast copies the segment that the new log ends in. It reads all of it, for its checksum.
func (r *restore) copyLast(file File, content io.Reader) error {
	kept := io.LimitReader(content, r.cut.byte())
	if err := copyTo(file, kept); err != nil {
		return err
	}
	if _, err := sumOf(content); err != nil {
		return err
	}
	for o := r.cut.byte(); o < r.To.SegmentBytes; o += fillBytes {
		if _, err := file.WriteAt(zeros[:min(fillBytes, r.To.SegmentBytes-o)], o); err != nil {
			return err
		}
	}
	return nil
}

// copyFile has write write what the backup has of a file, and makes it durable. The error is
// backup_damaged if the content is not that of the checksum.
func (r *restore) copyFile(f *core.BackupFile, path string, write func(file File, content io.Reader) error) error {
	from, err := openBackupFile(r.fs, r.Backup, f)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := r.fs.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	content := &summedReader{Reader: &backupReader{ctx: r.ctx, file: from, end: f.Bytes}, report: r.report}
	err = write(to, content)
	if err == nil && content.sum != f.Sum {
		err = damagedBackup(storedName(f), "the content is not that of its checksum")
	}
	if err == nil {
		err = to.Sync()
	}
	if closeErr := to.Close(); err == nil {
		err = closeErr
	}
	return err
}

// summedReader makes the checksum of what is read.
type summedReader struct {
	io.Reader
	sum    uint32
	report func(bytes int64)
}

func (r *summedReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.sum = crc32.Update(r.sum, castagnoli, b[:n])
	r.report(int64(n))
	return n, err
}

// copyTo writes what r has to a file.
func copyTo(file File, r io.Reader) error {
	_, err := io.CopyBuffer(io.NewOffsetWriter(file, 0), r, make([]byte, blobChunkBytes))
	return err
}

// open opens the log where it was made: that checks every frame, and makes the index and the
// records. Places that are stored get the new identity.
func (r *restore) open() (result RestoreResult, err error) {
	config := r.To
	config.restoring = true
	config.Progress = func(done, total int64) {}
	e, err := Open(r.ctx, config)
	if errors.Is(err, core.CodeStoreCorrupt) {
		err = damagedBackup(logFolder, "%s", core.AsError(err).Detail)
	}
	if err != nil {
		return result, err
	}
	state := e.State()
	result = RestoreResult{Log: state.Log, From: r.backup.Log, Head: state.Head, Bytes: r.made}
	err = core.AdoptProgress(r.ctx, e)
	if closeErr := e.Close(); err == nil {
		err = closeErr
	}
	for i := range r.backup.Files {
		if r.backup.Files[i].Version == "" {
			result.Blobs++
		}
	}
	return result, err
}
