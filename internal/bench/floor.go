package main

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// syncLoop is the floor of appending: write the same bytes, then fdatasync,
// into a file whose blocks were allocated and zeroed before the clock started.
// Like that of any append, the place that is written is not in the page cache
// yet.
type syncLoop struct {
	file   *os.File
	chunk  []byte // with a page of zeros behind
	step   int64
	offset int64
	size   int64
}

const pageBytes = 4096

// newSyncLoop prepares a file for size bytes in chunks of chunkBytes.
func newSyncLoop(dir string, chunkBytes int, size int64) (*syncLoop, error) {
	f, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, at); err != nil {
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return nil, err
	}
	chunk := make([]byte, chunkBytes+pageBytes)
	for i := range chunkBytes {
		chunk[i] = byte(i * 7)
	}
	return &syncLoop{file: f, chunk: chunk, step: int64(chunkBytes), size: size}, nil
}

func (l *syncLoop) close() {
	_ = l.file.Close()
	_ = os.Remove(l.file.Name())
}

// write is one write and one fdatasync; at the end of the file it begins again.
// The write goes on to the end of its page, with zeros: otherwise the system
// would have to read the page first, which is not the floor.
func (l *syncLoop) write() error {
	if l.offset+l.step > l.size {
		l.offset = 0
	}
	end := (l.offset + l.step + pageBytes - 1) &^ (pageBytes - 1)
	if _, err := l.file.WriteAt(l.chunk[:end-l.offset], l.offset); err != nil {
		return err
	}
	l.offset += l.step
	return unix.Fdatasync(int(l.file.Fd()))
}

// appendFloor prepares a file and appends to it in steps of perSync events: as
// many as n events need, or for d if n is 0. It returns events a second.
func appendFloor(dir string, perSync, n int, d time.Duration) (sample, error) {
	size := int64(floorFileBytes)
	if n > 0 {
		size = int64(n+perSync) * eventBytes
	}
	loop, err := newSyncLoop(dir, perSync*eventBytes, size)
	if err != nil {
		return sample{}, err
	}
	defer loop.close()
	begin := time.Now()
	steps := 0
	for n > 0 && steps*perSync < n || n == 0 && time.Since(begin) < d {
		if err := loop.write(); err != nil {
			return sample{}, err
		}
		steps++
	}
	return rate(steps*perSync, begin), nil
}
