package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

// blobScript puts and sweeps, on a disk that may fail. It knows what has to be there.
type blobScript struct {
	contents [3][]byte
	must     map[[32]byte]bool // acknowledged, and not swept since
	may      map[[32]byte]bool // not known
}

func newBlobScript() *blobScript {
	s := &blobScript{must: map[[32]byte]bool{}, may: map[[32]byte]bool{}}
	for i := range s.contents {
		s.contents[i] = bytes.Repeat([]byte{byte(i), 7}, []int{10, sectorBytes, blobChunkBytes/2 + 5}[i])
	}
	return s
}

// run does everything once, and returns the errors.
func (s *blobScript) run(e *Engine) (failed []error) {
	for _, i := range []int{0, 1, 0, 2, 1, 2} {
		id := sha256.Sum256(s.contents[i])
		if _, _, err := e.PutBlob(context.Background(), bytes.NewReader(s.contents[i]), core.MaxBlobBytes); err != nil {
			failed = append(failed, err)
			s.may[id] = true
			continue
		}
		s.must[id] = true
		if i == 2 {
			continue
		}
		swept := sha256.Sum256(s.contents[1])
		err := e.SweepBlobs(context.Background(), func(id [32]byte) bool { return id != swept }, 0)
		if err != nil {
			failed = append(failed, err)
		}
		delete(s.must, swept)
		s.may[swept] = true
	}
	return failed
}

// check compares what is there with what has to be and what may be, and that nothing else
// is in the directory.
func (s *blobScript) check(t *testing.T, what string, fs *faultFS, e *Engine) {
	t.Helper()
	for _, content := range s.contents {
		id := sha256.Sum256(content)
		got, err := readBlob(e, id)
		switch {
		case errors.Is(err, core.CodeBlobNotFound) && !s.must[id]:
		case err != nil, !bytes.Equal(got, content), !s.must[id] && !s.may[id]:
			t.Errorf("%s: blob of %d bytes: %d bytes, %v; acknowledged %t", what, len(content), len(got), err, s.must[id])
		}
	}
	for _, name := range fs.find("/blobs/") {
		if _, ok := parseBlobName(filepath.Base(name)); !ok {
			t.Errorf("%s: %s was left", what, name)
		}
	}
}

