package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// FS is what the engine needs of a file system. Names are paths. The seam is
// for tests, which inject errors and simulate the loss of power behind it.
type FS interface {
	Dirs
	// OpenFile is os.OpenFile with mode 0600.
	OpenFile(name string, flag int) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// Link gives a file another name, which no file has.
	Link(from, to string) error
	// Lock takes the lock of a file or folder that is there. With note, it makes the
	// file if need be and writes the process id to it, for the message to the process
	// that comes second.
	Lock(name string, note bool) (io.Closer, error)
}

// Dirs is what it needs of directories.
type Dirs interface {
	// List gives the names in a directory in their byte order.
	List(dir string) ([]string, error)
	// MakeDir makes a directory with mode 0700, durably, unless it is there.
	MakeDir(dir string) error
	// SyncDir makes what was created, renamed, linked and removed in dir durable.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes everything durable.
	Sync() error
	// Datasync makes the contents durable, and of the rest what is needed to
	// read them.
	Datasync() error
	Size() (int64, error)
	Close() error
}

// osFS is the operating system's.
type osFS struct{}

func (osFS) OpenFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }
func (osFS) Link(from, to string) error   { return os.Link(from, to) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names)
	return names, nil
}

func (fs osFS) MakeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(dir))
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (osFS) Lock(name string, note bool) (io.Closer, error) {
	if note {
		return lockNote(name)
	}
	return lockThere(name)
}

// lockNote does not open a link, nor a file that has another name: what it overwrites
// would be somebody else's.
func lockNote(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, errNotOwn
	}
	if err != nil {
		return nil, err
	}
	if err := lockOwn(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	if err := f.Truncate(0); err == nil {
		// Only the message suffers if the number cannot be written.
		_, _ = fmt.Fprintf(f, "%d", os.Getpid())
	}
	return lock{f}, nil
}

func lockOwn(f *os.File) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Nlink > 1 {
		return errNotOwn
	}
	return flock(f)
}

// lockThere locks a folder only where the system can: a lock in NFS needs a file that
// is open for writing.
func lockThere(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	folder := errors.Is(err, unix.EISDIR)
	if folder {
		f, err = os.Open(name)
	}
	if err != nil {
		return nil, err
	}
	err = flock(f)
	if err != nil && (!folder || errors.Is(err, errLocked)) {
		_ = f.Close()
		return nil, err
	}
	return lock{f}, nil
}

// lock is a file that is locked.
type lock struct{ *os.File }

// Close ends the lock, also where a child that was just forked has the file open still.
func (l lock) Close() error {
	_ = unix.Flock(int(l.Fd()), unix.LOCK_UN) // the end of the process does it otherwise
	return l.File.Close()
}

// flock takes the lock of an open file, which ends with the process however it ends.
func flock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

var (
	errLocked = errors.New("another process has the lock")
	errNotOwn = errors.New("the lock is a link, or has another name")
)

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// writeSoon has the system begin to write a part of a file to the disk, so that little is
// left when it is synced. It promises nothing.
func writeSoon(file File, from, n int64) error {
	if f, ok := file.(osFile); ok {
		return f.writeSoon(from, n)
	}
	return nil
}

// isFull reports whether err says that there is no space left.
func isFull(err error) bool {
	return errorsIsAny(err, syscall.ENOSPC, syscall.EDQUOT)
}
