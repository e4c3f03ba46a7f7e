package enginetest

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// scavengeTests are about core.Scavenger, of engines that are one.
var scavengeTests = []test{
	{"scavenge", "M01_what_goes_is_gone", scavengeGone},
	{"scavenge", "M02_a_dry_run_changes_nothing", func(s *suite) {
		events := newEvents(5)
		for i := range events {
			events[i].Data = []byte(`"` + strings.Repeat("x", 8<<10) + `"`) // more than what is noted of them
		}
		s.must(appendTo("a", core.AnyVersion, events...))
		before := s.readLog()
		done := s.scavenge(core.Scavenging{DryRun: true}, versionsBefore("a", 4))
		if done.Events != 3 || done.Won <= 0 || done.Bytes <= done.Won || done.Next != 0 {
			s.Errorf("would do %+v, want 3 events", done)
		}
		if after := s.readLog(); !slices.EqualFunc(after, before, sameRaw) {
			s.Errorf("the log has %d events, before %d", len(after), len(before))
		}
		if real := s.scavenge(core.Scavenging{}, versionsBefore("a", 4)); real.Events != done.Events || real.Won != done.Won {
			s.Errorf("did %+v, announced %+v", real, done)
		}
	}},
	{"scavenge", "M03_versions_and_positions_are_not_given_again", func(s *suite) {
		events := s.write("a", 3)
		s.write("b", 1)
		last := s.write("a", 1)
		s.scavenge(core.Scavenging{}, versionsBefore("a", 5))
		s.head(5)
		s.leaves("a", 4)
		s.wrongVersion(s.commit(appendTo("a", core.NoStream, newEvent())), 0, "a", core.NoStream, 4)
		s.must(appendTo("c", core.AnyVersion, last[0])) // its id is free
		if r := s.must(appendTo("a", 4, events[0])); r.Position != 7 || r.Appends[0].FirstVersion != 5 {
			s.Errorf("%+v, want version 5 at position 7", r)
		}
		s.leaves("a", 5, 5)
	}},
	{"scavenge", "M04_links_go_with_their_events", func(s *suite) {
		events := s.write("a", 4)
		s.must(linkTo("l", 0, events...))
		s.must(linkTo("m", 0, events[0]))
		s.scavenge(core.Scavenging{}, versionsBefore("a", 3))
		s.leaves("l", 4, 3, 4)
		s.leaves("m", 1)
		s.refused(s.commit(linkTo("n", core.AnyVersion, events[1])), core.CodeEventNotFound, 0)
		s.must(linkTo("m", 1, events[3]))
		s.leaves("m", 2, 2)
	}},
	{"scavenge", "M05_links_go_alone", func(s *suite) {
		events := s.write("a", 3)
		s.must(linkTo("l", 0, events...))
		s.scavenge(core.Scavenging{}, versionsBefore("l", 3))
		s.leaves("l", 3, 3)
		s.leaves("a", 3, 1, 2, 3)
		s.must(linkTo("l", 3, events[0])) // it is not there any more
		s.leaves("l", 4, 3, 4)
	}},
	{"scavenge", "M06_removed_streams_stay_removed", func(s *suite) {
		events := s.write("a", 3)
		s.must(linkTo("l", 0, events...))
		s.must(change("a", 3, core.RemoveStream))
		s.write("a", 2)
		s.scavenge(core.Scavenging{}, versionsBefore("a", 2))
		s.leaves("a", 2, 2)
		s.leaves("l", 3)
	}},
	{"scavenge", "M07_goes_on_where_it_was", scavengeOn},
	{"scavenge", "M08_ends_with_its_context_and_by_its_fate", func(s *suite) {
		s.write("a", 3)
		ctx, cancel := context.WithCancel(s.ctx())
		cancel()
		if _, err := s.scavenger().Scavenge(ctx, core.Scavenging{}); !errors.Is(err, core.CodeCanceled) {
			s.Errorf("canceled: %v", err)
		}
		broken := core.Errorf(core.CodeUnavailable, "no answer")
		fate := func(context.Context, *core.Event) (core.Fate, error) { return core.Goes, broken }
		if _, err := s.scavenger().Scavenge(s.ctx(), core.Scavenging{All: true, Fate: fate}); !errors.Is(err, core.CodeUnavailable) {
			s.Errorf("a fate that fails: %v", err)
		}
		s.leaves("a", 3, 1, 2, 3)
		closeEngine(s, s.engine)
		s.closed = true
		if _, err := s.scavenger().Scavenge(s.ctx(), core.Scavenging{All: true, Fate: fate}); !errors.Is(err, core.CodeStoreClosed) {
			s.Errorf("closed: %v", err)
		}
	}},
	{"scavenge", "M09_what_a_policy_shows_that_was_loosened_meanwhile_stays", func(s *suite) {
		events := s.write("a", 5)
		s.must(linkTo("l", 0, events[0]))
		done := s.scavengeWhile(1, func(puts int) (before, loosened uint64) { return uint64(4 - 3*puts), uint64(puts) })
		if done.Events != 0 || done.Next != 0 {
			s.Errorf("%+v, want no events", done)
		}
		s.leaves("a", 5, 1, 2, 3, 4, 5)
		s.leaves("l", 1, 1)
	}},
	{"scavenge", "M10_policies_that_are_not_loosened_keep_nothing", func(s *suite) {
		s.write("a", 5)
		if done := s.scavengeWhile(1, func(int) (before, loosened uint64) { return 4, 7 }); done.Events != 3 || done.Deferred != 0 {
			s.Errorf("%+v, want 3 events", done)
		}
		s.leaves("a", 5, 4, 5)
	}},
	{"scavenge", "M11_ends_though_policies_are_loosened_without_end", func(s *suite) {
		s.write("a", 5)
		done := s.scavengeWhile(math.MaxInt, func(puts int) (before, loosened uint64) { return 4, uint64(puts) })
		if done.Events != 0 || done.Next != 0 || done.Deferred == 0 || done.Deferred > done.Bytes {
			s.Errorf("%+v, want no events, all looked at, and some deferred", done)
		}
		s.leaves("a", 5, 1, 2, 3, 4, 5)
	}},
}

