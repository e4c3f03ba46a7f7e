package disk

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

// rounds is n with GYRE_SOAK=1, else a twentieth of it.
func rounds(n int) int {
	if os.Getenv("GYRE_SOAK") != "" {
		return n
	}
	return max(n/20, 1)
}

var everything = core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes}

// readAll reads a stream or $all to its end.
func readAll(t testing.TB, e *Engine, stream string) []core.Event {
	t.Helper()
	var events []core.Event
	for ev, err := range core.ReadAll(context.Background(), engineLog{e}, core.ReadRequest{Stream: stream, Limit: everything}) {
		if errors.Is(err, core.CodeStreamNotFound) {
			return nil
		}
		if err != nil {
			t.Fatalf("read %s: %v", stream, err)
		}
		events = append(events, ev)
	}
	return events
}

// engineLog is as much of a core.Log as core.ReadAll needs.
type engineLog struct{ *Engine }

func (engineLog) Append(context.Context, core.Commit) (core.Result, error) { panic("not used") }
func (engineLog) Follow(context.Context, core.FollowRequest) (core.Follower, error) {
	panic("not used")
}

// history is what a test has tried to write, and what it was told.
type history struct {
	random  *rand.Rand
	commits []*tried
	places  []core.Cursor    // given out
	linked  map[core.ID]bool // in l-1
}

type tried struct {
	commit *core.Commit
	known  bool // acknowledged, or refused for good: otherwise unknown
}

func (h *history) next() *core.Commit {
	c := &core.Commit{}
	for range 1 + h.random.IntN(2) {
		a := core.Append{Stream: fmt.Sprintf("s-%d", h.random.IntN(5)), Expect: core.AnyVersion}
		for range 1 + h.random.IntN(4) {
			data := make([]byte, h.random.IntN(3000))
			for word := range slices.Chunk(data, 8) {
				copy(word, binary.LittleEndian.AppendUint64(nil, h.random.Uint64()))
			}
			a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: "t", Format: core.Bytes, Data: data})
		}
		c.Appends = append(c.Appends, a)
	}
	if h.random.IntN(3) == 0 {
		c.Appends = append(c.Appends, core.Append{Stream: "l-0", Expect: core.AnyVersion, Links: idsOf(c)})
	}
	if old := h.acknowledged(); old != nil {
		c.Appends = append(c.Appends, core.Append{Stream: "l-1", Expect: core.AnyVersion, Links: idsOf(old)})
	}
	for range h.random.IntN(4) {
		op := core.RecordOp{Table: recordTables[h.random.IntN(len(recordTables))], Key: fmt.Sprint(h.random.IntN(30)), Expect: core.AnyVersion}
		if h.random.IntN(4) == 0 {
			op.Action = core.DeleteRecord
		} else {
			op.Value = append(c.Appends[0].Events[0].ID[:], make([]byte, h.random.IntN(2000))...)
		}
		c.Records = append(c.Records, op)
	}
	return c
}

// recordTables are the tables that a history has records in.
var recordTables = []string{"t", "state/projection/1"}

// acknowledged is mostly nil, or a Commit that was acknowledged and is not linked yet.
func (h *history) acknowledged() *core.Commit {
	if len(h.commits) == 0 || h.random.IntN(3) > 0 {
		return nil
	}
	old := h.commits[h.random.IntN(len(h.commits))]
	if id := idsOf(old.commit)[0]; !old.known || h.linked[id] {
		return nil
	} else if h.linked == nil {
		h.linked = map[core.ID]bool{id: true}
	} else {
		h.linked[id] = true
	}
	return old.commit
}

