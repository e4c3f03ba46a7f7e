package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// holdsAll is a log that has whatever any records reach to.
func holdsAll(*reach) bool { return true }

func recordDBOn(fs FS) *recordDB {
	return &recordDB{fs: fs, dir: "data/records", snapshots: "data", log: "log", key: hashKey{3, 4}, logger: slog.New(slog.DiscardHandler)}
}

// openedRecords opens the records in data/records.
func openedRecords(t testing.TB, fs FS) *recordDB {
	t.Helper()
	d := recordDBOn(fs)
	if err := openRecordDB(d, holdsAll); err != nil {
		t.Fatal(err)
	}
	return d
}

// recordScript makes changes, flush after flush. Each flush reaches to endOf it.
type recordScript struct {
	flushes [][]recordChange // each in the order of their names
	states  []map[recordID]string
}

func endOf(flush int) offset { return at(1, int64(headerBytes+8*flush)) }

func newRecordScript(random *rand.Rand, flushes, keys, perFlush, bytes int) *recordScript {
	s := &recordScript{states: []map[recordID]string{{}}}
	for n := range flushes {
		tree, state := newChangeTree(), maps.Clone(s.states[n])
		for range 1 + random.IntN(perFlush) {
			id := recordID{recordTables[random.IntN(2)], fmt.Sprint("key-", random.IntN(keys))}
			c := recordChange{table: id.table, key: id.key}
			if random.IntN(3) == 0 {
				delete(state, id)
			} else {
				c.revision, c.value = uint64(n+1), make([]byte, 1+random.IntN(bytes))
				c.value[0] = byte(random.Uint32())
				state[id] = string(c.value)
			}
			tree.Set(c)
		}
		s.flushes, s.states = append(s.flushes, tree.Items()), append(s.states, state)
	}
	return s
}

// play makes the flushes behind those that d has, and all merges that are due. It returns
// how many flushes are done.
func (s *recordScript) play(d *recordDB, from int) (flushed int, err error) {
	for n := from; n < len(s.flushes); n++ {
		if err := d.apply(slices.Values(s.flushes[n]), len(s.flushes[n]), reach{end: endOf(n + 1)}, 1); err != nil {
			return n, err
		}
		for len(d.mergeable()) > 0 {
			if err := d.merge(d.mergeable, never); err != nil {
				return n + 1, err
			}
		}
	}
	return len(s.flushes), nil
}

// check compares d with the state that its reach says, and returns the flush.
func (s *recordScript) check(t testing.TB, d *recordDB) (flush int) {
	t.Helper()
	end := d.reach().end
	for flush < len(s.states)-1 && end != 0 && endOf(flush) != end {
		flush++
	}
	got := map[recordID]string{}
	for c, err := range rowsOf(d.all()) {
		if err != nil {
			t.Fatal(err)
		}
		got[c.id()] = string(c.value)
	}
	if !maps.Equal(got, s.states[flush]) {
		t.Fatalf("after flush %d: %d records, want %d, or others", flush, len(got), len(s.states[flush]))
	}
	return flush
}

// TestRecordsLosePowerAnywhere loses power at every call of flushes and merges. What was
// flushed is there, whole; and so is what a snapshot has, if only that is left.
func TestRecordsLosePowerAnywhere(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	s := newRecordScript(random, 12, 30, 20, 3000)
	for call := 1; ; call++ {
		fs := newFaultFS()
		fs.fault = func(n int, _, _ string) error {
			if n >= call {
				fs.dead = true
				return errPowerLoss
			}
			return nil
		}
		flushed, err := 0, openRecordDB(recordDBOn(fs), holdsAll)
		if err == nil {
			flushed, err = s.play(recordDBOn(fs), 0)
		}
		for range 4 {
			after := fs.crash(random)
			d := openedRecords(t, after)
			if found := s.check(t, d); found < flushed {
				t.Fatalf("call %d: flush %d was done, the records are those after %d", call, flushed, found)
			}
			if _, err := s.play(d, s.check(t, d)); err != nil {
				t.Fatal(err)
			}
			s.check(t, d)
			for _, name := range after.find("data/records/") {
				if err := after.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
			s.check(t, openedRecords(t, after))
			if n := len(after.find(".snap")); n > keptSnapshots {
				t.Fatalf("call %d: %d snapshots", call, n)
			}
		}
		if err == nil {
			if call < 100 {
				t.Fatalf("%d calls in all", call)
			}
			return
		}
	}
}

// TestRecordsFailAnywhere fails every call once. What was done is there, and the rest is
// done again.
func TestRecordsFailAnywhere(t *testing.T) {
	t.Parallel()
	s := newRecordScript(rand.New(rand.NewPCG(2, 2)), 12, 30, 20, 3000)
	for call := 1; ; call++ {
		fs := newFaultFS()
		failed := false
		fs.fault = func(n int, _, _ string) error {
			if n == call {
				failed = true
				return syscall.ENOSPC
			}
			return nil
		}
		d := recordDBOn(fs)
		if err := openRecordDB(d, holdsAll); err != nil {
			d = openedRecords(t, fs)
		}
		flushed, err := s.play(d, 0)
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("call %d: %v", call, err)
		}
		if found := s.check(t, d); found != flushed {
			t.Fatalf("call %d: %d flushes are there, %d were done", call, found, flushed)
		}
		if _, err := s.play(d, flushed); err != nil {
			t.Fatalf("call %d, again: %v", call, err)
		}
		s.check(t, d)
		fs.fault = nil
		if d = openedRecords(t, fs); s.check(t, d) != len(s.flushes) {
			t.Fatalf("call %d: flushes are lost", call)
		}
		if left := fs.find(".tmp"); len(left) > 0 || len(fs.find(".run")) != len(d.runs) {
			t.Fatalf("call %d: %v and %d runs are left, %d are needed", call, left, len(fs.find(".run")), len(d.runs))
		}
		if !failed {
			return
		}
	}
}

