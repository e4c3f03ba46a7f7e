package disk

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// BackupConfig says where a backup is written and how.
type BackupConfig struct {
	// Dir is the folder of the backup. It is made if it is not there. If it has an earlier
	// backup of the log, only what is new is copied.
	Dir string
	// BytesPerSecond bounds what is copied; 0 is no bound.
	BytesPerSecond int64
	// Progress reports how much there is of the files, in bytes; nil discards it.
	Progress func(done, total int64)
	// FS is the file system; nil means the operating system's.
	FS FS
}

// BackupResult is what a backup has come to.
type BackupResult struct {
	core.Backup
	Bytes       int64 // of all files
	Copied      int   // files that were not there
	CopiedBytes int64
	// Lost is where the earlier backup in the folder began, if that was before Earliest: the log
	// cannot be restored any more to the places between the two. Otherwise it is nil.
	Lost *core.BackupPoint
}

// Backup copies a log that may be in use into a folder. Every file is checked as it comes: the
// frames of a segment, the id of a blob. The manifest is written last and replaces the earlier
// one, so whatever ends a backup leaves the earlier one or the new one. Files that came before
// an end are used by the next call.
//
// Errors: store_corrupt if the log is damaged, and the folder is then as it was; log_mismatch
// and log_changed if the folder has a backup of another log, or of events that the log has lost;
// folder_not_empty if it has something else; store_locked if another process writes it;
// not_supported if there are more files than a manifest can name.
func Backup(ctx context.Context, source core.BackupSource, config BackupConfig) (BackupResult, error) {
	if config.Dir == "" {
		return BackupResult{}, core.Errorf(core.CodeInvalidRequest, "the folder of the backup is not set")
	}
	if config.FS == nil {
		config.FS = osFS{}
	}
	if config.Progress == nil {
		config.Progress = func(done, total int64) {}
	}
	b := &backup{BackupConfig: config, ctx: ctx, source: source, pace: core.NewPace(config.BytesPerSecond), sums: map[string]uint32{}}
	listed, err := source.Backup(ctx)
	if err != nil {
		return BackupResult{}, diskError(err) // no folder was made
	}
	lock, err := b.begin()
	if err != nil {
		return BackupResult{}, diskError(err)
	}
	defer func() { _ = lock.Close() }()
	if err = b.copyLog(listed); err == nil {
		err = b.finish()
	}
	if errors.Is(err, core.CodeStoreCorrupt) {
		b.takeBack()
	}
	return b.result, diskError(err)
}

// backup is one that runs.
type backup struct {
	BackupConfig
	ctx    context.Context // of the call
	source core.BackupSource
	pace   *core.Pace

	earlier *core.Backup                // that the folder has, or nil
	files   map[string]*core.BackupFile // of the earlier one, by name
	sums    map[string]uint32
	done    int64 // bytes of the files that there are

	// settling has the error of the goroutine that ends a file, if there is one. That owns the
	// fields below but for result.Backup and the bytes.
	settling chan error
	copied   []string // files that were not there
	result   BackupResult
}

// begin locks the folder and finds what it has.
func (b *backup) begin() (lock io.Closer, err error) {
	if lock, err = lockTarget(b.FS, b.Dir); err != nil {
		return nil, err
	}
	if err = b.load(); err == nil {
		err = b.makeFolders()
	}
	if err != nil {
		_ = lock.Close()
	}
	return lock, err
}

func (b *backup) makeFolders() error {
	for _, folder := range []string{logFolder, blobFolder} {
		if err := b.FS.MakeDir(filepath.Join(b.Dir, folder)); err != nil {
			return err
		}
	}
	return b.removeOthers(func(name string) bool { return filepath.Ext(name) != ".tmp" })
}

// load reads the manifest of the earlier backup. Without one, the folder has nothing but what
// an interrupted backup has left.
func (b *backup) load() error {
	earlier, err := readManifest(b.FS, b.Dir)
	if !errors.Is(err, core.CodeBackupNotFound) {
		b.use(&earlier)
		return err
	}
	names, err := b.FS.List(b.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains([]string{logFolder, blobFolder, manifestName + ".tmp", lostAndFound}, name) {
			return core.Errorf(core.CodeFolderNotEmpty, "%s has no backup, but a file %s", b.Dir, name)
		}
	}
	return nil
}

// use notes the earlier backup.
func (b *backup) use(earlier *core.Backup) {
	b.earlier, b.files = earlier, make(map[string]*core.BackupFile, len(earlier.Files))
	for i := range earlier.Files {
		b.files[earlier.Files[i].Name] = &earlier.Files[i]
	}
}

// lostAndFound is a folder that a new file system of its own has.
const lostAndFound = "lost+found"

// maxRelists bounds how often a log is listed anew whose files change all the time.
const maxRelists = 1000

