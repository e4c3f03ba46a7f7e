package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
)

// snapshotTests are about snapshots of streams.
var snapshotTests = []test{
	{"E01_missing", func(s *suite) {
		s.hasNoSnapshot("a", "")
		s.write("a", 1)
		s.hasNoSnapshot("a", "")
		s.loads("a", "", nil, 1, 0)
	}},
	{"E02_E03_record_then_read_and_again", func(s *suite) {
		s.write("a", 5)
		first, second := snapshotOf("a", 2), snapshotOf("a", 4)
		second.Format, second.ContentType, second.Data, second.Metadata = core.Bytes, "image/png", []byte{0, 255}, nil
		for _, p := range []core.SnapshotPut{first, second} {
			s.records(p, true)
			s.hasSnapshot(p)
			s.loads("a", "", &p, 5, p.Version)
		}
	}},
	{"E04_E05_delete", func(s *suite) {
		s.deletes("a", "", false)
		s.write("a", 3)
		s.records(snapshotOf("a", 3), true)
		s.deletes("a", "other", false)
		s.deletes("a", "", true)
		s.hasNoSnapshot("a", "")
		s.loads("a", "", nil, 3, 0)
		s.deletes("a", "", false)
		s.records(snapshotOf("a", 2), true) // the deleted one was newer
		s.hasSnapshot(snapshotOf("a", 2))
	}},
	{"an_older_one_never_overwrites", func(s *suite) {
		s.write("a", 9)
		newest := snapshotOf("a", 5)
		s.records(newest, true)
		for range 2 {
			older := snapshotOf("a", 4)
			_, err := s.snapshots().RecordSnapshot(s.ctx, older)
			if e := s.refusal(err, core.CodeSnapshotOlder); e.Actual == nil || *e.Actual != 5 || e.Stream != "a" {
				s.Errorf("%v: actual %v, stream %q", e, deref(e.Actual), e.Stream)
			}
			s.hasSnapshot(newest)
		}
		forced := snapshotOf("a", 4)
		forced.Overwrite = true
		s.records(forced, true)
		s.hasSnapshot(forced)
	}},
	{"the_same_again_changes_nothing", func(s *suite) {
		s.write("a", 9)
		p := snapshotOf("a", 5)
		s.records(p, true)
		before, err := s.snapshots().ReadSnapshot(s.ctx, "a", "")
		s.ok(err)
		s.records(p, false)
		p.Overwrite = true
		s.records(p, false)
		if after, err := s.snapshots().ReadSnapshot(s.ctx, "a", ""); err != nil || !after.Recorded.Equal(before.Recorded) {
			s.Errorf("recorded at %v, then at %v: %v", before.Recorded, after.Recorded, err)
		}
		p.Data = []byte(`{"other":"state of the same version"}`)
		s.records(p, true)
		s.hasSnapshot(p)
	}},
	{"a_version_from_the_future", func(s *suite) {
		s.write("a", 3)
		p := snapshotOf("a", 4)
		_, err := s.snapshots().RecordSnapshot(s.ctx, p)
		if e := s.refusal(err, core.CodeSnapshotAhead); e.Actual == nil || *e.Actual != 3 || e.Stream != "a" {
			s.Errorf("%v: actual %v, stream %q", e, deref(e.Actual), e.Stream)
		}
		s.hasNoSnapshot("a", "")
		s.write("a", 1)
		s.records(p, true)
	}},
	{"a_source_without_events", func(s *suite) {
		p := snapshotOf("a", 7)
		s.records(p, true)
		s.hasSnapshot(p)
		s.loads("a", "", &p, 0, 0)
		s.write("a", 3) // they are not what the snapshot was made of
		s.loads("a", "", nil, 3, 0)
		p = snapshotOf("a", 2)
		s.records(p, true)
		s.loads("a", "", &p, 3, 2)
	}},
	{"kinds", func(s *suite) {
		s.write("a", 3)
		s.write("a\u2028b", 3)
		kinds := []string{"a", "b", "default", "z" + strings.Repeat("ż", 31)}
		for _, stream := range []string{"a\u2028b", "b", "a"} {
			for i, kind := range kinds {
				p := snapshotOf(stream, uint64(i%3+1))
				p.Kind = kind
				s.records(p, true)
			}
		}
		s.deletes("a", "b", true)
		s.lists("a", "a", "default", kinds[3])
		s.lists("b", kinds...)
		s.lists("none")
		p := snapshotOf("a", 3)
		p.Kind = "default" // has no snapshot beside the one without a kind
		s.loads("a", "", &p, 3, 3)
	}},
	{"pages_after_a_snapshot", func(s *suite) {
		s.write("a", 20)
		for _, version := range []uint64{1, 5, 19, 20} {
			p := snapshotOf("a", version)
			p.Overwrite = true
			s.records(p, true)
			for _, n := range []int{1, 3, 19, 20, 1000} {
				var got []uint64
				l, err := s.snapshots().Load(s.ctx, core.LoadRequest{Stream: "a", Limit: core.Limit{Events: n, Bytes: 1}})
				for page := l.Page; ; {
					s.ok(err)
					for e := range page.Events() {
						got = append(got, e.Version)
					}
					if page.Count > n || page.Count == 0 && !page.End {
						s.Errorf("a page of %d events, of at most %d", page.Count, n)
					}
					if page.End {
						break
					}
					page, err = s.log.Read(s.ctx, core.ReadRequest{Stream: "a", From: page.Next, Limit: core.Limit{Events: n}})
				}
				if len(got) != int(20-version) || len(got) > 0 && (got[0] != version+1 || got[len(got)-1] != 20) {
					s.Errorf("after version %d, in pages of %d: %v", version, n, got)
				}
			}
		}
	}},
	{"with_the_events_it_is_made_of", withEvents},
	{"P6_all_or_nothing", func(s *suite) {
		s.write("a", 2)
		c := appendTo("a", 7, newEvents(2)...)
		_, err := s.snapshots().AppendWithSnapshots(s.ctx, c, []core.SnapshotPut{snapshotOf("a", 4)})
		s.refused(err, core.CodeWrongExpectedVersion)
		s.hasNoSnapshot("a", "")
		c = appendTo("a", 2, newEvents(2)...)
		_, err = s.snapshots().AppendWithSnapshots(s.ctx, c, []core.SnapshotPut{snapshotOf("a", 4), snapshotOf("a", 4)})
		s.refused(err, core.CodeInvalidSnapshot)
		_, err = s.snapshots().AppendWithSnapshots(s.ctx, c, []core.SnapshotPut{snapshotOf("b", 4), snapshotOf("a", 5)})
		s.refused(err, core.CodeSnapshotAhead)
		s.hasNoSnapshot("b", "")
		if got := len(s.read("a", 0)); got != 2 {
			s.Errorf("stream has %d events, want 2", got)
		}
	}},
	{"the_newest_of_many_wins", func(s *suite) {
		const writers, versions = 4, 12
		s.write("a", versions)
		var running sync.WaitGroup
		for w := range writers {
			running.Go(func() {
				for v := range versions {
					p := snapshotOf("a", uint64((v*5+w*3)%versions+1))
					if _, err := s.snapshots().RecordSnapshot(s.ctx, p); err != nil && !errors.Is(err, core.CodeSnapshotOlder) && !errors.Is(err, core.CodeRecordConflict) {
						s.Error(err)
					}
				}
				for { // until the newest of all is stored
					_, err := s.snapshots().RecordSnapshot(s.ctx, snapshotOf("a", versions))
					if !errors.Is(err, core.CodeRecordConflict) {
						s.ok(err)
						return
					}
				}
			})
		}
		for last := uint64(0); last < versions; {
			found, err := s.snapshots().ReadSnapshot(s.ctx, "a", "")
			if errors.Is(err, core.CodeSnapshotNotFound) && last == 0 {
				continue
			}
			s.ok(err)
			if found.Version < last {
				s.Fatalf("version %d came after %d", found.Version, last)
			}
			last = found.Version
		}
		running.Wait()
	}},
	{"the_largest", func(s *suite) {
		s.write("a", 1)
		p := snapshotOf("a", 1)
		p.Metadata, p.Data = nil, []byte(`"`+strings.Repeat("x", core.MaxSnapshotBytes-2)+`"`)
		p.Type = strings.Repeat("t", core.MaxEventTypeBytes)
		s.records(p, true)
		s.hasSnapshot(p)
		s.loads("a", "", &p, 1, 1)
		p.Metadata = []byte(`{"a":1}`)
		_, err := s.snapshots().RecordSnapshot(s.ctx, p)
		if e := s.refusal(err, core.CodeSnapshotTooLarge); e.Limit != core.MaxSnapshotBytes {
			s.Errorf("limit %d", e.Limit)
		}
	}},
	{"P12_bad_ones_change_nothing", badSnapshots},
	{"P12_not_with_records_or_a_progress", func(s *suite) {
		for what, with := range map[string]func(*core.Commit){
			"records":    func(c *core.Commit) { c.Records = []core.RecordOp{{Table: "t", Key: "k", Expect: core.AnyVersion}} },
			"a progress": func(c *core.Commit) { c.Progress = &core.Progress{Name: "p", To: 1} },
		} {
			c := appendTo("a", core.AnyVersion, newEvents(1)...)
			with(&c)
			_, err := s.snapshots().AppendWithSnapshots(s.ctx, c, []core.SnapshotPut{snapshotOf("a", 1)})
			if e := s.refusal(err, core.CodeInvalidRequest); !strings.Contains(e.Detail, "records snapshots") {
				s.Errorf("with %s: %v", what, e)
			}
		}
		c := appendTo("a", core.AnyVersion, core.NewEvent{Data: []byte("1")})
		_, err := s.snapshots().AppendWithSnapshots(s.ctx, c, []core.SnapshotPut{snapshotOf("a", 1)})
		if e := s.refusal(err, core.CodeInvalidEventType); e.Element == nil {
			s.Errorf("without its element: %v", e)
		}
		s.hasNoSnapshot("a", "")
	}},
	{"of_a_deleted_stream", deletedWithSnapshot},
	{"of_a_removed_stream", removedWithSnapshots},
	{"of_a_new_incarnation", snapshotsOfIncarnations},
	{"of_a_stream_that_the_commit_changes", func(s *suite) {
		s.write("a", 2)
		for action := core.DeleteStream; action <= core.TombstoneStream; action++ {
			_, err := s.snapshots().AppendWithSnapshots(s.ctx, change("a", 2, action), []core.SnapshotPut{snapshotOf("a", 2)})
			if e := s.refusal(err, core.CodeInvalidRequest); e.Stream != "a" {
				s.Errorf("%v is about stream %q", e, e.Stream)
			}
		}
		s.hasNoSnapshot("a", "")
	}},
}

