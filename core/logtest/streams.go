package logtest

import (
	"slices"

	"github.com/gyre-events/gyre/core"
)

// streamTests are about what changes whole streams.
var streamTests = []test{
	{"D06_D08_delete_and_undelete", func(s *suite) {
		ids := s.write("a", 3)
		_, err := s.log.Append(s.ctx, change("a", 2, core.DeleteStream))
		if e := s.refusal(err, core.CodeWrongExpectedVersion); e.Stream != "a" || e.Actual == nil || *e.Actual != 3 || e.Element == nil || *e.Element != 0 {
			s.Errorf("%v: stream %q, actual %v, element %v", e, e.Stream, deref(e.Actual), deref(e.Element))
		}
		if r := s.must(change("a", 3, core.DeleteStream)); len(r.Appends) != 0 || r.Position != 0 {
			s.Errorf("%+v, want nothing", r)
		}
		s.unreadable("a", core.CodeStreamDeleted)
		_, err = s.log.Append(s.ctx, appendTo("a", core.AnyVersion, newEvent()))
		s.refused(err, core.CodeStreamDeleted)
		if got := eventIDs(s.read(core.All, 2)); !slices.Equal(got, ids) {
			s.Errorf("$all has %v, want %v", got, ids)
		}
		s.must(change("a", core.AnyVersion, core.UndeleteStream))
		_, err = s.log.Append(s.ctx, change("a", core.AnyVersion, core.UndeleteStream))
		s.refused(err, core.CodeStreamNotDeleted)
		s.must(appendTo("a", 3, newEvent()))
	}},
	{"D13_D14_remove", func(s *suite) {
		ids := s.write("a", 2)
		s.must(linkTo("l", core.NoStream, ids...))
		kept := s.write("b", 1)
		s.must(change("a", 2, core.RemoveStream))
		s.unreadable("a", core.CodeStreamNotFound)
		if got := eventIDs(s.read(core.All, 2)); !slices.Equal(got, kept) {
			s.Errorf("$all has %v, want %v", got, kept)
		}
		if got := s.read("l", 1); len(got) != 0 {
			s.Errorf("the stream of the links has %d", len(got))
		}
		_, err := s.log.Append(s.ctx, change("a", core.AnyVersion, core.RemoveStream))
		s.refused(err, core.CodeStreamNotFound)
		if r := s.must(appendTo("a", core.NoStream, newEvent())); r.Appends[0].FirstVersion != 1 {
			s.Errorf("%+v, want version 1", r)
		}
	}},
	{"tombstone", func(s *suite) {
		s.write("a", 2)
		s.must(change("a", 2, core.TombstoneStream))
		s.unreadable("a", core.CodeStreamTombstoned)
		_, err := s.log.Append(s.ctx, appendTo("a", core.NoStream, newEvent()))
		s.refused(err, core.CodeStreamTombstoned)
		_, err = s.log.Append(s.ctx, change("a", core.AnyVersion, core.UndeleteStream))
		s.refused(err, core.CodeStreamTombstoned)
	}},
	{"in_one_commit_with_others", func(s *suite) {
		s.write("a", 2)
		s.write("b", 1)
		c := appendTo("c", core.NoStream, newEvents(2)...)
		c.Appends = append(c.Appends, appendTo("d", core.NoStream, newEvent()).Appends...)
		c.Checks = []core.Check{{Stream: "b", Expect: 1}}
		c.Streams = []core.StreamOp{{Stream: "a", Expect: 2, Action: core.RemoveStream}, {Stream: "b", Expect: 7}}
		_, err := s.log.Append(s.ctx, c)
		if e := s.refusal(err, core.CodeWrongExpectedVersion); e.Stream != "b" || e.Element == nil || *e.Element != 4 {
			s.Errorf("%v: stream %q, element %v", e, e.Stream, deref(e.Element))
		}
		c.Streams[1].Expect = 1
		first := s.must(c)
		s.unreadable("a", core.CodeStreamNotFound)
		s.unreadable("b", core.CodeStreamDeleted)
		again, err := s.log.Append(s.ctx, c) // it has ids
		if err != nil || !again.Duplicate || !slices.Equal(again.Appends, first.Appends) || again.Position != first.Position {
			s.Errorf("retry: %+v, %v, want %+v", again, err, first)
		}
	}},
	{"D09_bad_changes", func(s *suite) {
		s.write("a", 1)
		for _, stream := range []string{core.All, "$streams"} {
			_, err := s.log.Append(s.ctx, change(stream, core.AnyVersion, core.DeleteStream))
			s.refused(err, core.CodeReservedStreamName)
		}
		both := appendTo("a", core.AnyVersion, newEvent())
		both.Streams = change("a", core.AnyVersion, core.DeleteStream).Streams
		many := core.Commit{Streams: make([]core.StreamOp, core.MaxCommitStreams+1)}
		for i := range many.Streams {
			many.Streams[i] = core.StreamOp{Stream: "a", Expect: core.AnyVersion}
		}
		for code, c := range map[core.Code]core.Commit{
			core.CodeInvalidRequest: both, core.CodeCommitTooLarge: many, core.CodeInvalidStreamName: change("", core.AnyVersion, core.DeleteStream),
		} {
			_, err := s.log.Append(s.ctx, c)
			s.refused(err, code)
		}
		if n := len(s.read("a", 0)); n != 1 {
			s.Errorf("the stream has %d events, want 1", n)
		}
	}},
}

// change is a Commit of one StreamOp.
func change(stream string, expect core.Expect, action core.StreamAction) core.Commit {
	return core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: expect, Action: action}}}
}

// unreadable checks why a stream cannot be read.
func (s *suite) unreadable(stream string, code core.Code) {
	s.Helper()
	_, err := s.log.Read(s.ctx, core.ReadRequest{Stream: stream, Limit: limit(10)})
	if e := s.refusal(err, code); e.Stream != stream {
		s.Errorf("%v is about stream %q, want %q", e, e.Stream, stream)
	}
}
