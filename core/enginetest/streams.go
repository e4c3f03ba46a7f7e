package enginetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// streamTests are about what changes whole streams.
var streamTests = []test{
	{"streams", "D06_delete_and_undelete", deleteAndUndelete},
	{"streams", "D07_delete_refused", deleteRefused},
	{"streams", "D11_all_and_links_have_deleted_events", func(s *suite) {
		events := s.write("a", 3)
		s.must(linkTo("l", 0, events...))
		all := s.read(core.All, false)
		s.must(change("a", 3, core.DeleteStream))
		if got := s.read(core.All, false); !slices.EqualFunc(got, all, sameRaw) {
			s.Errorf("$all has %d events, want %d", len(got), len(all))
		}
		s.holds("l", events...)
		s.must(linkTo("m", 0, events[1])) // such an event can be linked
		s.duplicateEvent(s.commit(appendTo("b", core.AnyVersion, events[0])), events[0].ID)
		if e, err := s.engine.Event(s.ctx(), events[2].ID); err != nil || e.Version != 3 {
			s.Errorf("event %s: %+v, %v", events[2].ID, e, err)
		}
	}},
	{"streams", "D13_remove_from_stream_all_and_links", removeEverywhere},
	{"streams", "D14_removed_stream_begins_anew", beginAnew},
	{"streams", "D15_remove_refused", func(s *suite) {
		s.write("a", 2)
		s.must(change("a", core.AnyVersion, core.DeleteStream))
		s.refusedAs(s.commit(change("a", 2, core.RemoveStream)), core.CodeStreamDeleted)
		s.must(change("a", 2, core.UndeleteStream))
		s.wrongVersion(s.commit(change("a", 1, core.RemoveStream)), 0, "a", 1, 2)
		s.must(change("a", 2, core.RemoveStream))
		for _, action := range []core.StreamAction{core.RemoveStream, core.DeleteStream, core.UndeleteStream} {
			s.refusedAs(s.commit(change("a", core.AnyVersion, action)), core.CodeStreamNotFound)
		}
		s.holds("a")
	}},
	{"streams", "tombstone", func(s *suite) {
		events := s.write("a", 2)
		s.must(linkTo("l", 0, events...))
		s.wrongVersion(s.commit(change("a", 1, core.TombstoneStream)), 0, "a", 1, 2)
		s.must(change("a", 2, core.TombstoneStream))
		s.must(change("never", core.NoStream, core.TombstoneStream)) // it need not exist
		for _, stream := range []string{"a", "never"} {
			s.unreadable(stream, core.CodeStreamTombstoned)
			for _, x := range []core.Expect{core.AnyVersion, core.NoStream, 0, 2} {
				s.refused(s.commit(appendTo(stream, x, newEvent())), core.CodeStreamTombstoned, 0)
			}
			for action := core.DeleteStream; action <= core.TombstoneStream; action++ {
				s.refusedAs(s.commit(change(stream, core.AnyVersion, action)), core.CodeStreamTombstoned)
			}
		}
		listsStreams(s, core.StreamsRequest{Limit: 10}, []string{"l"})
		s.must(appendTo("b", 0, events...)) // their ids are free
	}},
	{"streams", "checks_of_deleted_streams", func(s *suite) {
		s.write("a", 2)
		check := func(x core.Expect) *core.Commit {
			c := appendTo("b", core.AnyVersion, newEvent())
			c.Checks = []core.Check{{Stream: "a", Expect: x}}
			return c
		}
		for _, x := range []struct {
			action core.StreamAction
			code   core.Code
		}{{core.DeleteStream, core.CodeStreamDeleted}, {core.TombstoneStream, core.CodeStreamTombstoned}} {
			s.must(change("a", core.AnyVersion, x.action))
			for _, expect := range []core.Expect{2, 0, core.NoStream, core.StreamExists} {
				s.refused(s.commit(check(expect)), x.code, 1)
			}
			s.must(check(core.AnyVersion))
			if x.action == core.DeleteStream {
				s.must(change("a", core.AnyVersion, core.UndeleteStream))
			}
		}
	}},
	{"streams", "listed_without_removed_links", listedWithoutRemoved},
	{"streams", "in_one_commit_with_others", inOneCommit},
	{"streams", "in_one_group_with_others", func(s *suite) {
		first, second := s.write("a", 2), newEvent()
		step := s.group(
			appendTo("a", 2, newEvent()),
			change("a", 2, core.RemoveStream),
			change("a", 3, core.RemoveStream),
			appendTo("a", core.NoStream, first[0]),
			change("a", 1, core.DeleteStream),
			appendTo("a", core.AnyVersion, second),
			change("a", core.AnyVersion, core.UndeleteStream),
			appendTo("a", 1, second))
		s.wrongVersion(step.Outcomes[1], 0, "a", 2, 3)
		s.refused(step.Outcomes[5], core.CodeStreamDeleted, 0)
		for _, i := range []int{0, 2, 3, 4, 6, 7} {
			if step.Outcomes[i].Err != nil {
				s.Errorf("commit %d: %v", i, step.Outcomes[i].Err)
			}
		}
		s.holds("a", first[0], second)
	}},
	{"streams", "link_to_a_stream_of_the_same_commit", func(s *suite) {
		events := s.write("a", 2)
		for action := core.DeleteStream; action <= core.TombstoneStream; action++ {
			c := linkTo("l", core.AnyVersion, events...)
			c.Streams = change("a", core.AnyVersion, action).Streams
			s.refused(s.commit(c), core.CodeInvalidRequest, 0)
		}
		s.holds("l")
		s.holds("a", events...)
	}},
	{"streams", "C15_pages_over_what_was_removed", pagesOverRemoved},
	{"streams", "many_removals", func(s *suite) {
		for i := range 40 {
			s.write("a", 1+i%3)
			s.write("keep", 1)
			s.must(change("a", core.Expect(1+i%3), core.RemoveStream))
		}
		s.must(appendTo("a", 0, newEvent()))
		if e := s.read("a", false)[0]; e.Incarnation != 41 {
			s.Errorf("incarnation %d, want 41", e.Incarnation)
		}
	}},
	{"streams", "names_beside_a_removed_stream", func(s *suite) {
		names := []string{"a", "a!", "a-1", "a/2", "ab", "A", "b"}
		for _, name := range names {
			s.write(name, 2)
		}
		for range 3 {
			s.must(change("a", 2, core.RemoveStream))
			for limit := 1; limit < 8; limit++ {
				listsStreams(s, core.StreamsRequest{Limit: limit}, []string{"A", "a!", "a-1", "a/2", "ab", "b"})
			}
			s.write("a", 2)
			for limit := 1; limit < 8; limit++ {
				listsStreams(s, core.StreamsRequest{Limit: limit}, []string{"A", "a", "a!", "a-1", "a/2", "ab", "b"})
				listsStreams(s, core.StreamsRequest{Limit: limit, Prefix: "a", After: "a"}, []string{"a!", "a-1", "a/2", "ab"})
			}
		}
	}},
}