// deletedWithSnapshot: the snapshots of a deleted stream are as hidden as its events.
func deletedWithSnapshot(s *suite) {
	c := appendTo("a", core.NoStream, newEvents(2)...)
	put := snapshotOf("a", 2)
	first, err := s.snapshots().AppendWithSnapshots(s.ctx, c, []core.SnapshotPut{put})
	s.ok(err)
	s.must(change("a", 2, core.DeleteStream))
	s.snapshotsRefused("a", core.CodeStreamDeleted)
	again, err := s.snapshots().AppendWithSnapshots(s.ctx, c, []core.SnapshotPut{put})
	if err != nil || !again.Duplicate || !slices.Equal(again.Appends, first.Appends) {
		s.Errorf("again: %+v, %v, first %+v", again, err, first)
	}
	s.must(change("a", 2, core.UndeleteStream))
	s.hasSnapshot(put)
	s.lists("a", core.DefaultSnapshotKind)
	s.must(change("a", 2, core.TombstoneStream))
	s.snapshotsRefused("a", core.CodeStreamTombstoned)
}

// removedWithSnapshots: snapshots are removed in the Commit that removes the events that they
// were made of, and what is recorded of them in between is not read.
func removedWithSnapshots(s *suite) {
	for _, stream := range []string{"a", "a!", "b", "gone", "neverb"} {
		s.write(stream, 3)
		for _, kind := range []string{"", "k1", "k2", "k3", "k4", "k5"} {
			p := snapshotOf(stream, 3)
			p.Kind = kind
			s.records(p, true)
		}
	}
	s.deletes("b", "k3", true)
	s.records(snapshotOf("never", 9), true)
	c := change("a", 3, core.RemoveStream)
	c.Streams = append(c.Streams, core.StreamOp{Stream: "b", Expect: 3, Action: core.TombstoneStream},
		core.StreamOp{Stream: "never", Action: core.TombstoneStream}, core.StreamOp{Stream: "gone", Expect: 3})
	c.Progress = &core.Progress{Name: "p", To: 1}
	wrong := c
	wrong.Streams = slices.Clone(c.Streams)
	wrong.Streams[0].Expect = 2
	s.ok(core.RemoveSnapshots(s.ctx, s.node, &wrong))
	_, err := s.node.Append(s.ctx, wrong)
	s.refused(err, core.CodeWrongExpectedVersion)
	s.hasSnapshot(snapshotOf("a", 3))

	s.ok(core.RemoveSnapshots(s.ctx, s.node, &c))
	between := snapshotOf("a", 3)
	between.Kind = "between"
	s.records(between, true)
	_, err = s.node.Append(s.ctx, c)
	s.ok(err)
	s.hasNoSnapshot("a", "")
	s.hasNoSnapshot("a", "between")
	s.lists("a")
	s.snapshotsRefused("b", core.CodeStreamTombstoned)
	s.snapshotsRefused("never", core.CodeStreamTombstoned)
	s.must(change("gone", 3, core.UndeleteStream))
	for _, stream := range []string{"a!", "gone", "neverb"} {
		s.hasSnapshot(snapshotOf(stream, 3))
		s.lists(stream, "default", "k1", "k2", "k3", "k4", "k5")
	}
	found, err := s.node.Records(s.ctx, core.RecordsRequest{Table: core.SnapshotsTable, Limit: core.MaxReadEvents})
	s.ok(err)
	for i := range found {
		stream, kind := core.SnapshotStream(found[i].Key), strings.TrimPrefix(found[i].Key, core.SnapshotStream(found[i].Key)+"\n")
		if slices.Contains([]string{"a", "b", "never"}, stream) && kind != "between" && len(found[i].Value) > 1 {
			s.Errorf("snapshot %q of stream %q still has %d bytes", kind, stream, len(found[i].Value))
		}
	}
}

