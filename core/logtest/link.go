package logtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/core"
)

var linkTests = []test{
	{"B02_read_back", func(s *suite) {
		ids := s.write("a", 3)
		r := s.must(linkTo("l", core.NoStream, ids[2], ids[0]))
		if want := (core.Appended{FirstVersion: 1, LastVersion: 2, FirstPosition: 4, LastPosition: 5}); r.Appends[0] != want || r.Position != 5 {
			s.Errorf("%+v, want %+v", r, want)
		}
		home := s.read("a", 0)
		for i, got := range s.read("l", 0) {
			e := home[2-2*i]
			if got.Stream != "l" || got.Version != uint64(i+1) || got.Position != uint64(i+4) || got.Link != e.Home() {
				s.Errorf("link %d: %+v, want one to %+v", i, got, e.Home())
			}
			if got.ID != e.ID || got.Type != e.Type || string(got.Data) != string(e.Data) || string(got.Metadata) != string(e.Metadata) || !got.Time.Equal(e.Time) {
				s.Errorf("link %d: %+v, want what %+v says", i, got, e)
			}
		}
		if got := eventIDs(s.read(core.All, 0)); !slices.Equal(got, ids) {
			s.Errorf("$all has %v, want %v", got, ids)
		}
	}},
	{"B05_B11_unknown_event", func(s *suite) {
		known, none := s.write("a", 1)[0], core.NewID()
		_, err := s.log.Append(s.ctx, linkTo("l", core.AnyVersion, known, none))
		if e := s.refusal(err, core.CodeEventNotFound); e.EventID != none || e.Stream != "l" || e.Element == nil || *e.Element != 0 {
			s.Errorf("%v: event %s, stream %q, element %v", e, e.EventID, e.Stream, deref(e.Element))
		}
		if n := len(s.read(core.All, 0)); n != 1 {
			s.Errorf("the log has %d events, want 1", n)
		}
	}},
	{"B07_retry_and_duplicate", func(s *suite) {
		ids := s.write("a", 3)
		c := linkTo("l", 0, ids[:2]...)
		first := s.must(c)
		again, err := s.log.Append(s.ctx, c)
		if err != nil || !again.Duplicate || again.Position != first.Position || !slices.Equal(again.Appends, first.Appends) {
			s.Errorf("retry: %+v, %v, want %+v", again, err, first)
		}
		_, err = s.log.Append(s.ctx, linkTo("l", core.AnyVersion, ids[2], ids[1]))
		if e := s.refusal(err, core.CodeDuplicateEvent); e.EventID != ids[1] {
			s.Errorf("%v: event %s, want %s", e, e.EventID, ids[1])
		}
		_, err = s.log.Append(s.ctx, linkTo("a", core.AnyVersion, ids[0]))
		s.refused(err, core.CodeDuplicateEvent)
	}},
	{"B10_bad_links", func(s *suite) {
		id := s.write("a", 1)[0]
		_, err := s.log.Append(s.ctx, linkTo(core.All, core.AnyVersion, id))
		s.refused(err, core.CodeReservedStreamName)
		_, err = s.log.Append(s.ctx, linkTo("l", core.AnyVersion))
		s.refused(err, core.CodeEmptyAppend)
		_, err = s.log.Append(s.ctx, linkTo("l", core.AnyVersion, id, core.ID{}))
		s.refused(err, core.CodeInvalidEventID)
	}},
	{"log_is_read_as_it_was_written", logWithLinks},
	{"beside_events_in_one_commit", func(s *suite) {
		before := s.write("a", 1)
		c := appendTo("b", core.NoStream, newEvent())
		c.Appends = append(c.Appends, linkTo("l", 0, idsOf(c)[0], before[0]).Appends...)
		c.Checks = []core.Check{{Stream: "a", Expect: 1}}
		s.must(c)
		if got := eventIDs(s.read("l", 0)); !slices.Equal(got, []core.ID{idsOf(c)[0], before[0]}) {
			s.Errorf("l has %v", got)
		}
	}},
	{"follow_catches_up_and_goes_live", func(s *suite) {
		ids := s.write("a", 40)
		for _, id := range ids[:20] {
			s.must(linkTo("l", core.AnyVersion, id))
		}
		r, all := s.follow(core.FollowRequest{Stream: "l"}), s.follow(core.FollowRequest{Stream: core.All})
		r.limit = limit(7)
		r.gets(ids[:20]...)
		r.untilLive()
		all.gets(ids...)
		for i, id := range ids[20:] {
			s.must(linkTo("l", core.AnyVersion, id))
			want := []core.ID{id}
			if i%3 == 0 {
				e := s.write("l", 1)[0]
				want = append(want, e)
				all.gets(e)
			}
			r.gets(want...)
		}
		r.untilLive()
	}},
	{"follow_from_every_place", followLinksFromEveryPlace},
	{"follow_filters_links_as_their_events", func(s *suite) {
		r := s.follow(core.FollowRequest{Stream: "l", Filter: core.Filter{Streams: []string{"a-*"}, Types: []string{"T*"}}})
		all := s.follow(core.FollowRequest{Stream: core.All, Filter: core.Filter{Types: []string{"T1"}}})
		late := core.FollowRequest{Stream: "l", Filter: core.Filter{Streams: []string{"b"}}}
		var want, ofB, ones []core.ID
		for i := range 60 {
			e := newEvent()
			e.Type = fmt.Sprintf("%c%d", "TU"[i%2], i%3)
			stream := []string{"a-1", "b", "a-2"}[i/3%3]
			s.writeEvent(stream, e)
			s.must(linkTo("l", core.AnyVersion, e.ID))
			if stream == "b" {
				ofB = append(ofB, e.ID)
			} else if e.Type[0] == 'T' {
				want = append(want, e.ID)
			}
			if e.Type == "T1" {
				ones = append(ones, e.ID)
			}
		}
		r.gets(want...)
		all.gets(ones...)
		s.follow(late).gets(ofB...)
	}},
	{"links_pass_followers_of_all_by", func(s *suite) {
		ids := s.write("a", 10)
		r := s.follow(core.FollowRequest{Stream: core.All})
		filtered := s.follow(core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{"l", "z"}}})
		r.gets(ids...)
		filtered.untilLive()
		for i := range 30 {
			s.must(linkTo(fmt.Sprintf("l-%d", i), 0, ids...))
			s.must(linkTo("l", core.AnyVersion, s.write("a", 1)...))
		}
		r.gets(s.written["a"][10:]...)
		filtered.gets(s.write("z", 1)...)
		r.gets(s.written["z"]...)
	}},
	{"large_events_come_through_links", func(s *suite) {
		var ids []core.ID
		for range 12 {
			e := newEvent()
			e.Format, e.Data = core.Bytes, make([]byte, 900_000)
			ids = append(ids, s.writeEvent("a", e)...)
		}
		r := s.follow(core.FollowRequest{Stream: "l"})
		r.untilLive()
		s.must(linkTo("l", 0, ids...))
		r.gets(ids...)
	}},
	{"follow_beside_a_linker", followBesideLinker},
}

