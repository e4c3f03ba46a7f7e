package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/enginetest"
)

// scavenged is what a test has written, and what of it is to go.
type scavenged struct {
	random   *rand.Rand
	events   []core.Event // by position, from 1
	versions map[string]uint64
	records  map[string]string
	before   map[string]uint64 // of streams that go on: versions before it go
	gone     map[string]bool   // streams that are gone
	deleted  []string          // values of records that are not there any more
	lives    int
}

func newScavenged(seed uint64) *scavenged {
	return &scavenged{
		random: rand.New(rand.NewPCG(seed, 1)), versions: map[string]uint64{}, records: map[string]string{},
		before: map[string]uint64{}, gone: map[string]bool{},
	}
}

func (s *scavenged) fate(e *core.Event) core.Fate {
	switch {
	case s.gone[e.Stream]:
		return core.GoesForGood
	case e.Version < s.before[e.Stream]:
		return core.Goes
	case !e.Link.IsZero() && s.fate(&core.Event{Stream: e.Link.Stream, Version: e.Link.Version}) != core.Stays:
		return core.Goes
	}
	return core.Stays
}

// decide is core.Scavenging.Fate.
func (s *scavenged) decide(_ context.Context, e *core.Event) (core.Fate, error) {
	return s.fate(e), nil
}

// stream is one that is not gone.
func (s *scavenged) stream() string {
	if name := fmt.Sprintf("s-%d", s.random.IntN(4)); s.random.IntN(3) > 0 {
		return name
	}
	return fmt.Sprintf("life-%d-%d", s.random.IntN(3), s.lives)
}

// next is a Commit, and what it adds.
func (s *scavenged) next() (core.Commit, []core.Event) {
	var c core.Commit
	var added []core.Event
	position := uint64(len(s.events))
	versions := maps.Clone(s.versions)
	add := func(e core.Event) {
		position++
		versions[e.Stream]++
		e.Position, e.Version = position, versions[e.Stream]
		added = append(added, e)
	}
	for range 1 + s.random.IntN(3) {
		a := core.Append{Stream: s.stream(), Expect: core.AnyVersion}
		for range 1 + s.random.IntN(4) {
			data := make([]byte, 8+s.random.IntN(600))
			for i := range data {
				data[i] = byte('a' + s.random.IntN(26))
			}
			e := core.NewEvent{ID: core.NewID(), Type: "type", Format: core.Bytes, Data: data}
			a.Events = append(a.Events, e)
			add(core.Event{Stream: a.Stream, ID: e.ID, Data: data})
		}
		c.Appends = append(c.Appends, a)
	}
	if s.random.IntN(3) == 0 {
		home := added[s.random.IntN(len(added))]
		c.Appends = append(c.Appends, core.Append{Stream: "links", Expect: core.AnyVersion, Links: []core.ID{home.ID}})
		add(core.Event{Stream: "links", ID: home.ID, Data: home.Data, Link: home.Home()})
	}
	for range s.random.IntN(4) {
		op := core.RecordOp{Table: "t", Key: fmt.Sprint("key-", s.random.IntN(8)), Expect: core.AnyVersion}
		if s.random.IntN(4) == 0 {
			op.Action = core.DeleteRecord
		} else {
			op.Value = fmt.Appendf(nil, "value-%016x-%d", s.random.Uint64(), s.random.IntN(1000))
		}
		c.Records = append(c.Records, op)
	}
	return c, added
}

// took notes that a Commit is in the log.
func (s *scavenged) took(c *core.Commit, added []core.Event) {
	s.events = append(s.events, added...)
	for _, e := range added {
		s.versions[e.Stream] = e.Version
	}
	for _, op := range c.Records {
		if old, ok := s.records[op.Key]; ok {
			s.deleted = append(s.deleted, old)
		}
		if delete(s.records, op.Key); op.Action == core.PutRecord {
			s.records[op.Key] = string(op.Value)
		}
	}
}

