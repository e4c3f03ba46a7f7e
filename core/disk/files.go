package disk

import (
	"io"
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

	mu       sync.Mutex // protects the fields below
	open     map[uint32]*segmentFile
	renewals uint64 // calls of renew
}

// segmentFile is shared by its readers, who read it by the byte in the segment.
type segmentFile struct {
	File
	number  uint32
	extents *extents // nil unless the segment was rewritten

	// mu of segmentFiles protects the fields below.
	readers  int
	replaced bool // another has taken its place: the last reader closes it
}

// newSegmentFile takes file, which it closes if it cannot be used.
func newSegmentFile(file File, number uint32) (*segmentFile, error) {
	x, err := openExtents(file, number)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &segmentFile{File: file, number: number, extents: x}, nil
}

// header reads the segment's header.
func (f *segmentFile) header() (segmentHeader, error) {
	if f.extents != nil {
		return f.extents.header, nil
	}
	return headerIn(f.File, f.number)
}

// headerIn reads the header in the file of a segment.
func headerIn(file File, number uint32) (segmentHeader, error) {
	b := make([]byte, headerBytes)
	n, err := file.ReadAt(b, 0)
	switch {
	case n == len(b):
		return decodeSegmentHeader(b, number)
	case err == io.EOF:
		err = corrupt(at(number, 0), "the segment header is missing")
	}
	return segmentHeader{}, err
}

// ReadAt is io.ReaderAt's.
func (f *segmentFile) ReadAt(b []byte, o int64) (int, error) {
	if f.extents != nil {
		return f.extents.ReadAt(b, o)
	}
	return f.File.ReadAt(b, o)
}

// Size is how many bytes of the segment can be read.
func (f *segmentFile) Size() (int64, error) {
	if f.extents != nil {
		return f.extents.header.rewriting.end, nil
	}
	return f.File.Size()
}

func newSegmentFiles(fs FS, dir string) *segmentFiles {
	return &segmentFiles{fs: fs, dir: dir, open: make(map[uint32]*segmentFile)}
}

// acquire returns the file of a segment; the caller releases it. No other reader waits while it is
// opened.
func (s *segmentFiles) acquire(number uint32) (*segmentFile, error) {
	for {
		f, renewals := s.find(number)
		if f != nil {
			return f, nil
		}
		file, err := s.fs.OpenFile(filepath.Join(s.dir, segmentName(number)), os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		opened, err := newSegmentFile(file, number)
		if err != nil {
			return nil, err
		}
		if f := s.keep(opened, renewals); f != nil {
			return f, nil
		}
	}
}

// find returns the file of a segment if it is open, for one reader more, and how many renewals
// there were.
func (s *segmentFiles) find(number uint32) (f *segmentFile, renewals uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f = s.open[number]; f != nil {
		f.readers++
	}
	return f, s.renewals
}

// keep keeps a file that was opened after so many renewals, for its first reader. If another reader
// has opened the segment meanwhile, it returns that file; if there was a renewal, which may have been
// of the segment, nil.
func (s *segmentFiles) keep(opened *segmentFile, renewals uint64) *segmentFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.open[opened.number]
	switch {
	case f != nil:
		f.readers++
	case s.renewals == renewals:
		s.evict()
		s.open[opened.number] = opened
		opened.readers++
		return opened
	}
	_ = opened.Close() // it was only read
	return f
}

func (s *segmentFiles) release(f *segmentFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.readers--
	f.closeReplaced()
}

// closeReplaced closes a file that nobody reads nor will read. It must be called with mu held.
func (f *segmentFile) closeReplaced() {
	if f.replaced && f.readers == 0 {
		_ = f.Close() // it was only read
	}
}

// renew has the next readers open the file of a segment anew. Those that have it go on with
// what they have.
func (s *segmentFiles) renew(number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewals++
	if f := s.open[number]; f != nil {
		delete(s.open, number)
		f.replaced = true
		f.closeReplaced()
	}
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
