package main

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// syncLoop is the floor of appending: write the same bytes, then fdatasync,
// into a file whose blocks were allocated and zeroed before the clock started.
type syncLoop struct {
	file   *os.File
	chunk  []byte
	offset int64
	size   int64
}

// newSyncLoop prepares a file for size bytes of chunks of chunkBytes.
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
	chunk := make([]byte, chunkBytes)
	for i := range chunk {
		chunk[i] = byte(i * 7)
	}
	return &syncLoop{file: f, chunk: chunk, size: size}, nil
}

func (l *syncLoop) close() {
	_ = l.file.Close()
	_ = os.Remove(l.file.Name())
}

// step is one write and one fdatasync; at the end of the file it begins again.
func (l *syncLoop) step() error {
	if l.offset+int64(len(l.chunk)) > l.size {
		l.offset = 0
	}
	if _, err := l.file.WriteAt(l.chunk, l.offset); err != nil {
		return err
	}
	l.offset += int64(len(l.chunk))
	return unix.Fdatasync(int(l.file.Fd()))
}

// run makes steps of n events each for at least d and returns events a second.
func (l *syncLoop) run(n int, d time.Duration) (float64, error) {
	begin := time.Now()
	steps := 0
	for time.Since(begin) < d {
		if err := l.step(); err != nil {
			return 0, err
		}
		steps++
	}
	return perSecond(steps*n, begin), nil
}
