package enginetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"sync"
	"testing/iotest"
	"time"

	"github.com/gyre-events/gyre/core"
)

var blobTests = []test{
	{"blobs", "put_and_read", func(s *suite) {
		for _, size := range []int{0, 1, 64 << 10, 256<<10 - 1, 256 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3 << 20} {
			content := blobOf(size, 1)
			id := s.putBlob(content)
			s.hasBlob(id, content)
			if again := s.putBlob(content); again != id {
				s.Errorf("%d bytes: the second put returned %x, the first %x", size, again, id)
			}
			s.hasBlob(id, content)
		}
		s.head(0)
	}},
	{"blobs", "short_reads", func(s *suite) {
		content := blobOf(300<<10, 1)
		for _, r := range []io.Reader{
			iotest.HalfReader(bytes.NewReader(content)), iotest.DataErrReader(bytes.NewReader(content)),
			iotest.OneByteReader(bytes.NewReader(content)),
		} {
			if id, size, err := s.engine.PutBlob(s.ctx(), r, core.MaxBlobBytes); err != nil || size != int64(len(content)) || id != sha256.Sum256(content) {
				s.Errorf("put: %x, %d bytes, %v", id, size, err)
			}
		}
		s.hasBlob(sha256.Sum256(content), content)
	}},
	{"blobs", "not_found", func(s *suite) {
		id := s.putBlob([]byte("there"))
		id[5]++
		s.hasNoBlob(id)
		s.hasNoBlob([32]byte{})
	}},
	{"blobs", "too_large", func(s *suite) {
		for _, limit := range []int{0, 1, 1 << 20, 1<<20 + 5} {
			fits := blobOf(limit, 1)
			if _, size, err := s.engine.PutBlob(s.ctx(), bytes.NewReader(fits), int64(limit)); err != nil || size != int64(limit) {
				s.Errorf("%d bytes with that limit: %d, %v", limit, size, err)
			}
			for _, more := range []int{1, 2 << 20} {
				content := blobOf(limit+more, 1)
				_, _, err := s.engine.PutBlob(s.ctx(), bytes.NewReader(content), int64(limit))
				var coded *core.Error
				if !errors.As(err, &coded) || coded.Code != core.CodeBlobTooLarge || coded.Limit != int64(limit) {
					s.Errorf("%d bytes with a limit of %d: %v, want blob_too_large", len(content), limit, err)
				}
				s.hasNoBlob(sha256.Sum256(content))
			}
		}
		s.hasBlobs(blobOf(0, 1), blobOf(1, 1), blobOf(1<<20, 1), blobOf(1<<20+5, 1))
	}},
	{"blobs", "a_reader_that_fails", func(s *suite) {
		wrong := errors.New("the upload broke off")
		for _, size := range []int{0, 10, 2 << 20} {
			r := io.MultiReader(bytes.NewReader(blobOf(size, 1)), iotest.ErrReader(wrong))
			if _, _, err := s.engine.PutBlob(s.ctx(), r, core.MaxBlobBytes); !errors.Is(err, wrong) {
				s.Errorf("after %d bytes: %v", size, err)
			}
		}
		s.hasBlobs()
	}},
	{"blobs", "canceled", func(s *suite) {
		ctx, cancel := withCancel(s)
		r := io.MultiReader(bytes.NewReader(blobOf(1<<20, 1)), readerFunc(func(b []byte) (int, error) {
			cancel()
			return len(b), nil
		}))
		if _, _, err := s.engine.PutBlob(ctx, r, core.MaxBlobBytes); !errors.Is(err, core.CodeCanceled) {
			s.Errorf("put: %v, want canceled", err)
		}
		s.hasBlobs()
	}},
	{"blobs", "list", func(s *suite) {
		s.hasBlobs()
		var contents [][]byte
		for i := range 9 {
			contents = append(contents, blobOf(10, byte(i)))
			s.putBlob(contents[i])
		}
		s.hasBlobs(contents...)
	}},
	{"blobs", "sweep", func(s *suite) {
		a, b, c := []byte("a"), []byte("b"), blobOf(2<<20, 1)
		for _, content := range [][]byte{a, b, c} {
			s.putBlob(content)
		}
		nothing := func([32]byte) bool { return false }
		s.sweep(nothing, time.Hour)
		s.hasBlobs(a, b, c)
		asked := map[[32]byte]bool{}
		s.sweep(func(id [32]byte) bool { asked[id] = true; return true }, 0)
		if len(asked) != 3 || !asked[sha256.Sum256(a)] {
			s.Errorf("keep was asked about %d blobs", len(asked))
		}
		s.hasBlobs(a, b, c)
		s.sweep(func(id [32]byte) bool { return id == sha256.Sum256(b) }, 0)
		s.hasBlobs(b)
		s.hasNoBlob(sha256.Sum256(c))
		s.hasBlob(s.putBlob(c), c)
		s.hasBlobs(b, c)
		s.sweep(nothing, 0)
		s.hasBlobs()
	}},
	// The put comes after keep was asked, as another node's may. Removing and putting it
	// once more between must not look like no put at all.
	{"blobs", "a_put_during_a_sweep_stays", func(s *suite) {
		content := []byte("a")
		id := s.putBlob(content)
		s.sweep(func([32]byte) bool { s.putBlob(content); return false }, 0)
		s.hasBlob(id, content)
		s.sweep(func([32]byte) bool {
			s.sweep(func([32]byte) bool { return false }, 0)
			s.hasNoBlob(id)
			s.putBlob(content)
			return false
		}, 0)
		s.hasBlob(id, content)
	}},
	{"blobs", "concurrent", concurrentBlobs},
}