func readBlob(e *Engine, id [32]byte) ([]byte, error) {
	r, err := e.Blob(context.Background(), id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// onlyBlobs is an engine that knows nothing but blobs, as after a start.
func onlyBlobs(t *testing.T, fs *faultFS, dir string) *Engine {
	e := &Engine{fs: fs, dir: dir}
	e.blobs = newBlobStore(fs, e.blobDir())
	if err := e.blobs.tidy(); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestBlobPowerLossSoak loses power at each call: what was acknowledged is there, everything
// that is there is whole, and nothing half-done is left.
func TestBlobPowerLossSoak(t *testing.T) {
	t.Parallel()
	const dir = "data"
	for seed := range uint64(rounds(80)) {
		for stop := 1; ; stop++ {
			fs := newFaultFS()
			fs.fault = func(call int, _, _ string) error {
				if fs.dead = call >= stop; fs.dead {
					return errPowerLoss
				}
				return nil
			}
			s := newBlobScript()
			failed := s.run(onlyBlobs(t, fs, dir))
			after := fs.crash(rand.New(rand.NewPCG(seed, uint64(stop))))
			what := fmt.Sprintf("seed %d, call %d", seed, stop)
			e := onlyBlobs(t, after, dir)
			s.check(t, what, after, e)
			if failed := s.run(e); failed != nil {
				t.Errorf("%s: after it: %v", what, failed)
			}
			s.check(t, what, after, e)
			if fs.calls < stop {
				if stop < 20 || failed != nil {
					t.Errorf("%d calls, %v", fs.calls, failed)
				}
				break
			}
		}
	}
}

// TestBlobFaults fails each call, once and for good: the error says what is wrong, what was
// there is there, and nothing half-done is left. It goes on once the disk does.
func TestBlobFaults(t *testing.T) {
	t.Parallel()
	const dir = "data"
	for fault, code := range map[error]core.Code{syscall.ENOSPC: core.CodeStoreFull, syscall.EIO: core.CodeStoreReadOnly} {
		for _, lasting := range []int{1, 1000} {
			for from := 1; ; from++ {
				fs, calls := newFaultFS(), 0
				fs.fault = func(_ int, op, _ string) error {
					if fault == syscall.ENOSPC && op == "remove" {
						return nil // a full disk lets things be removed
					}
					if calls++; calls >= from && calls < from+lasting {
						return fault
					}
					return nil
				}
				what := fmt.Sprintf("%v at call %d, %d times", fault, from, lasting)
				s, e := newBlobScript(), onlyBlobs(t, fs, dir)
				for _, err := range s.run(e) {
					if !errors.Is(err, code) {
						t.Errorf("%s: %v", what, err)
					}
				}
				if fault == syscall.ENOSPC {
					s.check(t, what, fs, e)
				}
				isOver := calls < from
				fs.fault = nil
				if failed := s.run(e); failed != nil {
					t.Errorf("%s: afterwards: %v", what, failed)
				}
				s.check(t, what, fs, onlyBlobs(t, fs, dir))
				if isOver {
					break
				}
			}
		}
	}
}

// TestBlobDamage damages a blob in every way: it is never read to its end, a check of the
// directory names it, and a put repairs it.
func TestBlobDamage(t *testing.T) {
	content := bytes.Repeat([]byte("content"), blobChunkBytes/7+1)
	id := sha256.Sum256(content)
	for name, damage := range map[string]func(b []byte) []byte{
		"flipped":  func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"cut off":  func(b []byte) []byte { return b[:len(b)-1] },
		"emptied":  func(b []byte) []byte { return nil },
		"extended": func(b []byte) []byte { return append(b, 0) },
	} {
		dir, fs := t.TempDir(), newFaultFS()
		e, err := openOn(t, fs, dir)
		if err != nil {
			t.Fatal(err)
		}
		put := func() {
			if _, _, err := e.PutBlob(t.Context(), bytes.NewReader(content), core.MaxBlobBytes); err != nil {
				t.Error(err)
			}
		}
		put()
		fs.set(e.blobs.path(id), damage(bytes.Clone(content)))
		if got, err := readBlob(e, id); !errors.Is(err, core.CodeStoreCorrupt) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		verify := func() Report {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			report, err := Verify(t.Context(), Config{Dir: dir, FS: fs}, VerifyOptions{Rebuild: true})
			if err != nil {
				t.Fatal(err)
			}
			if e, err = openOn(t, fs, dir); err != nil {
				t.Fatal(err)
			}
			return report
		}
		report := verify()
		if len(report.Problems) != 1 || report.Problems[0].File != "blobs/"+blobName(id) || report.Problems[0].Derived || report.Blobs != 1 {
			t.Errorf("%s: %+v", name, report)
		}
		put()
		if got, err := readBlob(e, id); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s, put again: %d bytes, %v", name, len(got), err)
		}
		if report := verify(); !report.Clean() || report.Blobs != 1 {
			t.Errorf("%s, put again: %+v", name, report)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestBlobAge: a put makes a blob young again, and so does a start.
func TestBlobAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, fs := t.TempDir(), newFaultFS()
		e, err := openOn(t, fs, dir)
		if err != nil {
			t.Fatal(err)
		}
		put := func() {
			if _, _, err := e.PutBlob(t.Context(), strings.NewReader("content"), core.MaxBlobBytes); err != nil {
				t.Error(err)
			}
		}
		sweepIn := func(wait time.Duration) (left int) {
			t.Helper()
			time.Sleep(wait)
			if err := e.SweepBlobs(t.Context(), func([32]byte) bool { return false }, time.Hour); err != nil {
				t.Error(err)
			}
			ids, err := e.ListBlobs(t.Context(), [32]byte{}, 2)
			if err != nil {
				t.Error(err)
			}
			return len(ids)
		}
		put()
		time.Sleep(50 * time.Minute)
		put()
		if left := sweepIn(50 * time.Minute); left != 1 {
			t.Errorf("50 minutes after the second put: %d blobs", left)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if e, err = openOn(t, fs, dir); err != nil {
			t.Fatal(err)
		}
		if left := sweepIn(59 * time.Minute); left != 1 {
			t.Errorf("59 minutes after the start: %d blobs", left)
		}
		if left := sweepIn(time.Minute); left != 0 {
			t.Errorf("an hour after the start: %d blobs", left)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseDuringUpload: Close does not wait for the reader of an upload, which then
// touches nothing of a directory that another process may have.
func TestCloseDuringUpload(t *testing.T) {
	dir, fs := t.TempDir(), newFaultFS()
	e, err := openOn(t, fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	answer := make(chan error)
	go func() {
		_, _, err := e.PutBlob(context.Background(), r, core.MaxBlobBytes)
		answer <- err
	}()
	if _, err := w.Write(make([]byte, blobChunkBytes+1)); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if e, err = openOn(t, fs, dir); err != nil {
		t.Fatal(err)
	}
	before := fs.find("/blobs/")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answer; !errors.Is(err, core.CodeStoreClosed) {
		t.Errorf("put: %v", err)
	}
	if after := fs.find("/blobs/"); len(before) != 0 || len(after) != 0 {
		t.Errorf("files %v, later %v", before, after)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