// scavengeWhile removes versions of stream a while policies are put: one after each decision
// about version 1, up to most. policy says, by how many were put, before which version events go,
// and the number of core.Scavenging.AsOf.
func (s *suite) scavengeWhile(most int, policy func(puts int) (before, loosened uint64)) core.Scavenged {
	s.Helper()
	puts, known := 0, 0
	r := core.Scavenging{AsOf: func(context.Context) (uint64, error) {
		known = puts
		_, loosened := policy(known)
		return loosened, nil
	}}
	return s.scavenge(r, func(ctx context.Context, e *core.Event) (core.Fate, error) {
		before, _ := policy(known)
		if e.Stream == "a" && e.Version == 1 && puts < most {
			puts++
			s.must(policyPut())
		}
		return versionsBefore("a", before)(ctx, e)
	})
}

// policyPut is a Commit that puts a policy of retention, as the Store has it written.
func policyPut() *core.Commit {
	event := newEvent()
	event.Type = core.RetentionNotice
	c := systemCommit(core.NoticeStream, core.AnyVersion, event)
	c.Records = []core.RecordOp{put(core.RetentionTable, "stream\na", core.AnyVersion, "policy")}
	return c
}

// scavengeGone looks for what went in every way to read, and for what stays.
func scavengeGone(s *suite) {
	a, b := s.write("a", 6), s.write("b", 2)
	s.must(appendsTo("a", "b", "c"))
	var places []core.Event
	done := s.scavenge(core.Scavenging{}, func(ctx context.Context, e *core.Event) (core.Fate, error) {
		places = append(places, core.Event{Stream: e.Stream, Version: e.Version, Position: e.Position, Recorded: e.Recorded, Incarnation: e.Incarnation})
		info, err := s.engine.Streams(ctx, core.StreamsRequest{Names: []string{e.Stream}, Limit: 1}) // it may read
		if err != nil || len(info.Streams) != 1 {
			s.Errorf("stream %q: %+v, %v", e.Stream, info, err)
		}
		return versionsBefore("a", 5)(ctx, e)
	})
	if done.Events != 4 || done.Won < 0 || done.Bytes <= done.Won || done.Next != 0 {
		s.Errorf("%+v, want 4 events of 11", done)
	}
	last := uint64(0)
	for _, e := range places {
		if again := e.Position == 1; !again && e.Position != last+1 || e.Incarnation != 1 || e.Recorded.IsZero() || e.Stream == "a" != (e.Position <= 6 || e.Position == 9) {
			s.Errorf("after event %d it was decided about %+v", last, e)
		}
		last = e.Position
	}
	if last != 11 {
		s.Errorf("%d events were decided about, want 11", last)
	}
	s.leaves("a", 7, 5, 6, 7)
	s.leaves("b", 3, 1, 2, 3)
	for i, e := range a {
		got, err := s.engine.Event(s.ctx(), e.ID)
		if i < 4 && !errors.Is(err, core.CodeEventNotFound) || i >= 4 && (err != nil || got.Position != uint64(i+1)) {
			s.Errorf("event %d: %+v, %v", i+1, got, err)
		}
	}
	if all := s.read(core.All, false); len(all) != 7 || all[0].Position != 5 || all[2].ID != b[0].ID {
		s.Errorf("$all has %d events, and begins with %+v", len(all), all[0])
	}
	if again := s.scavenge(core.Scavenging{}, versionsBefore("a", 5)); again.Events != 0 {
		s.Errorf("the next one: %+v", again)
	}
}