func idsOf(c *core.Commit) (ids []core.ID) {
	for _, a := range c.Appends {
		for _, e := range a.Events {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// write sends a group and notes the answers.
func (h *history) write(t testing.TB, e *Engine, n int) {
	t.Helper()
	var group []*core.Commit
	for range n {
		group = append(group, h.next())
	}
	h.send(t, e, group)
}

func (h *history) send(t testing.TB, e *Engine, group []*core.Commit) {
	t.Helper()
	for i, o := range e.Commit(context.Background(), group).Outcomes {
		switch {
		case o.Err == nil:
			if state := e.State(); len(state.Timelines) > 0 {
				h.places = append(h.places, state.Cursor(o.Result.Position))
			}
			h.commits = append(h.commits, &tried{group[i], true})
		case errors.Is(o.Err, core.CodeUnknownOutcome):
			h.commits = append(h.commits, &tried{group[i], false})
		case errors.Is(o.Err, core.CodeStoreFull), errors.Is(o.Err, core.CodeStoreReadOnly), errors.Is(o.Err, core.CodeStoreClosed):
			// Nothing of it may ever be seen; it is in no list.
		default:
			t.Fatalf("commit: %v", o.Err)
		}
	}
}

// check compares a log with the history: what was acknowledged is there, what
// is not known is there whole or not at all, and nothing else is.
func (h *history) check(t testing.TB, e *Engine) {
	t.Helper()
	byID := map[linkKey]core.Event{} // of events, without the stream
	versions := map[string]uint64{}
	last := uint64(0)
	for i, ev := range readAll(t, e, core.All) {
		if ev.Position <= last {
			t.Fatalf("event %d is at position %d", i, ev.Position)
		}
		last = ev.Position
		if versions[ev.Stream]++; ev.Version != versions[ev.Stream] {
			t.Fatalf("stream %s goes on with version %d after %d", ev.Stream, ev.Version, versions[ev.Stream]-1)
		}
		if _, ok := byID[linkKey{"", ev.ID}]; ok {
			t.Fatalf("event %s is there twice", ev.ID)
		}
		byID[linkKey{"", ev.ID}] = ev
	}
	for _, stream := range []string{"l-0", "l-1"} {
		for i, ev := range readAll(t, e, stream) {
			home := byID[linkKey{"", ev.ID}]
			if ev.Version != uint64(i+1) || ev.Link != home.Home() || !bytes.Equal(ev.Data, home.Data) {
				t.Fatalf("version %d of %s is a link to %+v, the event is %+v", ev.Version, stream, ev.Link, home.Home())
			}
			byID[linkKey{stream, ev.ID}] = ev
		}
	}
	if head := e.State().Head; head != uint64(len(byID)) {
		t.Fatalf("%d events and links are there, the head is at %d", len(byID), head)
	}
	explained := 0
	for i, c := range h.commits {
		explained += c.check(t, i, byID)
	}
	for _, c := range h.places {
		if end, ok := e.State().End(c.Log); !ok || c.Position > end {
			t.Fatalf("cursor %s was acknowledged; the log has its timeline up to %d, %v: %v", c, end, ok, e.State())
		}
	}
	if explained != len(byID) {
		t.Fatalf("%d events are there, %d of them were sent and not refused", len(byID), explained)
	}
	h.checkRecords(t, e, byID)
	for stream, version := range versions {
		if got := readAll(t, e, stream); uint64(len(got)) != version {
			t.Fatalf("stream %s has %d events, %d in $all", stream, len(got), version)
		}
	}
}

// checkRecords compares the records with those that the Commits that are there made.
func (h *history) checkRecords(t testing.TB, e *Engine, byID map[linkKey]core.Event) {
	t.Helper()
	var there []*core.Commit
	position := func(c *core.Commit) uint64 { return byID[linkKey{"", c.Appends[0].Events[0].ID}].Position }
	for _, c := range h.commits {
		if position(c.commit) > 0 {
			there = append(there, c.commit)
		}
	}
	slices.SortFunc(there, func(a, b *core.Commit) int { return cmp.Compare(position(a), position(b)) })
	want := map[recordID]string{}
	for _, c := range there {
		for _, op := range c.Records {
			if id := (recordID{op.Table, op.Key}); op.Action == core.DeleteRecord {
				delete(want, id)
			} else {
				want[id] = string(op.Value)
			}
		}
	}
	got := map[recordID]string{}
	for _, table := range recordTables {
		records, err := e.Records(t.Context(), core.RecordsRequest{Table: table, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			got[recordID{table, r.Key}] = string(r.Value)
		}
	}
	if !maps.Equal(got, want) {
		t.Fatalf("%d records are there, want %d, or others", len(got), len(want))
	}
}

// check returns how many events of the Commit are there.
func (c *tried) check(t testing.TB, i int, byID map[linkKey]core.Event) int {
	t.Helper()
	there, all, last := 0, 0, uint64(0)
	find := func(stream string, key linkKey) (ev core.Event, ok bool) {
		all++
		if ev, ok = byID[key]; !ok {
			return ev, false
		}
		there++
		if ev.Stream != stream || last > 0 && ev.Position != last+1 {
			t.Fatalf("commit %d: event %s is elsewhere than it was sent to", i, key.id)
		}
		last = ev.Position
		return ev, true
	}
	for _, a := range c.commit.Appends {
		for _, sent := range a.Events {
			if ev, ok := find(a.Stream, linkKey{"", sent.ID}); ok && !bytes.Equal(ev.Data, sent.Data) {
				t.Fatalf("commit %d: event %s is another than was sent", i, sent.ID)
			}
		}
		for _, id := range a.Links {
			find(a.Stream, linkKey{a.Stream, id})
		}
	}
	if there != 0 && there != all {
		t.Fatalf("commit %d: %d of %d events are there", i, there, all)
	}
	if c.known && there == 0 {
		t.Fatalf("commit %d was acknowledged and is gone", i)
	}
	return there
}

func openOn(t testing.TB, fs FS, dir string) (*Engine, error) {
	t.Helper()
	e, err := Open(context.Background(), Config{Dir: dir, FS: fs, SegmentBytes: testSegmentBytes})
	if err == nil {
		e.recovery.mu.Lock()
		e.recovery.maxPause = time.Millisecond
		e.recovery.mu.Unlock()
		e.index.mu.Lock()
		e.index.pause = time.Millisecond
		e.index.mu.Unlock()
		e.records.mu.Lock()
		e.records.pace.retry, e.records.pace.least, e.records.flushAt = time.Millisecond, 1, 1
		e.records.mu.Unlock()
	}
	return e, err
}

// TestPowerLossSoak writes, loses power at any call, opens what is left, and goes
// on from there.
func TestPowerLossSoak(t *testing.T) {
	t.Parallel()
	for round := range rounds(1000) {
		seed := uint64(time.Now().UnixNano())
		random := rand.New(rand.NewPCG(seed, uint64(round)))
		powerLoss(t, seed, random)
		if t.Failed() {
			return
		}
	}
}

func powerLoss(t *testing.T, seed uint64, random *rand.Rand) {
	dir := t.TempDir()
	fs := newFaultFS()
	h := &history{random: random}
	for run := range 4 {
		e, err := openOn(t, fs, dir)
		if err != nil {
			t.Fatalf("seed %d, life %d: %v", seed, run, err)
		}
		h.check(t, e)
		// What is not known is sent again; either way it is there once then.
		for _, c := range h.commits {
			if !c.known {
				o := e.Commit(context.Background(), []*core.Commit{c.commit}).Outcomes[0]
				if o.Err != nil {
					t.Fatalf("seed %d: sending again: %v", seed, o.Err)
				}
				c.known = true
			}
		}
		fs.mu.Lock()
		stop := fs.calls + random.IntN(400)
		chance := rand.New(rand.NewPCG(seed, uint64(run)))
		flaky := random.IntN(2) == 0
		fs.fault = func(call int, op, name string) error {
			if call >= stop {
				fs.dead = true
				return errPowerLoss
			}
			if flaky && chance.IntN(30) == 0 {
				return syscall.EIO
			}
			return nil
		}
		fs.mu.Unlock()
		for range 30 {
			h.write(t, e, 1+random.IntN(6))
		}
		after := fs
		if random.IntN(3) > 0 {
			after = fs.crash(random)
		} else {
			fs.mu.Lock()
			fs.dead = true // only the process is: what it wrote is in the cache
			fs.mu.Unlock()
		}
		if err := e.Close(); err != nil {
			t.Logf("close: %v", err)
		}
		fs = after
		fs.mu.Lock()
		fs.dead, fs.fault = false, nil
		fs.mu.Unlock()
	}
	e, err := openOn(t, fs, dir)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	defer e.Close()
	h.check(t, e)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// TestEveryFaultSoak fails each call once, and all from it on for a while, and
// demands that the engine goes on by itself.
func TestEveryFaultSoak(t *testing.T) {
	t.Parallel()
	faults := []error{syscall.EIO, syscall.ENOSPC}
	step := 11
	if os.Getenv("GYRE_SOAK") != "" {
		step = 1
	}
	for call := 1; call < 300; call += step {
		for _, lasting := range []int{1, 20} {
			for _, fault := range faults {
				faultAt(t, call, lasting, fault)
			}
		}
	}
}

func faultAt(t *testing.T, call, lasting int, fault error) {
	t.Helper()
	dir := t.TempDir()
	fs := newFaultFS()
	fs.fault = func(n int, op, name string) error {
		if n >= call && n < call+lasting {
			return fault
		}
		return nil
	}
	h := &history{random: rand.New(rand.NewPCG(uint64(call), 1))}
	e, err := openOn(t, fs, dir)
	if err != nil {
		fs = fs.crash(h.random)
		if e, err = openOn(t, fs, dir); err != nil {
			t.Fatalf("call %d: open after a failed open: %v", call, err)
		}
	}
	for range 40 {
		h.write(t, e, 2)
	}
	h.check(t, e)
	// Sending again works once the disk does.
	deadline := time.Now().Add(20 * time.Second)
	for _, c := range h.commits {
		for !c.known {
			o := e.Commit(context.Background(), []*core.Commit{c.commit}).Outcomes[0]
			c.known = o.Err == nil
			if time.Now().After(deadline) {
				t.Fatalf("call %d: the log stays read-only: %v", call, o.Err)
			}
		}
	}
	for e.State().ReadOnly != nil {
		if time.Now().After(deadline) {
			t.Fatalf("call %d: still read-only: %v", call, e.State().ReadOnly)
		}
		h.write(t, e, 1)
	}
	h.check(t, e)
	if err := e.Close(); err != nil {
		t.Fatalf("call %d: close: %v", call, err)
	}
	fs.mu.Lock()
	fs.fault = nil
	fs.mu.Unlock()
	if e, err = openOn(t, fs, dir); err != nil {
		t.Fatalf("call %d: reopen: %v", call, err)
	}
	defer e.Close()
	h.check(t, e)
}

// written makes a log of a few Commits in one segment and says where each
// frame ends.
func written(t *testing.T, dir string) (fs *faultFS, name string, h *history, ends []int64) {
	t.Helper()
	fs = newFaultFS()
	h = &history{random: rand.New(rand.NewPCG(1, 2))}
	e, err := openOn(t, fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		h.write(t, e, 1)
		ends = append(ends, e.appender.durable.Load().end.byte())
	}
	fs2 := fs.clone() // before Close adds its empty frame
	delete(fs2.names, filepath.Join(dir, "log", segmentName(2)))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return fs2, filepath.Join(dir, "log", segmentName(1)), h, ends
}

// TestCutAnywhereSoak cuts the last segment off at every byte: what was whole
// before is there, and nothing else.
func TestCutAnywhereSoak(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fs, name, h, ends := written(t, dir)
	data := fs.contents(name)
	step := int64(997)
	if os.Getenv("GYRE_SOAK") != "" {
		step = 1
	}
	for cut := int64(0); cut < ends[len(ends)-1]; cut += step {
		if near := nearest(ends, cut); near-cut < 70 && cut < near {
			step = 1 // every byte around the end of a frame
		} else if os.Getenv("GYRE_SOAK") == "" {
			step = 499
			if near > 0 && near-cut < step+70 {
				step = max(near-cut-69, 1)
			}
		}
		zeroed := bytes.Clone(data)
		clear(zeroed[cut:])
		for _, variant := range [][]byte{data[:cut], zeroed} {
			left := fs.clone()
			left.set(name, variant)
			e, err := openOn(t, left, dir)
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			n := 0
			for n < len(ends) && ends[n] <= cut {
				n++
			}
			if cut < headerBytes {
				n = 0
			}
			(&history{commits: h.commits[:n]}).checkAtLeast(t, e, h)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// nearest is the first of ends at or behind o.
func nearest(ends []int64, o int64) int64 {
	for _, end := range ends {
		if end >= o {
			return end
		}
	}
	return 0
}

// checkAtLeast checks that everything of h is there, and nothing that is not
// in all.
func (h *history) checkAtLeast(t testing.TB, e *Engine, all *history) {
	t.Helper()
	full := &history{}
	for i, c := range all.commits {
		full.commits = append(full.commits, &tried{c.commit, i < len(h.commits)})
	}
	full.check(t, e)
}

// TestFlipAnywhereSoak flips each byte of the last segment: the log opens with
// whole Commits, or is refused with the place. It never has a wrong event.
func TestFlipAnywhereSoak(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fs, name, h, ends := written(t, dir)
	data := fs.contents(name)
	refused := 0
	step := int64(53)
	if os.Getenv("GYRE_SOAK") != "" {
		step = 1
	}
	for o := int64(0); o < ends[len(ends)-1]; o += step {
		left := fs.clone()
		damaged := bytes.Clone(data)
		damaged[o] ^= 1 << (o % 8)
		left.set(name, damaged)
		e, err := openOn(t, left, dir)
		if err != nil {
			var known *core.Error
			if !errors.As(err, &known) || known.Code != core.CodeStoreCorrupt && known.Code != core.CodeStoreNewer || known.Code == core.CodeStoreCorrupt && known.Offset == nil {
				t.Fatalf("byte %d: %v", o, err)
			}
			refused++
			continue
		}
		if last := ends[len(ends)-2]; o < last {
			t.Fatalf("byte %d: damage before an acknowledged frame went unseen", o)
		}
		(&history{}).checkAtLeast(t, e, h)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if refused == 0 {
		t.Fatal("no damage was refused")
	}
}

// TestClosedLogVouches damages the last frame of a log that was closed: that is
// no write that was cut off.
func TestClosedLogVouches(t *testing.T) {
	dir := t.TempDir()
	fs := newFaultFS()
	h := &history{random: rand.New(rand.NewPCG(1, 2))}
	e, err := openOn(t, fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, e, 1)
	end := e.appender.durable.Load().end.byte()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "log", segmentName(1))
	data := fs.contents(name)
	data[end-10] ^= 1
	fs.set(name, data)
	if _, err := openOn(t, fs, dir); !errors.Is(err, core.CodeStoreCorrupt) {
		t.Fatalf("open: %v", err)
	}
}

// TestDiskFull lets the disk fill up: what fits goes on, then Commits are
// refused without a trace, reads go on, and with room the log goes on by
// itself.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	fs := newFaultFS()
	e, err := openOn(t, fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	full := func(err error) {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.fault = func(call int, op, name string) error {
			if strings.HasSuffix(name, ".tmp") {
				return err
			}
			return nil
		}
	}
	full(syscall.ENOSPC)
	h := &history{random: rand.New(rand.NewPCG(8, 8))}
	refused := 0
	for range 200 {
		before := len(h.commits)
		h.write(t, e, 1)
		if len(h.commits) == before {
			refused++
		}
	}
	if refused == 0 || len(h.commits) == 0 || !errors.Is(e.State().ReadOnly, core.CodeStoreFull) {
		t.Fatalf("%d refused, %d written, %v", refused, len(h.commits), e.State().ReadOnly)
	}
	h.check(t, e)
	full(nil)
	deadline := time.Now().Add(20 * time.Second)
	for before := len(h.commits); len(h.commits) == before; h.write(t, e, 1) {
		if time.Now().After(deadline) {
			t.Fatalf("the log stays read-only: %v", e.State().ReadOnly)
		}
	}
	if err := e.State().ReadOnly; err != nil {
		t.Fatal(err)
	}
	h.check(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestIndexThatCannotBeMerged: a disk that takes the small runs and not the large
// ones lets the index fall behind. Writers are then told so, and do not wait.
func TestIndexThatCannotBeMerged(t *testing.T) {
	fs := newFaultFS()
	e, err := openOn(t, fs, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	refuseMerged := func(err error) {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.fault = func(_ int, _, name string) error {
			first, last, ok := parseRunName(strings.TrimSuffix(filepath.Base(name), ".tmp"))
			if ok && first < last {
				return err
			}
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	written := 0
	write := func() error { // a segment each time
		o := e.Commit(ctx, []*core.Commit{{Appends: []core.Append{{
			Stream: "s", Expect: core.AnyVersion,
			Events: []core.NewEvent{{Type: "t", Format: core.Bytes, Data: make([]byte, testSegmentBytes)}},
		}}}}).Outcomes[0]
		if o.Err == nil {
			written++
		}
		return o.Err
	}
	refuseMerged(syscall.ENOSPC)
	for err == nil {
		err = write()
	}
	if !errors.Is(err, core.CodeStoreFull) || !errors.Is(e.State().ReadOnly, core.CodeStoreFull) || written < maxUnmerged {
		t.Fatalf("after %d Commits: %v; read-only: %v", written, err, e.State().ReadOnly)
	}
	refuseMerged(nil)
	for err != nil && ctx.Err() == nil {
		err = write()
	}
	if err != nil {
		t.Fatalf("the log stays read-only: %v", err)
	}
	awaitMerges(t, e)
	if got := len(readAll(t, e, core.All)); got != written || e.State().ReadOnly != nil {
		t.Errorf("%d events are there, %d were written; read-only: %v", got, written, e.State().ReadOnly)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
