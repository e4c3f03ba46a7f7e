package enginetest

import (
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// RunDurable tests P4 with an engine that keeps its log in a folder: the whole log is
// there when the folder is opened again. It does not include Run.
func RunDurable(t *testing.T, open func(t testing.TB, dir string) core.Engine) {
	runTests(t, durableTests, func(t *testing.T, run func(s *suite)) {
		dir := t.TempDir()
		s := newSuite(t, open(t, dir))
		s.reopen = func() {
			t.Helper()
			closeEngine(t, s.engine)
			s.engine = open(t, dir)
		}
		s.another = func() core.Engine { return open(t, t.TempDir()) }
		defer func() { closeEngine(t, s.engine) }()
		run(s)
		checkLog(s)
		s.reopen()
		checkLog(s)
	})
}

var durableTests = []test{
	{"P4", "reopen_keeps_everything", func(s *suite) {
		for range 4 {
			fill(s)
			unicodeAndBytes(s)
			s.must(recordCommit(put("t", "k", core.AnyVersion, "v"), put("u", "l", core.AnyVersion, "w")))
			s.putBlob(blobOf(3<<20, 1))
			before := takeDump(s)
			s.reopen()
			before.compare(s, takeDump(s))
			s.hasBlobs(blobOf(3<<20, 1))
			s.hasBlob(s.putBlob(blobOf(3<<20, 1)), blobOf(3<<20, 1))
		}
	}},
	{"P4", "reopen_an_empty_log", func(s *suite) {
		log := s.engine.State().Log
		s.reopen()
		s.head(0)
		s.holds("a")
		if got := s.engine.State().Log; got != log || log == "" {
			s.Errorf("log %q, before %q", got, log)
		}
		s.write("a", 1)
	}},
	{"P4", "places_stay_right", func(s *suite) {
		var places []core.Cursor
		for n := range uint64(4) {
			if n != 1 { // once nothing is written
				s.write("a", 2)
			}
			state := s.engine.State()
			places = append(places, state.Cursor(state.Head), state.Cursor(0))
			s.reopen()
			after := s.engine.State()
			for _, c := range places {
				if end, ok := after.End(c.Log); !ok || c.Position > end {
					s.Errorf("cursor %s: its timeline ends at %d, %v, in %+v", c, end, ok, after)
				}
			}
		}
		if _, ok := s.engine.State().End("another"); ok {
			s.Errorf("every timeline is known")
		}
	}},
	{"P4", "another_folder_is_another_log", func(s *suite) {
		other := s.another()
		defer closeEngine(s, other)
		if a, b := s.engine.State().Log, other.State().Log; a == b {
			s.Errorf("both logs are %q", a)
		}
	}},
	{"P4", "positions_and_versions_continue", func(s *suite) {
		a := s.write("a", 3)
		for n := uint64(3); n < 8; n++ {
			s.reopen()
			s.wrongVersion(s.commit(appendTo("a", core.Expect(n-1), newEvent())), 0, "a", core.Expect(n-1), n)
			c := appendTo("a", core.Expect(n), newEvent())
			if r := s.must(c); r.Position != n+1 || r.Appends[0].FirstVersion != n+1 {
				s.Errorf("%+v, want version and position %d", r, n+1)
			}
			a = append(a, c.Appends[0].Events...)
		}
		s.holds("a", a...)
	}},
	{"P5", "ids_are_known_after_reopen", func(s *suite) {
		c := appendsTo("a", "b", "a")
		first := s.must(c)
		for range 2 {
			s.reopen()
			s.duplicate(s.commit(c), first)
			known := c.Appends[0].Events[0]
			s.duplicateEvent(s.commit(appendTo("a", core.AnyVersion, known, newEvent())), known.ID)
			s.duplicateEvent(s.commit(appendTo("c", core.AnyVersion, known)), known.ID)
			if e, err := s.engine.Event(s.ctx(), known.ID); err != nil || e.Position != 1 {
				s.Errorf("event %s: position %d, %v", known.ID, e.Position, err)
			}
			s.head(3)
		}
	}},
	{"P6", "refused_commits_leave_nothing", func(s *suite) {
		s.write("a", 1)
		e := newEvent()
		c := appendTo("b", core.AnyVersion, e)
		c.Checks = []core.Check{{Stream: "a", Expect: 0}}
		c.Records = []core.RecordOp{put("t", "k", core.AnyVersion, "v")}
		s.group(c, appendTo("a", 1, newEvent()), appendTo("c", 4, newEvent()))
		s.reopen()
		s.holds("b")
		s.holds("c")
		s.hasRecords("t")
		s.head(2)
		s.must(appendTo("b", core.NoStream, e))
	}},
	{"P6", "records_after_reopen", func(s *suite) {
		s.must(recordCommit(put("t", "k", 0, "1"), put("t", "l", 0, "1"), put("t", "m", 0, "1")))
		s.reopen()
		s.must(recordCommit(put("t", "k", 1, "2"), del("t", "l", 1)))
		s.reopen()
		s.hasRecords("t", core.Record{Key: "k", Revision: 2, Value: []byte("2")}, core.Record{Key: "m", Revision: 1, Value: []byte("1")})
		s.refused(s.commit(recordCommit(put("t", "k", 1, "no"))), core.CodeRecordConflict, 0)
		s.must(recordCommit(put("t", "l", core.NoStream, "again")))
		s.reopen()
		s.hasRecords("t", core.Record{Key: "k", Revision: 2, Value: []byte("2")},
			core.Record{Key: "l", Revision: 1, Value: []byte("again")}, core.Record{Key: "m", Revision: 1, Value: []byte("1")})
	}},
	{"P4", "many_and_large_events", func(s *suite) {
		s.must(appendTo("many", core.NoStream, newEvents(8001)...))
		big := newEvent()
		big.Format, big.Data = core.Bytes, make([]byte, core.MaxEventBytes-len(big.Metadata))
		s.must(appendTo("big", core.NoStream, newEvent(), big, newEvent()))
		before := takeDump(s)
		s.reopen()
		before.compare(s, takeDump(s))
	}},
	{"all", "walk_with_reopens", func(s *suite) {
		w := newWalker(s)
		for range scaled(walkSteps / 2) {
			w.step()
			if w.chance(2) {
				s.reopen()
			}
		}
		w.compareAll()
	}},
}

// dump is everything an engine tells of its log.
type dump struct {
	log     string
	events  []core.Event
	streams []core.StreamInfo
	records [][]core.Record
}

func takeDump(s *suite) dump {
	s.Helper()
	d := dump{
		log:     s.engine.State().Log,
		events:  s.read(core.All, false),
		streams: s.streams(core.StreamsRequest{Limit: 100}),
	}
	for _, table := range []string{"t", "u"} {
		records, err := s.engine.Records(s.ctx(), core.RecordsRequest{Table: table, Limit: 100})
		if err != nil {
			s.Fatal(err)
		}
		d.records = append(d.records, records)
	}
	return d
}

func (d dump) compare(s *suite, after dump) {
	s.Helper()
	if d.log != after.log || d.log == "" {
		s.Errorf("log %q, before %q", after.log, d.log)
	}
	if !slices.EqualFunc(d.events, after.events, sameRaw) {
		s.Errorf("%d events, before %d, or different ones", len(after.events), len(d.events))
	}
	if !slices.Equal(d.streams, after.streams) {
		s.Errorf("streams %v, before %v", after.streams, d.streams)
	}
	for i := range d.records {
		if !sameRecords(d.records[i], after.records[i]) {
			s.Errorf("records %v, before %v", after.records[i], d.records[i])
		}
	}
}