// concurrentBlobs puts a few contents from many goroutines, reads them, and sweeps.
func concurrentBlobs(s *suite) {
	var running sync.WaitGroup
	for g := range 8 {
		running.Go(func() {
			for i := range scaled(40) {
				content := blobOf(100<<10, byte(i%3))
				if g == 0 {
					s.sweep(func(id [32]byte) bool { return id == sha256.Sum256(content) }, 0)
					continue
				}
				id := s.putBlob(content)
				got, err := s.readBlob(id)
				if errors.Is(err, core.CodeBlobNotFound) {
					continue // swept
				}
				if err != nil || !bytes.Equal(got, content) {
					s.Errorf("read: %d bytes, %v", len(got), err)
				}
			}
		})
	}
	running.Wait()
	for i := range byte(3) {
		s.hasBlob(s.putBlob(blobOf(100<<10, i)), blobOf(100<<10, i))
	}
}

type readerFunc func(b []byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// blobOf is content of a size, another one for each kind.
func blobOf(size int, kind byte) []byte {
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i>>8) ^ byte(i)*7 ^ kind
	}
	return content
}

// putBlob puts content and checks what is returned.
func (s *suite) putBlob(content []byte) [32]byte {
	s.Helper()
	id, size, err := s.engine.PutBlob(s.ctx(), bytes.NewReader(content), core.MaxBlobBytes)
	if err != nil || size != int64(len(content)) || id != sha256.Sum256(content) {
		s.Errorf("put %d bytes: %x, %d, %v", len(content), id, size, err)
	}
	return sha256.Sum256(content)
}

func (s *suite) readBlob(id [32]byte) ([]byte, error) {
	r, err := s.engine.Blob(s.ctx(), id)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	return content, err
}

func (s *suite) hasBlob(id [32]byte, want []byte) {
	s.Helper()
	if got, err := s.readBlob(id); err != nil || !bytes.Equal(got, want) {
		s.Errorf("blob %x: %d bytes, %v; want %d", id, len(got), err, len(want))
	}
}

func (s *suite) hasNoBlob(id [32]byte) {
	s.Helper()
	if got, err := s.readBlob(id); !errors.Is(err, core.CodeBlobNotFound) {
		s.Errorf("blob %x: %d bytes, %v, want blob_not_found", id, len(got), err)
	}
}

// hasBlobs checks which blobs there are, listed in pages of every size.
func (s *suite) hasBlobs(contents ...[]byte) {
	s.Helper()
	want := make([][32]byte, len(contents))
	for i, content := range contents {
		want[i] = sha256.Sum256(content)
	}
	slices.SortFunc(want, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	for limit := 1; limit <= len(want)+1; limit++ {
		var got [][32]byte
		for after := ([32]byte{}); ; after = got[len(got)-1] {
			page, err := s.engine.ListBlobs(s.ctx(), after, limit)
			if err != nil || len(page) > limit {
				s.Fatalf("list: %d of %d ids, %v", len(page), limit, err)
			}
			got = append(got, page...)
			if len(page) < limit {
				break
			}
		}
		if !slices.Equal(got, want) {
			s.Errorf("in pages of %d there are %d blobs, want %d", limit, len(got), len(want))
		}
	}
}

func (s *suite) sweep(keep func(id [32]byte) bool, olderThan time.Duration) {
	s.Helper()
	if err := s.engine.SweepBlobs(s.ctx(), keep, olderThan); err != nil {
		s.Errorf("sweep: %v", err)
	}
}

// blobErrors are the answers to all calls about blobs.
func blobErrors(ctx context.Context, engine core.Engine, id [32]byte) map[string]error {
	_, _, putErr := engine.PutBlob(ctx, bytes.NewReader([]byte("put")), core.MaxBlobBytes)
	_, readErr := engine.Blob(ctx, id)
	_, listErr := engine.ListBlobs(ctx, [32]byte{}, 1)
	sweepErr := engine.SweepBlobs(ctx, func([32]byte) bool { return false }, 0)
	return map[string]error{"put a blob": putErr, "read a blob": readErr, "list blobs": listErr, "sweep": sweepErr}
}
