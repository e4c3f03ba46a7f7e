package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

// TestOverwrittenRecordsStayInMemory: what counts is what there is to write to the
// database, not how often it changed. Checkpoints are few and change all the time.
func TestOverwrittenRecordsStayInMemory(t *testing.T) {
	e, err := Open(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	value := make([]byte, 1<<10)
	put := func(key string) *core.Commit {
		return &core.Commit{Records: []core.RecordOp{{Table: "t", Key: key, Expect: core.AnyVersion, Value: value}}}
	}
	commit := func(group []*core.Commit) {
		t.Helper()
		group = append(group, &core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T"}}}}})
		for _, o := range e.Commit(context.Background(), group).Outcomes {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
	}
	for range 10 { // twice as many bytes as are kept
		var group []*core.Commit
		for i := range 1000 {
			group = append(group, put(fmt.Sprint("k", i%10)))
		}
		commit(group)
	}
	fresh := func() (records, bytes int) {
		e.records.mu.Lock()
		defer e.records.mu.Unlock()
		return e.records.fresh.Len(), e.records.bytes
	}
	if records, bytes := fresh(); records != 11 || bytes < 10<<10 || bytes > 12<<10 {
		t.Errorf("%d records of %d bytes are kept, want 10 of some 1,100 each and the timeline", records, bytes)
	}
	for i := range 10 {
		found, err := e.Records(t.Context(), core.RecordsRequest{Table: "t", Keys: []string{fmt.Sprint("k", i)}, Limit: 1})
		if err != nil || len(found) != 1 || found[0].Revision < 1000 || found[0].Revision > core.MaxNumber {
			t.Errorf("k%d: %d found, %v", i, len(found), err)
		}
	}
}

// bigRecord is a Commit with a record of nearly 1 MiB, and an event.
func bigRecord(n int) *core.Commit {
	c := eventAndRecord("s", fmt.Sprint("k", n), "")
	c.Appends[0].Events[0].ID = core.NewID()
	c.Records[0].Value = make([]byte, 1<<20-1000)
	return &c
}

// fillRecords commits until a record is refused or n are there.
func fillRecords(t *testing.T, e *Engine, ctx context.Context, n int) (refused *core.Commit, err error) {
	t.Helper()
	for i := range n {
		c := bigRecord(i)
		if err := e.Commit(ctx, []*core.Commit{c}).Outcomes[0].Err; err != nil {
			return c, err
		}
	}
	return nil, nil
}

// TestRecordsWaitForTheirDatabase: what is not in the database is bounded, whatever
// keeps it away, and Commits without records go on.
func TestRecordsWaitForTheirDatabase(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir, SegmentBytes: 64 << 20})
	var broken atomic.Bool
	broken.Store(true)
	reachAt := e.records.reachAt
	e.records.reachAt = func(m mark) (reach, error) {
		if broken.Load() {
			return reach{}, syscall.ENOSPC
		}
		return reachAt(m)
	}
	refused, err := fillRecords(t, e, t.Context(), 100)
	if !errors.Is(err, core.CodeStoreFull) {
		t.Fatalf("a hundred records of 1 MiB: %v, want store_full", err)
	}
	e.records.mu.Lock()
	kept := e.records.bytes + e.records.leaving
	e.records.mu.Unlock()
	if kept < unflushedBytes || kept > unflushedBytes+2<<20 {
		t.Errorf("%d bytes are kept", kept)
	}
	events := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "t", Data: []byte("1")}}}}}
	first := bigRecord(0)
	first.Appends[0].Events[0].ID = readAll(t, e, "s")[0].ID
	outcomes := e.Commit(t.Context(), []*core.Commit{&events, refused, first}).Outcomes
	if outcomes[0].Err != nil || !errors.Is(outcomes[1].Err, core.CodeStoreFull) || !outcomes[2].Result.Duplicate {
		t.Errorf("events, records, a retry: %v, %v, %+v", outcomes[0].Err, outcomes[1].Err, outcomes[2])
	}
	broken.Store(false)
	awaitFlush(t, e)
	if err := e.Commit(t.Context(), []*core.Commit{refused}).Outcomes[0].Err; err != nil {
		t.Errorf("after the disk was mended: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func awaitFlush(t *testing.T, e *Engine) {
	t.Helper()
	s := e.records
	stop := time.AfterFunc(10*time.Second, func() { panic("the records do not get to their database") })
	defer stop.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.bytes+s.leaving > unflushedBytes {
		s.wake.Wait()
	}
}

// TestRecordsWaitAsLongAsTheirContext: a Commit with records waits for a slow database, and
// gives up with its context or with the log.
func TestRecordsWaitAsLongAsTheirContext(t *testing.T) {
	e := open(t, Config{SegmentBytes: 64 << 20})
	hold := make(chan struct{})
	reachAt := e.records.reachAt
	e.records.reachAt = func(m mark) (reach, error) {
		<-hold
		return reachAt(m)
	}
	ctx, cancel := context.WithCancel(t.Context())
	type answer struct {
		c   *core.Commit
		err error
	}
	full := make(chan answer)
	go func() {
		c, err := fillRecords(t, e, ctx, 100)
		full <- answer{c, err}
	}()
	for { // until nobody gets any further
		e.records.mu.Lock()
		kept := e.records.bytes + e.records.leaving
		e.records.mu.Unlock()
		if kept > unflushedBytes {
			break
		}
		runtime.Gosched()
	}
	cancel()
	a := <-full
	if !errors.Is(a.err, context.Canceled) && core.AsError(a.err).Code != core.AsError(context.Canceled).Code {
		t.Errorf("the context ended: %v", a.err)
	}
	waiting := make(chan error)
	go func() { waiting <- e.Commit(context.Background(), []*core.Commit{a.c}).Outcomes[0].Err }()
	close(hold)
	if err := <-waiting; err != nil {
		t.Errorf("after the database took what there was: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBlindPutsReadNothing: a put that expects nothing looks at no record, and its
// revision is greater than any before, in whichever order records are put and deleted.
func TestBlindPutsReadNothing(t *testing.T) {
	dir := t.TempDir()
	fs := &recordReads{}
	e := open(t, Config{Dir: dir, SegmentBytes: 1 << 20, FS: fs})
	random := rand.New(rand.NewPCG(1, 2))
	last := map[string]uint64{}
	looked := 0
	given := map[string]bool{} // revisions of blind puts: none comes twice
	for range 1500 {
		key := fmt.Sprint(random.IntN(3))
		op := core.RecordOp{Table: "t", Key: key, Expect: core.AnyVersion, Value: []byte("v")}
		blind := random.IntN(2) == 0
		if !blind {
			op.Expect = core.Expect(last[key])
		}
		if random.IntN(5) == 0 {
			op.Action = core.DeleteRecord
		}
		before := fs.count.Load()
		commitOne(t, e, core.Commit{Records: []core.RecordOp{op}})
		if n := fs.count.Load() - before; n > 0 && blind {
			t.Fatal("a put that expects nothing read the database")
		} else if n > 0 {
			looked++
		}
		found, err := e.Records(t.Context(), core.RecordsRequest{Table: "t", Keys: []string{key}, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if op.Action == core.DeleteRecord {
			if len(found) != 0 {
				t.Fatal("a deleted record is there")
			}
			last[key] = 0
			continue
		}
		revision := found[0].Revision
		if name := fmt.Sprint(key, " ", revision); blind && given[name] {
			t.Fatalf("revision %d comes twice", revision)
		} else if blind {
			given[name] = true
		}
		if revision <= last[key] || revision > core.MaxNumber || !blind && revision != last[key]+1 {
			t.Fatalf("revision %d after %d, blind = %v", revision, last[key], blind)
		}
		last[key] = revision
		if random.IntN(100) == 0 {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			e = open(t, Config{Dir: dir, SegmentBytes: 1 << 20, FS: fs})
			settle(t, e)
		}
	}
	if looked == 0 {
		t.Error("no put that expects a revision read the database")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// settle merges what there is to merge.
func settle(t testing.TB, e *Engine) {
	t.Helper()
	for d := e.records.db; len(d.mergeable()) > 0; {
		if err := d.merge(d.mergeable, never); err != nil {
			t.Fatal(err)
		}
	}
}

// recordReads is the operating system's file system; it counts the reads of records.
type recordReads struct {
	osFS
	count atomic.Int64
}

func (fs *recordReads) OpenFile(name string, flag int) (File, error) {
	file, err := fs.osFS.OpenFile(name, flag)
	if err != nil || filepath.Base(filepath.Dir(name)) != "records" {
		return file, err
	}
	return countedFile{file, &fs.count}, nil
}

type countedFile struct {
	File
	count *atomic.Int64
}

func (f countedFile) ReadAt(b []byte, o int64) (int, error) {
	f.count.Add(1)
	return f.File.ReadAt(b, o)
}

// TestUnfinishedFilesAreRemoved: what a process that was killed was making is gone once
// the log is open, however it is named.
func TestUnfinishedFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	var left []string
	for _, name := range []string{"records.db", "records/" + recordRunName(0, at(1, 5000)) + ".tmp", "log/" + segmentName(2) + ".tmp", "index/" + runName(1, 1) + ".tmp"} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		left = append(left, name)
	}
	e := open(t, Config{Dir: dir})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if _, err := os.Stat(name); !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPagesOfRecords reads pages of records whose changes are in the database, on their way
// there and in memory. A page takes no more of them out of memory than it needs.
func TestPagesOfRecords(t *testing.T) {
	e := open(t, Config{})
	defer e.Close()
	const keys = 2000
	s, want := e.records, map[string]string{}
	change := func(value string) {
		var c core.Commit
		for k := range keys {
			op := core.RecordOp{Table: "t", Key: fmt.Sprintf("%04d", k), Expect: core.AnyVersion}
			switch rand.IntN(4) {
			case 0:
				op.Action = core.DeleteRecord
				delete(want, op.Key)
			case 1:
				op.Value, want[op.Key] = []byte(value), value
			default:
				continue
			}
			c.Records = append(c.Records, op)
		}
		commitOne(t, e, c)
	}
	change("flushed")
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	change("flushing")
	s.mu.Lock()
	s.flushing, s.fresh = s.fresh, newChangeTree()
	s.mu.Unlock()
	change("fresh")
	for _, limit := range []int{1, 7, keys} {
		got := map[string]string{}
		for after := ""; ; {
			r := core.RecordsRequest{Table: "t", After: after, Limit: limit}
			page, err := s.list(r)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(s.inMemory(r)); limit < keys && n > 100*limit {
				t.Fatalf("%d changes are looked at for %d records", n, limit)
			}
			for _, record := range page {
				if record.Key <= after {
					t.Fatalf("%s comes after %s", record.Key, after)
				}
				after, got[record.Key] = record.Key, string(record.Value)
			}
			if len(page) < limit {
				break
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("pages of %d: %d records, want %d", limit, len(got), len(want))
		}
	}
	s.mu.Lock()
	s.takeBack()
	s.mu.Unlock()
}