// snapshotsOfIncarnations: a snapshot is of the incarnation that the stream has after the
// Commit that records it, and only of that.
func snapshotsOfIncarnations(s *suite) {
	for range 3 {
		c := appendTo("a", core.NoStream, newEvents(4)...)
		put := snapshotOf("a", 3)
		_, err := s.snapshots().AppendWithSnapshots(s.ctx, c, []core.SnapshotPut{put})
		s.ok(err)
		s.hasSnapshot(put)
		s.lists("a", core.DefaultSnapshotKind)
		s.loads("a", "", &put, 4, 3)
		older := snapshotOf("a", 2)
		older.Overwrite = true
		s.records(older, true)
		s.must(change("a", 4, core.RemoveStream))
		s.hasNoSnapshot("a", "")
		s.lists("a")
	}
	without := snapshotOf("a", 9)
	s.records(without, true)
	s.hasSnapshot(without)
	s.write("a", 9)
	s.hasNoSnapshot("a", "")
	s.loads("a", "", nil, 9, 0)
}

func withEvents(s *suite) {
	s.write("a", 2)
	c := appendTo("a", 2, newEvents(3)...)
	c.Appends = append(c.Appends, core.Append{Stream: "new", Expect: core.NoStream, Events: newEvents(2)})
	puts := []core.SnapshotPut{snapshotOf("a", 5), snapshotOf("new", 2), snapshotOf("elsewhere", 9)}
	first, err := s.snapshots().AppendWithSnapshots(s.ctx, c, puts)
	s.ok(err)
	s.loads("a", "", &puts[0], 5, 5)
	s.loads("new", "", &puts[1], 2, 2)
	s.loads("elsewhere", "", &puts[2], 0, 0)
	// What is known has its result, whatever is stored now.
	again := func() {
		s.Helper()
		r, err := s.snapshots().AppendWithSnapshots(s.ctx, c, puts)
		if err != nil || !r.Duplicate || !slices.Equal(r.Appends, first.Appends) {
			s.Errorf("again: %+v, %v, first %+v", r, err, first)
		}
	}
	again()
	s.write("a", 1)
	newer := snapshotOf("a", 6)
	s.records(newer, true)
	again()
	s.hasSnapshot(newer)
}

