package enginetest

import (
	"cmp"
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
	{"P1", "streams_backward_in_byte_order", func(s *suite) {
		names := []string{"a", "a-", "a-1", "a-10", "b", "é", "\u00a0", "\uffff", "\U00010000", "\U0010ffff"}
		for _, name := range names {
			s.write(name, 1)
		}
		slices.Sort(names)
		for _, prefix := range []string{"", "a", "a-", "é", "zz", "\uffff", "\U0010ffff"} {
			for _, after := range append([]string{"", "a-3", "c"}, names...) {
				want := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasPrefix(n, prefix) || after != "" && n >= after })
				slices.Reverse(want)
				for _, limit := range []int{1, 3, 1000} {
					listsStreams(s, core.StreamsRequest{Prefix: prefix, After: after, Limit: limit, Descending: true}, want)
				}
			}
		}
	}},
	{"P2", "streams_by_changed_while_others_change", func(s *suite) {
		for _, name := range []string{"a", "b", "c", "d"} {
			s.write(name, 2)
		}
		r := core.StreamsRequest{Sort: core.ByChanged, Descending: true, Limit: 2}
		page, err := s.engine.Streams(s.ctx(), r)
		if err != nil || page.End || len(page.Streams) != 2 || page.Streams[0].Name != "d" || page.Streams[1].Name != "c" {
			s.Fatalf("streams %+v: %+v, %v", r, page, err)
		}
		s.write("b", 1)
		r.After = page.Next
		if got := s.streams(r); len(got) != 1 || got[0].Name != "a" {
			s.Errorf("streams %+v: %+v", r, got)
		}
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

// maxListedSingly is up to how many streams are listed on pages of one, too.
const maxListedSingly = 20

// checkListings compares every order of the list of streams with what the log has, by position.
func checkListings(s *suite, listed []core.StreamInfo, whole []core.Event) {
	s.Helper()
	streams := make(map[string]core.StreamInfo)
	for _, info := range listed {
		info.First, info.Created, info.Changed = info.Version+1, core.StreamPlace{}, core.StreamPlace{}
		streams[info.Name] = info
	}
	for _, e := range whole {
		info, at := streams[e.Stream], core.StreamPlace{Position: e.Position, Recorded: e.Recorded}
		if info.Created.Position == 0 {
			info.First, info.Created = e.Version, at
		}
		info.Changed = at
		streams[e.Stream] = info
	}
	limits := []int{core.MaxReadEvents, max(2, len(streams)/3)}
	if len(streams) <= maxListedSingly {
		limits = append(limits, 1)
	}
	for n := range 6 * (1 + len(limits)) {
		r := core.StreamsRequest{
			Sort: core.StreamsSort(n % 3), Descending: n/3%2 == 1, System: n >= 6, Details: true, Limit: limits[max(n/6-1, 0)],
		}
		got, want := s.streams(r), inOrder(&r, streams)
		if !slices.Equal(got, want) {
			s.Errorf("streams %+v: %+v, want %+v", r, got, want)
		}
	}
	names := []string{"not there"}
	var want []core.StreamInfo
	for name, info := range streams {
		if len(names) < core.MaxReadEvents {
			names, want = append(names, name), append(want, info)
		}
	}
	if got := s.streams(core.StreamsRequest{Names: names, Details: true, Limit: len(names)}); !slices.Equal(got, want) {
		s.Errorf("streams %q: %+v, want %+v", names, got, want)
	}
}

// inOrder are the streams that r lists, on all pages. One that had only links, whose events
// were removed, has no place and is listed by name.
func inOrder(r *core.StreamsRequest, streams map[string]core.StreamInfo) []core.StreamInfo {
	var listed []core.StreamInfo
	for _, info := range streams {
		if r.Lists(info.Name) && (r.Sort == core.ByName || info.Created.Position > 0) {
			listed = append(listed, info)
		}
	}
	slices.SortFunc(listed, func(a, b core.StreamInfo) int {
		if r.Descending {
			a, b = b, a
		}
		switch r.Sort {
		case core.ByCreated:
			return cmp.Compare(a.Created.Position, b.Created.Position)
		case core.ByChanged:
			return cmp.Compare(a.Changed.Position, b.Changed.Position)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return listed
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