// TestDamagedRecordsSoak flips each byte of a run and cuts it off anywhere. The records are
// those of the runs before it, or a read is refused; they are never wrong.
func TestDamagedRecordsSoak(t *testing.T) {
	s := newRecordScript(rand.New(rand.NewPCG(3, 3)), 3, 60, 60, 2000)
	fs := newFaultFS()
	d := openedRecords(t, fs)
	for n, changes := range s.flushes { // without merges
		if err := d.apply(slices.Values(changes), len(changes), reach{end: endOf(n + 1)}, 1); err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	for n, r := range d.all() {
		data := fs.contents(r.path)
		damage := func(what string, b []byte) {
			t.Helper()
			left := fs.clone()
			left.set(r.path, b)
			if found := s.check(t, openedRecords(t, left)); n > 0 && found != n {
				t.Fatalf("%s of run %d: the records are those after flush %d", what, n, found)
			}
			// Damage that comes while the run is open.
			left = fs.clone()
			open := openedRecords(t, left)
			copy(left.names[r.path].data, append(bytes.Clone(b), make([]byte, len(data)-len(b))...))
			for id, want := range s.states[len(s.flushes)] {
				got := ""
				err := open.scan(core.RecordsRequest{Table: id.table, Keys: []string{id.key}}, func(_ string, c recordChange) bool {
					got = string(c.value)
					return true
				})
				if errors.Is(err, core.CodeStoreCorrupt) {
					refused++
				} else if err != nil || got != want {
					t.Fatalf("%s of run %d: record %v is wrong: %v", what, n, id, err)
				}
			}
		}
		for o := 0; o < len(data); o += len(data)/rounds(2000) + 1 {
			b := bytes.Clone(data)
			b[o] ^= 1 << (o % 8)
			if o >= 4 && o < headerBytes && bytes.Equal(b[16:300], data[16:300]) && o > 300 {
				continue // the end of the header is not used
			}
			damage(fmt.Sprint("byte ", o), b)
			damage(fmt.Sprint("cut at ", o), data[:o])
		}
	}
	if refused == 0 {
		t.Error("no read was refused")
	}
}

// TestDamagedRecordsAreMadeAnew damages records of an open log. Reads of them are refused,
// and after the next start they are there.
func TestDamagedRecordsAreMadeAnew(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir})
	fillRecordsOf(t, e, "t", 3000, make([]byte, 100))
	mergeAll(t, e)
	want := allRecords(t, e)
	run := e.records.db.all()[0]
	file, err := os.OpenFile(run.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("damage"), run.blockAt(len(run.index)/2)+100); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, r := range want {
		found, err := e.Records(t.Context(), core.RecordsRequest{Table: "t", Keys: []string{r.Key}, Limit: 1})
		if errors.Is(err, core.CodeStoreCorrupt) {
			refused++
		} else if err != nil || len(found) != 1 {
			t.Fatalf("%s: %d found, %v", r.Key, len(found), err)
		}
	}
	if refused == 0 || refused > 1000 {
		t.Errorf("%d of %d reads were refused", refused, len(want))
	}
	expecting := eventAndRecord("s", want[len(want)/2].Key, "v")
	expecting.Records[0].Expect = core.Expect(want[len(want)/2].Revision)
	if o := e.Commit(context.Background(), []*core.Commit{&expecting}).Outcomes[0]; !errors.Is(o.Err, core.CodeStoreCorrupt) {
		t.Errorf("a Commit that expects what is damaged: %v", o.Err)
	}
	commitOne(t, e, eventAndRecord("s", "more", "v"))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, Config{Dir: dir})
	defer e.Close()
	if got := allRecords(t, e); len(got) != len(want)+1 || fmt.Sprint(got[:len(want)]) != fmt.Sprint(want) {
		t.Errorf("%d records, want %d more than %d, or others", len(got), 1, len(want))
	}
}

