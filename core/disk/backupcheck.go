package disk

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/gyre-events/gyre/core"
)

// checkContent checks a file of a backup in itself: the frames of a segment, the id of a blob.
// The error is store_corrupt with the place in the log.
func checkContent(fs FS, path string, f *core.BackupFile) error {
	name, err := parseBackupName(f)
	if err != nil {
		return err
	}
	file, err := fs.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	return checkOpened(file, f, name)
}

// checkOpened is checkContent of an open file, which it closes.
func checkOpened(file File, f *core.BackupFile, name backupName) error {
	if name.segment == 0 {
		content := core.VerifyBlob(name.blob, &blobFile{io.NewSectionReader(file, 0, f.Bytes), file})
		defer func() { _ = content.Close() }()
		_, err := sumOf(content)
		return err
	}
	segment, err := newSegmentFile(file, name.segment)
	if err != nil {
		return err
	}
	defer func() { _ = segment.Close() }()
	return checkSegment(segment, f)
}

// checkSegment checks every frame of a segment, up to just its end.
func checkSegment(segment *segmentFile, f *core.BackupFile) error {
	h, err := segment.header()
	if err != nil {
		return err
	}
	if segmentVersion(h.salt, h.rewriting.mark(h.number)) != f.Version {
		return corrupt(at(h.number, 0), "the segment is another version than it was listed as")
	}
	end := f.Bytes
	if h.rewriting.id != 0 {
		end = h.rewriting.end
	}
	_, err = scanSealed(segment, end, h, visitor{})
	return err
}

// checkFiles checks that the files of a backup are there, and that its segments are those of one
// log. It returns the headers of these.
func checkFiles(fs FS, dir string, b *core.Backup) ([]segmentHeader, error) {
	headers, err := backupHeaders(fs, dir, b)
	if err != nil {
		return nil, err
	}
	if err := checkChain(headers); err != nil {
		return nil, damagedBackup(logFolder, "%s", core.AsError(err).Detail)
	}
	for i := range headers {
		f := &b.Files[i]
		switch h := &headers[i]; {
		case h.log != b.Log:
			return nil, damagedBackup(f.Name, "it is of log %q", h.log)
		case i+1 < len(headers) && h.rewriting.id == 0 && headers[i+1].prevEnd != f.Bytes:
			return nil, damagedBackup(f.Name, "it has %d bytes, and the next segment says %d", f.Bytes, headers[i+1].prevEnd)
		}
	}
	return headers, nil
}

// backupHeaders reads the headers of the segments, and looks for all files.
func backupHeaders(fs FS, dir string, b *core.Backup) (headers []segmentHeader, err error) {
	for i := range b.Files {
		f := &b.Files[i]
		file, err := openBackupFile(fs, dir, f)
		if err != nil {
			return nil, err
		}
		if f.Version != "" {
			var h segmentHeader
			if h, err = fileHeader(file, f); err == nil {
				headers = append(headers, h)
			}
		}
		_ = file.Close() // it was only read
		if err != nil {
			return nil, err
		}
	}
	return headers, nil
}

// fileHeader reads the header of a segment, as it is in the file.
func fileHeader(file File, f *core.BackupFile) (h segmentHeader, err error) {
	name, err := parseBackupName(f)
	if err != nil {
		return h, err
	}
	if h, err = headerIn(file, name.segment); errors.Is(err, core.CodeStoreCorrupt) {
		return h, damagedBackup(f.Name, "the segment header is damaged")
	}
	if err != nil {
		err = cannotRead(err)
	}
	return h, err
}

// openBackupFile opens a file of a backup. The error is backup_damaged if it is not there, or not
// as long as it should be.
func openBackupFile(fs FS, dir string, f *core.BackupFile) (File, error) {
	name := storedName(f)
	file, err := fs.OpenFile(filepath.Join(dir, name), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, damagedBackup(name, "the file is missing")
	}
	if err != nil {
		return nil, cannotRead(err)
	}
	size, err := file.Size()
	switch {
	case err != nil:
		err = cannotRead(err)
	case size != f.Bytes:
		err = damagedBackup(name, "the file has %d bytes, and should have %d", size, f.Bytes)
	default:
		return file, nil
	}
	_ = file.Close()
	return nil, err
}

func sumFile(fs FS, path string) (uint32, error) {
	file, err := fs.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	size, err := file.Size()
	if err != nil {
		return 0, err
	}
	return sumOf(io.NewSectionReader(file, 0, size))
}

// BackupReport is what VerifyBackup found.
type BackupReport struct {
	core.Backup
	Bytes    int64
	Problems []Problem
}

// Clean reports whether nothing is wrong.
func (r *BackupReport) Clean() bool { return len(r.Problems) == 0 }

// VerifyBackup checks every file of a backup: its length and checksum, and the frames of a
// segment or the id of a blob. What is wrong is in the report; backup_not_found and errors of the
// disk are returned.
func VerifyBackup(ctx context.Context, config BackupConfig) (r BackupReport, err error) {
	if config.FS == nil {
		config.FS = osFS{}
	}
	if config.Progress == nil {
		config.Progress = func(done, total int64) {}
	}
	r.Backup, err = readManifest(config.FS, config.Dir)
	if errors.Is(err, core.CodeBackupDamaged) {
		r.Problems = append(r.Problems, Problem{File: manifestName, Detail: core.AsError(err).Detail})
		return r, nil
	}
	if err != nil {
		return r, err
	}
	total := int64(0)
	for i := range r.Files {
		total += r.Files[i].Bytes
	}
	for i := range r.Files {
		if err := ctx.Err(); err != nil {
			return r, core.AsError(err)
		}
		f := &r.Files[i]
		if err := r.problem(f, checkStored(config.FS, config.Dir, f)); err != nil {
			return r, err
		}
		r.Bytes += f.Bytes
		config.Progress(r.Bytes, total)
	}
	if r.Clean() {
		_, err = checkFiles(config.FS, config.Dir, &r.Backup)
		err = r.problem(&core.BackupFile{Name: logFolder}, err)
	}
	return r, err
}

// problem puts damage of a file into the report; any other error it returns.
func (r *BackupReport) problem(f *core.BackupFile, err error) error {
	if !errors.Is(err, core.CodeBackupDamaged) && !errors.Is(err, core.CodeStoreCorrupt) {
		return diskError(err)
	}
	known := core.AsError(err)
	p := Problem{File: f.Name, Detail: known.Detail}
	if f.Version != "" {
		p.File = storedName(f)
	}
	if known.Offset != nil {
		p.Offset = *known.Offset
	}
	r.Problems = append(r.Problems, p)
	return nil
}

// checkStored checks a file by itself and by its checksum.
func checkStored(fs FS, dir string, f *core.BackupFile) error {
	file, err := openBackupFile(fs, dir, f)
	if err != nil {
		return err
	}
	_ = file.Close()
	path := filepath.Join(dir, storedName(f))
	if err := checkContent(fs, path, f); err != nil {
		return err
	}
	sum, err := sumFile(fs, path)
	if err == nil && sum != f.Sum {
		err = damagedBackup(storedName(f), "the content is not that of its checksum")
	}
	return err
}
