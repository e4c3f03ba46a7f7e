package logtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/core"
)

var followTests = []test{
	{"empty_log", func(s *suite) {
		for _, stream := range []string{"a", core.All} {
			r := s.follow(core.FollowRequest{Stream: stream})
			d, err := r.next(s.ctx)
			if err != nil || d.Count != 0 || !d.Live || d.Cursor != 0 || d.Head != 0 {
				s.Errorf("the first delivery is %+v, %v, want an empty one that is live", d, err)
			}
		}
	}},
	{"stream_that_is_not_there_yet", func(s *suite) {
		s.write("a", 3)
		r := s.follow(core.FollowRequest{Stream: "later"})
		r.untilLive()
		s.write("a", 1)
		ids := s.write("later", 2)
		s.write("a", 1)
		r.gets(append(ids, s.write("later", 1)...)...)
	}},
	{"catch_up_becomes_live_once", func(s *suite) {
		s.write("a", 20)
		for _, stream := range []string{"a", core.All} {
			r := s.follow(core.FollowRequest{Stream: stream})
			r.limit = limit(3)
			becameLive := 0
			for last := false; len(r.got) < 20 || !last; {
				d, err := r.next(s.ctx)
				if err != nil {
					s.Fatal(err)
				}
				if d.Live && d.Cursor < 20 {
					s.Errorf("live at cursor %d of 20", d.Cursor)
				}
				if d.Live && !last {
					becameLive++
				}
				last = d.Live
			}
			if becameLive != 1 {
				s.Errorf("became live %d times", becameLive)
			}
			_ = r.follower.Close()
		}
	}},
	{"live_events_one_by_one", func(s *suite) {
		r := s.follow(core.FollowRequest{Stream: core.All})
		for i := range 50 {
			r.gets(s.write(fmt.Sprintf("s-%d", i%3), 1+i%4)...)
		}
		if !r.last.Live || r.last.Lag() != 0 {
			s.Errorf("cursor %d, head %d, live = %v", r.last.Cursor, r.last.Head, r.last.Live)
		}
	}},
	{"catch_up_into_live_beside_a_writer", catchUpBesideWriter},
	{"filters", filters},
	{"filter_moves_the_cursor", func(s *suite) {
		s.write("a", 2)
		s.write("b", 30)
		for _, f := range []core.FollowRequest{
			{Stream: core.All, Filter: core.Filter{Streams: []string{"a"}}},
			{Stream: core.All, Filter: core.Filter{Types: []string{"none"}}},
			{Stream: "b", Filter: core.Filter{Types: []string{"none"}}},
			{Stream: "none"},
		} {
			r := s.follow(f)
			r.untilLive()
			if r.last.Cursor != 32 {
				s.Errorf("follow %+v: live at cursor %d, want 32", f, r.last.Cursor)
			}
		}
	}},
	{"limits", func(s *suite) {
		big := newEvent()
		big.Format, big.Data = core.Bytes, make([]byte, 200_000)
		c := appendTo("a", core.AnyVersion, slices.Concat(newEvents(30), []core.NewEvent{big}, newEvents(30))...)
		s.must(c)
		for _, l := range []core.Limit{limit(1), limit(7), limit(1000), {Events: 100, Bytes: 1}, {Events: 100, Bytes: 700}, {Events: 5, Bytes: 100_000}} {
			for _, f := range []core.FollowRequest{{Stream: "a"}, {Stream: core.All}, {Stream: core.All, Filter: core.Filter{Streams: []string{"*"}}}} {
				r := s.follow(f)
				r.limit = l // which every delivery is held to
				r.gets(idsOf(c)...)
				_ = r.follower.Close()
			}
		}
	}},
	{"limits_of_live_deliveries", func(s *suite) {
		r := s.follow(core.FollowRequest{Stream: core.All})
		r.untilLive()
		for _, l := range []core.Limit{limit(1), limit(7), {Events: 100, Bytes: 700}} {
			r.limit = l
			r.gets(s.write("a", 20)...)
		}
	}},
	{"canceled_next_loses_nothing", func(s *suite) {
		r := s.follow(core.FollowRequest{Stream: core.All})
		r.untilLive()
		for range 20 {
			ctx, cancel := context.WithCancel(s.ctx)
			ended := make(chan error, 1)
			go func() {
				err := r.until(ctx, func() bool { return false })
				ended <- err
			}()
			first := s.write("a", 1)
			cancel()
			if err := <-ended; !isEnd(err) {
				s.Fatalf("next of a caller that gave up: %v", err)
			}
			r.gets(append(first, s.write("a", 1)...)...)
		}
	}},
	{"close_ends_next", func(s *suite) {
		r := s.follow(core.FollowRequest{Stream: core.All})
		r.untilLive()
		ended := make(chan error, 1)
		go func() { ended <- r.until(s.ctx, func() bool { return false }) }()
		if err := r.follower.Close(); err != nil {
			s.Errorf("close: %v", err)
		}
		if err := <-ended; err == nil {
			s.Error("next went on after close")
		}
		_ = r.follower.Close()
		if _, err := r.follower.Next(s.ctx, limit(1)); err == nil {
			s.Error("next after close")
		}
		s.write("a", 1)
	}},
	{"follow_events", func(s *suite) {
		want := slices.Concat(s.write("a", 5), s.write("b", 3))
		var got []core.ID
		for e, err := range core.FollowEvents(s.ctx, s.log, core.FollowRequest{Stream: core.All}) {
			if err != nil {
				s.Fatal(err)
			}
			if got = append(got, e.ID); len(got) == 8 {
				want = append(want, s.write("a", 2)...)
			}
			if len(got) == 10 {
				break
			}
		}
		if !slices.Equal(got, want) {
			s.Errorf("%v, want %v", got, want)
		}
		ctx, cancel := context.WithCancel(s.ctx)
		for _, err := range core.FollowEvents(ctx, s.log, core.FollowRequest{Stream: "a"}) {
			cancel()
			if err != nil && !isEnd(err) {
				s.Errorf("follow of a caller that gave up: %v", err)
			}
		}
		cancel()
	}},
}

