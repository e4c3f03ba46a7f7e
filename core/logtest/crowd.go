package logtest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// crowdTests are about many readers, and about those that do not read.
var crowdTests = []test{
	{"hundred_followers_and_one_that_stalls", func(s *suite) {
		const followers, streams = 100, 5
		s.write("s-0", 10)
		stalled := s.follow(core.FollowRequest{Stream: core.All})
		var readers []*reader
		var names []string
		for i := range followers {
			f := core.FollowRequest{Stream: core.All}
			switch i % 4 {
			case 1:
				f.Stream = fmt.Sprintf("s-%d", i%streams)
			case 2:
				f.Filter.Streams = []string{fmt.Sprintf("s-%d", i%streams)}
			}
			name := f.Stream
			if !f.Filter.IsZero() {
				name = f.Filter.Streams[0]
			}
			readers, names = append(readers, s.follow(f)), append(names, name)
		}
		ends := make(map[string]core.ID)
		last := make([]core.NewEvent, streams)
		for i := range last {
			last[i] = newEvent()
			ends[fmt.Sprintf("s-%d", i)], ends[core.All] = last[i].ID, last[i].ID
		}
		var done sync.WaitGroup
		errs := make([]error, followers)
		for i, r := range readers {
			done.Go(func() {
				errs[i] = r.until(s.ctx, func() bool { return len(r.got) > 0 && r.got[len(r.got)-1] == ends[names[i]] })
			})
		}
		for i := range 200 {
			s.write(fmt.Sprintf("s-%d", i%streams), 1+i%3)
		}
		for i, e := range last {
			s.writeEvent(fmt.Sprintf("s-%d", i), e)
		}
		done.Wait()
		for i, r := range readers {
			if errs[i] == nil {
				errs[i] = r.collect(s.ctx, s.written[names[i]])
			}
			if errs[i] != nil {
				s.Errorf("follower %d, of %q: %v", i, names[i], errs[i])
			}
		}
		stalled.gets(s.written[core.All]...)
	}},
	{"slow_readers_hold_up_no_append", func(s *suite) {
		var readers []*reader
		for _, f := range []core.FollowRequest{
			{Stream: core.All}, {Stream: "a"}, {Stream: core.All, Filter: core.Filter{Types: []string{"t*"}}},
		} {
			r := s.follow(f)
			readers = append(readers, r)
			r.untilLive() // and from here on it does not read
		}
		for range 20 { // more than any buffer on the way should have room for
			events := newEvents(10)
			for i := range events {
				events[i].Format, events[i].Data = core.Bytes, make([]byte, 60_000)
			}
			s.writeEvent("a", events...)
		}
		for _, r := range readers {
			r.gets(s.written["a"]...)
		}
	}},
	{"followers_come_and_go", func(s *suite) {
		const writes = 200
		// Each write lets one follower come. Without that limit, followers on a busy machine slow the writes down.
		var done sync.WaitGroup
		come := make(chan int, writes)
		for range 4 {
			done.Go(func() {
				for n := range come {
					if err := comeAndGo(s, n); err != nil {
						s.Error(err)
						return
					}
				}
			})
		}
		for n := range writes {
			s.write(fmt.Sprintf("s-%d", n%3), 1)
			come <- n
		}
		close(come)
		done.Wait()
	}},
}

// comeAndGo follows for a little while: what it has is a run of the log.
func comeAndGo(s *suite, n int) error {
	f := core.FollowRequest{Stream: core.All}
	if n%3 == 0 {
		f.Filter.Streams = []string{"s-1"}
	}
	follower, err := s.log.Follow(s.ctx, f)
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	r := &reader{s: s, follower: follower, limit: limit(1 + n%40)}
	defer func() { _ = follower.Close() }()
	for range 1 + n%5 {
		d, err := r.next(s.ctx)
		if err != nil {
			return fmt.Errorf("next: %w", err)
		}
		if n%3 != 0 && d.Cursor != uint64(len(r.got)) {
			return fmt.Errorf("cursor %d after %d events of $all", d.Cursor, len(r.got))
		}
		if d.Live {
			return nil // the next one may be long in coming
		}
	}
	if ids := slices.Clone(r.got); len(slices.Compact(ids)) != len(r.got) {
		return fmt.Errorf("the same event twice in a row")
	}
	return nil
}
