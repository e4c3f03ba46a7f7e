package logtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// startTests are about where a follow begins. Each ends with an event appended
// afterwards, which shows that nothing came in between.
var startTests = []test{
	{"from_start", func(s *suite) {
		s.writeSome()
		for _, from := range []core.From{{}, after(0), {Kind: core.AfterVersion}} {
			s.followsFrom("a", from, 0)
		}
		s.followsFrom(core.All, core.From{}, 0)
		s.followsFrom(core.All, after(0), 0)
	}},
	{"from_end", func(s *suite) {
		s.writeSome()
		for _, stream := range []string{"a", core.All, "new", "new"} {
			s.followsFrom(stream, core.From{Kind: core.FromEnd}, len(s.written[stream]))
		}
	}},
	{"after_position", func(s *suite) {
		s.writeSome()
		for n := range 21 {
			s.followsFrom(core.All, after(uint64(n)), n)
			s.followsFrom("a", after(uint64(n)), n/5*3+min(n%5, 3)) // of every five, the first three are of "a"
		}
	}},
	{"after_position_beyond_the_head", func(s *suite) {
		s.write("a", 2)
		for _, stream := range []string{"a", "b", core.All} {
			s.refusesFollow(core.FollowRequest{Stream: stream, From: after(3)}, core.CodeInvalidCursor)
			s.refusesFollow(core.FollowRequest{Stream: stream, From: after(core.MaxNumber)}, core.CodeInvalidCursor)
		}
	}},
	{"after_version", func(s *suite) {
		s.writeSome()
		for n := range 13 {
			s.followsFrom("a", core.From{Kind: core.AfterVersion, N: uint64(n)}, n)
		}
		version := len(s.written["a"])
		s.followsFrom("a", core.From{Kind: core.AfterVersion, N: uint64(version)}, version)
		beyond := core.From{Kind: core.AfterVersion, N: uint64(version + 2)}
		s.refusesFollow(core.FollowRequest{Stream: "a", From: beyond}, core.CodeInvalidCursor)
		s.refusesFollow(core.FollowRequest{Stream: "none", From: beyond}, core.CodeInvalidCursor)
		s.refusesFollow(core.FollowRequest{Stream: core.All, From: core.From{Kind: core.AfterVersion, N: 1}}, core.CodeInvalidCursor)
	}},
	{"from_time", fromTime},
	{"cursor", func(s *suite) {
		s.writeSome()
		elsewhere := core.Cursor{Log: "anotherlog", Position: 2}
		for _, stream := range []string{"a", core.All} {
			s.refusesFollow(core.FollowRequest{Stream: stream, From: elsewhere.From()}, core.CodeLogChanged)
		}
		// The identity is not a Log's to tell; those that know it are asked.
		if log, ok := s.log.(interface{ State() core.State }); ok {
			here := core.Cursor{Log: log.State().Log, Position: 2}
			s.followsFrom(core.All, here.From(), 2)
		}
	}},
	{"resume_after_any_delivery", func(s *suite) {
		s.writeSome()
		resumes(s, core.FollowRequest{Stream: core.All}, s.written[core.All])
		resumes(s, core.FollowRequest{Stream: "a"}, s.written["a"])
		resumes(s, core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{"a"}}}, s.written["a"])
		resumes(s, core.FollowRequest{Stream: "b", Filter: core.Filter{Types: []string{"t*"}}}, s.written["b"])
	}},
	{"requests_that_cannot_be", func(s *suite) {
		s.refusesFollow(core.FollowRequest{}, core.CodeInvalidStreamName)
		s.refusesFollow(core.FollowRequest{Stream: "$"}, core.CodeInvalidStreamName)
		s.refusesFollow(core.FollowRequest{Stream: core.All, Filter: core.Filter{Types: []string{""}}}, core.CodeInvalidFilter)
		many := make([]string, core.MaxFilterPatterns+1)
		for i := range many {
			many[i] = fmt.Sprint(i)
		}
		s.refusesFollow(core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: many}}, core.CodeInvalidFilter)
	}},
}

func after(position uint64) core.From { return core.From{Kind: core.AfterPosition, N: position} }

// writeSome writes 5 times 3 events to "a" and 2 to "b".
func (s *suite) writeSome() {
	s.Helper()
	for range 5 {
		s.write("a", 3)
		s.write("b", 2)
	}
}

// followsFrom checks what a follow has: everything of the stream but the first
// events, and then one that is appended when the follow is live.
func (s *suite) followsFrom(stream string, from core.From, skipped int) {
	s.Helper()
	want := slices.Clone(s.written[stream][skipped:])
	r := s.follow(core.FollowRequest{Stream: stream, From: from})
	r.untilLive()
	if stream == core.All {
		stream = "c"
	}
	want = append(want, s.write(stream, 1)...)
	if err := r.collect(s.ctx, want); err != nil {
		s.Fatalf("follow %q from %+v: %v", stream, from, err)
	}
	_ = r.follower.Close()
}

// resumes follows a little, over and over, each time from the last cursor.
func resumes(s *suite, f core.FollowRequest, want []core.ID) {
	s.Helper()
	var got []core.ID
	for len(got) < len(want) {
		r := s.follow(f)
		r.limit = limit(2)
		if err := r.until(s.ctx, func() bool { return len(r.got) > 0 }); err != nil {
			s.Fatalf("follow %+v: %v", f, err)
		}
		got = append(got, r.got...)
		f.From = after(r.last.Cursor)
		_ = r.follower.Close()
	}
	if !slices.Equal(got, want) {
		s.Errorf("follow %+v: %d events, want %d, or in another order", f, len(got), len(want))
	}
}

// fromTime follows from the times at which events were recorded, and around them.
func fromTime(s *suite) {
	for range 10 {
		s.write("a", 1)
		s.write("b", 1)
		at := time.Now()
		for time.Since(at) < 10*time.Microsecond {
			continue // until the clock of the log has moved
		}
	}
	all := s.read(core.All, 0)
	for _, e := range all {
		for _, at := range []time.Time{e.Recorded, e.Recorded.Add(-time.Microsecond), e.Recorded.Add(time.Microsecond)} {
			skipped := map[string]int{}
			for _, other := range all {
				if other.Recorded.Before(at) {
					skipped[other.Stream]++
					skipped[core.All]++
				}
			}
			for _, stream := range []string{"a", core.All} {
				s.followsFrom(stream, core.From{Kind: core.FromTime, Time: at}, skipped[stream])
			}
		}
	}
	s.followsFrom("a", core.From{Kind: core.FromTime, Time: time.Unix(0, 0)}, 0)
	s.followsFrom("never", core.From{Kind: core.FromTime, Time: all[3].Recorded}, 0)
}
