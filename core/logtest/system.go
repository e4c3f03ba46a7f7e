package logtest

import (
	"fmt"
	"slices"

	"github.com/gyre-events/gyre/core"
)

var systemTests = []test{
	{"not_for_clients_to_write", func(s *suite) {
		id := s.write("a", 1)[0]
		for _, c := range []core.Commit{
			appendTo("$s", core.AnyVersion, newEvent()), linkTo("$s", core.AnyVersion, id),
			{Appends: appendTo("a", core.AnyVersion, newEvent()).Appends, Checks: []core.Check{{Stream: "$s", Expect: core.NoStream}}},
		} {
			_, err := s.log.Append(s.ctx, c)
			s.refused(err, core.CodeReservedStreamName)
		}
		for _, name := range []string{core.All, "$"} {
			c := appendTo(name, core.AnyVersion, newEvent())
			c.System = true
			if _, err := s.node.Append(s.ctx, c); err == nil {
				s.Errorf("%q was written", name)
			}
		}
	}},
	{"read", func(s *suite) {
		var all, others, system []core.ID
		for range 5 {
			a, x := s.write("a", 2), s.writeSystem("$s", 3)
			all, others, system = append(append(all, a...), x...), append(others, a...), append(system, x...)
		}
		for _, n := range []int{1, 4, 100} {
			for _, x := range []struct {
				r    core.ReadRequest
				want []core.ID
			}{
				{core.ReadRequest{Stream: core.All}, others},
				{core.ReadRequest{Stream: core.All, System: true}, all},
				{core.ReadRequest{Stream: "$s"}, system},
				{core.ReadRequest{Stream: "a", System: true}, others},
			} {
				x.r.Limit.Events = n
				if got := eventIDs(s.readFrom(x.r)); !slices.Equal(got, x.want) {
					s.Errorf("read %+v: %d events, want %d", x.r, len(got), len(x.want))
				}
				x.r.Backward = true
				if got := eventIDs(s.readFrom(x.r)); !slices.Equal(got, reversed(x.want)) {
					s.Errorf("read %+v: %d events, want %d", x.r, len(got), len(x.want))
				}
			}
		}
	}},
	{"follow", func(s *suite) {
		f := &systemFollows{s: s}
		for i := range 20 {
			f.writes(i)
		}
		f.begin()
		f.check()
		for i := range 40 {
			f.writes(i)
			if i%7 == 6 {
				f.check()
			}
		}
		f.check()
	}},
	{"follow_from_every_place", func(s *suite) {
		for i := range 10 {
			s.write("a", 1)
			s.writeSystem("$s", i%3)
		}
		head := s.node.State().Head
		for _, system := range []bool{false, true} {
			all := s.readFrom(core.ReadRequest{Stream: core.All, System: system})
			for from := range head + 1 {
				r := s.follow(core.FollowRequest{Stream: core.All, System: system, From: after(from)})
				r.gets(eventIDs(slices.DeleteFunc(slices.Clone(all), func(e core.Event) bool { return e.Position <= from }))...)
				r.untilLive()
				if r.last.Cursor != head {
					s.Errorf("from %d: cursor %d, want %d", from, r.last.Cursor, head)
				}
				_ = r.follower.Close() // a connection has room for so many
			}
		}
	}},
}

// writeSystem appends n events to a stream of the system, and answers their ids.
func (s *suite) writeSystem(stream string, n int) []core.ID {
	s.Helper()
	if n == 0 {
		return nil
	}
	c := appendTo(stream, core.AnyVersion, newEvents(n)...)
	c.System = true
	if _, err := s.node.Append(s.ctx, c); err != nil {
		s.Fatal(err)
	}
	return idsOf(c)
}

// systemFollows are follows of all kinds beside the system's streams, and what they have to
// get next.
type systemFollows struct {
	s                             *suite
	ofAll, plain, named, selected *reader
	all, others, system, filtered []core.ID
}

func (f *systemFollows) begin() {
	f.s.Helper()
	f.ofAll = f.s.follow(core.FollowRequest{Stream: core.All, System: true})
	f.plain = f.s.follow(core.FollowRequest{Stream: core.All})
	f.named = f.s.follow(core.FollowRequest{Stream: "$1"})
	f.selected = f.s.follow(core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{"*1"}}})
}

// writes appends to a stream of the system and to another one, in Commits of their own or
// in one.
func (f *systemFollows) writes(i int) {
	f.s.Helper()
	c := appendTo(fmt.Sprint("$", i%2), core.AnyVersion, newEvents(1+i%3)...)
	c.System = true
	c.Appends = append(c.Appends, appendTo(fmt.Sprint("a", i%2), core.AnyVersion, newEvents(2)...).Appends...)
	system := idsOf(core.Commit{Appends: c.Appends[:1]})
	others := idsOf(core.Commit{Appends: c.Appends[1:]})
	f.all, f.others = append(append(f.all, system...), others...), append(f.others, others...)
	if i%2 == 1 {
		f.system, f.filtered = append(f.system, system...), append(f.filtered, others...)
	}
	commits := []core.Commit{c}
	if i%3 == 0 {
		commits = []core.Commit{{System: true, Appends: c.Appends[:1]}, {Appends: c.Appends[1:]}}
	}
	for _, c := range commits {
		if _, err := f.s.node.Append(f.s.ctx, c); err != nil {
			f.s.Fatal(err)
		}
	}
}

// check has each follow get what was written for it since the last check.
func (f *systemFollows) check() {
	f.s.Helper()
	f.ofAll.gets(f.all...)
	f.plain.gets(f.others...)
	f.named.gets(f.system...)
	f.selected.gets(f.filtered...)
	f.all, f.others, f.system, f.filtered = nil, nil, nil, nil
}
