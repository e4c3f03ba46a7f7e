package disk

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// commitOne commits c alone and demands that it is taken.
func commitOne(t testing.TB, e *Engine, c core.Commit) core.Result {
	t.Helper()
	o := e.Commit(context.Background(), []*core.Commit{&c}).Outcomes[0]
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	return o.Result
}

// eventAndRecord is a Commit with one event and one record.
func eventAndRecord(stream, key, value string) core.Commit {
	return core.Commit{
		Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "t", Data: []byte("1")}}}},
		Records: []core.RecordOp{{Table: "t", Key: key, Expect: core.AnyVersion, Value: []byte(value)}},
	}
}

// copyDir copies the files of a directory.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestRestoredLogHasItsOwnRecords restores an older copy of the log beside an index,
// a database and a snapshot of what was lost, and writes on in the same sizes.
func TestRestoredLogHasItsOwnRecords(t *testing.T) {
	for _, lost := range []int{20, 300} { // in the segment that was copied, and beyond it
		for _, lose := range []string{"nothing", recordFile} {
			t.Run(fmt.Sprint(lost, " lost, without ", lose), func(t *testing.T) {
				dir := t.TempDir()
				config := Config{Dir: dir, SegmentBytes: minSegmentBytes}
				e := open(t, config)
				want := map[string]string{}
				write := func(n int, value string) {
					for i := range n {
						key := fmt.Sprint(value, i%50)
						commitOne(t, e, eventAndRecord(value, key, value))
						want[key] = value
					}
				}
				write(5, "kept")
				copyDir(t, filepath.Join(dir, "log"), filepath.Join(dir, "copy"))
				write(lost, "lost")
				if err := e.records.flush(); err != nil {
					t.Fatal(err)
				}
				if _, err := e.records.db.writeSnapshot(); err != nil {
					t.Fatal(err)
				}
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				copyDir(t, filepath.Join(dir, "copy"), filepath.Join(dir, "log"))
				if err := os.Remove(filepath.Join(dir, lose)); lose == recordFile && err != nil {
					t.Fatal(err)
				}
				maps.DeleteFunc(want, func(_, value string) bool { return value == "lost" })
				for n := range 3 {
					e = open(t, config)
					got := map[string]string{}
					for _, r := range allRecords(t, e) {
						got[r.Key] = string(r.Value)
					}
					if !maps.Equal(got, want) {
						t.Fatalf("records %v, want %v", got, want)
					}
					if events := readAll(t, e, "lost"); len(events) > 0 {
						t.Errorf("%d events of the lost tail", len(events))
					}
					if n == 0 {
						write(lost, "anew")
					}
					if err := e.Close(); err != nil {
						t.Fatal(err)
					}
					if report, err := Verify(t.Context(), config, VerifyOptions{}); err != nil || !report.Clean() {
						t.Fatalf("verify: %+v, %v", report, err)
					}
				}
			})
		}
	}
}