// TestVerifyNamesADamagedRecordRun: gyre verify says which run is damaged, and makes it anew.
func TestVerifyNamesADamagedRecordRun(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir})
	fillRecordsOf(t, e, "t", 3000, make([]byte, 100))
	mergeAll(t, e)
	run := e.records.db.all()[0]
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	intact, err := os.ReadFile(run.path)
	if err != nil {
		t.Fatal(err)
	}
	for what, o := range map[string]int64{"header": 20, "block": run.blockAt(len(run.index)/2) + 100, "index": run.fences.at + 3, "end": int64(len(intact)) - 1} {
		damaged := bytes.Clone(intact)
		damaged[o] ^= 1
		if err := os.Remove(run.path); err != nil { // a snapshot is the same file
			t.Fatal(err)
		}
		if err := os.WriteFile(run.path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(t.Context(), Config{Dir: dir}, VerifyOptions{})
		named := slices.ContainsFunc(report.Problems, func(p Problem) bool {
			return p.Derived && strings.Contains(p.File+" "+p.Detail, filepath.Base(run.path))
		})
		if err != nil || !named {
			t.Errorf("%s: %+v, %v; %s is damaged", what, report.Problems, err, filepath.Base(run.path))
		}
	}
	if _, err := Verify(t.Context(), Config{Dir: dir}, VerifyOptions{Rebuild: true}); err != nil {
		t.Fatal(err)
	}
	if report, err := Verify(t.Context(), Config{Dir: dir}, VerifyOptions{}); err != nil || !report.Clean() {
		t.Errorf("rebuilt: %+v, %v", report, err)
	}
}

// TestOneFailedReadCondemnsNothing: a read that succeeds when it is tried again is no damage.
func TestOneFailedReadCondemnsNothing(t *testing.T) {
	fs := newFaultFS()
	d := openedRecords(t, fs)
	change := recordChange{table: "t", key: "k", revision: 1, value: []byte("v")}
	if err := d.apply(slices.Values([]recordChange{change}), 1, reach{end: endOf(1)}, 1); err != nil {
		t.Fatal(err)
	}
	run := d.all()[0]
	for failures := range 3 {
		run.file = &failingReads{File: run.file, left: failures}
		got := ""
		err := d.scan(core.RecordsRequest{Table: "t", Keys: []string{"k"}}, func(_ string, c recordChange) bool {
			got = string(c.value)
			return true
		})
		if lost := failures > 1; lost != errors.Is(err, core.CodeStoreCorrupt) || lost != run.condemned || !lost && got != "v" {
			t.Errorf("after %d failed reads: %q, %v, condemned %t", failures, got, err, run.condemned)
		}
	}
}

// failingReads is a file whose next reads fail.
type failingReads struct {
	File
	left int
}

func (f *failingReads) ReadAt(b []byte, o int64) (int, error) {
	if f.left > 0 {
		f.left--
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, o)
}

// TestOldSnapshotsStayUntilTheNewOneIsSynced: a directory that cannot be synced keeps them.
func TestOldSnapshotsStayUntilTheNewOneIsSynced(t *testing.T) {
	fs := newFaultFS()
	d := openedRecords(t, fs)
	before := []string{}
	for n := range 5 {
		change := recordChange{table: "t", key: "k", revision: uint64(n + 1), value: []byte("v")}
		if err := d.apply(slices.Values([]recordChange{change}), 1, reach{end: endOf(n + 1)}, 1); err != nil {
			t.Fatal(err)
		}
		if n == 4 {
			before = fs.find(".snap")
			fs.fault = func(_ int, op, name string) error {
				if op == "syncdir" && name == d.snapshots {
					return syscall.EIO
				}
				return nil
			}
		}
		d.snapshot(d.all()[len(d.all())-1])
	}
	after := fs.find(".snap")
	for _, name := range before {
		if !slices.Contains(after, name) {
			t.Errorf("%s is removed, and the new one is not synced: %v", name, after)
		}
	}
	if len(before) != keptSnapshots {
		t.Errorf("the snapshots before are %v", before)
	}
}

