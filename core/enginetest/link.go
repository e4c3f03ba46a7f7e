package enginetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// linkTests are about links. Every test's check of the whole log compares what is
// read through a link with the event that it names.
var linkTests = []test{
	{"links", "B01_link_one_and_many_to_a_new_stream", func(s *suite) {
		events := append(s.write("a", 3), s.write("b", 1)...)
		s.must(linkTo("one", core.NoStream, events[1]))
		s.holds("one", events[1])
		s.must(linkTo("many", 0, events...))
		s.holds("many", events...)
		s.head(9)
	}},
	{"links", "B02_linked_events_read_back", linkedReadBack},
	{"links", "B03_any_version", func(s *suite) {
		events := s.write("a", 3)
		for i, e := range events {
			if r := s.must(linkTo("l", core.AnyVersion, e)); r.Appends[0].FirstVersion != uint64(i+1) {
				s.Errorf("link %d: %+v", i, r)
			}
		}
		s.holds("l", events...)
	}},
	{"links", "B03_exact_versions", func(s *suite) {
		events := s.write("a", 4)
		s.must(linkTo("l", 0, events[0]))
		s.must(linkTo("l", 1, events[1], events[2]))
		s.must(linkTo("l", core.StreamExists, events[3]))
		s.must(appendTo("l", 4, newEvent()))
	}},
	{"links", "B04_wrong_version", func(s *suite) {
		events := s.write("a", 3)
		s.must(linkTo("l", core.AnyVersion, events[:2]...))
		for _, x := range []core.Expect{0, 1, 3, 99, core.NoStream} {
			s.wrongVersion(s.commit(linkTo("l", x, events[2])), 0, "l", x, 2)
		}
		s.wrongVersion(s.commit(linkTo("m", core.StreamExists, events[2])), 0, "m", core.StreamExists, 0)
		s.holds("m")
		s.head(5)
	}},
	{"links", "B05_unknown_event", func(s *suite) {
		s.write("a", 1)
		e := newEvent()
		for _, x := range []core.Expect{core.AnyVersion, 0, 7} {
			if err := s.refusal(s.commit(linkTo("l", x, e)), core.CodeEventNotFound, 0); err.EventID != e.ID || err.Stream != "l" {
				s.Errorf("%v: event %s, stream %q", err, err.EventID, err.Stream)
			}
		}
		s.holds("l")
	}},
	{"links", "B11_one_unknown_event_among_known_ones", func(s *suite) {
		events := s.write("a", 2)
		s.must(linkTo("l", 0, events[0]))
		for _, order := range [][]core.NewEvent{{events[1], newEvent()}, {newEvent(), events[1]}} {
			s.refused(s.commit(linkTo("l", 1, order...)), core.CodeEventNotFound, 0)
			c := linkTo("m", core.AnyVersion, order...)
			c.Appends = append(appendsTo("b").Appends, c.Appends...)
			c.Records = []core.RecordOp{put("t", "k", core.AnyVersion, "v")}
			s.refused(s.commit(c), core.CodeEventNotFound, 1)
		}
		s.holds("l", events[0])
		s.holds("b")
		s.hasRecords("t")
		s.head(3)
	}},
	{"links", "B07_same_event_twice_in_one_stream", func(s *suite) {
		events := s.write("a", 3)
		s.must(linkTo("l", 0, events[0], events[1]))
		for _, twice := range [][]core.NewEvent{
			{events[0], events[2]}, {events[2], events[1]}, {events[1], events[0]}, {events[2], events[2]},
		} {
			s.duplicateEvent(s.commit(linkTo("l", core.AnyVersion, twice...)), events[0].ID, events[1].ID, events[2].ID)
		}
		c := linkTo("l", core.AnyVersion, events[2])
		c.Appends = append(c.Appends, c.Appends[0])
		s.duplicateEvent(s.commit(c), events[2].ID)
		s.head(5)
	}},
	{"links", "B07_link_into_the_event's_own_stream", func(s *suite) {
		events := s.write("a", 2)
		s.duplicateEvent(s.commit(linkTo("a", core.AnyVersion, events[0])), events[0].ID)
		s.duplicateEvent(s.commit(linkTo("a", core.AnyVersion, events...)), events[0].ID, events[1].ID)
		c := appendTo("b", core.AnyVersion, newEvent())
		c.Appends = append(c.Appends, linkTo("b", core.AnyVersion, c.Appends[0].Events[0]).Appends...)
		s.duplicateEvent(s.commit(c), idsOf(c)...)
		s.head(2)
	}},
	{"links", "linked_event_cannot_be_appended_again", func(s *suite) {
		events := s.write("a", 1)
		s.must(linkTo("l", 0, events[0]))
		s.duplicateEvent(s.commit(appendTo("l", core.AnyVersion, events[0])), events[0].ID)
		s.holds("l", events[0])
	}},
	{"links", "retry_whatever_it_expects", func(s *suite) {
		events := s.write("a", 3)
		c := linkTo("l", core.NoStream, events...)
		first := s.must(c)
		s.write("l", 2)
		for _, x := range []core.Expect{core.AnyVersion, core.NoStream, core.StreamExists, 0, 3, 99} {
			c.Appends[0].Expect = x
			s.duplicate(s.commit(c), first)
		}
		s.duplicate(s.commit(linkTo("l", core.NoStream, events[1:]...)), core.Result{Position: 6, Appends: []core.Appended{
			{FirstVersion: 2, LastVersion: 3, FirstPosition: 5, LastPosition: 6}}})
		s.head(8)
	}},
	{"links", "retry_with_events_and_records", func(s *suite) {
		events := s.write("a", 2)
		c := appendsTo("b", "l")
		c.Appends = append(c.Appends, linkTo("l", core.AnyVersion, events...).Appends...)
		c.Records = []core.RecordOp{put("t", "k", core.NoStream, "one")}
		first := s.must(c)
		c.Records[0].Value = []byte("two")
		s.duplicate(s.commit(c), first)
		c.Appends[2].Links = c.Appends[2].Links[1:]
		slices.Reverse(c.Appends)
		s.duplicateEvent(s.commit(c), append(idsOf(c), events[1].ID)...)
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("one")})
		s.head(6)
	}},
	{"links", "same_link_commit_twice_in_one_group", func(s *suite) {
		c := linkTo("l", core.NoStream, s.write("a", 2)...)
		again := *c
		step := s.group(c, &again, appendTo("l", 2, newEvent()))
		s.duplicate(step.Outcomes[1], step.Outcomes[0].Result)
		if step.Outcomes[0].Err != nil || step.Outcomes[2].Err != nil {
			s.Errorf("outcomes %+v", step.Outcomes)
		}
	}},
	{"links", "B08_concurrent_identical_links_write_once", func(s *suite) {
		for round := range 10 {
			c := linkTo(fmt.Sprintf("l-%d", round), core.NoStream, s.write("a", 3)...)
			outcomes := s.atOnce(5, func(int) *core.Commit { again := *c; return &again })
			written := slices.IndexFunc(outcomes, func(o core.Outcome) bool { return o.Err == nil && !o.Result.Duplicate })
			if written < 0 {
				s.Fatalf("not written: %+v", outcomes)
			}
			for i, o := range outcomes {
				if i != written {
					s.duplicate(o, outcomes[written].Result)
				}
			}
		}
	}},
	{"links", "B09_same_events_into_several_streams", func(s *suite) {
		events := s.write("a", 2)
		for i := range 5 {
			s.must(linkTo(fmt.Sprintf("l-%d", i), core.NoStream, events...))
		}
		c := linkTo("m", core.NoStream, events...)
		c.Appends = append(c.Appends, linkTo("n", core.NoStream, events[1], events[0]).Appends...)
		s.must(c)
		s.holds("n", events[1], events[0])
	}},
	{"links", "event_of_the_same_commit", func(s *suite) {
		c := appendsTo("a", "b")
		c.Appends = append(c.Appends, linkTo("l", 0, c.Appends[1].Events[0], c.Appends[0].Events[0]).Appends...)
		s.must(c)
		s.holds("l", c.Appends[1].Events[0], c.Appends[0].Events[0])
		slices.Reverse(c.Appends)
		s.duplicateEvent(s.commit(c), idsOf(c)...)
		c = appendsTo("a")
		c.Appends = append(linkTo("l", core.AnyVersion, c.Appends[0].Events[0]).Appends, c.Appends...)
		s.refused(s.commit(c), core.CodeEventNotFound, 0) // it comes only after
	}},
	{"links", "events_of_neighbours_in_the_group", func(s *suite) {
		before, after, refused := newEvent(), newEvent(), newEvent()
		step := s.group(
			appendTo("a", core.AnyVersion, before),
			appendTo("r", 7, refused),
			linkTo("l", 0, before),
			linkTo("m", 0, refused),
			linkTo("n", 0, after),
			appendTo("b", core.AnyVersion, after),
			linkTo("o", 0, after, before))
		s.wrongVersion(step.Outcomes[1], 0, "r", 7, 0)
		s.refused(step.Outcomes[3], core.CodeEventNotFound, 0)
		s.refused(step.Outcomes[4], core.CodeEventNotFound, 0)
		for _, i := range []int{0, 2, 5, 6} {
			if step.Outcomes[i].Err != nil {
				s.Errorf("commit %d: %v", i, step.Outcomes[i].Err)
			}
		}
		s.holds("l", before)
		s.holds("o", after, before)
	}},
	{"links", "conflict_does_not_fail_its_neighbours", func(s *suite) {
		events := s.write("a", 2)
		step := s.group(linkTo("l", 5, events[0]), linkTo("l", 0, events[0]), linkTo("a", core.AnyVersion, events[1]), linkTo("m", 0, events...))
		s.wrongVersion(step.Outcomes[0], 0, "l", 5, 0)
		s.duplicateEvent(step.Outcomes[2], events[1].ID)
		s.holds("l", events[0])
		s.holds("m", events...)
	}},
	{"links", "link_is_not_an_event_of_its_own", func(s *suite) {
		e := s.write("a", 1)[0]
		s.must(linkTo("l", 0, e))
		s.must(linkTo("m", 0, e))
		got, err := s.engine.Event(s.ctx(), e.ID)
		if err != nil || got.Stream != "a" || got.Position != 1 || !got.Link.IsZero() {
			s.Errorf("event %s: %+v, %v", e.ID, got, err)
		}
		if got := s.read("m", false)[0]; got.Link.Stream != "a" || got.Link.Version != 1 {
			s.Errorf("link %+v, want the event's own place", got.Link)
		}
	}},
	{"links", "all_passes_over_links", allPassesOverLinks},
	{"links", "log_has_every_position", logHasEveryPosition},
	{"links", "pages_of_linked_streams", func(s *suite) {
		for i := range 6 {
			events := s.write("b", 2)
			s.must(linkTo("l", core.AnyVersion, events...))
			s.write("l", i%2+1)
		}
		everyPage(s, "l")
		inBatches(s, "l")
	}},
	{"links", "limit_in_bytes_is_of_what_is_read", func(s *suite) {
		var events []core.NewEvent
		for range 4 {
			e := newEvent()
			e.Format, e.Data = core.Bytes, make([]byte, 10_000)
			events = append(events, e)
		}
		s.must(appendTo("a", 0, events...))
		s.must(linkTo("l", 0, events...))
		all := s.read("l", false)
		for _, bytes := range []int{1, 10_000, 15_000, 21_000, 35_000} {
			for _, backward := range []bool{false, true} {
				readThrough(s, core.ReadRequest{Stream: "l", Backward: backward, Limit: core.Limit{Events: 1000, Bytes: bytes}}, all, 8)
			}
		}
	}},
}