func badSnapshots(s *suite) {
	s.write("a", 3)
	for what, x := range map[string]struct {
		change func(p *core.SnapshotPut)
		code   core.Code
	}{
		"no stream":       {func(p *core.SnapshotPut) { p.Stream = "" }, core.CodeInvalidStreamName},
		"system's stream": {func(p *core.SnapshotPut) { p.Stream = "$a" }, core.CodeReservedStreamName},
		"all":             {func(p *core.SnapshotPut) { p.Stream = core.All }, core.CodeReservedStreamName},
		"long kind":       {func(p *core.SnapshotPut) { p.Kind = strings.Repeat("k", core.MaxSnapshotKindBytes+1) }, core.CodeInvalidSnapshot},
		"reserved kind":   {func(p *core.SnapshotPut) { p.Kind = "$k" }, core.CodeInvalidSnapshot},
		"kind of a line":  {func(p *core.SnapshotPut) { p.Kind = "k\nk" }, core.CodeInvalidSnapshot},
		"no version":      {func(p *core.SnapshotPut) { p.Version = 0 }, core.CodeInvalidSnapshot},
		"ahead":           {func(p *core.SnapshotPut) { p.Version = 4 }, core.CodeSnapshotAhead},
		"bad type":        {func(p *core.SnapshotPut) { p.Type = "a\tb" }, core.CodeInvalidSnapshot},
		"long type":       {func(p *core.SnapshotPut) { p.Type = strings.Repeat("t", core.MaxEventTypeBytes+1) }, core.CodeInvalidSnapshot},
		"bad media type": {func(p *core.SnapshotPut) {
			p.Format, p.ContentType = core.Bytes, strings.Repeat("c", core.MaxContentTypeBytes+1)
		}, core.CodeInvalidContentType},
		"deep": {func(p *core.SnapshotPut) {
			p.Data = []byte(strings.Repeat("[", core.MaxJSONDepth+1) + strings.Repeat("]", core.MaxJSONDepth+1) + strings.Repeat(" ", 100))
		}, core.CodeDataTooComplex},
	} {
		p := snapshotOf("a", 2)
		x.change(&p)
		if _, err := s.snapshots().RecordSnapshot(s.ctx, p); !errors.Is(err, x.code) {
			s.Errorf("%s: %v, want %s", what, err, x.code)
		}
	}
	s.lists("a")
	_, err := s.snapshots().ReadSnapshot(s.ctx, "a", "$k")
	s.refused(err, core.CodeInvalidSnapshot)
	_, err = s.snapshots().Load(s.ctx, core.LoadRequest{Stream: "a", Kind: "$k"})
	s.refused(err, core.CodeInvalidSnapshot)
	_, err = s.snapshots().Load(s.ctx, core.LoadRequest{Stream: "none"})
	s.refused(err, core.CodeStreamNotFound)
}