// TestSnapshotsCostNothing: with many records that are put again and again, a snapshot is a
// second name of the first run. The first run is written anew only when as much was logged
// as it has, also across restarts, and all merges write each change a few times.
func TestSnapshotsCostNothing(t *testing.T) {
	fs := newFaultFS()
	d := openedRecords(t, fs)
	const keys, perFlush, flushes = 4000, 250, 160
	written, logged, first := 0, int64(0), ""
	fs.fault = func(_ int, op, name string) error {
		if op == "write" && strings.Contains(name, ".snap") {
			t.Errorf("%s is written", name)
		}
		return nil
	}
	random := rand.New(rand.NewPCG(4, 4))
	for n := range flushes {
		tree := newChangeTree()
		for range perFlush {
			k := random.IntN(keys)
			if n < keys/perFlush {
				k = n*perFlush + tree.Len()
			}
			tree.Set(recordChange{table: "state/p/1", key: fmt.Sprintf("%08d", k), revision: uint64(n + 1), value: make([]byte, 100)})
		}
		before := d.all()
		if err := d.apply(tree.Scan, tree.Len(), reach{end: endOf(n + 1)}, int64(tree.Len()*130)); err != nil {
			t.Fatal(err)
		}
		for len(d.mergeable()) > 0 {
			if err := d.merge(d.mergeable, never); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range d.all() {
			if !slices.Contains(before, r) {
				written += int(r.size())
			}
		}
		logged += d.all()[len(d.all())-1].logged
		if path := d.all()[0].path; path != first {
			if size := d.all()[0].size(); first != "" && n > 2*keys/perFlush && logged < size*9/10 {
				t.Errorf("flush %d: %d bytes are written for a snapshot after %d were logged", n, size, logged)
			}
			first, logged = path, 0
		}
		if len(d.all()) > 9 {
			t.Errorf("flush %d: %d runs", n, len(d.all()))
		}
		if n%20 == 19 {
			d = openedRecords(t, fs)
			first = d.all()[0].path
		}
	}
	if all := flushes * perFlush * 130; written > 8*all {
		t.Errorf("%d bytes are written for %d", written, all)
	}
	if n := fs.find(".snap"); len(n) != keptSnapshots {
		t.Errorf("snapshots %v", n)
	}
}

// TestRecordsThatCannotBeMerged: a disk that takes the short runs and not the long ones lets
// them become many. Then none is added, Commits with records are told why once they would
// wait, and it goes on with the disk.
func TestRecordsThatCannotBeMerged(t *testing.T) {
	fs := newFaultFS()
	e, err := openOn(t, fs, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	broken := true // fs.mu protects it
	fs.mu.Lock()
	fs.fault = func(_ int, op, name string) error {
		from, _, ok := parseRecordRunName(strings.TrimSuffix(filepath.Base(name), ".tmp"))
		if !broken || !ok || op != "create" {
			return nil
		}
		for other := range fs.names { // what begins where another run does is merged
			if begins, _, ok := parseRecordRunName(filepath.Base(other)); ok && begins == from {
				return syscall.ENOSPC
			}
		}
		return nil
	}
	fs.mu.Unlock()
	s := e.records
	most := func() int { return len(s.db.all()) }
	for n := 0; most() < maxRecordRuns; n++ {
		commitOne(t, e, eventAndRecord("s", fmt.Sprint("k", n%5), "v"))
		s.mu.Lock()
		s.wanted = true
		s.wake.Broadcast()
		for s.flushed != s.seen.end {
			s.wake.Wait()
		}
		s.mu.Unlock()
	}
	commitOne(t, e, eventAndRecord("s", "k0", "v"))
	s.mu.Lock()
	s.wanted = true
	s.wake.Broadcast()
	for s.failed.flush == nil || s.failed.merge == nil {
		s.wake.Wait()
	}
	if err := cannotWrite(s.failed.flush); !errors.Is(err, core.CodeStoreFull) {
		t.Errorf("the flusher says %v", err)
	}
	s.mu.Unlock()
	if n := most(); n != maxRecordRuns {
		t.Errorf("%d runs", n)
	}
	fs.mu.Lock()
	broken = false
	fs.mu.Unlock()
	s.mu.Lock()
	for s.failed.flush != nil || s.failed.merge != nil || len(s.db.all()) > 5 {
		s.wake.Wait()
	}
	s.mu.Unlock()
	if n := len(allRecords(t, e)); n != 5 {
		t.Errorf("%d records", n)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