// scavengeOn ends a scavenge after its first piece, and another goes on.
func scavengeOn(s *suite) {
	s.write("b", 1)
	for range 3 {
		s.write("a", 1500)
	}
	s.removes = true
	var total core.Scavenged
	for calls := 0; ; calls++ {
		ctx, cancel := context.WithCancel(s.ctx())
		reported := core.Scavenged{}
		done, err := s.scavenger().Scavenge(ctx, core.Scavenging{All: true, From: total.Next, Fate: versionsBefore("a", 4401), Report: func(now core.Scavenged) {
			if now.Events < reported.Events || now.Bytes < reported.Bytes || now.Next <= total.Next && now.Next != 0 || now.Last < now.Next-1 {
				s.Errorf("reported %+v after %+v, from %d", now, reported, total.Next)
			}
			reported = now
			cancel()
		}})
		cancel()
		if done.Events < reported.Events {
			s.Errorf("%+v, and reported were %+v", done, reported)
		}
		total.Events += done.Events
		if total.Next = done.Next; total.Next == 0 {
			if err != nil {
				s.Fatalf("all is done: %v", err)
			}
			break
		}
		if !errors.Is(err, core.CodeCanceled) || calls > 100 {
			s.Fatalf("call %d: %+v, %v", calls, done, err)
		}
	}
	if total.Events != 4400 {
		s.Errorf("%d events went, want 4400", total.Events)
	}
	if got := s.read("a", false); len(got) != 100 || got[0].Version != 4401 {
		s.Errorf("%d events are left", len(got))
	}
}

// fateOf decides as core.Scavenging.Fate.
type fateOf func(ctx context.Context, e *core.Event) (core.Fate, error)

// versionsBefore has the versions before one go, and the links to them.
func versionsBefore(stream string, version uint64) fateOf {
	return func(_ context.Context, e *core.Event) (core.Fate, error) {
		home := e.Home()
		if e.Stream == stream && e.Version < version || home.Stream == stream && home.Version < version {
			return core.Goes, nil
		}
		return core.Stays, nil
	}
}

// scavenger is the engine, if it is a core.Scavenger.
func (s *suite) scavenger() core.Scavenger {
	s.Helper()
	engine, ok := s.engine.(core.Scavenger)
	if !ok {
		s.Skip("the engine is no core.Scavenger")
	}
	return engine
}

// scavenge removes all that goes.
func (s *suite) scavenge(r core.Scavenging, fate fateOf) core.Scavenged {
	s.Helper()
	r.All, r.Fate = true, fate
	s.removes = true
	done, err := s.scavenger().Scavenge(s.ctx(), r)
	if err != nil {
		s.Fatalf("scavenge: %v", err)
	}
	return done
}

// leaves checks which versions can be read of a stream, and its own.
func (s *suite) leaves(stream string, version uint64, versions ...uint64) {
	s.Helper()
	page, err := s.engine.Read(s.ctx(), core.ReadRequest{Stream: stream, Limit: everything})
	if err != nil || page.Version != version {
		s.Errorf("stream %q is at version %d, want %d: %v", stream, page.Version, version, err)
	}
	var got []uint64
	for _, e := range s.read(stream, false) {
		got = append(got, e.Version)
	}
	if !slices.Equal(got, versions) {
		s.Errorf("stream %q has the versions %v, want %v", stream, got, versions)
	}
	info, err := s.engine.Streams(s.ctx(), core.StreamsRequest{Names: []string{stream}, Details: true, Limit: 1})
	first := append(versions, version+1)[0]
	if err != nil || len(info.Streams) != 1 || info.Streams[0].First != first {
		s.Errorf("stream %q is described as %+v, %v, want it to begin with version %d", stream, info, err, first)
	}
}
