package enginetest

import (
	"slices"

	"github.com/gyre-events/gyre/core"
)

// retryTests hold P5: ids are looked up before versions.
var retryTests = []test{
	{"P5", "A16_same_id_same_stream_is_duplicate", func(s *suite) {
		c := appendTo("a", core.NoStream, newEvents(3)...)
		first := s.must(c)
		s.duplicate(s.commit(c), first)
		s.head(3)
	}},
	{"P5", "A16_same_id_twice_in_one_append", func(s *suite) {
		e := newEvent()
		s.duplicateEvent(s.commit(appendTo("a", core.AnyVersion, e, newEvent(), e)), e.ID)
		s.head(0)
	}},
	{"P5", "same_id_twice_in_one_commit", func(s *suite) {
		c := appendsTo("a", "b")
		c.Appends[1].Events[0].ID = c.Appends[0].Events[0].ID
		s.duplicateEvent(s.commit(c), idsOf(c)...)
		c.Appends[1].Stream = "a"
		s.duplicateEvent(s.commit(c), idsOf(c)...)
		s.must(appendTo("a", core.NoStream, c.Appends[0].Events...))
		s.duplicateEvent(s.commit(c), idsOf(c)...)
		s.head(1)
	}},
	{"P5", "A17_known_id_beside_a_new_one", func(s *suite) {
		known := s.write("a", 2)
		for _, events := range [][]core.NewEvent{
			{known[1], newEvent()}, {newEvent(), known[0]}, {known[0], newEvent(), known[1]},
		} {
			s.duplicateEvent(s.commit(appendTo("a", core.AnyVersion, events...)), known[0].ID, known[1].ID)
		}
		s.holds("a", known...)
	}},
	{"P5", "known_id_beside_one_the_server_makes", func(s *suite) {
		known := s.write("a", 1)
		none := newEvent()
		none.ID = core.ID{}
		s.duplicateEvent(s.commit(appendTo("a", core.AnyVersion, known[0], none)), known[0].ID)
		s.duplicateEvent(s.commit(appendTo("a", core.AnyVersion, none, known[0])), known[0].ID)
		s.holds("a", known...)
	}},
	{"P5", "A18_known_id_for_another_stream", func(s *suite) {
		known := s.write("a", 2)
		s.write("b", 1)
		for _, stream := range []string{"b", "c"} {
			s.duplicateEvent(s.commit(appendTo(stream, core.AnyVersion, known...)), known[0].ID, known[1].ID)
			s.duplicateEvent(s.commit(appendTo(stream, core.AnyVersion, known[0])), known[0].ID)
		}
		s.holds("c")
		s.head(3)
	}},
	{"P5", "another_order", func(s *suite) {
		known := s.write("a", 3)
		for _, order := range [][]int{{1, 0}, {2, 1, 0}, {0, 2}, {1, 2, 0}, {0, 0}} {
			var events []core.NewEvent
			for _, i := range order {
				events = append(events, known[i])
			}
			s.duplicateEvent(s.commit(appendTo("a", core.AnyVersion, events...)), known[0].ID, known[1].ID, known[2].ID)
		}
		s.head(3)
	}},
	{"P5", "A28_retry_whatever_it_expects", func(s *suite) {
		c := appendTo("a", core.NoStream, newEvents(2)...)
		first := s.must(c)
		s.write("b", 1)
		s.write("a", 3)
		for _, x := range []core.Expect{core.AnyVersion, core.NoStream, core.StreamExists, 0, 1, 2, 5, 99} {
			c.Appends[0].Expect = x
			c.Checks = []core.Check{{Stream: "b", Expect: 17}}
			s.duplicate(s.commit(c), first)
		}
		s.head(6)
	}},
	{"P5", "part_of_an_append_is_a_retry", func(s *suite) {
		s.write("b", 4)
		known := s.write("a", 5)
		for from := range 5 {
			for to := from + 1; to <= 5; to++ {
				first := core.Result{Appends: []core.Appended{{
					FirstVersion: uint64(from + 1), LastVersion: uint64(to),
					FirstPosition: uint64(4 + from + 1), LastPosition: uint64(4 + to),
				}}, Position: uint64(4 + to)}
				s.duplicate(s.commit(appendTo("a", core.NoStream, known[from:to]...)), first)
			}
		}
	}},
	{"P5", "run_over_several_appends_is_a_retry", func(s *suite) {
		known := s.write("a", 1)
		s.write("b", 1)
		known = append(known, s.write("a", 2)...)
		first := core.Result{Position: 4, Appends: []core.Appended{
			{FirstVersion: 1, LastVersion: 3, FirstPosition: 1, LastPosition: 4}}}
		s.duplicate(s.commit(appendTo("a", core.AnyVersion, known...)), first)
	}},
	{"P5", "retry_of_several_streams", func(s *suite) {
		c := appendsTo("a", "b", "a", "c")
		first := s.must(c)
		s.write("b", 1)
		s.duplicate(s.commit(c), first)
		s.head(5)
	}},
	{"P5", "several_streams_in_another_order", func(s *suite) {
		c := appendsTo("a", "b", "c")
		s.must(c)
		slices.Reverse(c.Appends)
		s.duplicateEvent(s.commit(c), idsOf(c)...)
		c.Appends = c.Appends[1:]
		s.duplicateEvent(s.commit(c), idsOf(c)...)
		slices.Reverse(c.Appends)
		s.duplicate(s.commit(c), core.Result{Position: 2, Appends: []core.Appended{
			{FirstVersion: 1, LastVersion: 1, FirstPosition: 1, LastPosition: 1},
			{FirstVersion: 1, LastVersion: 1, FirstPosition: 2, LastPosition: 2}}})
		s.head(3)
	}},
	{"P5", "runs_that_overlap_in_the_log", func(s *suite) {
		a := s.write("a", 1)
		b := s.write("b", 1)
		a = append(a, s.write("a", 1)...)
		c := &core.Commit{Appends: []core.Append{
			{Stream: "a", Expect: core.AnyVersion, Events: a}, {Stream: "b", Expect: core.AnyVersion, Events: b}}}
		s.duplicateEvent(s.commit(c), idsOf(c)...)
		s.head(3)
	}},
	{"P5", "one_stream_known_the_other_new", func(s *suite) {
		c := appendsTo("a", "b")
		s.must(appendTo("b", core.AnyVersion, c.Appends[1].Events...))
		s.duplicateEvent(s.commit(c), c.Appends[1].Events[0].ID)
		s.holds("a")
		s.head(1)
	}},
	{"P5", "same_commit_twice_in_one_group", func(s *suite) {
		c := appendTo("a", core.NoStream, newEvents(2)...)
		again := *c
		step := s.group(c, &again, appendTo("a", 2, newEvent()))
		s.duplicate(step.Outcomes[1], step.Outcomes[0].Result)
		if step.Outcomes[0].Err != nil || step.Outcomes[0].Result.Duplicate || step.Outcomes[2].Err != nil {
			s.Errorf("outcomes %+v", step.Outcomes)
		}
		s.head(3)
	}},
	{"P5", "id_of_a_neighbour_in_the_group", func(s *suite) {
		e := newEvent()
		step := s.group(appendTo("a", core.AnyVersion, e), appendTo("b", core.AnyVersion, e))
		s.duplicateEvent(step.Outcomes[1], e.ID)
		s.holds("b")
		s.head(1)
	}},
	{"P5", "id_of_a_refused_commit_stays_new", func(s *suite) {
		c := appendTo("a", 7, newEvents(2)...)
		s.wrongVersion(s.commit(c), 0, "a", 7, 0)
		c.Appends[0].Expect = 0
		step := s.group(appendTo("a", 3, c.Appends[0].Events...), c)
		s.wrongVersion(step.Outcomes[0], 0, "a", 3, 0)
		if o := step.Outcomes[1]; o.Err != nil || o.Result.Duplicate {
			s.Errorf("outcome %+v, want it written", o)
		}
	}},
	{"P5", "ids_come_before_versions", func(s *suite) {
		known := s.write("a", 1)
		s.duplicateEvent(s.commit(appendTo("a", 9, known[0], newEvent())), known[0].ID)
	}},
	{"P5", "other_content_under_a_known_id", func(s *suite) {
		c := appendTo("a", core.AnyVersion, newEvent())
		first := s.must(c)
		kept := s.read("a", false)
		c.Appends[0].Events[0].Data = []byte(`"changed"`)
		c.Appends[0].Events[0].Type = "changed"
		s.duplicate(s.commit(c), first)
		if got := s.read("a", false); !slices.EqualFunc(got, kept, sameRaw) {
			s.Error("a retry changed the event")
		}
	}},
	{"P5", "retry_with_records_writes_nothing", func(s *suite) {
		c := appendTo("a", core.AnyVersion, newEvent())
		c.Records = []core.RecordOp{put("t", "k", core.NoStream, "one")}
		first := s.must(c)
		c.Records = []core.RecordOp{put("t", "k", core.AnyVersion, "two"), put("t", "l", core.AnyVersion, "three")}
		s.duplicate(s.commit(c), first)
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("one")})
	}},
}
