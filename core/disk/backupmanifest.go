package disk

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// The manifest of a backup, FORMAT.md "Backups": a line with the version and a checksum, then
// a core.Backup in JSON.
const (
	manifestName    = "manifest"
	manifestBegin   = "gyre backup "
	manifestVersion = 1
	// maxManifestBytes is enough for half a million files: 32 TB in segments of 64 MiB.
	maxManifestBytes = 64 << 20
)

// encodeManifest refuses what would be too long to be read.
func encodeManifest(b *core.Backup) ([]byte, error) {
	text, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return nil, err
	}
	sealed := sealManifest(append(text, '\n'))
	if len(sealed) > maxManifestBytes {
		return nil, core.Errorf(core.CodeNotSupported, "the manifest of a backup of %d files has %d bytes, more than %d", len(b.Files), len(sealed), maxManifestBytes)
	}
	return sealed, nil
}

// sealManifest puts the first line before the text.
func sealManifest(text []byte) []byte {
	return fmt.Appendf(nil, manifestBegin+"%d %08x\n%s", manifestVersion, crc32.Checksum(text, castagnoli), text)
}

// decodeManifest checks all that can be known without the files.
func decodeManifest(text []byte) (b core.Backup, err error) {
	line, body, _ := bytes.Cut(text, []byte("\n"))
	var version int
	if n, _ := fmt.Sscanf(string(line), manifestBegin+"%d ", &version); n < 1 {
		return b, damagedBackup(manifestName, "it does not begin as a manifest does")
	}
	if version > manifestVersion {
		return b, core.Errorf(core.CodeStoreNewer, "the backup has format %d, this gyre reads up to %d", version, manifestVersion)
	}
	if !bytes.Equal(text, sealManifest(body)) || json.Unmarshal(body, &b) != nil {
		return b, damagedBackup(manifestName, "it does not have the content of its checksum")
	}
	return b, checkBackup(&b)
}

// checkBackup checks that the files can be those of a log: segments without a gap, then blobs.
func checkBackup(b *core.Backup) error {
	segments := uint32(0)
	for i := range b.Files {
		f := &b.Files[i]
		name, err := parseBackupName(f)
		switch {
		case err != nil:
			return damagedBackup(manifestName, "%s", core.AsError(err).Detail)
		case i > 0 && !inFileOrder(&b.Files[i-1], f):
			return damagedBackup(manifestName, "file %s does not follow %s", f.Name, b.Files[i-1].Name)
		case name.segment > 0 && name.segment != segments+1:
			return damagedBackup(manifestName, "the segments before %s are missing", f.Name)
		case name.segment > 0 && f.Bytes < headerBytes:
			return damagedBackup(manifestName, "file %s has %d bytes", f.Name, f.Bytes)
		}
		segments = max(segments, name.segment)
	}
	if segments == 0 || b.End.File != backupSegmentName(segments) || b.End.Byte != b.Files[segments-1].Bytes {
		return damagedBackup(manifestName, "it does not end where its last segment does")
	}
	return nil
}

// inFileOrder reports whether b may come behind a.
func inFileOrder(a, b *core.BackupFile) bool {
	isBlob := func(f *core.BackupFile) int {
		if f.Version == "" {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(isBlob(a), isBlob(b)), cmp.Compare(a.Name, b.Name)) < 0
}

// segmentsOf are the segments of a backup, in order.
func segmentsOf(b *core.Backup) []core.BackupFile {
	n, _ := slices.BinarySearchFunc(b.Files, "", func(f core.BackupFile, _ string) int {
		if f.Version != "" {
			return -1
		}
		return 1
	})
	return b.Files[:n]
}

// storedName is where a backup has a file. It names the content, so a file is never changed.
func storedName(f *core.BackupFile) string {
	if f.Version == "" {
		return filepath.FromSlash(f.Name)
	}
	name, _ := parseBackupName(f)
	return filepath.Join(logFolder, fmt.Sprintf("%010d-%s-%d.seg", name.segment, f.Version, f.Bytes))
}

func damagedBackup(file, format string, args ...any) error {
	return core.Errorf(core.CodeBackupDamaged, "%s of the backup: %s", file, fmt.Sprintf(format, args...))
}

// readManifest reads the manifest of a backup. The error is backup_not_found if there is none.
func readManifest(fs FS, dir string) (core.Backup, error) {
	file, err := fs.OpenFile(filepath.Join(dir, manifestName), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return core.Backup{}, core.Errorf(core.CodeBackupNotFound, "%s has no file %s", dir, manifestName)
	}
	if err != nil {
		return core.Backup{}, cannotRead(err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.NewSectionReader(file, 0, maxManifestBytes))
	if err != nil {
		return core.Backup{}, cannotRead(err)
	}
	return decodeManifest(text)
}

// writeManifest puts the manifest in the place of an earlier one. Every file that it names is
// durable before.
func writeManifest(fs FS, dir string, b *core.Backup) error {
	text, err := encodeManifest(b)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, manifestName)
	file, err := fs.OpenFile(name+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(text, 0)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fs.Rename(name+".tmp", name)
	}
	if err == nil {
		err = fs.SyncDir(dir)
	}
	return err
}
