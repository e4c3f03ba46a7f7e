package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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

// copyDir copies the files of a directory, but those that an open log is preparing: they
// are renamed meanwhile.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	err := fs.WalkDir(os.DirFS(from), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		case filepath.Ext(name) == ".tmp":
			return nil
		}
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRestoredLogHasItsOwnRecords restores an older copy of the log beside an index,
// a database and a snapshot of what was lost, and writes on in the same sizes.
func TestRestoredLogHasItsOwnRecords(t *testing.T) {
	for _, lost := range []int{20, 300} { // in the segment that was copied, and beyond it
		for _, lose := range []string{"nothing", "records"} {
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
				mergeAll(t, e)
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				copyDir(t, filepath.Join(dir, "copy"), filepath.Join(dir, "log"))
				if err := os.RemoveAll(filepath.Join(dir, lose)); err != nil {
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

// TestSnapshotsOfALostTail: beside a log that was restored from an older copy, the snapshots
// of the lost tail go, and do not push out the log's own.
func TestSnapshotsOfALostTail(t *testing.T) {
	dir := t.TempDir()
	config := Config{Dir: dir}
	write := func(e *Engine, value string, n int) {
		for range n {
			commitOne(t, e, eventAndRecord("s", "k", value))
		}
		mergeAll(t, e)
	}
	e := open(t, config)
	write(e, "kept", 1)
	copyDir(t, filepath.Join(dir, "log"), filepath.Join(dir, "copy"))
	kept := e.records.flushed
	for range keptSnapshots - 1 {
		write(e, "lost", 100)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	copyDir(t, filepath.Join(dir, "copy"), filepath.Join(dir, "log"))
	e = open(t, config)
	if found, err := listSnapshots(osFS{}, dir); err != nil || !slices.Equal(found, []offset{kept}) {
		t.Errorf("snapshots %v, %v, want that at %v", found, err, kept)
	}
	for range keptSnapshots {
		write(e, "anew", 1)
		if found, err := listSnapshots(osFS{}, dir); err != nil || len(found) == 0 || found[0] != e.records.flushed {
			t.Errorf("snapshots %v, %v, want one at %v", found, err, e.records.flushed)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
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

// fillRecordsOf commits records in an order by chance.
func fillRecordsOf(t testing.TB, e *Engine, table string, records int, value []byte) {
	t.Helper()
	for first := 0; first < records; first += 1000 {
		c := core.Commit{}
		for i := range min(1000, records-first) {
			c.Records = append(c.Records, core.RecordOp{Table: table, Key: fmt.Sprintf("%08x", (first+i)*2654435761%(1<<32)), Expect: core.AnyVersion, Value: value})
		}
		commitOne(t, e, c)
	}
}

// TestRecordsAreMadeAnewSoak loses many records: they go on from their snapshot, without a copy
// of it, or are made from the whole log. Memory does not grow with them.
func TestRecordsAreMadeAnewSoak(t *testing.T) {
	dir := t.TempDir()
	records := rounds(1_200_000)
	e := open(t, Config{Dir: dir, SegmentBytes: 4 << 20})
	fillRecordsOf(t, e, "t", records, bytes.Repeat([]byte("v"), 200))
	mergeAll(t, e)
	commitOne(t, e, eventAndRecord("s", "after the snapshot", "v"))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	snapshots, err := filepath.Glob(filepath.Join(dir, "records-*.snap"))
	if err != nil || len(snapshots) == 0 {
		t.Fatalf("%v, %v", snapshots, err)
	}
	for _, lose := range [][]string{nil, snapshots} {
		for _, name := range append(lose, filepath.Join(dir, "records")) {
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
		var before, during runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		e = open(t, Config{Dir: dir, Progress: func(done, total int64) {
			runtime.GC()
			runtime.ReadMemStats(&during)
			if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > 200<<20 {
				t.Errorf("%d bytes of memory after %d of %d", grown, done, total)
			}
		}})
		if lose == nil {
			first, err := os.Stat(e.records.db.all()[0].path)
			if err != nil {
				t.Fatal(err)
			}
			snapshot, err := os.Stat(snapshots[len(snapshots)-1])
			if err != nil || !os.SameFile(first, snapshot) {
				t.Errorf("the first run is not the snapshot: %v", err)
			}
		}
		if n := len(allRecords(t, e)); n != records+1 {
			t.Errorf("%d records, want %d", n, records+1)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// mergeAll makes one run of all records, once the flusher has written those in memory.
func mergeAll(t testing.TB, e *Engine) {
	t.Helper()
	s := e.records
	s.mu.Lock()
	s.wanted = true
	s.wake.Broadcast()
	for s.flushed != s.seen.end && s.failed.flush == nil {
		s.wake.Wait()
	}
	err := s.failed.flush
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.records.db.merge(e.records.db.all, never); err != nil {
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

// TestCursorsOfALostTail restores a copy of the log, or of all there is, and writes on:
// what was given out of the lost tail is not taken, and what is before it stays.
func TestCursorsOfALostTail(t *testing.T) {
	for _, part := range []string{"log", "."} {
		t.Run(part, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			saved := dir + ".saved"
			var store *core.Store
			start := func() {
				t.Helper()
				store = core.NewStore(open(t, Config{Dir: dir}), core.StoreConfig{})
			}
			stop := func() {
				t.Helper()
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			write := func(n int) {
				t.Helper()
				for range n {
					if _, err := store.Append(t.Context(), eventAndRecord("s", "k", "v")); err != nil {
						t.Fatal(err)
					}
				}
			}
			follows := func(c core.Cursor, want error) {
				t.Helper()
				for _, stream := range []string{"s", core.All} {
					f, err := store.Follow(t.Context(), core.FollowRequest{Stream: stream, From: c.From()})
					if err == nil {
						_ = f.Close()
					}
					if !errors.Is(err, want) || want == nil && err != nil {
						t.Errorf("after %s: %v, want %v", c, err, want)
					}
				}
			}
			start()
			write(5)
			kept := store.State().Cursor(5)
			copyDir(t, filepath.Join(dir, part), saved) // while it is open
			write(2)
			same := store.State().Cursor(7)
			stop()
			start()
			write(3)
			later := store.State().Cursor(10)
			follows(same, nil)
			follows(later, nil)
			log := store.State().Log
			stop()

			copyDir(t, saved, filepath.Join(dir, part))
			start()
			if state := store.State(); state.Head != 5 || state.Log != log {
				t.Fatalf("restored: %+v", state)
			}
			follows(kept, nil)
			follows(same, core.CodeLogChanged)
			follows(later, core.CodeLogChanged)
			write(7)
			follows(kept, nil)
			follows(same, core.CodeLogChanged)
			follows(later, core.CodeLogChanged)
			follows(store.State().Cursor(12), nil)
			stop()
			start()
			follows(kept, nil)
			follows(same, core.CodeLogChanged)
			stop()
		})
	}
}

// TestKilledLogKeepsItsTimelines: what was given out before a kill -9 is right after it,
// however often the log is opened.
func TestKilledLogKeepsItsTimelines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var places []core.Cursor
	for n := range 4 {
		p := startProcess(t, dir)
		if said := p.says(); said != "open" {
			t.Fatal(said)
		}
		for range n {
			p.append()
		}
		p.kill()
		e := open(t, Config{Dir: dir})
		state := e.State()
		places = append(places, state.Cursor(state.Head))
		for _, c := range places {
			if end, ok := state.End(c.Log); !ok || c.Position > end {
				t.Errorf("%s is not in %+v", c, state)
			}
		}
		if len(state.Timelines) != 2*(n+1) || state.Head != uint64(n*(n+1)/2) {
			t.Errorf("%d times opened: %+v", 2*(n+1), state)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOldTimelinesAreForgotten: their number is bounded.
func TestOldTimelinesAreForgotten(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir})
	first := e.State().Cursor(0)
	// As if the log had been opened that often.
	c := core.Commit{}
	for i := range maxTimelines {
		c.Records = append(c.Records, core.RecordOp{
			Table: timelineTable, Key: timelineKey(uint64(i + 1)), Expect: core.AnyVersion,
			Value: []byte(core.Cursor{Log: fmt.Sprint("t", i), Position: 0}.String()),
		})
		if len(c.Records) == core.MaxCommitRecords || i == maxTimelines-1 {
			commitOne(t, e, c)
			c = core.Commit{}
		}
	}
	for n := range 2 {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = open(t, Config{Dir: dir})
		if state := e.State(); len(state.Timelines) != maxTimelines || state.Timelines[0].Name != fmt.Sprint("t", n+1) {
			t.Errorf("%d timelines from %s on", len(state.Timelines), state.Timelines[0].Name)
		}
		if _, ok := e.State().End(first.Log); ok {
			t.Error("the first timeline is still known")
		}
		stored, err := e.Records(t.Context(), core.RecordsRequest{Table: timelineTable, Limit: 2 * maxTimelines})
		if err != nil || len(stored) != maxTimelines {
			t.Errorf("%d timelines are stored, %v", len(stored), err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
