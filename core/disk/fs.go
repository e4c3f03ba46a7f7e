package disk

import (
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
	// OpenFile is os.OpenFile with mode 0600.
	OpenFile(name string, flag int) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// List gives the names in a directory in their byte order.
	List(dir string) ([]string, error)
	// MakeDir makes a directory with mode 0700, durably, unless it is there.
	MakeDir(dir string) error
	// SyncDir makes what was created, renamed and removed in dir durable.
	SyncDir(dir string) error
	// Lock takes the exclusive lock that the file name stands for.
	Lock(name string) (io.Closer, error)
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

// Lock uses flock, which ends with the process however it ends. The file holds
// the owner's process id, for the message to whoever comes second.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid := make([]byte, 20)
		n, _ := f.ReadAt(pid, 0)
		_ = f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, &lockedError{pid: string(pid[:n])}
		}
		return nil, err
	}
	if err := f.Truncate(0); err == nil {
		// Only the message suffers if the number cannot be written.
		_, _ = fmt.Fprintf(f, "%d", os.Getpid())
	}
	return f, nil
}

// lockedError says that another process has the lock.
type lockedError struct{ pid string }

func (e *lockedError) Error() string {
	if e.pid == "" {
		return "locked by another process"
	}
	return "locked by process " + e.pid
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// isFull reports whether err says that there is no space left.
func isFull(err error) bool {
	return errorsIsAny(err, syscall.ENOSPC, syscall.EDQUOT)
}
