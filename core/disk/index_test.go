package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// TestManySegmentsSoak writes the same to an engine with tiny segments and to the
// one in memory, and demands the same answers, also after each reopen, when
// merges have happened, and when the index was lost.
func TestManySegmentsSoak(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := Config{Dir: dir, SegmentBytes: minSegmentBytes}
	e := open(t, config)
	model := memory.New()
	defer model.Close()
	random := rand.New(rand.NewPCG(7, 7))
	h := &history{random: random}
	for round := range rounds(80) {
		for range 60 {
			c := h.next()
			got := e.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]
			want := model.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]
			if got.Err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("commit: %+v, in memory %+v", got, want)
			}
			h.commits = append(h.commits, &tried{c, true})
		}
		same(t, e, model, h)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		switch round % 4 {
		case 1:
			removeAll(t, filepath.Join(dir, "index"))
		case 2:
			removeAll(t, filepath.Join(dir, "records"))
		}
		report, err := Verify(context.Background(), config, VerifyOptions{Rebuild: round%4 == 3})
		if err != nil || !report.Clean() || report.Events != model.State().Head {
			t.Fatalf("verify: %+v, %v", report, err)
		}
		e = open(t, config)
		same(t, e, model, h)
	}
	awaitMerges(t, e)
	same(t, e, model, h)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func removeAll(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitMerges returns when the goroutines behind have nothing left to do.
func awaitMerges(t testing.TB, e *Engine) {
	t.Helper()
	ix := e.index
	timer := time.AfterFunc(20*time.Second, ix.changed.Broadcast)
	defer timer.Stop()
	deadline := time.Now().Add(20 * time.Second)
	ix.mu.Lock()
	for {
		v := ix.view.Load()
		if len(v.tables) == 1 && mergeable(v.runs) == nil {
			break
		}
		if time.Now().After(deadline) {
			ix.mu.Unlock()
			t.Fatalf("%d tables and %d runs are left", len(v.tables), len(v.runs))
		}
		ix.changed.Wait()
	}
	ix.mu.Unlock()
	// The merger removes what it has replaced before it lets go of this.
	ix.working.Lock()
	defer ix.working.Unlock()
}

// same compares everything that can be read.
func same(t *testing.T, e *Engine, model core.Engine, h *history) {
	t.Helper()
	ctx := context.Background()
	for _, stream := range []string{core.All, "s-0", "s-1", "s-2", "s-3", "s-4", "l-0", "l-1", "none"} {
		for range 20 {
			r := core.ReadRequest{Stream: stream, From: h.random.Uint64N(500), Backward: h.random.IntN(2) == 0,
				Limit: core.Limit{Events: 1 + h.random.IntN(50), Bytes: 1 + h.random.IntN(40_000)}}
			got, gotErr := e.Read(ctx, r)
			want, wantErr := model.Read(ctx, r)
			if (gotErr == nil) != (wantErr == nil) || got.Count != want.Count || got.Next != want.Next || got.End != want.End || got.Version != want.Version || got.Head != want.Head {
				t.Fatalf("read %+v: %d events, next %d, end %v, version %d, %v; in memory %d, %d, %v, %d, %v", r,
					got.Count, got.Next, got.End, got.Version, gotErr, want.Count, want.Next, want.End, want.Version, wantErr)
			}
			wantEvents := want.Slice()
			for i, ev := range got.Slice() {
				if ev.ID != wantEvents[i].ID || ev.Position != wantEvents[i].Position || ev.Version != wantEvents[i].Version || ev.Link != wantEvents[i].Link {
					t.Fatalf("read %+v: event %d differs", r, i)
				}
			}
		}
	}
	sameLists(t, e, model)
	for range 50 {
		c := h.commits[h.random.IntN(len(h.commits))].commit
		id := c.Appends[0].Events[0].ID
		got, err := e.Event(ctx, id)
		if err != nil || got.ID != id {
			t.Fatalf("event %s: %v", id, err)
		}
		again := e.Commit(ctx, []*core.Commit{c}).Outcomes[0]
		if again.Err != nil || !again.Result.Duplicate {
			t.Fatalf("sent again: %+v", again)
		}
	}
}

func sameLists(t *testing.T, e *Engine, model core.Engine) {
	t.Helper()
	ctx := context.Background()
	for _, r := range []core.StreamsRequest{{Limit: 3}, {Limit: 100}, {Prefix: "s-", After: "s-1", Limit: 2}, {Prefix: "x", Limit: 5}} {
		got, err := e.Streams(ctx, r)
		want, _ := model.Streams(ctx, r)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("streams %+v: %v, %v, in memory %v", r, got, err, want)
		}
	}
	for _, r := range []core.RecordsRequest{{Table: "t", Limit: 2}, {Table: "t", Limit: 100}, {Table: "t", After: "1", Limit: 9}, {Table: "t", Keys: []string{"2"}, Limit: 1}, {Table: "u", Limit: 3}} {
		got, err := e.Records(ctx, r)
		want, _ := model.Records(ctx, r)
		for i := range min(len(got), len(want)) {
			want[i].Revision = got[i].Revision // each engine has its own where nothing is expected
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("records %+v: %v, %v, in memory %v", r, got, err, want)
		}
	}
}