// change is a Commit of one StreamOp.
func change(stream string, expect core.Expect, action core.StreamAction) *core.Commit {
	return &core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: expect, Action: action}}}
}

// undeleteAll brings all deleted streams back, after a look at each.
func (s *suite) undeleteAll() {
	s.Helper()
	for _, info := range s.streams(core.StreamsRequest{Limit: core.MaxReadEvents}) {
		if info.State == core.StreamDeleted {
			s.unreadable(info.Name, core.CodeStreamDeleted)
			s.must(change(info.Name, core.Expect(info.Version), core.UndeleteStream))
		}
	}
}

// unreadable checks why a stream cannot be read.
func (s *suite) unreadable(stream string, code core.Code) {
	s.Helper()
	for _, backward := range []bool{false, true} {
		_, err := s.engine.Read(s.ctx(), core.ReadRequest{Stream: stream, Backward: backward, Limit: everything})
		if e := core.AsError(err); e == nil || e.Code != code || e.Stream != stream {
			s.Errorf("read %q: %v, want %s", stream, err, code)
		}
	}
}

// refusedAs is refused of the only element, and the error names the stream.
func (s *suite) refusedAs(o core.Outcome, code core.Code) {
	s.Helper()
	if err := s.refusal(o, code, 0); err.Stream == "" {
		s.Errorf("%v does not name the stream", err)
	}
}