// linkedReadBack looks at every field of what is read through a link.
func linkedReadBack(s *suite) {
	s.write("x", 1)
	e := newEvent()
	e.Time = time.UnixMicro(1_000_000)
	b := newEvent()
	b.Format, b.ContentType, b.Data, b.Metadata = core.Bytes, "text/plain", []byte{0, 1}, nil
	empty := newEvent()
	empty.Format, empty.Data = core.Bytes, nil
	sent := []core.NewEvent{e, b, empty}
	s.must(appendTo("a", 0, sent...))
	s.write("l", 1)
	events := s.read("a", false)
	r := s.must(linkTo("l", 1, sent...))
	for i, got := range s.read("l", false)[1:] {
		home := events[i]
		if got.Stream != "l" || got.Version != uint64(i+2) || got.Position != r.Appends[0].FirstPosition+uint64(i) {
			s.Errorf("link %d is %q version %d position %d", i, got.Stream, got.Version, got.Position)
		}
		if got.Link != (core.Origin{Stream: "a", Version: home.Version, Position: home.Position}) {
			s.Errorf("link %d is to %+v, want to version %d of a", i, got.Link, home.Version)
		}
		if got.ID != home.ID || got.Type != home.Type || got.Format != home.Format || got.ContentType != home.ContentType ||
			string(got.Data) != string(home.Data) || string(got.Metadata) != string(home.Metadata) || !got.Time.Equal(home.Time) {
			s.Errorf("link %d: %+v, want what %+v says", i, got, home)
		}
	}
}