// catchUpBesideWriter follows from several places, with several limits, while a
// writer appends: each reader has every event once, in order.
func catchUpBesideWriter(s *suite) {
	for range 30 {
		s.write("a", 5)
		s.write("b", 5)
	}
	endA, endB := newEvent(), newEvent()
	end := map[string]core.ID{"a": endA.ID, "b": endB.ID, core.All: endB.ID}
	written := make(chan struct{}) // closed when s.written is complete
	var done sync.WaitGroup
	start := func(f core.FollowRequest, n int, stream string, skipped int) {
		r := s.follow(f)
		r.limit = limit(n)
		done.Go(func() {
			err := r.until(s.ctx, func() bool { return len(r.got) > 0 && r.got[len(r.got)-1] == end[stream] })
			<-written
			if err == nil {
				err = r.collect(s.ctx, s.written[stream][skipped:])
			}
			if err != nil {
				s.Errorf("follow %+v by %d: %v", f, n, err)
			}
		})
	}
	for _, n := range []int{1, 3, 100} {
		start(core.FollowRequest{Stream: core.All}, n, core.All, 0)
		start(core.FollowRequest{Stream: core.All, From: after(250)}, n, core.All, 250)
		start(core.FollowRequest{Stream: core.All, From: core.From{Kind: core.FromEnd}}, n, core.All, 300)
		start(core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{"b"}}}, n, "b", 0)
		start(core.FollowRequest{Stream: "a"}, n, "a", 0)
		start(core.FollowRequest{Stream: "b", From: core.From{Kind: core.AfterVersion, N: 100}}, n, "b", 100)
	}
	for i := range 300 {
		s.write([]string{"a", "b", "c"}[i%3], 2)
		if i%100 == 50 {
			start(core.FollowRequest{Stream: core.All}, 17, core.All, 0)
			start(core.FollowRequest{Stream: "a", From: core.From{Kind: core.FromEnd}}, 17, "a", len(s.written["a"]))
		}
	}
	s.writeEvent("a", endA)
	s.writeEvent("b", endB)
	close(written)
	done.Wait()
}

func filters(s *suite) {
	for i := range 24 {
		e := newEvent()
		e.Type = []string{"OrderPlaced", "OrderPaid", "größe", "x"}[i%4]
		s.must(appendTo([]string{"order-1", "order-2", "user-1"}[i%3], core.AnyVersion, e))
	}
	for _, f := range []core.Filter{
		{Streams: []string{"order-*"}},
		{Streams: []string{"*-1"}},
		{Streams: []string{"order-1", "user-*"}},
		{Types: []string{"Order*"}},
		{Types: []string{"*P*d"}},
		{Types: []string{"größe", "x"}},
		{Streams: []string{"order-*"}, Types: []string{"OrderPaid"}},
		{Streams: []string{"*"}, Types: []string{"*"}},
		{Types: []string{"order*"}},
	} {
		for _, stream := range []string{core.All, "order-1"} {
			followsFiltered(s, stream, f)
		}
	}
}

// followsFiltered compares what a filtered follow has, both of what is stored and of
// what comes, with the filter's own judgement. The last of what comes matches, if
// anything does.
func followsFiltered(s *suite, stream string, f core.Filter) {
	s.Helper()
	stored := slices.DeleteFunc(s.read(core.All, 0), func(e core.Event) bool {
		return stream != core.All && e.Stream != stream || !f.Match(e.Stream, e.Type)
	})
	want := eventIDs(stored)
	r := s.follow(core.FollowRequest{Stream: stream, Filter: f})
	r.untilLive()
	if len(want) > 0 {
		for _, to := range []string{"order-1", "order-2", "user-1", stored[0].Stream} {
			e := newEvent()
			e.Type = stored[0].Type
			s.must(appendTo(to, core.AnyVersion, e))
			if (stream == core.All || to == stream) && f.Match(to, e.Type) {
				want = append(want, e.ID)
			}
		}
	}
	if err := r.collect(s.ctx, want); err != nil {
		s.Errorf("follow %q by %+v: %v", stream, f, err)
	}
	_ = r.follower.Close()
}
