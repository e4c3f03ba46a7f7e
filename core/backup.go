package core

import (
	"context"
	"io"
	"time"
)

// BackupSource is a log whose files can be copied while it is written: an engine that keeps
// them, or the client of its node.
type BackupSource interface {
	// Backup lists the files that the log consists of now. Their Sums are not known yet. The
	// error is not_supported where there are no files to copy.
	Backup(ctx context.Context) (Backup, error)

	// BackupFile returns the content of a file of a Backup from byte from on. If sum is not
	// the CRC32C of the bytes before it, the error is log_changed: the log has lost what was
	// copied earlier; or store_corrupt, if the file is damaged. It is backup_changed if the log
	// does not have the file any more; a new Backup has what took its place. The content is what storage has: the caller checks it,
	// and its length. The caller closes it.
	BackupFile(ctx context.Context, file BackupFile, from int64, sum uint32) (io.ReadCloser, error)
}

// Backup describes a copy of a log: what it consists of and up to where it goes.
type Backup struct {
	// Log is the identity of the log that was copied.
	Log string `json:"log"`
	// Taken is when the files were listed, by the clock of the node.
	Taken time.Time `json:"taken"`
	// End is where the copy ends.
	End BackupPoint `json:"end"`
	// Earliest is the first place that the log can be restored to: a scavenge has removed what
	// was needed for those before it. It is nil if that is every place.
	Earliest *BackupPoint `json:"earliest,omitempty"`
	Files    []BackupFile `json:"files"`
}

// BackupPoint is a place in a log between two Commits.
type BackupPoint struct {
	// Position is that of the last event before it, and Time when the last Commit before it
	// was recorded.
	Position uint64    `json:"position"`
	Time     time.Time `json:"time"`
	// File and Byte are where the log goes on.
	File string `json:"file"`
	Byte int64  `json:"byte"`
}

// BackupFile is one file of a log.
type BackupFile struct {
	// Name is that of the file in the data directory, with slashes.
	Name string `json:"name"`
	// Version tells the contents apart that the log has had under the name. A longer content
	// of the same version begins with the shorter one.
	Version string `json:"version,omitempty"`
	Bytes   int64  `json:"bytes"`
	// Sum is the CRC32C (Castagnoli) of the content.
	Sum uint32 `json:"sum"`
}

// Backup is BackupSource's. The error is not_supported if the engine is no BackupSource.
func (s *Store) Backup(ctx context.Context) (Backup, error) {
	source, err := s.backupSource()
	if err != nil {
		return Backup{}, err
	}
	return source.Backup(ctx)
}

// BackupFile is BackupSource's.
func (s *Store) BackupFile(ctx context.Context, file BackupFile, from int64, sum uint32) (io.ReadCloser, error) {
	source, err := s.backupSource()
	if err != nil {
		return nil, err
	}
	return source.BackupFile(ctx, file, from, sum)
}

func (s *Store) backupSource() (BackupSource, error) {
	source, ok := s.engine.(BackupSource)
	if !ok {
		return nil, Errorf(CodeNotSupported, "only a log on disk has files to copy: back up PostgreSQL with pg_dump or pg_basebackup, or use gyre export")
	}
	return source, nil
}
