package registry

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// temporary is a directory that ends with this process. If the process is killed, the next
// that makes one removes it: whose process lives is locked.
type temporary struct {
	path string
	lock *os.File // the directory, open; nil where directories cannot be locked
}

const (
	temporaryPrefix = "gyre-plugins-"
	// temporaryAttempts is how often a directory is made that another process sweeps before
	// it is locked.
	temporaryAttempts = 10
)

// makeTemporary makes a directory, and removes those whose processes have ended.
func makeTemporary() (*temporary, error) {
	sweepTemporary()
	var swept error
	for range temporaryAttempts {
		path, err := os.MkdirTemp("", temporaryPrefix)
		if err != nil {
			return nil, err
		}
		t, err := lockTemporary(path)
		switch {
		case err == nil:
			return t, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, os.ErrNotExist):
			return &temporary{path: path}, nil // such as NFS, which locks no directories
		}
		swept = errors.Join(err, os.RemoveAll(path))
	}
	return nil, swept
}

// lockTemporary locks a directory of this user that no process has locked.
func lockTemporary(path string) (*temporary, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkOwner(f), unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), checkThere(f, path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &temporary{path, f}, nil
}

// checkOwner returns an error for what belongs to another user.
func checkOwner(f *os.File) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return err
	}
	if int(stat.Uid) != os.Geteuid() {
		return os.ErrPermission
	}
	return nil
}

// checkThere returns an error if a path is not that of f any more: it was swept meanwhile.
func checkThere(f *os.File, path string) error {
	is, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(path)
	if err == nil && !os.SameFile(is, there) {
		err = os.ErrNotExist
	}
	return err
}

// sweepTemporary removes what killed processes have left. What cannot be removed is left there:
// it is only room.
func sweepTemporary() {
	paths, _ := filepath.Glob(filepath.Join(os.TempDir(), temporaryPrefix+"*"))
	for _, path := range paths {
		if t, err := lockTemporary(path); err == nil {
			_ = t.remove()
		}
	}
}

// remove removes the directory, and what is in it.
func (t *temporary) remove() error {
	err := os.RemoveAll(t.path)
	if t.lock != nil {
		err = errors.Join(err, t.lock.Close())
	}
	return err
}