func deleteAndUndelete(s *suite) {
	events := s.write("a", 2)
	for _, x := range []core.Expect{2, core.AnyVersion, core.StreamExists} {
		s.must(change("a", x, core.DeleteStream))
		s.unreadable("a", core.CodeStreamDeleted)
		for _, expect := range []core.Expect{2, core.AnyVersion, core.NoStream, 0} {
			s.refused(s.commit(appendTo("a", expect, newEvent())), core.CodeStreamDeleted, 0)
			s.refused(s.commit(linkTo("a", expect, s.write("b", 1)...)), core.CodeStreamDeleted, 0)
		}
		for _, again := range []core.Expect{x, 7} {
			s.refusedAs(s.commit(change("a", again, core.DeleteStream)), core.CodeStreamDeleted)
		}
		if got := s.streams(core.StreamsRequest{Prefix: "a", Limit: 10}); !slices.Equal(got, []core.StreamInfo{{Name: "a", Version: 2, First: 1, State: core.StreamDeleted}}) {
			s.Errorf("listed as %+v", got)
		}
		s.wrongVersion(s.commit(change("a", 1, core.UndeleteStream)), 0, "a", 1, 2)
		s.must(change("a", x, core.UndeleteStream))
		s.refusedAs(s.commit(change("a", x, core.UndeleteStream)), core.CodeStreamNotDeleted)
		s.holds("a", events...)
	}
	s.must(appendTo("a", 2, newEvent()))
}

func deleteRefused(s *suite) {
	s.write("a", 2)
	for _, x := range []core.Expect{0, 1, 3, core.NoStream} {
		s.wrongVersion(s.commit(change("a", x, core.DeleteStream)), 0, "a", x, 2)
	}
	for action := core.DeleteStream; action <= core.RemoveStream; action++ {
		for _, x := range []core.Expect{0, 1, core.AnyVersion, core.NoStream, core.StreamExists} {
			s.refusedAs(s.commit(change("b", x, action)), core.CodeStreamNotFound)
		}
	}
	s.must(appendTo("a", 2, newEvent()))
	s.head(3)
}

// removeEverywhere removes a stream that has events, links to events of others, and
// events that others link to.
func removeEverywhere(s *suite) {
	a, b := s.write("a", 4), s.write("b", 3)
	s.must(linkTo("a", 4, b[0]))
	s.must(linkTo("l", 0, a[0], b[0], a[1], a[2], b[1], a[3]))
	s.must(linkTo("m", 0, a[3]))
	s.must(linkTo("m", 1, b...))
	s.must(linkTo("only", 0, a...))
	s.must(change("a", 5, core.RemoveStream))
	s.holds("a")
	s.holds("b", b...)
	for stream, versions := range map[string][]uint64{"l": {2, 5}, "m": {2, 3, 4}, "only": nil} {
		var got []uint64
		for _, e := range s.read(stream, false) {
			got = append(got, e.Version)
		}
		if !slices.Equal(got, versions) {
			s.Errorf("%q has the versions %v, want %v", stream, got, versions)
		}
	}
	if got := s.read(core.All, false); len(got) != 3 {
		s.Errorf("$all has %d events, want 3", len(got))
	}
	for _, e := range a {
		if _, err := s.engine.Event(s.ctx(), e.ID); !errors.Is(err, core.CodeEventNotFound) {
			s.Errorf("event %s: %v", e.ID, err)
		}
		s.refused(s.commit(linkTo("n", core.AnyVersion, e)), core.CodeEventNotFound, 0)
	}
	s.wrongVersion(s.commit(appendTo("l", 5, newEvent())), 0, "l", 5, 6) // the link's version is taken
	s.must(appendTo("l", 6, newEvent()))
	s.must(appendTo("only", 4, newEvent()))
	s.must(linkTo("a", core.NoStream, b...)) // what it had as a link, too
	s.head(8 + 6 + 4 + 4 + 2 + 3)
}