// TestDamagedIndexSoak damages every kind of thing in the runs, while the engine
// has them open and while it has not. The answers are right all the same.
func TestDamagedIndexSoak(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fs := newFaultFS()
	e, err := openOn(t, fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{random: rand.New(rand.NewPCG(3, 3))}
	for range 400 {
		h.write(t, e, 1)
	}
	awaitMerges(t, e)
	for round := range rounds(400) {
		names := fs.find("/index/")
		name := names[h.random.IntN(len(names))]
		fs.mu.Lock()
		data := fs.names[name].data
		data[h.random.IntN(len(data))] ^= 0xff
		fs.mu.Unlock()
		if round%3 == 0 {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			report, err := Verify(context.Background(), Config{Dir: dir, FS: fs, SegmentBytes: testSegmentBytes}, VerifyOptions{})
			if err != nil || report.Clean() || !report.Problems[0].Derived {
				t.Fatalf("verify: %+v, %v", report, err)
			}
			if e, err = openOn(t, fs, dir); err != nil {
				t.Fatal(err)
			}
		}
		h.check(t, e)
		for _, c := range h.commits {
			for _, id := range idsOf(c.commit) {
				if _, err := e.Event(context.Background(), id); err != nil {
					t.Fatalf("event: %v", err)
				}
			}
		}
		awaitMerges(t, e)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPostings writes streams on both sides of what stands inline in an entry,
// and beyond a block, and merges them: every range of versions is found.
func TestPostings(t *testing.T) {
	ix := newIndex(osFS{}, t.TempDir(), hashKey{1, 2}, slog.New(slog.DiscardHandler))
	counts := []uint64{1, maxInline - 1, maxInline, maxInline + 1, 3 * postingsInBlock}
	place := func(segment uint32, stream int, version uint64) offset {
		return at(segment, int64(headerBytes+1000*version+uint64(stream)))
	}
	var runs []*run
	for segment := uint32(1); segment <= 2; segment++ {
		head := runHeader{log: "l", first: segment, last: segment, nextPosition: 1, positions: 4 * postingsInBlock, window: newIDWindow()}
		w, err := newRunWriter(ix.fs, ix.dir, ix.key, head)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range counts {
			first := uint64(segment-1)*n + 1
			w.stream(&part{name: fmt.Sprint("s", i), first: first, last: first + n - 1})
			for version := first; version < first+n; version++ {
				w.posting(place(segment, i, version))
			}
		}
		r, err := w.finish(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.file.Close()
		runs = append(runs, r)
	}
	merged, err := ix.mergeRuns(runs, ix.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer merged.file.Close()
	for i, n := range counts {
		name := fmt.Sprint("s", i)
		hash := ix.key.name(name)
		last, ok, err := merged.lastVersion(name, hash)
		if err != nil || !ok || last != 2*n {
			t.Fatalf("stream of %d: version %d, %v, %v", 2*n, last, ok, err)
		}
		for _, span := range [][2]uint64{{1, 2 * n}, {n, n + 1}, {2 * n, 2 * n}} {
			offs := make([]offset, span[1]-span[0]+1)
			if below, err := merged.postingsOf(name, hash, span[0], span[1], offs); err != nil || below != 0 {
				t.Fatalf("postings: below %d, %v", below, err)
			}
			for k, got := range offs {
				version := span[0] + uint64(k)
				segment := uint32(1 + (version-1)/n)
				if want := place(segment, i, version); got != want {
					t.Fatalf("stream of %d, version %d: at %v, want %v", 2*n, version, got, want)
				}
			}
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir})
	_, err := Open(context.Background(), Config{Dir: dir})
	if !errors.Is(err, core.CodeStoreLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Fatalf("second open: %v", err)
	}
	if _, err := Verify(context.Background(), Config{Dir: dir}, VerifyOptions{}); !errors.Is(err, core.CodeStoreLocked) {
		t.Fatalf("verify: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Dir: dir}).Close()
}

// TestVerifyFindsDamageSoak flips bytes all over a log of several segments: the
// report names the file, or the byte was outside of what the log has.
func TestVerifyFindsDamageSoak(t *testing.T) {
	dir := t.TempDir()
	fs := newFaultFS()
	e, err := openOn(t, fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{random: rand.New(rand.NewPCG(5, 5))}
	for range 60 {
		h.write(t, e, 1)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "log", segmentName(2))
	data := fs.contents(name)
	for o := 0; o < 50_000; o += 1 + 6000/rounds(40) {
		left := fs.clone()
		damaged := append([]byte(nil), data...)
		damaged[o] ^= 4
		left.set(name, damaged)
		report, err := Verify(context.Background(), Config{Dir: dir, FS: left, SegmentBytes: testSegmentBytes}, VerifyOptions{})
		if errors.Is(err, core.CodeStoreNewer) {
			continue
		}
		if err != nil || report.Clean() || report.Problems[0].Derived || report.Problems[0].File != "log/"+segmentName(2) {
			t.Fatalf("byte %d: %+v, %v", o, report, err)
		}
	}
}

func TestRecordsAreRebuilt(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir, SegmentBytes: 1 << 20})
	value := make([]byte, 512<<10)
	for i := range 200 {
		value[0] = byte(i)
		c := &core.Commit{
			Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "t", Data: []byte("1")}}}},
			Records: []core.RecordOp{{Table: "t", Key: fmt.Sprint(i % 3), Expect: core.AnyVersion, Value: value}},
		}
		if o := e.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	want, err := e.Records(context.Background(), core.RecordsRequest{Table: "t", Limit: 10})
	if err != nil || len(want) != 3 || want[1].Revision < 67 {
		t.Fatalf("records: %d, %v", len(want), err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if found, err := filepath.Glob(filepath.Join(dir, "*.snap")); err != nil || len(found) == 0 {
		t.Fatalf("snapshots: %v, %v", found, err)
	}
	for _, spoil := range []func() error{
		func() error { return os.RemoveAll(filepath.Join(dir, "records")) },
		func() error {
			runs, err := filepath.Glob(filepath.Join(dir, "records", "*.run"))
			for _, name := range runs { // and with the first its snapshot
				err = errors.Join(err, os.WriteFile(name, []byte("not a run"), 0o600))
			}
			return err
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		e = open(t, Config{Dir: dir, SegmentBytes: 1 << 20})
		got, err := e.Records(context.Background(), core.RecordsRequest{Table: "t", Limit: 10})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("records differ after they were lost: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOpenTellsProgress opens a log with its index, without, and with a part of it.
func TestOpenTellsProgress(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir, SegmentBytes: minSegmentBytes})
	(&history{random: rand.New(rand.NewPCG(3, 3))}).write(t, e, 60)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for name, lose := range map[string]func(runs []string) []string{
		"nothing lost":   func([]string) []string { return nil },
		"all lost":       func(runs []string) []string { return runs },
		"the first lost": func(runs []string) []string { return runs[:1] },
	} {
		t.Run(name, func(t *testing.T) {
			runs, err := filepath.Glob(filepath.Join(dir, "index", "*.run"))
			if err != nil || len(runs) == 0 {
				t.Fatalf("%d runs, %v", len(runs), err)
			}
			for _, run := range lose(runs) {
				if err := os.Remove(run); err != nil {
					t.Fatal(err)
				}
			}
			calls, last, of := 0, int64(0), int64(-1)
			e, err := Open(t.Context(), Config{Dir: dir, SegmentBytes: minSegmentBytes, Progress: func(done, total int64) {
				if done <= last || done > total {
					t.Errorf("%d of %d after %d", done, total, last)
				}
				calls, last, of = calls+1, done, total
			}})
			if err != nil {
				t.Fatal(err)
			}
			awaitMerges(t, e)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if calls < 2 || last != of {
				t.Errorf("%d calls, the last told %d of %d", calls, last, of)
			}
		})
	}
}
