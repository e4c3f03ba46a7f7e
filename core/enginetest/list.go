package enginetest

import (
	"errors"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// listTests are about finding things: an event by its id, streams by name, the log
// by its identity.
var listTests = []test{
	{"P5", "event_by_id", func(s *suite) {
		s.write("a", 2)
		sent := s.write("b", 1)[0]
		got, err := s.engine.Event(s.ctx(), sent.ID)
		if err == nil {
			err = checkEvent(got, core.Placement{Stream: "b", Version: 1, Position: 3}, sent)
		}
		if err != nil {
			s.Error(err)
		}
	}},
	{"P5", "event_by_an_unknown_id", func(s *suite) {
		refused := newEvent()
		s.wrongVersion(s.commit(appendTo("a", 1, refused)), 0, "a", 1, 0)
		for _, id := range []core.ID{core.NewID(), refused.ID, {}} {
			_, err := s.engine.Event(s.ctx(), id)
			var e *core.Error
			if !errors.As(err, &e) || e.Code != core.CodeEventNotFound || e.EventID != id {
				s.Errorf("event %s: %v, want event_not_found", id, err)
			}
		}
	}},
	{"P1", "streams_in_byte_order", func(s *suite) {
		names := []string{"b", "a", "a-1", "a-10", "a-2", "A", "a-", "é", "e\u0301", "\u00a0", "\uffff", "\U00010000", "a\u00ff"}
		for i, name := range names {
			s.write(name, 1+i%3)
		}
		slices.Sort(names)
		for _, prefix := range []string{"", "a", "a-", "a-1", "é", "zz"} {
			for _, after := range append([]string{"", "a", "a-3", "b", "\U0010ffff"}, names...) {
				want := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasPrefix(n, prefix) || n <= after })
				for _, limit := range []int{1, 2, len(names), 1000} {
					listsStreams(s, core.StreamsRequest{Prefix: prefix, After: after, Limit: limit}, want)
				}
			}
		}
	}},
	{"P1", "streams_of_an_empty_log", func(s *suite) {
		listsStreams(s, core.StreamsRequest{Limit: 10}, nil)
		s.commit(appendTo("a", 3, newEvent()))
		listsStreams(s, core.StreamsRequest{Limit: 10}, nil)
	}},
	{"P3", "state", func(s *suite) {
		before := s.engine.State()
		s.write("a", 3)
		s.commit(appendTo("a", 1, newEvent()))
		s.must(recordCommit(put("t", "k", 0, "v")))
		after := s.engine.State()
		if before.Head != 0 || after.Head != 3 || after.ReadOnly != nil {
			s.Errorf("state %+v, then %+v", before, after)
		}
		cursor := after.Cursor(3)
		if got, err := core.ParseCursor(cursor.String()); err != nil || got != cursor || before.Log != after.Log {
			s.Errorf("log %q, then %q: %v", before.Log, after.Log, err)
		}
	}},
}

// listsStreams checks that all pages together have the names, and that each tells
// when it is the last.
func listsStreams(s *suite, r core.StreamsRequest, want []string) {
	s.Helper()
	page, err := s.engine.Streams(s.ctx(), r)
	if err != nil {
		s.Fatalf("streams %+v: %v", r, err)
	}
	if page.End != (len(page.Streams) == len(want)) {
		s.Errorf("streams %+v: end = %v after %d of %d", r, page.End, len(page.Streams), len(want))
	}
	var got []string
	for _, i := range s.streams(r) {
		got = append(got, i.Name)
	}
	if !slices.Equal(got, want) {
		s.Errorf("streams %+v: %q, want %q", r, got, want)
	}
}