// copyLog copies the files that were listed, and those of a new list if one of them is gone
// meanwhile. Each list needs less: what is there stays.
func (b *backup) copyLog(listed core.Backup) error {
	for tries := 1; ; tries++ {
		b.result.Backup, b.result.Bytes = listed, 0
		err := checkBackup(&listed)
		if err == nil {
			err = b.continues(&listed)
		}
		if err == nil {
			err = b.copyFiles()
		}
		if !errors.Is(err, core.CodeBackupChanged) || tries == maxRelists {
			return err
		}
		if listed, err = b.source.Backup(b.ctx); err != nil {
			return err
		}
	}
}

// continues checks that the log has all that the earlier backup has of it.
func (b *backup) continues(now *core.Backup) error {
	if b.earlier == nil {
		return nil
	}
	if now.Log != b.earlier.Log {
		return core.Errorf(core.CodeLogMismatch, "%s has a backup of log %q, this is log %q", b.Dir, b.earlier.Log, now.Log)
	}
	before, after := segmentsOf(b.earlier), segmentsOf(now)
	for i := range before {
		if i >= len(after) || saltOf(&before[i]) != saltOf(&after[i]) {
			return b.lost("segment " + before[i].Name)
		}
	}
	if b.earlier.End.Position > now.End.Position {
		return b.lost("its last events")
	}
	last := &before[len(before)-1]
	same := &after[len(before)-1]
	switch {
	case last.Version != same.Version:
		return nil
	case last.Bytes > same.Bytes:
		return b.lost("the end of segment " + last.Name)
	}
	content, err := b.source.BackupFile(b.ctx, *same, last.Bytes, last.Sum)
	if errors.Is(err, core.CodeLogChanged) {
		return b.lost("the end of segment " + last.Name)
	}
	if err == nil {
		err = content.Close()
	}
	return err
}

func saltOf(f *core.BackupFile) string {
	salt, _, _ := strings.Cut(f.Version, "-")
	return salt
}

// lost refuses to replace a backup by one that has less.
func (b *backup) lost(what string) error {
	return core.Errorf(core.CodeLogChanged, "the log has not %s, which the backup in %s has; keep that, and back up into another folder", what, b.Dir)
}

func (b *backup) copyFiles() (err error) {
	defer func() {
		if settleErr := b.settled(); err == nil {
			err = settleErr
		}
	}()
	b.done = 0
	for i := range b.result.Files {
		b.result.Bytes += b.result.Files[i].Bytes
	}
	for i := range b.result.Files {
		f := &b.result.Files[i]
		sum, err := b.have(f)
		if err != nil {
			return err
		}
		f.Sum = sum
		b.Progress(b.done, b.result.Bytes)
	}
	return nil
}

// have copies a file unless it is there.
func (b *backup) have(f *core.BackupFile) (sum uint32, err error) {
	name := storedName(f)
	sum, known := b.sums[name]
	if !known {
		sum, known = b.haveEarlier(f, name)
	}
	if !known {
		sum, known = b.haveLeft(f, name)
	}
	if known {
		b.done += f.Bytes
	} else if sum, err = b.copy(f, name); err != nil {
		return 0, err
	}
	b.sums[name] = sum
	return sum, nil
}

// haveEarlier reports whether the earlier backup has the file.
func (b *backup) haveEarlier(f *core.BackupFile, name string) (sum uint32, ok bool) {
	was := b.files[f.Name]
	if was == nil || storedName(was) != name {
		return 0, false
	}
	size, err := fileSize(b.FS, filepath.Join(b.Dir, name))
	return was.Sum, err == nil && size == f.Bytes
}

// haveLeft reports whether an interrupted backup has left the file.
func (b *backup) haveLeft(f *core.BackupFile, name string) (sum uint32, ok bool) {
	path := filepath.Join(b.Dir, name)
	if size, err := fileSize(b.FS, path); err != nil || size != f.Bytes {
		return 0, false
	}
	if err := checkContent(b.FS, path, f); err != nil {
		return 0, false
	}
	sum, err := sumFile(b.FS, path)
	return sum, err == nil
}

// copy copies a file under the name. The end of that is left to a goroutine, beside which the next
// file is on its way.
func (b *backup) copy(f *core.BackupFile, name string) (sum uint32, err error) {
	path := filepath.Join(b.Dir, name)
	file, err := b.FS.OpenFile(path+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return 0, err
	}
	w := &fileWriter{backup: b, file: file}
	if err = w.begin(f); err == nil {
		err = w.complete(f)
	}
	if settleErr := b.settled(); err == nil {
		err = settleErr
	}
	if err != nil {
		_ = file.Close()
		_ = b.FS.Remove(path + ".tmp") // the next backup does it otherwise
		return 0, err
	}
	settling := make(chan error, 1)
	b.settling = settling
	go func() { settling <- b.settle(f, file, path) }()
	return w.sum, nil
}

// settled waits until the last file that was copied has its name.
func (b *backup) settled() error {
	if b.settling == nil {
		return nil
	}
	err := <-b.settling
	b.settling = nil
	return err
}

