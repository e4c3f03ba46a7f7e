package disk

import (
	"os"
	"path/filepath"
	"sync"
)

// maxOpenSegments bounds the descriptors that readers of old segments hold.
const maxOpenSegments = 256

// segmentFiles opens segments for readers and keeps the files open for the
// next ones.
type segmentFiles struct {
	fs  FS
	dir string

	mu   sync.Mutex
	open map[uint32]*segmentFile
}

// segmentFile is shared by its readers; mu of segmentFiles protects readers.
type segmentFile struct {
	File
	number  uint32
	readers int
}

func newSegmentFiles(fs FS, dir string) *segmentFiles {
	return &segmentFiles{fs: fs, dir: dir, open: make(map[uint32]*segmentFile)}
}

// acquire returns the file of a segment; the caller releases it.
func (s *segmentFiles) acquire(number uint32) (*segmentFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.open[number]; f != nil {
		f.readers++
		return f, nil
	}
	file, err := s.fs.OpenFile(filepath.Join(s.dir, segmentName(number)), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	s.evict()
	f := &segmentFile{File: file, number: number, readers: 1}
	s.open[number] = f
	return f, nil
}

func (s *segmentFiles) release(f *segmentFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.readers--
}

// evict makes room for one more. Nothing is lost by closing a file that was
// only read. It must be called with mu held.
func (s *segmentFiles) evict() {
	for number, f := range s.open {
		if len(s.open) < maxOpenSegments {
			return
		}
		if f.readers == 0 {
			delete(s.open, number)
			_ = f.Close()
		}
	}
}

// close closes everything; there are no readers any more.
func (s *segmentFiles) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for number, f := range s.open {
		delete(s.open, number)
		_ = f.Close()
	}
}