// followLinksFromEveryPlace starts follows at every position and version of a
// stream of links and events.
func followLinksFromEveryPlace(s *suite) {
	for i := range 12 {
		for _, id := range s.write("a", 2) {
			s.must(linkTo("l", core.AnyVersion, id))
		}
		if i%4 == 0 {
			s.write("l", 1)
		}
	}
	events := s.read("l", 0)
	for from := range uint64(len(events) + 1) {
		r := s.follow(core.FollowRequest{Stream: "l", From: core.From{Kind: core.AfterVersion, N: from}})
		r.gets(eventIDs(events[from:])...)
		_ = r.follower.Close() // a connection has room for so many
	}
	all := s.read(core.All, 0)
	head := events[len(events)-1].Position
	for from := range head + 1 {
		after := func(e core.Event) bool { return e.Position <= from }
		for stream, list := range map[string][]core.Event{"l": events, core.All: all} {
			want := eventIDs(slices.DeleteFunc(slices.Clone(list), after))
			r := s.follow(core.FollowRequest{Stream: stream, From: core.From{Kind: core.AfterPosition, N: from}})
			r.gets(want...)
			r.untilLive()
			if r.last.Cursor != head {
				s.Errorf("%s from %d: cursor %d, want %d", stream, from, r.last.Cursor, head)
			}
			_ = r.follower.Close()
		}
	}
}

