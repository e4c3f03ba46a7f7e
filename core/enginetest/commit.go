package enginetest

import (
	"fmt"

	"github.com/gyre-events/gyre/core"
)

// commitTests hold P6: a Commit is all or nothing, and no concern of its
// neighbours.
var commitTests = []test{
	{"P6", "several_streams", func(s *suite) {
		s.write("b", 2)
		c := &core.Commit{Appends: []core.Append{
			{Stream: "a", Expect: core.NoStream, Events: newEvents(2)},
			{Stream: "b", Expect: 2, Events: newEvents(1)},
			{Stream: "c", Expect: core.AnyVersion, Events: newEvents(3)},
		}}
		r := s.must(c)
		want := []core.Appended{
			{FirstVersion: 1, LastVersion: 2, FirstPosition: 3, LastPosition: 4},
			{FirstVersion: 3, LastVersion: 3, FirstPosition: 5, LastPosition: 5},
			{FirstVersion: 1, LastVersion: 3, FirstPosition: 6, LastPosition: 8},
		}
		for i := range want {
			if r.Appends[i] != want[i] {
				s.Errorf("append %d: %+v, want %+v", i, r.Appends[i], want[i])
			}
		}
	}},
	{"P6", "A26_one_of_several_streams_refuses", func(s *suite) {
		s.write("b", 2)
		for bad := range 3 {
			c := appendsTo("a", "b", "c")
			c.Appends[bad].Expect = 5
			actual := uint64(0)
			if bad == 1 {
				actual = 2
			}
			s.wrongVersion(s.commit(c), bad, c.Appends[bad].Stream, 5, actual)
		}
		s.holds("a")
		s.holds("c")
		s.head(2)
	}},
	{"P6", "same_stream_twice", func(s *suite) {
		s.write("a", 1)
		c := appendsTo("a", "b", "a")
		c.Appends[0].Expect, c.Appends[2].Expect = 1, 2
		r := s.must(c)
		if r.Appends[2].FirstVersion != 3 || r.Position != 4 {
			s.Errorf("%+v", r)
		}
	}},
	{"P6", "same_stream_twice_sees_itself", func(s *suite) {
		c := appendsTo("a", "a")
		c.Appends[0].Expect, c.Appends[1].Expect = core.NoStream, core.NoStream
		s.wrongVersion(s.commit(c), 1, "a", core.NoStream, 1)
		c.Appends[1].Expect = 0
		s.wrongVersion(s.commit(c), 1, "a", 0, 1)
		c.Appends[1].Expect = core.StreamExists
		s.must(c)
	}},
	{"P6", "first_failure_is_told", func(s *suite) {
		s.write("a", 1)
		c := appendsTo("a", "b", "c")
		c.Appends[1].Expect, c.Appends[2].Expect = 3, 4
		c.Checks = []core.Check{{Stream: "a", Expect: 9}}
		s.wrongVersion(s.commit(c), 1, "b", 3, 0)
	}},
	{"P6", "checks", func(s *suite) {
		s.write("a", 2)
		for _, x := range []core.Expect{2, core.AnyVersion, core.StreamExists} {
			c := appendsTo("b")
			c.Checks = []core.Check{{Stream: "a", Expect: x}, {Stream: "none", Expect: core.NoStream}}
			s.must(c)
		}
		s.head(5)
	}},
	{"P6", "checks_that_fail", func(s *suite) {
		kept := s.write("a", 2)
		for _, x := range []core.Expect{0, 1, 3, core.NoStream} {
			c := appendsTo("b", "c")
			c.Checks = []core.Check{{Stream: "none", Expect: 0}, {Stream: "a", Expect: x}}
			s.wrongVersion(s.commit(c), 3, "a", x, 2)
		}
		c := appendsTo("b")
		c.Checks = []core.Check{{Stream: "none", Expect: core.StreamExists}}
		s.wrongVersion(s.commit(c), 1, "none", core.StreamExists, 0)
		s.holds("a", kept...)
		s.holds("b")
	}},
	{"P6", "checks_see_the_state_before", func(s *suite) {
		c := appendsTo("a")
		c.Checks = []core.Check{{Stream: "a", Expect: 0}}
		s.must(c)
		c = appendsTo("a")
		c.Checks = []core.Check{{Stream: "a", Expect: 2}}
		s.wrongVersion(s.commit(c), 1, "a", 2, 1)
	}},
	{"P6", "group_with_one_conflict", func(s *suite) {
		s.write("a", 1)
		step := s.group(
			appendTo("b", core.NoStream, newEvent()),
			appendTo("a", 0, newEvent()),
			appendTo("a", 1, newEvents(2)...),
			appendTo("b", 1, newEvent()),
			appendTo("b", 1, newEvent()),
			appendTo("c", core.AnyVersion, newEvent()))
		for _, i := range []int{0, 2, 3, 5} {
			if err := step.Outcomes[i].Err; err != nil {
				s.Errorf("commit %d: %v", i, err)
			}
		}
		s.wrongVersion(step.Outcomes[1], 0, "a", 0, 1)
		s.wrongVersion(step.Outcomes[4], 0, "b", 1, 2)
		s.head(6)
	}},
	{"P6", "group_where_all_are_refused", func(s *suite) {
		s.write("a", 1)
		step := s.group(appendTo("a", 0, newEvent()), appendTo("a", 2, newEvent()))
		s.wrongVersion(step.Outcomes[0], 0, "a", 0, 1)
		s.wrongVersion(step.Outcomes[1], 0, "a", 2, 1)
		s.head(1)
	}},
	{"P6", "group_of_none", func(s *suite) {
		s.group()
		s.head(0)
	}},
	{"P2", "group_keeps_its_order", func(s *suite) {
		var group []*core.Commit
		var want []core.ID
		for i := range 64 {
			c := appendsTo(fmt.Sprintf("s-%d", i%7), "all", fmt.Sprintf("s-%d", i%3))
			group = append(group, c)
			want = append(want, idsOf(c)...)
		}
		s.group(group...)
		for i, e := range s.read(core.All, false) {
			if e.ID != want[i] {
				s.Fatalf("position %d has id %s, want %s", e.Position, e.ID, want[i])
			}
		}
	}},
	{"P2", "recorded_never_goes_back", func(s *suite) {
		for range 50 { // checkLog looks at the times
			s.group(appendsTo("a", "b"), appendsTo("b"))
		}
	}},
	{"P6", "commit_of_a_caller_that_gave_up", func(s *suite) {
		ctx, cancel := withCancel(s)
		cancel()
		c := appendTo("a", core.NoStream, newEvent())
		step := s.engine.Commit(ctx, []*core.Commit{c})
		if len(step.Outcomes) != 1 {
			s.Fatalf("%d outcomes", len(step.Outcomes))
		}
		if step.Outcomes[0].Err == nil {
			s.holds("a", c.Appends[0].Events...)
		} else if o := s.commit(c); o.Err != nil {
			s.Errorf("the retry: %v", o.Err)
		}
	}},
	{"P6", "lazy_commit_is_there_when_it_is_answered", func(s *suite) {
		c := appendTo("a", core.AnyVersion, newEvent())
		c.Records = []core.RecordOp{put("t", "k", core.NoStream, "v")}
		c.Lazy = true
		s.must(c)
		s.holds("a", c.Appends[0].Events...)
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("v")})
		lazy := recordCommit(put("t", "k", 1, "w"))
		lazy.Lazy = true
		s.group(lazy, recordCommit(put("t", "k", 2, "x")))
		s.hasRecords("t", core.Record{Key: "k", Revision: 3, Value: []byte("x")})
	}},
	{"P6", "what_was_sent_may_be_reused", func(s *suite) {
		c := appendTo("a", core.AnyVersion, newEvent())
		c.Records = []core.RecordOp{put("t", "k", core.NoStream, "kept")}
		want := string(c.Appends[0].Events[0].Data)
		s.must(c)
		clear(c.Appends[0].Events[0].Data)
		clear(c.Appends[0].Events[0].Metadata)
		clear(c.Records[0].Value)
		if got := s.read("a", false)[0]; string(got.Data) != want {
			s.Errorf("data %q, want %q", got.Data, want)
		}
		s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("kept")})
	}},
}