// snapshots is what a Log does with snapshots: a client has methods, and for who reads records
// they are functions of core.
type snapshots interface {
	RecordSnapshot(ctx context.Context, p core.SnapshotPut) (bool, error)
	ReadSnapshot(ctx context.Context, stream, kind string) (core.Snapshot, error)
	DeleteSnapshot(ctx context.Context, stream, kind string) (bool, error)
	ListSnapshots(ctx context.Context, r core.SnapshotsRequest) (core.SnapshotsPage, error)
	Load(ctx context.Context, r core.LoadRequest) (core.Loaded, error)
	AppendWithSnapshots(ctx context.Context, c core.Commit, puts []core.SnapshotPut) (core.Result, error)
}

func (s *suite) snapshots() snapshots {
	if l, ok := s.log.(snapshots); ok {
		return l
	}
	store, ok := s.log.(core.SnapshotStore)
	if !ok {
		s.Fatal("the log has no snapshots")
	}
	return inStore{store}
}

// inStore are the snapshots of a store.
type inStore struct{ store core.SnapshotStore }

func (i inStore) RecordSnapshot(ctx context.Context, p core.SnapshotPut) (bool, error) {
	return core.RecordSnapshot(ctx, i.store, p)
}

func (i inStore) ReadSnapshot(ctx context.Context, stream, kind string) (core.Snapshot, error) {
	return core.ReadSnapshot(ctx, i.store, stream, kind)
}

