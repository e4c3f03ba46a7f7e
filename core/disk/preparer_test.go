package disk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
)

// TestNextSegmentGrowsWithTheWritten: a disk that is busy with zeros alone holds up the
// syncs of appends.
func TestNextSegmentGrowsWithTheWritten(t *testing.T) {
	const mib = 1 << 20
	file, err := osFS{}.OpenFile(filepath.Join(t.TempDir(), "next"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	synctest.Test(t, func(t *testing.T) {
		p := newPace()
		filled := make(chan error, 1)
		go func() { filled <- fill(file, 8*mib, p) }()
		for _, step := range []struct{ written, least, most int64 }{
			{0, 0, mib}, {mib, 2 * mib, 3 * mib}, {2 * mib, 4 * mib, 5 * mib},
		} {
			p.written(step.written)
			synctest.Wait()
			if size, err := file.Size(); err != nil || size < step.least || size > step.most {
				t.Errorf("after %d bytes the next segment has %d (%v), want %d to %d", step.written, size, err, step.least, step.most)
			}
		}
		p.written(4 * mib)
		if err := <-filled; err != nil {
			t.Error(err)
		}
		p.written(0)
		go func() { filled <- fill(file, 8*mib, p) }()
		synctest.Wait()
		p.stop()
		if err := <-filled; !errors.Is(err, errStopped) {
			t.Errorf("stopped: %v", err)
		}
	})
}
