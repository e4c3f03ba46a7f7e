package disk

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gyre-events/gyre/core"
)

// lockTarget makes the folder of a backup or a restore, as makeTarget, and locks it. The error is
// store_locked if another process has it.
func lockTarget(fs FS, dir string) (io.Closer, error) {
	if err := makeTarget(fs, dir); err != nil {
		return nil, err
	}
	lock, err := fs.Lock(dir, false)
	if errors.Is(err, errLocked) {
		return nil, core.Errorf(core.CodeStoreLocked, "another process writes to %s", dir)
	}
	return lock, err
}

// makeTarget makes a folder for a backup or a restore, unless it is there. The error is
// folder_not_empty if it is a file, or is inside a backup or a data directory.
func makeTarget(fs FS, dir string) error {
	if err := checkOutside(fs, dir); err != nil {
		return err
	}
	err := fs.MakeDir(dir)
	if err == nil {
		_, err = fs.List(dir)
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return core.Errorf(core.CodeFolderNotEmpty, "%s is not a folder, but a file, or below one", dir)
	}
	return err
}

// checkOutside checks the folders that dir is in.
func checkOutside(fs FS, dir string) error {
	path, err := realPath(dir)
	if err != nil {
		return err
	}
	for parent := filepath.Dir(path); ; parent = filepath.Dir(parent) {
		switch {
		case isBackup(fs, parent):
			return core.Errorf(core.CodeFolderNotEmpty, "%s is inside the backup %s", dir, parent)
		case isData(fs, parent):
			return core.Errorf(core.CodeFolderNotEmpty, "%s is inside the data directory %s", dir, parent)
		case parent == filepath.Dir(parent):
			return nil
		}
	}
}

// realPath is the path of a folder, which may not be there yet, without links.
func realPath(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for below, at := "", path; ; below, at = filepath.Join(filepath.Base(at), below), filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, below), nil
		}
		if at == filepath.Dir(at) {
			return path, nil
		}
	}
}

// isData reports whether a folder is a data directory.
func isData(fs FS, dir string) bool {
	_, err := fileSize(fs, filepath.Join(dir, logFolder, segmentName(1)))
	return err == nil
}

// isBackup reports whether a folder has a backup, or what an interrupted one has left.
func isBackup(fs FS, dir string) bool {
	if file, err := fs.OpenFile(filepath.Join(dir, manifestName), os.O_RDONLY); err == nil {
		defer func() { _ = file.Close() }()
		begin := make([]byte, len(manifestBegin))
		n, err := file.ReadAt(begin, 0)
		return (err == nil || err == io.EOF) && string(begin[:n]) == manifestBegin
	}
	names, err := fs.List(filepath.Join(dir, logFolder))
	if err != nil {
		return false
	}
	for _, name := range names {
		if isStoredSegment(strings.TrimSuffix(name, ".tmp")) {
			return true
		}
	}
	return false
}

// isStoredSegment reports whether storedName may have made the name of a file in log/.
func isStoredSegment(name string) bool {
	name, ok := strings.CutSuffix(name, ".seg")
	number, rest, ok2 := strings.Cut(name, "-")
	i := strings.LastIndexByte(rest, '-')
	if !ok || !ok2 || i < 0 || !isSegmentVersion(rest[:i]) {
		return false
	}
	_, isSegment := parseSegmentName(number + ".seg")
	_, err := strconv.ParseUint(rest[i+1:], 10, 63)
	return isSegment && err == nil
}

// isStored reports whether a backup may have made a file, of this name in this folder.
func isStored(folder, name string) bool {
	name = strings.TrimSuffix(name, ".tmp")
	if folder == logFolder {
		return isStoredSegment(name)
	}
	_, ok := parseBlobName(name)
	return ok
}

// checkData refuses a folder that is no data directory: a backup, or that of a restore which has
// not ended.
func checkData(fs FS, dir string) error {
	names, err := fs.List(dir)
	switch {
	case err != nil:
		return openError(err)
	case isRestoring(names):
		return core.Errorf(core.CodeRestoreUnfinished, "a restore into %s has not ended", dir)
	case isBackup(fs, dir):
		return core.Errorf(core.CodeInvalidConfig, "%s has a backup, and is no data directory; gyre restore makes one of it", dir)
	}
	return nil
}