// allPassesOverLinks reads $all with gaps at both ends and in between, longer than
// any page.
func allPassesOverLinks(s *suite) {
	first := s.write("a", 3)
	s.must(linkTo("l", 0, first...))
	s.write("a", 2)
	many := s.write("b", 3000)
	s.must(linkTo("l", 3, many...))
	last := s.write("a", 1)
	s.must(linkTo("m", 0, append(many, last...)...))
	s.head(3 + 3 + 2 + 3000 + 3000 + 1 + 3001)
	var positions []uint64
	for _, e := range s.read(core.All, false) {
		positions = append(positions, e.Position)
	}
	if len(positions) != 3006 || positions[2] != 3 || positions[3] != 7 || positions[4] != 8 || positions[3005] != 6009 {
		s.Errorf("$all has %d positions", len(positions))
	}
	all, head := s.read(core.All, false), s.engine.State().Head
	for _, backward := range []bool{false, true} {
		for _, from := range []uint64{0, 2, 4, 6, 7, 3008, 3009, 5000, 6008, 6009, 6010, 7000, head, head + 1} {
			for _, limit := range []int{1, 2, 700, 5000} {
				r := core.ReadRequest{Stream: core.All, From: from, Backward: backward, Limit: core.Limit{Events: limit, Bytes: everything.Bytes}}
				page, err := s.engine.Read(s.ctx(), r)
				if err == nil {
					err = checkPage(r, page, all, head)
				}
				if err != nil {
					s.Error(err)
				}
			}
		}
		readThrough(s, core.ReadRequest{Stream: core.All, Backward: backward, Limit: core.Limit{Events: 1000, Bytes: 100_000}}, all, head)
	}
}

