package disk

import (
	"os"
	"path/filepath"
	"testing"
)

// TestASegmentIsOpenedBesideOthers: while a segment is opened, another one is, and the first one
// is replaced. Its reader gets the file that is there then.
func TestASegmentIsOpenedBesideOthers(t *testing.T) {
	dir, fs := t.TempDir(), new(watchedFS)
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(segmentName(1), "old")
	write(segmentName(2), "old")
	write("replacement", "new")
	files := newSegmentFiles(fs, dir)
	defer files.close()
	acquire := func(number uint32) *segmentFile {
		t.Helper()
		f, err := files.acquire(number)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	opened := false
	replace := func(string, int) {
		if opened {
			return
		}
		opened = true
		files.release(acquire(2))
		if err := os.Rename(filepath.Join(dir, "replacement"), filepath.Join(dir, segmentName(1))); err != nil {
			t.Fatal(err)
		}
		files.renew(1)
	}
	fs.read.Store(&replace)
	for range 2 {
		f := acquire(1)
		content := make([]byte, 3)
		if _, err := f.ReadAt(content, 0); err != nil || string(content) != "new" {
			t.Errorf("the file has %q: %v", content, err)
		}
		files.release(f)
	}
	if len(files.open) != 2 {
		t.Errorf("%d files are open", len(files.open))
	}
}