// listedWithoutRemoved lists streams that have lost their first links, their last ones, or all.
// Every order goes on behind them, one stream at a time, and the places are of what is left.
func listedWithoutRemoved(s *suite) {
	x := s.write("x", 3)
	s.must(linkTo("none-1", 0, x...))
	s.must(linkTo("first", 0, x...))
	s.write("first", 1) // position 10
	s.write("last", 1)  // position 11
	s.must(linkTo("last", 1, x...))
	s.must(linkTo("none-2", 0, x[1]))
	s.write("y", 2) // positions 16 and 17
	s.must(linkTo("both", 0, x[0]))
	s.write("both", 2) // positions 19 and 20
	s.must(linkTo("both", 3, x[1:]...))
	s.must(change("x", 3, core.RemoveStream))
	places := map[string][2]uint64{"first": {10, 10}, "last": {11, 11}, "y": {16, 17}, "both": {19, 20}, "none-1": {}, "none-2": {}}
	names := []string{"both", "first", "last", "none-1", "none-2", "y"}
	for _, limit := range []int{1, 2, 100} {
		for _, info := range s.streams(core.StreamsRequest{Details: true, Limit: limit}) {
			if want := places[info.Name]; info.Created.Position != want[0] || info.Changed.Position != want[1] {
				s.Errorf("%+v, want it at %d", info, want)
			}
		}
		listsStreams(s, core.StreamsRequest{Limit: limit}, names)
		for _, by := range []core.StreamsSort{core.ByCreated, core.ByChanged} {
			order := []string{"first", "last", "y", "both"}
			for _, descending := range []bool{false, true} {
				var got []string
				for _, info := range s.streams(core.StreamsRequest{Sort: by, Descending: descending, Limit: limit}) {
					got = append(got, info.Name)
				}
				if !slices.Equal(got, order) {
					s.Errorf("by %d, pages of %d, descending %v: %q, want %q", by, limit, descending, got, order)
				}
				slices.Reverse(order)
			}
		}
	}
}

func beginAnew(s *suite) {
	old := s.write("a", 3)
	s.must(change("a", 3, core.RemoveStream))
	s.wrongVersion(s.commit(appendTo("a", 3, newEvent())), 0, "a", 3, 0)
	c := appendTo("a", 0, old[2], newEvent(), old[0]) // their ids are free
	r := s.must(c)
	if want := (core.Appended{FirstVersion: 1, LastVersion: 3, FirstPosition: 4, LastPosition: 6, Incarnation: 2}); r.Appends[0] != want {
		s.Errorf("%+v, want %+v", r.Appends[0], want)
	}
	s.holds("a", c.Appends[0].Events...)
	for _, e := range s.read("a", false) {
		if e.Incarnation != 2 {
			s.Errorf("version %d is of incarnation %d", e.Version, e.Incarnation)
		}
	}
	s.duplicate(s.commit(c), r)
	s.must(linkTo("l", 0, old[0]))
	if e := s.read("l", false)[0]; e.Link.Version != 3 || e.Incarnation != 1 {
		s.Errorf("link %+v, want one to version 3", e)
	}
	s.must(change("l", 1, core.RemoveStream)) // the event stays
	s.holds("a", c.Appends[0].Events...)
	s.must(change("a", 3, core.RemoveStream))
	s.must(appendTo("a", core.NoStream, newEvent()))
	if e := s.read("a", false)[0]; e.Incarnation != 3 || e.Version != 1 {
		s.Errorf("%+v, want version 1 of incarnation 3", e)
	}
}