// TestRunOfALostTail puts the index of a lost segment beside a log whose segment is as
// long and has as many events.
func TestRunOfALostTail(t *testing.T) {
	dir := t.TempDir()
	config := Config{Dir: dir, SegmentBytes: minSegmentBytes}
	e := open(t, config)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	copyDir(t, filepath.Join(dir, "log"), filepath.Join(dir, "copy"))
	for _, stream := range []string{"lost", "anew"} {
		copyDir(t, filepath.Join(dir, "copy"), filepath.Join(dir, "log"))
		e = open(t, config)
		for range 200 {
			commitOne(t, e, eventAndRecord(stream, "k", "v"))
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if stream == "lost" {
			copyDir(t, filepath.Join(dir, "index"), filepath.Join(dir, "index.lost"))
		}
	}
	copyDir(t, filepath.Join(dir, "index.lost"), filepath.Join(dir, "index"))
	e = open(t, config)
	defer e.Close()
	if lost, anew := readAll(t, e, "lost"), readAll(t, e, "anew"); len(lost) != 0 || len(anew) != 200 {
		t.Errorf("%d events are lost, %d anew", len(lost), len(anew))
	}
}

// TestRecordsAreMadeAnewInPieces loses the database of many records. It is made anew in
// small transactions, in the order of the keys: its pages are full, where an order by
// chance leaves them two thirds full and rewrites them all the time.
func TestRecordsAreMadeAnewInPieces(t *testing.T) {
	dir := t.TempDir()
	const records = 60_000
	value := bytes.Repeat([]byte("v"), 200)
	e := open(t, Config{Dir: dir})
	for first := 0; first < records; first += 1000 {
		c := core.Commit{}
		for i := range 1000 {
			c.Records = append(c.Records, core.RecordOp{Table: "t", Key: fmt.Sprintf("%08x", (first+i)*2654435761%(1<<32)), Expect: core.AnyVersion, Value: value})
		}
		commitOne(t, e, c)
	}
	if err := e.records.flush(); err != nil {
		t.Fatal(err)
	}
	size, err := e.records.db.writeSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	want := allRecords(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, recordFile)); err != nil {
		t.Fatal(err)
	}
	told, last := 0, int64(0)
	e = open(t, Config{Dir: dir, Progress: func(done, total int64) {
		if done <= last || done > total || total < size {
			t.Errorf("%d of %d after %d, the snapshot has %d", done, total, last, size)
		}
		told, last = told+1, done
	}})
	stats := e.records.db.db.Stats()
	if told < int(size/buildBytes) || last < size {
		t.Errorf("progress was told %d times, at last %d", told, last)
	}
	if got := allRecords(t, e); len(got) != records || fmt.Sprint(got[records/2]) != fmt.Sprint(want[records/2]) {
		t.Errorf("%d records, want %d", len(got), records)
	}
	// Each page is written once, apart from those at the end of a piece.
	if written := stats.TxStats.GetPageAlloc(); written > 2*size {
		t.Errorf("%d bytes of pages for %d bytes of records", written, size)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func allRecords(t testing.TB, e *Engine) (all []core.Record) {
	t.Helper()
	r := core.RecordsRequest{Table: "t", Limit: core.MaxReadEvents}
	for {
		page, err := e.Records(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		if len(page) < r.Limit {
			return all
		}
		r.After = page[len(page)-1].Key
	}
}

// TestRecordsKeepTheirFreePages: without the list of free pages in the file, bbolt reads all
// of it to open it.
func TestRecordsKeepTheirFreePages(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir})
	commitOne(t, e, eventAndRecord("s", "k", "v"))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		t.Fatal(err)
	}
	const freelist = 48 // in a meta page: behind page header, magic, version, sizes, flags and root
	for _, page := range []int{0, os.Getpagesize()} {
		if bytes.Equal(file[page+freelist:][:8], bytes.Repeat([]byte{0xff}, 8)) {
			t.Errorf("the meta page at %d has no list of free pages", page)
		}
	}
}

// TestSnapshotsFollowTheirSize: a snapshot is due when as much was logged as the last
// one has, also after the log was opened again.
func TestSnapshotsFollowTheirSize(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir})
	commitOne(t, e, eventAndRecord("s", "k", "v"))
	if err := e.records.flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.records.db.writeSnapshot(); err != nil {
		t.Fatal(err)
	}
	logged := e.records.logged
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if logged == 0 {
		t.Error("nothing was logged")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.snap"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	// A snapshot of 100 MiB, as far as its size goes.
	if err := os.Truncate(names[0], 100<<20); err != nil {
		t.Fatal(err)
	}
	e = open(t, Config{Dir: dir})
	defer e.Close()
	if e.records.snapshotAt != 100<<20 || e.records.logged < logged {
		t.Errorf("the next snapshot is due at %d, %d are logged, %d were", e.records.snapshotAt, e.records.logged, logged)
	}
}