func (i inStore) DeleteSnapshot(ctx context.Context, stream, kind string) (bool, error) {
	return core.DeleteSnapshot(ctx, i.store, stream, kind)
}

func (i inStore) ListSnapshots(ctx context.Context, r core.SnapshotsRequest) (core.SnapshotsPage, error) {
	return core.ListSnapshots(ctx, i.store, r)
}

func (i inStore) Load(ctx context.Context, r core.LoadRequest) (core.Loaded, error) {
	return core.Load(ctx, i.store, r)
}

func (i inStore) AppendWithSnapshots(ctx context.Context, c core.Commit, puts []core.SnapshotPut) (core.Result, error) {
	return core.AppendWithSnapshots(ctx, i.store, c, puts)
}

// snapshotOf is a snapshot with a state of its own.
func snapshotOf(stream string, version uint64) core.SnapshotPut {
	return core.SnapshotPut{Snapshot: core.Snapshot{
		Stream: stream, Version: version, Type: "State",
		Data: fmt.Appendf(nil, `{"of":%q,"version":%d,"exact":1.10}`, stream, version), Metadata: []byte(`{"by":"logtest"}`),
	}}
}

// ok checks that a call has succeeded.
func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// records checks that a snapshot is recorded, and whether that changes something.
func (s *suite) records(p core.SnapshotPut, changes bool) {
	s.Helper()
	if changed, err := s.snapshots().RecordSnapshot(s.ctx, p); err != nil || changed != changes {
		s.Fatalf("record a snapshot of %q at %d: %v, %v, want %v", p.Stream, p.Version, changed, err, changes)
	}
}

func (s *suite) deletes(stream, kind string, changes bool) {
	s.Helper()
	if changed, err := s.snapshots().DeleteSnapshot(s.ctx, stream, kind); err != nil || changed != changes {
		s.Fatalf("delete snapshot %q of %q: %v, %v, want %v", kind, stream, changed, err, changes)
	}
}