// settle gives a file its name once it is durable and checked.
func (b *backup) settle(f *core.BackupFile, file File, path string) error {
	err := file.Sync()
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = checkContent(b.FS, path+".tmp", f)
	}
	if err == nil {
		err = b.FS.Rename(path+".tmp", path)
	}
	if err != nil {
		_ = b.FS.Remove(path + ".tmp") // the next backup does it otherwise
		return err
	}
	b.copied = append(b.copied, path)
	b.result.Copied++
	return nil
}

// fileWriter writes a file of a backup.
type fileWriter struct {
	backup *backup
	file   File
	at     int64
	sum    uint32
}

// begin copies what the earlier backup has of a segment that has grown.
func (w *fileWriter) begin(f *core.BackupFile) error {
	b := w.backup
	was := b.files[f.Name]
	if was == nil || was.Version != f.Version || was.Bytes > f.Bytes {
		return nil
	}
	file, err := b.FS.OpenFile(filepath.Join(b.Dir, storedName(was)), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	err = w.write(&backupReader{ctx: b.ctx, file: file, end: was.Bytes})
	if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && w.sum != was.Sum {
		b.done -= w.at
		w.at, w.sum, err = 0, 0, nil // it is damaged: all comes from the node
	}
	return err
}

// complete copies the rest from the source.
func (w *fileWriter) complete(f *core.BackupFile) error {
	b := w.backup
	content, err := b.source.BackupFile(b.ctx, *f, w.at, w.sum)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	from := w.at
	err = w.write(&pacedReader{content, b})
	b.result.CopiedBytes += w.at - from
	if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && w.at != f.Bytes {
		err = core.Errorf(core.CodeUnavailable, "the transfer of %s ended at byte %d of %d", f.Name, w.at, f.Bytes)
	}
	return err
}

// write writes what r has.
func (w *fileWriter) write(r io.Reader) error {
	for buf := make([]byte, fillBytes); ; {
		n, err := readFull(r, buf)
		if n > 0 {
			if err := w.add(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readFull fills b unless r ends or fails, whose error it returns as it is.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = r.Read(b[n:])
		n += more
	}
	return n, err
}

// add writes b, and has the system begin with it, so that little is left for the sync.
func (w *fileWriter) add(b []byte) error {
	if _, err := w.file.WriteAt(b, w.at); err != nil {
		return err
	}
	if err := writeSoon(w.file, w.at, int64(len(b))); err != nil {
		return err
	}
	w.sum = crc32.Update(w.sum, castagnoli, b)
	w.at += int64(len(b))
	w.backup.done += int64(len(b))
	w.backup.Progress(w.backup.done, w.backup.result.Bytes)
	return nil
}

// pacedReader reads at the pace of a backup.
type pacedReader struct {
	io.Reader
	backup *backup
}

func (r *pacedReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if payErr := r.backup.pace.Pay(r.backup.ctx, int64(n)); payErr != nil {
		return n, payErr
	}
	return n, err
}

// finish makes what was copied the backup.
func (b *backup) finish() error {
	if _, err := checkFiles(b.FS, b.Dir, &b.result.Backup); err != nil {
		return err
	}
	for _, folder := range []string{logFolder, blobFolder} {
		if err := b.FS.SyncDir(filepath.Join(b.Dir, folder)); err != nil {
			return err
		}
	}
	if err := writeManifest(b.FS, b.Dir, &b.result.Backup); err != nil {
		return err
	}
	b.result.Lost = b.lostBegin()
	named := map[string]bool{}
	for i := range b.result.Files {
		named[storedName(&b.result.Files[i])] = true
	}
	return b.removeOthers(func(name string) bool { return named[name] })
}

// lostBegin is BackupResult.Lost.
func (b *backup) lostBegin() *core.BackupPoint {
	if b.earlier == nil || b.result.Earliest == nil {
		return nil
	}
	began := core.BackupPoint{}
	if b.earlier.Earliest != nil {
		began = *b.earlier.Earliest
	}
	if began.Position >= b.result.Earliest.Position {
		return nil
	}
	return &began
}

// removeOthers removes the files that a backup may have made and that keep does not want.
func (b *backup) removeOthers(keep func(name string) bool) error {
	for _, folder := range []string{logFolder, blobFolder} {
		names, err := b.FS.List(filepath.Join(b.Dir, folder))
		if err != nil {
			return err
		}
		for _, base := range names {
			name := filepath.Join(folder, base)
			if keep(name) || !isStored(folder, base) {
				continue
			}
			if err := b.FS.Remove(filepath.Join(b.Dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeBack removes what was copied of a damaged log. What it cannot remove, the next backup
// does.
func (b *backup) takeBack() {
	for _, path := range b.copied {
		_ = b.FS.Remove(path)
	}
	if b.earlier == nil {
		for _, folder := range []string{logFolder, blobFolder, ""} {
			_ = b.FS.Remove(filepath.Join(b.Dir, folder)) // unless something else is in it
		}
	}
}
