package enginetest

import (
	"fmt"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// systemTests are about the system's streams. Every test's check of the whole log compares
// $all with and without them.
var systemTests = []test{
	{"system", "append_and_read_back", func(s *suite) {
		s.write("a", 1)
		e := newEvents(3)
		s.must(systemCommit("$s", core.NoStream, e[0]))
		s.must(systemCommit("$s", core.AnyVersion, e[1:]...))
		s.holds("$s", e...)
		s.wrongVersion(s.commit(systemCommit("$s", 1, newEvent())), 0, "$s", 1, 3)
		s.duplicateEvent(s.commit(systemCommit("$t", core.AnyVersion, e[0])), e[0].ID)
		s.head(4)
	}},
	{"system", "beside_other_streams_in_one_commit", func(s *suite) {
		c := systemCommit("$s", core.AnyVersion, newEvents(2)...)
		c.Appends = append(c.Appends, appendsTo("a", "$t").Appends...)
		c.Appends = append(c.Appends, linkTo("$t", core.AnyVersion, c.Appends[0].Events[1]).Appends...)
		c.Records = []core.RecordOp{put("t", "k", core.AnyVersion, "v")}
		first := s.must(c)
		s.duplicate(s.commit(c), first)
		s.holds("a", c.Appends[1].Events...)
		s.holds("$t", c.Appends[2].Events[0], c.Appends[0].Events[1])
	}},
	{"system", "passed_over_in_every_page_of_all", func(s *suite) {
		s.must(systemCommit("$first", core.AnyVersion, newEvents(3)...))
		for i := range 12 {
			s.write("a", 1+i%3)
			s.must(systemCommit(fmt.Sprint("$", i%4), core.AnyVersion, newEvents(1+i%5)...))
		}
		s.must(systemCommit("$last", core.AnyVersion, newEvents(20)...))
		head := s.engine.State().Head
		all := s.readAny(core.ReadRequest{Stream: core.All, System: true})
		for _, events := range []int{1, 2, 7, 100} {
			for from := range head + 2 {
				for _, backward := range []bool{false, true} {
					r := core.ReadRequest{Stream: core.All, From: from, Backward: backward, Limit: core.Limit{Events: events, Bytes: 1 << 20}}
					s.comparePage(r, withoutSystem(all), head)
					r.System = true
					s.comparePage(r, all, head)
				}
			}
		}
	}},
	{"system", "no_other_event_in_the_log", func(s *suite) {
		s.must(systemCommit("$s", core.AnyVersion, newEvents(5)...))
		for _, backward := range []bool{false, true} {
			s.comparePage(core.ReadRequest{Stream: core.All, Backward: backward, Limit: core.Limit{Events: 2, Bytes: 1 << 20}}, nil, 5)
		}
		listsStreams(s, core.StreamsRequest{Limit: 1}, nil)
	}},
	{"system", "listed_if_asked_for", func(s *suite) {
		system, others := []string{"$-1", "$as", "$s", "$zs", "$\U0010ffff"}, []string{"!", "#z", "%", "a", "é"}
		for i := range system {
			s.must(systemCommit(system[i], core.AnyVersion, newEvent()))
			s.write(others[i], 1)
		}
		both := slices.Sorted(slices.Values(slices.Concat(system, others)))
		for limit := 1; limit < 12; limit++ {
			listsStreams(s, core.StreamsRequest{Limit: limit}, others)
			listsStreams(s, core.StreamsRequest{Limit: limit, After: "$as"}, others[2:])
			listsStreams(s, core.StreamsRequest{Limit: limit, Prefix: "$"}, nil)
			listsStreams(s, core.StreamsRequest{Limit: limit, System: true}, both)
			listsStreams(s, core.StreamsRequest{Limit: limit, System: true, Prefix: "$", After: "$as"}, system[2:])
		}
	}},
}

// systemCommit is a Commit of one Append by the system.
func systemCommit(stream string, expect core.Expect, events ...core.NewEvent) *core.Commit {
	c := appendTo(stream, expect, events...)
	c.System = true
	return c
}

// comparePage reads a page of $all and compares it with what $all has.
func (s *suite) comparePage(r core.ReadRequest, all []core.Event, head uint64) {
	s.Helper()
	page, err := s.engine.Read(s.ctx(), r)
	if err == nil {
		err = checkPage(r, page, all, head)
	}
	if err != nil {
		s.Error(err)
	}
}