// snapshotsRefused checks why the snapshots of a stream can be neither read nor recorded.
func (s *suite) snapshotsRefused(stream string, code core.Code) {
	s.Helper()
	for _, kind := range []string{"", "none"} {
		_, err := s.snapshots().ReadSnapshot(s.ctx, stream, kind)
		s.refused(err, code)
	}
	_, err := s.snapshots().ListSnapshots(s.ctx, core.SnapshotsRequest{Stream: stream})
	s.refused(err, code)
	_, err = s.snapshots().RecordSnapshot(s.ctx, snapshotOf(stream, 1))
	s.refused(err, code)
	_, err = s.snapshots().Load(s.ctx, core.LoadRequest{Stream: stream})
	s.refused(err, code)
}

func (s *suite) hasNoSnapshot(stream, kind string) {
	s.Helper()
	_, err := s.snapshots().ReadSnapshot(s.ctx, stream, kind)
	s.refused(err, core.CodeSnapshotNotFound)
}

func (s *suite) hasSnapshot(p core.SnapshotPut) {
	s.Helper()
	got, err := s.snapshots().ReadSnapshot(s.ctx, p.Stream, p.Kind)
	s.ok(err)
	s.isSnapshot(&got, &p)
}

func (s *suite) isSnapshot(got *core.Snapshot, want *core.SnapshotPut) {
	s.Helper()
	kind := want.Kind
	if kind == "" {
		kind = core.DefaultSnapshotKind
	}
	if got.Stream != want.Stream || got.Kind != kind || got.Version != want.Version || got.Type != want.Type || got.Format != want.Format ||
		got.ContentType != want.ContentType || !bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Metadata, want.Metadata) {
		s.Errorf("snapshot %+v, want %+v", got, want.Snapshot)
	}
	if age := time.Since(got.Recorded); age < -testTimeout || age > testTimeout {
		s.Errorf("recorded at %v", got.Recorded)
	}
}

// loads checks what a stream at a version is loaded from: a snapshot, nil for none, and the
// events after a version.
func (s *suite) loads(stream, kind string, want *core.SnapshotPut, version, after uint64) {
	s.Helper()
	l, err := s.snapshots().Load(s.ctx, core.LoadRequest{Stream: stream, Kind: kind, Limit: limit(core.MaxReadEvents)})
	s.ok(err)
	if (l.Snapshot == nil) != (want == nil) {
		s.Fatalf("snapshot %+v, want %+v", l.Snapshot, want)
	}
	if want != nil {
		s.isSnapshot(l.Snapshot, want)
	}
	next := after + 1
	for e := range l.Events() {
		if e.Version != next || e.Stream != stream {
			s.Errorf("event %d of stream %q, want %d of %q", e.Version, e.Stream, next, stream)
		}
		next++
	}
	if l.Version != version || next != version+1 || !l.End || l.Next != version+1 || l.Count != int(version-after) {
		s.Errorf("loaded up to %d of %d: %d events, next %d, end %v; want version %d", next-1, l.Version, l.Count, l.Next, l.End, version)
	}
}

// lists checks the kinds of a stream, in pages of every size.
func (s *suite) lists(stream string, kinds ...string) {
	s.Helper()
	for size := 1; size <= len(kinds)+1; size++ {
		var got []string
		for r := (core.SnapshotsRequest{Stream: stream, Limit: size}); ; {
			page, err := s.snapshots().ListSnapshots(s.ctx, r)
			s.ok(err)
			for _, i := range page.Snapshots {
				want := snapshotOf(stream, i.Version)
				if i.Stream != stream || i.Type != "State" || i.Data != nil || i.Metadata != nil || i.Bytes != len(want.Data)+len(want.Metadata) || i.Recorded.IsZero() {
					s.Errorf("listed %+v", i)
				}
				got = append(got, i.Kind)
			}
			if page.End {
				break
			}
			r.After = page.Next
		}
		if !slices.Equal(got, kinds) {
			s.Errorf("stream %q in pages of %d: %q, want %q", stream, size, got, kinds)
		}
	}
}