func (s *scavenged) write(t testing.TB, e *Engine, n int) {
	t.Helper()
	for range n {
		c, added := s.next()
		o := e.Commit(context.Background(), []*core.Commit{&c}).Outcomes[0]
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		last := added[len(added)-1]
		if got := o.Result.Appends[len(c.Appends)-1]; got.LastVersion != last.Version || got.LastPosition != last.Position {
			t.Fatalf("commit: %+v, want version %d of %q at position %d", got, last.Version, last.Stream, last.Position)
		}
		s.took(&c, added)
	}
}

// remove has something more go.
func (s *scavenged) remove() {
	for range 1 + s.random.IntN(3) {
		name := fmt.Sprintf("s-%d", s.random.IntN(4))
		if v := s.versions[name]; v > 0 {
			s.before[name] = max(s.before[name], 1+s.random.Uint64N(v+1))
		}
	}
	if s.random.IntN(2) == 0 {
		for i := range 3 {
			s.gone[fmt.Sprintf("life-%d-%d", i, s.lives)] = true
		}
		s.lives++
	}
}

// check compares a log with what was written. all says that all that goes is gone.
func (s *scavenged) check(t testing.TB, e *Engine, all bool) {
	t.Helper()
	found := map[uint64]bool{}
	for from := uint64(1); ; {
		page, err := e.ReadLog(t.Context(), from, core.Limit{Events: 1 + s.random.IntN(50), Bytes: core.MaxPageBytes})
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page.Slice() {
			want := &s.events[ev.Position-1]
			if ev.ID != want.ID || ev.Stream != want.Stream || ev.Version != want.Version || ev.Link != want.Link || want.Link.IsZero() && !bytes.Equal(ev.Data, want.Data) {
				t.Fatalf("position %d has %+v, want %+v", ev.Position, ev, want)
			}
			found[ev.Position] = true
		}
		if from = page.Next; page.End {
			break
		}
	}
	streams := map[string][]*core.Event{}
	for i := range s.events {
		ev := &s.events[i]
		stays := s.fate(ev) == core.Stays
		if stays && !found[ev.Position] || all && !stays && found[ev.Position] {
			t.Fatalf("position %d: there %v, stays %v: %+v", ev.Position, found[ev.Position], stays, ev)
		}
		if stays {
			streams[ev.Stream] = append(streams[ev.Stream], ev)
		}
		if ev.Link.IsZero() {
			got, err := e.Event(t.Context(), ev.ID)
			if found[ev.Position] && (err != nil || got.Position != ev.Position) || !found[ev.Position] && !errors.Is(err, core.CodeEventNotFound) {
				t.Fatalf("event at %d, there %v: %+v, %v", ev.Position, found[ev.Position], got, err)
			}
		}
	}
	for name, version := range s.versions {
		s.checkStream(t, e, name, version, streams[name])
	}
	if all {
		s.checkListed(t, e, streams)
	}
	s.checkSelected(t, e, found)
	got := map[string]string{}
	for _, r := range allRecords(t, e) {
		got[r.Key] = string(r.Value)
	}
	if !maps.Equal(got, s.records) {
		t.Fatalf("records %v, want %v", got, s.records)
	}
	if state := e.State(); state.Head != uint64(len(s.events)) {
		t.Fatalf("the head is at %d, want %d", state.Head, len(s.events))
	}
}