// inOneCommit changes streams beside appends, links, checks and records.
func inOneCommit(s *suite) {
	s.write("a", 2)
	b := s.write("b", 2)
	c := appendsTo("c")
	c.Appends = append(c.Appends, linkTo("l", 0, b...).Appends...)
	c.Checks = []core.Check{{Stream: "a", Expect: 2}}
	c.Streams = []core.StreamOp{{Stream: "a", Expect: 2, Action: core.RemoveStream}, {Stream: "b", Expect: core.AnyVersion, Action: core.DeleteStream}}
	c.Records = []core.RecordOp{put("t", "k", core.NoStream, "v")}
	s.refused(s.commit(c), core.CodeInvalidRequest, 1) // b is changed, and linked
	c.Appends = c.Appends[:1]
	for i, x := range []func(c *core.Commit){
		func(c *core.Commit) { c.Appends[0].Expect = 7 },
		func(c *core.Commit) { c.Checks[0].Expect = 7 },
		func(c *core.Commit) { c.Streams[0].Expect = 7 },
		func(c *core.Commit) { c.Streams[1].Expect = 7 },
	} {
		wrong := *c
		wrong.Appends, wrong.Checks, wrong.Streams = slices.Clone(c.Appends), slices.Clone(c.Checks), slices.Clone(c.Streams)
		x(&wrong)
		s.refused(s.commit(&wrong), core.CodeWrongExpectedVersion, i)
	}
	c.Records[0].Expect = 3
	s.refused(s.commit(c), core.CodeRecordConflict, 4)
	s.holds("b", b...)
	c.Records[0].Expect = core.NoStream
	r := s.must(c)
	s.holds("a")
	s.unreadable("b", core.CodeStreamDeleted)
	s.holds("c", c.Appends[0].Events...)
	s.hasRecords("t", core.Record{Key: "k", Revision: 1, Value: []byte("v")})
	s.duplicate(s.commit(c), r) // its ids are known
}

// pagesOverRemoved reads pages of every size from every place, over gaps at both ends and
// in between, longer than any page.
func pagesOverRemoved(s *suite) {
	var kept []core.NewEvent
	for i := range 6 {
		gone := s.write(fmt.Sprint("gone-", i%3), 1+7*i)
		kept = append(kept, s.write("kept", 2)...)
		s.must(linkTo("l", core.AnyVersion, gone...))
		s.must(linkTo("l", core.AnyVersion, kept[len(kept)-1]))
	}
	s.write("gone-0", 1500)
	for i := range 3 {
		s.must(change(fmt.Sprint("gone-", i), core.AnyVersion, core.RemoveStream))
	}
	head := s.engine.State().Head
	for _, stream := range []string{core.All, "l", "kept"} {
		all := s.read(stream, false)
		for _, backward := range []bool{false, true} {
			for _, limit := range []core.Limit{{Events: 1, Bytes: everything.Bytes}, {Events: 2, Bytes: 700}, {Events: 5, Bytes: everything.Bytes}, everything} {
				for _, from := range []uint64{0, 1, 2, 3, 9, 40, 100, head} {
					readThrough(s, core.ReadRequest{Stream: stream, From: from, Backward: backward, Limit: limit}, all, head)
				}
			}
		}
	}
	written := s.readLog()
	for from := range head {
		for _, limit := range []core.Limit{{Events: 1, Bytes: everything.Bytes}, {Events: 3, Bytes: 900}} {
			page, err := s.engine.ReadLog(s.ctx(), from, limit)
			if err == nil {
				err = checkLogPage(from, limit, page, written, head)
			}
			if err != nil {
				s.Fatal(err)
			}
		}
	}
}