// logHasEveryPosition reads pages of the log from every place, with every limit.
func logHasEveryPosition(s *suite) {
	for i := range 5 {
		events := s.write("a", 3)
		s.must(linkTo("l", core.AnyVersion, events...))
		c := appendsTo("b", "c")
		c.Appends = append(c.Appends, linkTo(fmt.Sprintf("m-%d", i), 0, c.Appends[1].Events[0], events[2]).Appends...)
		s.must(c)
	}
	large := newEvent()
	large.Format, large.Data = core.Bytes, make([]byte, 50_000)
	s.must(appendTo("a", core.AnyVersion, large))
	s.must(linkTo("l", core.AnyVersion, large))
	written := s.readLog()
	size := len(written[0].Raw)
	for from := range uint64(len(written)) + 3 {
		for _, limit := range []core.Limit{
			{Events: 1, Bytes: everything.Bytes}, {Events: 2, Bytes: everything.Bytes}, {Events: 7, Bytes: everything.Bytes}, everything,
			{Events: 1000, Bytes: 1}, {Events: 1000, Bytes: size}, {Events: 1000, Bytes: 10 * size}, {Events: 1000, Bytes: 60_000},
		} {
			for next, end := from, false; !end; {
				page, err := s.engine.ReadLog(s.ctx(), next, limit)
				if err == nil {
					err = checkLogPage(next, limit, page, written, s.engine.State().Head)
				}
				if err != nil {
					s.Fatalf("read the log, %+v: %v", limit, err)
				}
				next, end = page.Next, page.End
			}
		}
	}
	if page, err := s.engine.ReadLog(s.ctx(), core.MaxNumber, everything); err != nil || page.Count > 0 || !page.End || page.Next != core.MaxNumber {
		s.Errorf("from beyond the end: %+v, %v", page, err)
	}
}