// followBesideLinker has followers of everything while events are written and linked
// as fast as it goes, by several at once.
func followBesideLinker(s *suite) {
	const linkers, each = 3, 60
	r, all := s.follow(core.FollowRequest{Stream: "l"}), s.follow(core.FollowRequest{Stream: core.All})
	filtered := s.follow(core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{"a-*"}}})
	var done sync.WaitGroup
	for n := range linkers {
		done.Go(func() {
			for range each {
				c := appendTo(fmt.Sprintf("a-%d", n), core.AnyVersion, newEvents(2)...)
				if _, err := s.log.Append(s.ctx, c); err != nil {
					s.Error(err)
				}
				if _, err := s.log.Append(s.ctx, linkTo("l", core.AnyVersion, idsOf(c)...)); err != nil {
					s.Error(err)
				}
			}
		})
	}
	for _, follow := range []*reader{r, all, filtered} {
		done.Go(func() {
			if err := follow.until(s.ctx, func() bool { return len(follow.got) == 2*linkers*each }); err != nil {
				s.Error(err)
			}
		})
	}
	done.Wait()
	for _, x := range []struct {
		follow *reader
		stream string
	}{{r, "l"}, {all, core.All}, {filtered, core.All}} {
		if got := eventIDs(s.read(x.stream, 0)); !slices.Equal(x.follow.got, got) {
			s.Errorf("followed %d events of %s, read %d, or in another order", len(x.follow.got), x.stream, len(got))
		}
	}
}

// logWithLinks reads the log in pages of every size, and compares links with what is
// read of their streams.
func logWithLinks(s *suite) {
	reader, ok := s.log.(core.LogReader)
	if !ok {
		s.Fatalf("%T is no core.LogReader", s.log)
	}
	ids := s.write("a", 5)
	s.must(linkTo("l", 0, ids[3], ids[0]))
	c := appendTo("b", core.NoStream, newEvent())
	c.Appends = append(c.Appends, linkTo("l", 2, idsOf(c)[0], ids[1]).Appends...)
	s.must(c)
	var want []core.Event
	for _, stream := range []string{"a", "b", "l"} {
		want = append(want, s.read(stream, 0)...)
	}
	slices.SortFunc(want, func(a, b core.Event) int { return cmp.Compare(a.Position, b.Position) })
	for n := range len(want) + 2 {
		var got []core.Event
		for page := (core.Page{Next: 1}); !page.End; {
			var err error
			if page, err = reader.ReadLog(s.ctx, page.Next, core.Limit{Events: n}); err != nil || page.Head != uint64(len(want)) {
				s.Fatalf("pages of %d: %+v, %v", n, page, err)
			}
			got = append(got, page.Slice()...)
		}
		if len(got) != len(want) {
			s.Fatalf("pages of %d: %d events and links, want %d", n, len(got), len(want))
		}
		for i, e := range got {
			w := want[i]
			if e.Stream != w.Stream || e.Version != w.Version || e.Position != w.Position || e.ID != w.ID || e.Type != w.Type || e.Link != w.Link || !e.Recorded.Equal(w.Recorded) {
				s.Errorf("pages of %d: %+v, want %+v", n, e, w)
			}
			if isLink := !w.Link.IsZero(); isLink != (len(e.Data) == 0) || !isLink && string(e.Data) != string(w.Data) {
				s.Errorf("pages of %d: position %d has %d bytes of data", n, e.Position, len(e.Data))
			}
		}
	}
	if _, err := reader.ReadLog(s.ctx, core.MaxNumber+1, core.Limit{}); !errors.Is(err, core.CodeInvalidRequest) {
		s.Errorf("from beyond all numbers: %v", err)
	}
}