// checkListed lists the streams that have something left where that begins, and where it ends.
func (s *scavenged) checkListed(t testing.TB, e *Engine, streams map[string][]*core.Event) {
	t.Helper()
	for n := range 4 {
		r := core.StreamsRequest{Sort: []core.StreamsSort{core.ByCreated, core.ByChanged}[n%2], Descending: n/2 == 1, Details: true, Limit: 1 + s.random.IntN(5)}
		listed := map[string]bool{}
		for at := uint64(0); ; {
			page, err := e.Streams(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range page.Streams {
				left, place := streams[info.Name], info.Created.Position
				if r.Sort == core.ByChanged {
					place = info.Changed.Position
				}
				if listed[info.Name] || len(left) == 0 || at > 0 && place < at != r.Descending ||
					info.Created.Position != left[0].Position || info.Changed.Position != left[len(left)-1].Position {
					t.Fatalf("streams %+v: %+v after position %d, of %d events that stay", r, info, at, len(left))
				}
				listed[info.Name], at = true, place
			}
			if r.After = page.Next; page.End {
				break
			}
		}
		if len(listed) != len(streams) {
			t.Fatalf("streams %+v: %d of %d", r, len(listed), len(streams))
		}
	}
}

// checkSelected reads a category; found are the positions where there is something.
func (s *scavenged) checkSelected(t testing.TB, e *Engine, found map[uint64]bool) {
	t.Helper()
	r := core.ReadRequest{
		Stream: core.All, Backward: s.random.IntN(2) == 0, Limit: core.Limit{Events: 20, Bytes: core.MaxPageBytes},
		Select: core.Selection{Category: "s"},
	}
	got := 0
	for {
		page, ok, err := e.ReadSelected(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return // its files cannot be written
		}
		for ev := range page.Events() {
			if !found[ev.Position] || s.events[ev.Position-1].ID != ev.ID {
				t.Fatalf("position %d has %+v", ev.Position, ev)
			}
			got++
		}
		if r.From = page.Next; page.End {
			break
		}
	}
	want := 0
	for i := range s.events {
		if ev := &s.events[i]; found[ev.Position] && core.CategoryOf(ev.Stream) == "s" && ev.Link.IsZero() {
			want++
		}
	}
	if got != want {
		t.Fatalf("%d events of a category, want %d", got, want)
	}
}

// checkStream reads a stream in both directions; want stays.
func (s *scavenged) checkStream(t testing.TB, e *Engine, name string, version uint64, want []*core.Event) {
	t.Helper()
	for _, backward := range []bool{false, true} {
		r := core.ReadRequest{Stream: name, Backward: backward, Limit: core.Limit{Events: 1 + s.random.IntN(20), Bytes: core.MaxPageBytes}}
		var got []core.Event
		for {
			page, err := e.Read(t.Context(), r)
			if s.gone[name] && errors.Is(err, core.CodeStreamNotFound) {
				return
			}
			if err != nil || !s.gone[name] && page.Version != version {
				t.Fatalf("stream %q is at version %d, want %d: %v", name, page.Version, version, err)
			}
			got = append(got, page.Slice()...)
			if r.From = page.Next; page.End {
				break
			}
		}
		if backward {
			slices.Reverse(got)
		}
		got = slices.DeleteFunc(got, func(ev core.Event) bool { return s.fate(&ev) != core.Stays })
		if len(got) != len(want) {
			t.Fatalf("stream %q, backward %v, has %d events that stay, want %d", name, backward, len(got), len(want))
		}
		for i := range got {
			if got[i].Version != want[i].Version || got[i].ID != want[i].ID || !bytes.Equal(got[i].Data, want[i].Data) {
				t.Fatalf("stream %q has %+v, want %+v", name, got[i], want[i])
			}
		}
	}
}

func verifyClean(t testing.TB, config Config, options VerifyOptions) {
	t.Helper()
	if report, err := Verify(context.Background(), config, options); err != nil || !report.Clean() {
		t.Fatalf("verify: %+v, %v", report, err)
	}
}

// TestScavengeSoak writes, removes, scavenges and opens by chance, and compares all there is.
func TestScavengeSoak(t *testing.T) {
	t.Parallel()
	for seed := range rounds(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			dir, fs := t.TempDir(), newFaultFS()
			config := Config{Dir: dir, FS: fs, SegmentBytes: minSegmentBytes}
			e := open(t, config)
			s := newScavenged(uint64(seed))
			for range 8 {
				s.write(t, e, 40)
				s.remove()
				all := s.random.IntN(2) == 0
				scavenging := core.Scavenging{Fate: s.decide, All: all, DryRun: true}
				if _, err := e.Scavenge(t.Context(), scavenging); err != nil {
					t.Fatal(err)
				}
				s.check(t, e, false)
				scavenging.DryRun = false
				if result, err := e.Scavenge(t.Context(), scavenging); err != nil || result.Next != 0 {
					t.Fatalf("%+v, %v", result, err)
				}
				s.check(t, e, all)
				if s.random.IntN(2) == 0 {
					if err := e.Close(); err != nil {
						t.Fatal(err)
					}
					if dry := s.random.IntN(3); dry < 2 {
						verifyClean(t, config, VerifyOptions{Rebuild: dry == 0})
					}
					for _, name := range []string{"index", "records"} {
						if s.random.IntN(4) == 0 {
							fs.lose(filepath.Join(dir, name))
						}
					}
					e = open(t, config)
					s.check(t, e, all)
				}
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// lose removes the files of a directory.
func (f *faultFS) lose(dir string) {
	for _, name := range f.find(dir + string(filepath.Separator)) {
		_ = f.Remove(name)
	}
}

// TestScavengedBytesAreGone searches all files for what was removed.
func TestScavengedBytesAreGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := open(t, Config{Dir: dir, SegmentBytes: minSegmentBytes})
	defer e.Close()
	s := newScavenged(3)
	_, _, err := e.PutBlob(t.Context(), bytes.NewReader([]byte("a blob")), core.MaxBlobBytes)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.write(t, e, 60)
		mergeAll(t, e) // makes a snapshot
		s.remove()
	}
	for i := range 3 {
		s.gone[fmt.Sprintf("life-%d-%d", i, s.lives)] = true
	}
	s.gone["s-2"] = true
	var stays []string
	goes := slices.Clone(s.deleted)
	for i := range s.events {
		ev := &s.events[i]
		switch fate := s.fate(ev); {
		case fate == core.Stays:
			stays = append(stays, string(ev.ID[:]), string(ev.Data))
		case ev.Link.IsZero():
			goes = append(goes, string(ev.ID[:]), string(ev.Data))
		}
	}
	for name := range s.gone {
		goes = append(goes, name)
	}
	found := bytesOf(t, dir)
	for _, part := range append(goes, stays...) {
		if !bytes.Contains(found, []byte(part)) {
			t.Fatalf("%q cannot be found", part)
		}
	}
	if _, err := e.Scavenge(t.Context(), core.Scavenging{Fate: s.decide, All: true}); err != nil {
		t.Fatal(err)
	}
	s.check(t, e, true)
	found = bytesOf(t, dir)
	for _, part := range goes {
		if bytes.Contains(found, []byte(part)) {
			t.Errorf("%q is still there", part)
		}
	}
	for _, part := range stays {
		if !bytes.Contains(found, []byte(part)) {
			t.Errorf("%q is gone", part)
		}
	}
	if !bytes.Contains(found, []byte("a blob")) {
		t.Error("the blob is gone")
	}
}

// bytesOf is the contents of all files in a directory.
func bytesOf(t testing.TB, dir string) (all []byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was merged or renamed meanwhile
		}
		all = append(all, b...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// scavengedLog is a log that goes through a scavenge the same way each time, but for its salts.
func scavengedLog(t testing.TB, dir string) (*faultFS, *scavenged) {
	t.Helper()
	fs := newFaultFS()
	e, err := Open(context.Background(), Config{Dir: dir, FS: fs, SegmentBytes: minSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	s := newScavenged(5)
	s.write(t, e, 40)
	s.remove()
	s.gone["s-1"] = true
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, s
}

func openScavenged(t testing.TB, fs FS, dir string) *Engine {
	t.Helper()
	e, err := Open(context.Background(), Config{Dir: dir, FS: fs, SegmentBytes: minSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestScavengeFailsAnywhereSoak fails each call of a scavenge, and from some on all, or loses
// power there. All that stays is there, at once and when the log is opened again, and the next scavenge ends.
func TestScavengeFailsAnywhereSoak(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	origin, s := scavengedLog(t, dir)
	random := rand.New(rand.NewPCG(7, 7))
	step := 101
	if os.Getenv("GYRE_SOAK") != "" {
		step = 1
	}
	for call := 1; ; call += step {
		for _, mode := range []string{"one call", "all calls", "power"} {
			fs := origin.clone()
			e := openScavenged(t, fs, dir)
			fs.mu.Lock()
			from, failed := fs.calls, false
			fs.fault = func(n int, _, _ string) error {
				if n == from+call || n > from+call && mode != "one call" {
					failed = true
					if fs.dead = mode == "power"; fs.dead {
						return errPowerLoss
					}
					return syscall.ENOSPC
				}
				return nil
			}
			fs.mu.Unlock()
			_, err := e.Scavenge(t.Context(), core.Scavenging{Fate: s.decide, All: true})
			fs.mu.Lock()
			over := !failed
			fs.mu.Unlock()
			if over && mode == "power" {
				if err != nil {
					t.Fatal(err)
				}
				return // it has so many calls
			}
			s.check(t, e, err == nil && over)
			after := fs
			if mode == "power" {
				after = fs.crash(random)
			}
			_ = e.Close()
			after.mu.Lock()
			after.dead, after.fault = false, nil
			after.mu.Unlock()
			e = openScavenged(t, after, dir)
			s.check(t, e, false)
			if _, err := e.Scavenge(t.Context(), core.Scavenging{Fate: s.decide, All: true}); err != nil {
				t.Fatalf("call %d, %s: the next scavenge: %v", call, mode, err)
			}
			s.check(t, e, true)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if report, err := Verify(context.Background(), Config{Dir: dir, FS: after}, VerifyOptions{}); err != nil || !report.Clean() {
				t.Fatalf("call %d, %s: verify: %+v, %v", call, mode, report, err)
			}
			if left := after.find(".tmp"); len(left) > 0 {
				t.Fatalf("call %d, %s: %v is left", call, mode, left)
			}
		}
	}
}

// TestDamagedRewrittenSegmentSoak cuts a rewritten segment off, and flips a bit, at each byte: it is found,
// by Open or by Verify, and named.
func TestDamagedRewrittenSegmentSoak(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fs, s := scavengedLog(t, dir)
	e := openScavenged(t, fs, dir)
	if _, err := e.Scavenge(t.Context(), core.Scavenging{Fate: s.decide, All: true}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "log", segmentName(2))
	data := fs.contents(name)
	if x := binary.LittleEndian.Uint32(data[hdrVersion:]); x != rewrittenVersion {
		t.Fatalf("the segment has version %d", x)
	}
	step := 499
	if os.Getenv("GYRE_SOAK") != "" {
		step = 1
	}
	found := func(o int, how string, damaged []byte) {
		left := fs.clone()
		left.set(name, damaged)
		report, err := Verify(context.Background(), Config{Dir: dir, FS: left}, VerifyOptions{})
		if errors.Is(err, core.CodeStoreNewer) {
			return
		}
		if err != nil || report.Clean() {
			t.Fatalf("byte %d, %s: %+v, %v", o, how, report, err)
		}
		if p := report.Problems[0]; p.File != "log/"+segmentName(2) || p.Derived {
			t.Fatalf("byte %d, %s: %+v", o, how, report)
		}
	}
	for o := 0; o < len(data); o += step {
		flipped := bytes.Clone(data)
		flipped[o] ^= 1 << (o % 8)
		found(o, "flipped", flipped)
		found(o, "cut", data[:o])
	}
}

// TestScavengeGoesOn ends a scavenge after each segment and goes on from there.
func TestScavengeGoesOn(t *testing.T) {
	e := open(t, Config{SegmentBytes: minSegmentBytes})
	s := newScavenged(11)
	s.write(t, e, 100)
	s.remove()
	next, calls := uint64(0), 0
	for {
		ctx, cancel := context.WithCancel(t.Context())
		seen := 0
		result, err := e.Scavenge(ctx, core.Scavenging{Fate: s.decide, All: true, From: next, Report: func(core.Scavenged) {
			if seen++; seen == 3 {
				cancel()
			}
		}})
		cancel()
		if calls++; err == nil {
			break
		}
		if !errors.Is(err, core.CodeCanceled) || result.Next <= next {
			t.Fatalf("from %d: %+v, %v", next, result, err)
		}
		next = result.Next
	}
	if calls < 3 {
		t.Fatalf("%d calls", calls)
	}
	s.check(t, e, true)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Scavenge(t.Context(), core.Scavenging{}); !errors.Is(err, core.CodeStoreClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

// TestCloseEndsAScavenge: Close does not wait for a slow one.
func TestCloseEndsAScavenge(t *testing.T) {
	e := open(t, Config{SegmentBytes: minSegmentBytes})
	s := newScavenged(12)
	s.write(t, e, 100)
	s.remove()
	begun, ended := make(chan struct{}), make(chan error, 2)
	for range 2 { // one waits for the other
		go func() {
			_, err := e.Scavenge(context.Background(), core.Scavenging{All: true, BytesPerSecond: 1 << 10, Fate: func(context.Context, *core.Event) (core.Fate, error) {
				select {
				case begun <- struct{}{}:
				default:
				}
				return core.Goes, nil
			}})
			ended <- err
		}()
	}
	<-begun
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, core.CodeStoreClosed) {
			t.Errorf("scavenge: %v", err)
		}
	}
}

// TestScavengeKeepsTheLogLocked: the file that takes the place of the first segment is locked.
func TestScavengeKeepsTheLogLocked(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir, SegmentBytes: minSegmentBytes})
	s := newScavenged(13)
	s.write(t, e, 100)
	s.remove()
	first := filepath.Join(dir, "log", segmentName(1))
	for range 2 {
		if _, err := (osFS{}).Lock(first, false); !errors.Is(err, errLocked) {
			t.Fatalf("lock: %v", err)
		}
		if result, err := e.Scavenge(t.Context(), core.Scavenging{Fate: s.decide, All: true}); err != nil || result.Events == 0 {
			t.Fatalf("%+v, %v", result, err)
		}
		for name := range s.versions {
			s.before[name] = s.versions[name]
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err := (osFS{}).Lock(first, false)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	_ = lock.Close()
}

// TestScavengeBesideReadersAndWriters: whoever reads or writes meanwhile gets what is there.
func TestScavengeBesideReadersAndWriters(t *testing.T) {
	t.Parallel()
	e := open(t, Config{SegmentBytes: minSegmentBytes})
	s := newScavenged(14)
	s.write(t, e, 40)
	s.remove()
	s.gone["s-3"] = true
	kept := 0
	for i := range s.events {
		if s.fate(&s.events[i]) == core.Stays && s.events[i].Link.IsZero() {
			kept++
		}
	}
	done := make(chan error)
	go func() {
		var err error
		for range 2 {
			if _, err = e.Scavenge(context.Background(), core.Scavenging{Fate: s.decide, All: true}); err != nil {
				break
			}
		}
		done <- err
	}()
	for n := uint64(0); ; n++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
		commitOne(t, e, eventAndRecord("beside", fmt.Sprint(n%3), "v"))
		there := 0
		for _, ev := range readAll(t, e, core.All) {
			if ev.Stream != "beside" && s.fate(&ev) == core.Stays {
				there++
			}
		}
		if there != kept {
			t.Fatalf("%d events, want %d", there, kept)
		}
		for i := range 4 {
			if name := fmt.Sprint("s-", i); !s.gone[name] {
				readAll(t, e, name)
			}
		}
		if got := readAll(t, e, "beside"); uint64(len(got)) != n+1 {
			t.Fatalf("%d events of %d", len(got), n+1)
		}
	}
}

// scavenging is an engine that scavenges after each few Commits.
type scavenging struct {
	*Engine
	t       testing.TB
	commits atomic.Uint64
}

func (e *scavenging) Commit(ctx context.Context, group []*core.Commit) core.Step {
	step := e.Engine.Commit(ctx, group)
	if e.commits.Add(1)%20 == 0 {
		if _, err := e.Scavenge(context.Background(), core.Scavenging{All: true}); err != nil && !errors.Is(err, core.CodeStoreClosed) {
			e.t.Errorf("scavenge: %v", err)
		}
	}
	return step
}

// TestConformanceOfAScavenged: nobody can tell that an engine scavenges all the time.
func TestConformanceOfAScavenged(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, func(t testing.TB) core.Engine {
		return &scavenging{Engine: open(t, Config{FS: newFaultFS(), SegmentBytes: minSegmentBytes}), t: t}
	})
}

// TestScavengeOfARemovedStream: what was removed with its stream is nowhere, and links to it are
// not either. The stream's next incarnation stays.
func TestScavengeOfARemovedStream(t *testing.T) {
	dir := t.TempDir()
	config := Config{Dir: dir, SegmentBytes: minSegmentBytes}
	e := open(t, config)
	event := func(data string) core.NewEvent {
		return core.NewEvent{ID: core.NewID(), Type: "t", Format: core.Bytes, Data: []byte(data)}
	}
	secret, other := event("a secret"), event("of another")
	commitOne(t, e, core.Commit{Appends: []core.Append{
		{Stream: "person", Expect: core.AnyVersion, Events: []core.NewEvent{secret}},
		{Stream: "other", Expect: core.AnyVersion, Events: []core.NewEvent{other}},
		{Stream: "links", Expect: core.AnyVersion, Links: []core.ID{other.ID, secret.ID}},
	}})
	commitOne(t, e, core.Commit{Streams: []core.StreamOp{{Stream: "person", Expect: core.AnyVersion, Action: core.RemoveStream}}})
	commitOne(t, e, core.Commit{Appends: []core.Append{{Stream: "person", Expect: core.NoStream, Events: []core.NewEvent{event("anew")}}}})
	check := func() {
		t.Helper()
		for name, want := range map[string]string{"person": "anew", "other": "of another", "links": "of another", core.All: "of anotheranew"} {
			var got string
			for _, ev := range readAll(t, e, name) {
				got += string(ev.Data)
			}
			if got != want {
				t.Errorf("%s has %q, want %q", name, got, want)
			}
		}
	}
	result, err := e.Scavenge(t.Context(), core.Scavenging{All: true})
	if err != nil || result.Events != 2 {
		t.Fatalf("%+v, %v", result, err)
	}
	check()
	// The link was the last of its stream: its version is remembered.
	placed := commitOne(t, e, core.Commit{Appends: []core.Append{{Stream: "links", Expect: 2, Events: []core.NewEvent{event("")}}}})
	if placed.Appends[0].FirstVersion != 3 {
		t.Errorf("%+v", placed)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	found := bytesOf(t, dir)
	for _, part := range []string{"a secret", string(secret.ID[:])} {
		if bytes.Contains(found, []byte(part)) {
			t.Errorf("%q is still there", part)
		}
	}
	verifyClean(t, config, VerifyOptions{})
	removeAll(t, filepath.Join(dir, "index"))
	removeAll(t, filepath.Join(dir, "records"))
	e = open(t, config)
	check()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, config, VerifyOptions{Rebuild: true})
}

// TestScavengeOfALongSegment: more streams are in it than are read at once.
func TestScavengeOfALongSegment(t *testing.T) {
	dir, fs := t.TempDir(), newFaultFS()
	config := Config{Dir: dir, FS: fs, SegmentBytes: 4 * scanStrideBytes}
	e := open(t, config)
	s := newScavenged(21)
	data := bytes.Repeat([]byte("x"), 500)
	for range 3 { // more than a stride
		var c core.Commit
		var added []core.Event
		for range 1000 {
			name := fmt.Sprintf("stream-%03d", s.random.IntN(500)) // all of one length: names lie where others lay
			s.versions[name]++
			event := core.NewEvent{ID: core.NewID(), Type: "t", Format: core.Bytes, Data: data}
			c.Appends = append(c.Appends, core.Append{Stream: name, Expect: core.AnyVersion, Events: []core.NewEvent{event}})
			added = append(added, core.Event{
				Stream: name, ID: event.ID, Data: data, Version: s.versions[name], Position: uint64(len(s.events) + len(added) + 1),
			})
		}
		commitOne(t, e, c)
		s.took(&c, added)
	}
	for name, version := range s.versions {
		s.before[name] = s.random.Uint64N(version + 2)
	}
	if _, err := e.Scavenge(t.Context(), core.Scavenging{Fate: s.decide, All: true}); err != nil {
		t.Fatal(err)
	}
	s.check(t, e, true)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, config, VerifyOptions{})
}

// TestScavengeCountsWhatWasWritten: the room that a segment was given in advance is no win.
func TestScavengeCountsWhatWasWritten(t *testing.T) {
	e := open(t, Config{SegmentBytes: 1 << 20})
	defer e.Close()
	s := newScavenged(15)
	s.write(t, e, 100)
	written := e.State().Bytes
	s.remove()
	for run, dry := range []bool{true, false, false} {
		done, err := e.Scavenge(t.Context(), core.Scavenging{All: true, DryRun: dry, Fate: s.decide})
		if err != nil || done.Bytes > written+int64(run+1)*headerBytes || done.Won > done.Bytes || run < 2 && done.Won < written/20 || run == 2 && done.Won > 0 {
			t.Errorf("run %d: %+v, %v, of %d bytes", run, done, err, written)
		}
	}
}

// TestScavengesOfNothing: scavenges begin no segments if nothing goes but what their caller's own
// records have replaced, however many there are. Whatever else goes is gone after the next one.
func TestScavengesOfNothing(t *testing.T) {
	e := open(t, Config{SegmentBytes: 1 << 20})
	defer e.Close()
	s := newScavenged(16)
	put := func(table, value string) {
		t.Helper()
		c := core.Commit{Records: []core.RecordOp{{Table: table, Key: "key", Expect: core.AnyVersion, Value: []byte(value)}}}
		if o := e.Commit(t.Context(), []*core.Commit{&c}).Outcomes[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	run := func(goes bool) {
		t.Helper()
		before := e.appender.durable.Load().end.segment()
		put("callers", "begun")
		done, err := e.Scavenge(t.Context(), core.Scavenging{All: true, Fate: s.decide, Table: "callers"})
		put("callers", "done")
		if begun := e.appender.durable.Load().end.segment() > before; err != nil || begun != goes || !goes && done.Won > 0 {
			t.Errorf("%+v, %v; a new segment %v, want %v", done, err, begun, goes)
		}
	}
	s.write(t, e, 20)
	put("other", "left")
	run(len(s.deleted) > 0)
	for range 3 {
		run(false)
	}
	put("other", "left again")
	put("other", "instead")
	run(true)
	run(false)
	s.write(t, e, 1)
	last := s.events[len(s.events)-1]
	s.before[last.Stream] = last.Version + 1
	run(true)
	run(false)
	s.check(t, e, true)
}
