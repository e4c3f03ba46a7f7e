package disk

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// The folders of a log that a backup has, too.
const (
	logFolder  = "log"
	blobFolder = "blobs"
)

var _ core.BackupSource = (*Engine)(nil)

// Backup is core.BackupSource's. The files are the segments up to the durable end, and the blobs.
func (e *Engine) Backup(ctx context.Context) (core.Backup, error) {
	if err := e.enter(ctx); err != nil {
		return core.Backup{}, err
	}
	defer e.inUse.RUnlock()
	for {
		b, complete, err := e.listBackup()
		if err != nil {
			return b, cannotRead(err)
		}
		if complete {
			return b, nil
		}
		if err := ctx.Err(); err != nil {
			return core.Backup{}, core.AsError(err)
		}
	}
}

// listBackup lists the files. complete is false if a scavenge or a sweep came between.
func (e *Engine) listBackup() (b core.Backup, complete bool, err error) {
	removed := e.blobs.removed.Load()
	m := e.appender.durable.Load()
	l := backupLister{engine: e, end: *m}
	for _, s := range e.index.view.Load().segments {
		if s.number > m.end.segment() {
			break
		}
		if current, err := l.segment(&s); err != nil || !current {
			return b, false, err
		}
	}
	if err := l.blobs(); err != nil {
		return b, false, err
	}
	b = core.Backup{Log: e.id, Taken: time.Now().UTC().Truncate(time.Microsecond), End: m.backupPoint(), Files: l.files}
	if l.earliest.end > 0 {
		earliest := l.earliest.backupPoint()
		b.Earliest = &earliest
	}
	return b, l.earliest.end <= m.end && e.blobs.removed.Load() == removed, nil
}

// backupPoint is the place as a backup says it.
func (m *mark) backupPoint() core.BackupPoint {
	return core.BackupPoint{
		Position: m.head, Time: time.UnixMicro(m.recorded).UTC(),
		File: backupSegmentName(m.end.segment()), Byte: m.end.byte(),
	}
}

func backupSegmentName(number uint32) string { return logFolder + "/" + segmentName(number) }

// segmentVersion tells the rewritings of a segment apart, and the segment from another log's.
func segmentVersion(salt uint32, mark uint64) string {
	if mark == 0 {
		return fmt.Sprintf("%08x", salt)
	}
	return fmt.Sprintf("%08x-%016x", salt, mark)
}

// backupLister collects the files of a log.
type backupLister struct {
	engine   *Engine
	end      mark // of the log
	earliest mark // that the log can be restored to; zero: any
	files    []core.BackupFile
}

// segment adds a segment. current is false if s has been rewritten since.
func (l *backupLister) segment(s *segment) (current bool, err error) {
	f := core.BackupFile{
		Name: backupSegmentName(s.number), Version: segmentVersion(s.salt, s.rewritten),
		Bytes: s.end,
	}
	switch {
	case s.number == l.end.end.segment():
		f.Bytes = l.end.end.byte()
	case s.rewritten != 0:
		if f.Bytes, current, err = l.rewritten(s); err != nil || !current {
			return current, err
		}
	}
	l.files = append(l.files, f)
	return true, nil
}

// rewritten returns the length of the file of a rewritten segment.
func (l *backupLister) rewritten(s *segment) (bytes int64, current bool, err error) {
	file, err := l.engine.files.acquire(s.number)
	if err != nil {
		return 0, false, err
	}
	defer l.engine.files.release(file)
	if file.extents == nil || file.extents.header.rewriting.mark(s.number) != s.rewritten {
		return 0, false, nil
	}
	asOf := file.extents.header.rewriting.asOf
	if asOf.end == 0 {
		asOf = l.end
	}
	if asOf.end > l.earliest.end {
		l.earliest = asOf
	}
	bytes, err = file.File.Size()
	return bytes, true, err
}

// blobs adds the blobs.
func (l *backupLister) blobs() error {
	store := l.engine.blobs
	ids, err := store.list()
	if err != nil {
		return err
	}
	for _, id := range ids {
		bytes, err := fileSize(store.fs, store.path(id))
		if errors.Is(err, os.ErrNotExist) {
			continue // the list is made anew
		}
		if err != nil {
			return err
		}
		l.files = append(l.files, core.BackupFile{Name: blobFolder + "/" + blobName(id), Bytes: bytes})
	}
	return nil
}

func fileSize(fs FS, name string) (int64, error) {
	file, err := fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	return file.Size()
}

// BackupFile is core.BackupSource's. What is read is the file that was opened, whatever
// takes its place, so Close does not wait for that.
func (e *Engine) BackupFile(ctx context.Context, f core.BackupFile, from int64, sum uint32) (io.ReadCloser, error) {
	name, err := parseBackupName(&f)
	if err != nil {
		return nil, err
	}
	r, err := e.openCurrent(ctx, &f, name, from)
	if err != nil {
		return nil, cannotRead(err)
	}
	err = r.checkPrefix(f.Name, sum)
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, core.CodeLogChanged):
		err = e.explainChange(r.file, &f, name, err)
	default:
		_ = r.Close()
	}
	return nil, cannotRead(err)
}

