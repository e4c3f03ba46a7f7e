package logtest

import (
	"strings"

	"github.com/gyre-events/gyre/core"
)

// progressTests are about clients' own places in the log.
var progressTests = []test{
	{"moves_with_events", func(s *suite) {
		s.write("a", 5)
		s.followsFrom(core.All, atProgress("p"), 0)
		s.must(moving(core.Progress{Name: "p", From: 0, To: 3}, newEvent()))
		s.must(moving(core.Progress{Name: "p", From: 3, To: 5}, newEvents(2)...))
		s.must(moving(core.Progress{Name: "other", From: 0, To: 1}, newEvent()))
		s.followsAfter("a", atProgress("p"), 5)
		s.followsAfter("a", atProgress("other"), 1)
		s.followsAfter(core.All, atProgress("p"), 5)
	}},
	{"another_place_is_stored", func(s *suite) {
		s.write("a", 5)
		s.conflicts(moving(core.Progress{Name: "p", From: 2, To: 3}, newEvent()), 0)
		s.must(core.Commit{Progress: &core.Progress{Name: "p", From: 0, To: 3}})
		for _, p := range []core.Progress{{From: 0, To: 3}, {From: 0, To: 4}, {From: 2, To: 4}, {From: 4, To: 5}} {
			p.Name = "p"
			s.conflicts(moving(p, newEvent()), 3)
			s.conflicts(core.Commit{Progress: &p}, 3)
		}
		s.followsAfter("a", atProgress("p"), 3)
	}},
	{"one_of_many_wins", func(s *suite) {
		s.write("a", 5)
		_, errs := s.atOnce(8, func(int) core.Commit { return moving(core.Progress{Name: "p", From: 0, To: 5}, newEvent()) })
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if e := s.refusal(err, core.CodeProgressConflict); e.Actual == nil || *e.Actual != 5 {
				s.Errorf("%v: actual %v", e, deref(e.Actual))
			}
		}
		if n := len(s.read(moved, 0)); won != 1 || n != 1 {
			s.Errorf("%d won, %d events", won, n)
		}
	}},
	{"the_same_move_again", func(s *suite) {
		s.write("a", 5)
		c := core.Commit{Progress: &core.Progress{Name: "p", From: 0, To: 3, ID: core.NewID()}}
		s.must(c)
		s.isDuplicate(c)
		s.conflicts(core.Commit{Progress: &core.Progress{Name: "p", From: 0, To: 3, ID: core.NewID()}}, 3)
		s.must(core.Commit{Progress: &core.Progress{Name: "p", From: 3, To: 4}})
		s.conflicts(c, 4)
	}},
	{"events_again", func(s *suite) {
		s.write("a", 5)
		first := moving(core.Progress{Name: "p", From: 0, To: 3}, newEvents(2)...)
		s.must(first)
		s.isDuplicate(first)
		second := moving(core.Progress{Name: "p", From: 3, To: 4}, newEvent())
		s.must(second)
		s.isDuplicate(first) // the place has passed it
		s.isDuplicate(second)
	}},
	{"known_events_move_nothing", func(s *suite) {
		s.write("a", 5)
		c := moving(core.Progress{Name: "p", From: 0, To: 3}, newEvent())
		s.must(c)
		c.Progress = &core.Progress{Name: "p", From: 3, To: 5}
		s.conflicts(c, 3)
		c.Progress = &core.Progress{Name: "q", From: 0, To: 5}
		s.conflicts(c, 0)
		s.followsAfter("a", atProgress("p"), 3)
	}},
	{"P6_all_or_nothing", func(s *suite) {
		s.write("a", 5)
		s.must(core.Commit{Progress: &core.Progress{Name: "p", From: 0, To: 3}})
		c := moving(core.Progress{Name: "p", From: 3, To: 5}, newEvent())
		c.Checks = []core.Check{{Stream: "a", Expect: 4}}
		_, err := s.log.Append(s.ctx, c)
		s.refused(err, core.CodeWrongExpectedVersion)
		s.followsAfter("a", atProgress("p"), 3)
	}},
	{"P12_bad_moves_change_nothing", badMoves},
}

func badMoves(s *suite) {
	s.write("a", 5)
	for what, p := range map[string]core.Progress{
		"no name":       {To: 1},
		"reserved name": {Name: "$p", To: 1},
		"long name":     {Name: strings.Repeat("p", core.MaxProgressNameBytes+1), To: 1},
		"no text":       {Name: "p\xff", To: 1},
		"nowhere":       {Name: "p"},
		"in place":      {Name: "p", From: 2, To: 2},
		"backward":      {Name: "p", From: 3, To: 2},
		"beyond":        {Name: "p", To: 6},
		"far beyond":    {Name: "p", To: core.MaxNumber + 1},
		"bad log":       {Name: "p", To: 1, Log: "A B"},
	} {
		for _, c := range []core.Commit{moving(p, newEvent()), {Progress: &p}} {
			if _, err := s.log.Append(s.ctx, c); core.AsError(err).Code != core.CodeInvalidProgress {
				s.Errorf("%s: %v", what, err)
			}
		}
	}
	_, err := s.log.Append(s.ctx, moving(core.Progress{Name: "p", To: 1, Log: "anotherlog"}, newEvent()))
	s.refused(err, core.CodeLogChanged)
	s.refusesFollow(core.FollowRequest{Stream: core.All, From: atProgress("$p")}, core.CodeInvalidProgress)
	s.followsAfter(core.All, atProgress("p"), 0)
}

// moved is the stream that moving appends to.
const moved = "moved"

// moving is a Commit that moves a place and appends events.
func moving(p core.Progress, events ...core.NewEvent) core.Commit {
	c := appendTo(moved, core.AnyVersion, events...)
	c.Progress = &p
	return c
}

func atProgress(name string) core.From { return core.From{Kind: core.AfterProgress, Progress: name} }

// conflicts checks that c is refused because its progress is at another place, and that
// nothing is written.
func (s *suite) conflicts(c core.Commit, actual uint64) {
	s.Helper()
	before := len(s.read(core.All, 0))
	_, err := s.log.Append(s.ctx, c)
	e := s.refusal(err, core.CodeProgressConflict)
	if e.Expected == nil || uint64(*e.Expected) != c.Progress.From || e.Actual == nil || *e.Actual != actual {
		s.Errorf("%v: expected %v, actual %v, want %d", e, e.Expected, deref(e.Actual), actual)
	}
	if n := len(s.read(core.All, 0)); n != before {
		s.Errorf("%d events were written", n-before)
	}
}

// isDuplicate checks that c is answered as written before.
func (s *suite) isDuplicate(c core.Commit) {
	s.Helper()
	if r, err := s.log.Append(s.ctx, c); err != nil || !r.Duplicate || len(r.Appends) != len(c.Appends) {
		s.Errorf("again: %+v, %v", r, err)
	}
}

// followsAfter checks that a follow begins after so many events of a stream.
func (s *suite) followsAfter(stream string, from core.From, n int) {
	s.Helper()
	want := s.read(stream, 0)[n:]
	f, err := s.log.Follow(s.ctx, core.FollowRequest{Stream: stream, From: from})
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for len(want) > 0 {
		d, err := f.Next(s.ctx, core.Limit{Events: 10, Bytes: 1 << 20})
		if err != nil {
			s.Fatal(err)
		}
		for e := range d.Events() {
			if len(want) == 0 || e.ID != want[0].ID {
				s.Fatalf("event %d of stream %q came, want %v", e.Version, e.Stream, want)
			}
			want = want[1:]
		}
	}
}