// openCurrent opens a file that is as it was listed, to be read from a byte on.
func (e *Engine) openCurrent(ctx context.Context, f *core.BackupFile, name backupName, from int64) (*backupReader, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.inUse.RUnlock()
	if from < 0 || from > f.Bytes {
		return nil, core.Errorf(core.CodeInvalidRequest, "file %s of %d bytes cannot be read from byte %d on", f.Name, f.Bytes, from)
	}
	file, err := e.fs.OpenFile(filepath.Join(e.dir, filepath.FromSlash(f.Name)), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, backupChanged(f)
	}
	if err != nil {
		return nil, err
	}
	if err := e.checkCurrent(file, f, name); err != nil {
		_ = file.Close()
		return nil, err
	}
	return &backupReader{ctx: ctx, file: file, at: from, end: f.Bytes}, nil
}

func backupChanged(f *core.BackupFile) error {
	return core.Errorf(core.CodeBackupChanged, "the log does not have the file %s of version %q with %d bytes any more", f.Name, f.Version, f.Bytes)
}

// checkCurrent checks that the file that was opened is f.
func (e *Engine) checkCurrent(file File, f *core.BackupFile, name backupName) error {
	size, err := file.Size()
	if err != nil {
		return err
	}
	if name.segment == 0 {
		if size != f.Bytes {
			return backupChanged(f)
		}
		return nil
	}
	h, err := headerIn(file, name.segment)
	if err != nil {
		return err
	}
	end := size
	if h.rewriting.id == 0 {
		end = e.durableBytes(name.segment)
	}
	if size < f.Bytes && end >= f.Bytes {
		return corrupt(at(name.segment, size), "the segment is cut off")
	}
	isWhole := f.Bytes == end || h.rewriting.id == 0 && f.Bytes < end
	if segmentVersion(h.salt, h.rewriting.mark(h.number)) != f.Version || !isWhole {
		return backupChanged(f)
	}
	return nil
}

// explainChange returns store_corrupt if a file is not as it was copied earlier because it is
// damaged, and otherwise changed. It closes the file.
func (e *Engine) explainChange(file File, f *core.BackupFile, name backupName, changed error) error {
	whole := *f
	if name.segment > 0 {
		whole.Bytes = e.durableBytes(name.segment) // where a frame ends, whatever the caller has
	}
	if err := checkOpened(file, &whole, name); err != nil {
		return err
	}
	return changed
}

// durableBytes is how much of a segment is durable.
func (e *Engine) durableBytes(number uint32) int64 {
	m := e.appender.durable.Load()
	v := e.index.view.Load()
	switch last := &v.segments[len(v.segments)-1]; {
	case number == m.end.segment():
		return m.end.byte()
	case number > m.end.segment() || number > last.number:
		return 0
	}
	return v.segment(number).end
}

// backupReader reads a part of a file.
type backupReader struct {
	ctx  context.Context // of the call
	file File
	at   int64
	end  int64
}

// checkPrefix compares what is before the part with its checksum.
func (r *backupReader) checkPrefix(name string, want uint32) error {
	prefix := &backupReader{ctx: r.ctx, file: r.file, end: r.at}
	sum, err := sumOf(prefix)
	if err == nil && sum != want {
		err = core.Errorf(core.CodeLogChanged, "the first %d bytes of %s are others than those that were copied earlier", r.at, name)
	}
	return err
}

// sumOf reads r to its end and returns the checksum.
func sumOf(r io.Reader) (uint32, error) {
	sum := crc32.New(castagnoli)
	_, err := io.CopyBuffer(sum, r, make([]byte, blobChunkBytes))
	return sum.Sum32(), err
}

func (r *backupReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, core.AsError(err)
	}
	b = b[:min(int64(len(b)), r.end-r.at)]
	if len(b) == 0 && r.at == r.end {
		return 0, io.EOF
	}
	n, err := r.file.ReadAt(b, r.at)
	r.at += int64(n)
	if n > 0 || err == nil {
		return n, nil
	}
	if err == io.EOF {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, cannotRead(err)
}

func (r *backupReader) Close() error { return r.file.Close() }

// backupName is what the name of a file says.
type backupName struct {
	segment uint32   // 0: it is a blob
	blob    [32]byte // its id
}

// parseBackupName checks the name and version of a file: a path cannot be in it.
func parseBackupName(f *core.BackupFile) (name backupName, err error) {
	folder, base, _ := strings.Cut(f.Name, "/")
	valid := false
	switch folder {
	case logFolder:
		name.segment, valid = parseSegmentName(base)
		valid = valid && isSegmentVersion(f.Version)
	case blobFolder:
		name.blob, valid = parseBlobName(base)
		valid = valid && f.Version == ""
	}
	if !valid || f.Bytes < 0 {
		return name, core.Errorf(core.CodeInvalidRequest, "a backup has no file %q of version %q with %d bytes", core.Clip(f.Name), core.Clip(f.Version), f.Bytes)
	}
	return name, nil
}

// isSegmentVersion reports whether segmentVersion may have made s.
func isSegmentVersion(s string) bool {
	salt, mark, rewritten := strings.Cut(s, "-")
	return isHex(salt, 8) && (!rewritten || isHex(mark, 16))
}

func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}
