package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Clock is the clock of a node whose events age as a test says.
type Clock struct{ micros atomic.Int64 }

// Now is that of core.StoreConfig. It is the machine's time until Set.
func (c *Clock) Now() time.Time {
	if at := c.micros.Load(); at != 0 {
		return time.UnixMicro(at)
	}
	return time.Now()
}

// Set stops the clock at a time.
func (c *Clock) Set(t time.Time) { c.micros.Store(t.UnixMicro()) }

// RunRetention tests what a Log shows of streams that have a policy of retention. open makes an
// empty one whose node has the clock. At full length, with GYRE_SOAK=1, it walks longer.
func RunRetention(t *testing.T, open func(t testing.TB, clock *Clock) (log core.Log, node *core.Store)) {
	for _, x := range retentionTests {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			defer cancel()
			clock := new(Clock)
			log, node := open(t, clock)
			x.run(&aging{suite: &suite{T: t, log: log, node: node, ctx: ctx, written: make(map[string][]core.ID)}, clock: clock})
		})
	}
}

// aging is a suite with a clock.
type aging struct {
	*suite
	clock *Clock
}

type agingTest struct {
	name string
	run  func(s *aging)
}

var retentionTests = []agingTest{
	{"count", func(s *aging) {
		ids := s.write("a-1", 5)
		other := s.write("b", 1)
		s.keeps(stream("a-1"), core.Retention{MaxCount: 2})
		s.shows("a-1", 5, ids[3:]...)
		s.shows(core.All, 0, append(slices.Clone(ids[3:]), other...)...)
		more := s.write("a-1", 1)
		s.shows("a-1", 6, ids[4], more[0])
		s.keeps(stream("a-1"), core.Retention{})
		s.shows("a-1", 6, append(slices.Clone(ids), more...)...)
	}},
	{"truncate", func(s *aging) {
		ids := s.write("a", 5)
		s.keeps(stream("a"), core.Retention{TruncateBefore: 3})
		s.shows("a", 5, ids[2:]...)
		s.keeps(stream("a"), core.Retention{TruncateBefore: 6})
		s.shows("a", 5)
		s.keeps(stream("a"), core.Retention{}) // it never decreases
		s.shows("a", 5)
		s.must(appendTo("a", 5, newEvent()))
		s.must(core.Commit{
			Appends: appendTo("b", core.NoStream, newEvent()).Appends, Checks: []core.Check{{Stream: "a", Expect: 6}},
		})
		if n := len(s.read("a", 0)); n != 1 {
			s.Errorf("%d events, want 1", n)
		}
	}},
	{"age", func(s *aging) {
		var events []core.Event
		for range 5 {
			s.write("a", 1)
			events = s.read("a", 0)
		}
		s.keeps(stream("a"), core.Retention{MaxAge: time.Hour})
		for i := range events {
			s.clock.Set(events[i].Recorded.Add(time.Hour))
			first := slices.IndexFunc(events, func(e core.Event) bool { return !e.Recorded.Before(events[i].Recorded) })
			s.shows("a", 5, eventIDs(events[first:])...)
		}
		s.clock.Set(events[4].Recorded.Add(time.Hour + time.Microsecond))
		s.shows("a", 5)
		s.shows(core.All, 0)
	}},
	{"category", func(s *aging) {
		one, two := s.write("order-1", 4), s.write("order-2", 4)
		other := s.write("orders", 2)
		s.keeps(core.RetentionTarget{Category: "order"}, core.Retention{MaxCount: 3, MaxAge: 24 * time.Hour})
		s.keeps(stream("order-2"), core.Retention{MaxCount: 1})
		s.shows("order-1", 4, one[1:]...)
		s.shows("order-2", 4, two[3])
		s.shows("orders", 2, other...)
		s.keeps(stream("order-2"), core.Retention{})
		s.shows("order-2", 4, two[1:]...)
		s.clock.Set(time.Now().Add(25 * time.Hour))
		s.shows("order-2", 4)
		s.shows("orders", 2, other...)
	}},
	{"links", func(s *aging) {
		ids := s.write("a", 4)
		s.must(linkTo("l", core.NoStream, ids...))
		s.keeps(stream("a"), core.Retention{MaxCount: 3})
		s.shows("l", 4, ids[1:]...)
		s.keeps(stream("l"), core.Retention{TruncateBefore: 3})
		s.shows("l", 4, ids[2:]...)
		s.shows("a", 4, ids[1:]...)
		s.keeps(stream("a"), core.Retention{MaxAge: time.Hour})
		s.shows("l", 4, ids[2:]...)
		s.clock.Set(time.Now().Add(2 * time.Hour))
		s.shows("l", 4)
	}},
	{"links_to_a_deleted_stream", func(s *aging) {
		ids := s.write("a", 2)
		s.must(linkTo("l", core.NoStream, ids...))
		s.keeps(stream("a"), core.Retention{MaxAge: time.Hour})
		s.must(change("a", core.AnyVersion, core.DeleteStream))
		s.shows("l", 2, ids...)
		s.clock.Set(time.Now().Add(2 * time.Hour))
		s.shows("l", 2)
	}},
	{"long_hidden", func(s *aging) {
		for range 3 {
			s.write("a", core.MaxReadEvents)
		}
		last := s.write("a", 1)
		s.keeps(stream("a"), core.Retention{MaxCount: 1})
		s.shows("a", 3*core.MaxReadEvents+1, last...)
		page, err := s.log.Read(s.ctx, core.ReadRequest{Stream: "a", Limit: limit(10)})
		if err != nil || page.Count != 1 || !page.End { // it begins there
			s.Errorf("page of %d events, end %v, %v", page.Count, page.End, err)
		}
		page, err = s.log.Read(s.ctx, core.ReadRequest{Stream: "a", Limit: limit(10), Select: core.Selection{Filter: core.Filter{Types: []string{"tested"}}}})
		if err != nil || page.Count != 1 || !page.End {
			s.Errorf("selected page of %d events, end %v, %v", page.Count, page.End, err)
		}
	}},
	{"by_id", func(s *aging) {
		ids := s.write("a", 2)
		s.keeps(stream("a"), core.Retention{MaxCount: 1})
		_, err := s.node.Event(s.ctx, ids[0])
		s.refused(err, core.CodeEventNotFound)
		if e, err := s.node.Event(s.ctx, ids[1]); err != nil || e.ID != ids[1] {
			s.Errorf("%v, %v", e.ID, err)
		}
	}},
	{"follow_and_tail", func(s *aging) {
		ids := s.write("a", 3)
		s.keeps(stream("a"), core.Retention{MaxCount: 2})
		late := s.follow(core.FollowRequest{Stream: core.All})
		own := s.follow(core.FollowRequest{Stream: "a"})
		for _, r := range []*reader{late, own} {
			r.gets(ids[1:]...)
		}
		after := s.follow(core.FollowRequest{Stream: "a", From: core.From{Kind: core.AfterVersion, N: 1}})
		after.gets(ids[1:]...)
		s.keeps(stream("a"), core.Retention{MaxCount: 1})
		more := s.write("a", 5) // in one Commit: the last one is left
		for _, r := range []*reader{late, own, after} {
			r.gets(more[4])
		}
		r := s.write("b", 1)
		late.gets(r...)
		at := s.follow(core.FollowRequest{Stream: "a", From: core.From{Kind: core.AfterPosition, N: 1}})
		at.gets(more[4])
		s.keeps(stream("b"), core.Retention{MaxAge: time.Hour})
		s.clock.Set(time.Now().Add(2 * time.Hour))
		fresh := s.follow(core.FollowRequest{Stream: core.All})
		fresh.gets(more[4])
		end := s.write("c", 1)
		fresh.gets(end...)
	}},
	{"list", func(s *aging) {
		ids := s.write("a", 3)
		s.keeps(stream("a"), core.Retention{MaxCount: 2, MaxAge: time.Hour})
		kept := s.read("a", 0)
		info := s.info("a")
		if info.First != 2 || info.Version != 3 || info.Count() != 2 || info.Created.Position != kept[0].Position || info.Retention != (core.Retention{MaxCount: 2, MaxAge: time.Hour}) {
			s.Errorf("%+v, kept %v of %v", info, eventIDs(kept), ids)
		}
		s.clock.Set(kept[1].Recorded.Add(time.Hour + time.Microsecond))
		if info = s.info("a"); info.First != 4 || info.Count() != 0 || info.Created != (core.StreamPlace{}) {
			s.Errorf("%+v, want nothing left", info)
		}
	}},
	{"revision", func(s *aging) {
		p := core.RetentionPut{Target: stream("a"), Retention: core.Retention{MaxCount: 2}, Expect: 0}
		info, changed, err := core.SetRetention(s.ctx, s.node, p)
		if err != nil || !changed || info.Revision != 1 || info.MaxCount != 2 {
			s.Fatalf("%+v, %v, %v", info, changed, err)
		}
		p.MaxCount = 3
		_, _, err = core.SetRetention(s.ctx, s.node, p)
		if e := s.refusal(err, core.CodeRecordConflict); e.Actual == nil || *e.Actual != 1 {
			s.Errorf("%v: actual %v", e, deref(e.Actual))
		}
		p.Expect = 1
		if info, changed, err = core.SetRetention(s.ctx, s.node, p); err != nil || !changed || info.Revision != 2 {
			s.Errorf("%+v, %v, %v", info, changed, err)
		}
		p.Expect = 2
		if info, changed, err = core.SetRetention(s.ctx, s.node, p); err != nil || changed || info.Revision != 2 {
			s.Errorf("again: %+v, %v, %v", info, changed, err)
		}
		got, err := core.ReadRetention(s.ctx, s.node, p.Target)
		if err != nil || got != info {
			s.Errorf("%+v, %v, want %+v", got, err, info)
		}
	}},
	{"removed_with_the_stream", func(s *aging) {
		s.write("a", 5)
		s.keeps(stream("a"), core.Retention{TruncateBefore: 4, MaxCount: 1})
		c := change("a", core.AnyVersion, core.RemoveStream)
		s.ok(core.RemoveRetentions(s.ctx, s.node, &c))
		_, err := s.node.Append(s.ctx, c)
		s.ok(err)
		if got, err := core.ReadRetention(s.ctx, s.node, stream("a")); err != nil || !got.IsZero() {
			s.Errorf("%+v, %v", got, err)
		}
		s.shows("a", 3, s.write("a", 3)...)
	}},
	{"put_while_the_stream_is_removed", func(s *aging) {
		for _, x := range []struct {
			name     string
			before   []core.Retention
			progress *core.Progress
			conflict bool
		}{
			{name: "first", conflict: true},
			{name: "first-beside-a-progress", progress: &core.Progress{Name: "p", To: 1}},
			{name: "second", before: []core.Retention{{MaxCount: 2}}},
			{name: "after-clearing", before: []core.Retention{{MaxCount: 2}, {}}},
		} {
			s.write(x.name, 3)
			for _, r := range x.before {
				s.keeps(stream(x.name), r)
			}
			c := change(x.name, core.AnyVersion, core.RemoveStream)
			c.Progress = x.progress
			again := c
			s.ok(core.RemoveRetentions(s.ctx, s.node, &c))
			s.keeps(stream(x.name), core.Retention{MaxCount: 1, TruncateBefore: 3})
			_, err := s.node.Append(s.ctx, c)
			if x.conflict {
				s.refused(err, core.CodeRecordConflict)
				s.ok(core.RemoveRetentions(s.ctx, s.node, &again))
				_, err = s.node.Append(s.ctx, again)
			}
			s.ok(err)
			if got, err := core.ReadRetention(s.ctx, s.node, stream(x.name)); err != nil || !got.IsZero() {
				s.Errorf("%s: %+v, %v", x.name, got, err)
			}
			s.shows(x.name, 3, s.write(x.name, 3)...)
		}
	}},
	{"late_truncation_is_not_of_the_next_incarnation", func(s *aging) {
		s.write("a", 5)
		late := &lateStore{Store: s.node, before: func() {
			_, err := s.node.Append(s.ctx, change("a", core.AnyVersion, core.RemoveStream))
			s.ok(err)
		}}
		_, _, err := core.SetRetention(s.ctx, late, core.RetentionPut{Target: stream("a"), Retention: core.Retention{TruncateBefore: 4}, Expect: core.AnyVersion})
		s.ok(err)
		s.shows("a", 5, s.write("a", 5)...)
	}},
	{"scavenge", func(s *aging) {
		ids := s.write("a", 6)
		other := s.write("b", 2)
		s.must(linkTo("l", core.NoStream, ids...))
		s.keeps(stream("a"), core.Retention{MaxCount: 2})
		s.keeps(stream("b"), core.Retention{TruncateBefore: 3})
		done, err := s.node.Scavenge(s.ctx, core.Scavenging{All: true})
		if errors.Is(err, core.CodeNotSupported) {
			s.Skip("the engine has no scavenge yet")
		}
		if s.ok(err); done.Events != uint64(4+len(other)+4) { // with links
			s.Errorf("%+v, want 10 events gone", done)
		}
		s.keeps(stream("a"), core.Retention{}) // nothing comes back
		s.shows("a", 6, ids[4:]...)
		s.shows("l", 6, ids[4:]...)
		s.shows("b", 2)
		s.counts("a", 5, 2)
		s.counts("l", 5, 2)
		s.counts("b", 3, 0)
		s.must(appendTo("b", 2, newEvent()))
		s.counts("b", 3, 1)
		r := s.follow(core.FollowRequest{Stream: "a", From: core.From{Kind: core.AfterVersion, N: 2}})
		r.gets(ids[4:]...)
		s.write("c", 3)
		s.keeps(stream("c"), core.Retention{MaxAge: time.Hour})
		s.clock.Set(time.Now().Add(2 * time.Hour))
		s.counts("c", 4, 0)
		if _, err = s.node.Scavenge(s.ctx, core.Scavenging{All: true}); err != nil {
			s.Fatal(err)
		}
		s.counts("c", 4, 0)
		s.keeps(stream("c"), core.Retention{})
		s.counts("c", 4, 0)
		s.shows("c", 3)
	}},
	{"loosened_beside_a_scavenge", func(s *aging) {
		for round := range 4 {
			name := fmt.Sprintf("a%d", round)
			s.write(name, 50)
			s.keeps(stream(name), core.Retention{MaxCount: 1})
			ended := make(chan error, 1)
			go func() {
				_, err := s.node.Scavenge(s.ctx, core.Scavenging{All: true})
				ended <- err
			}()
			s.keeps(stream(name), core.Retention{MaxCount: 100})
			seen := eventIDs(s.read(name, 0))
			if err := <-ended; !errors.Is(err, core.CodeNotSupported) {
				s.ok(err)
			}
			s.shows(name, 50, seen...) // all of it, or what the scavenge had left before
		}
	}},
	{"notices_never_expire", func(s *aging) {
		for n := range 3 {
			s.keeps(stream("a"), core.Retention{MaxCount: uint64(n + 1)})
		}
		before := len(s.read("$streams", 0))
		for _, key := range []string{"stream\n$streams", "category\n$streams"} { // as a defect might put them
			_, err := s.node.Append(s.ctx, core.Commit{Records: []core.RecordOp{
				{Table: core.RetentionTable, Key: key, Expect: core.AnyVersion, Value: []byte{1, 0, 1, 0, 0}},
			}})
			s.ok(err)
		}
		if _, err := s.node.Scavenge(s.ctx, core.Scavenging{All: true}); err != nil && !errors.Is(err, core.CodeNotSupported) {
			s.Fatal(err)
		}
		if after := len(s.read("$streams", 0)); after != before+2 {
			s.Errorf("%d notices, want %d", after, before+2)
		}
	}},
	{"list_of_policies", func(s *aging) {
		var want []core.RetentionTarget
		for i := range 3 {
			want = append(want, core.RetentionTarget{Category: fmt.Sprintf("c%d", i)})
		}
		for i := range 4 {
			want = append(want, stream(fmt.Sprintf("s%d", i)))
		}
		for i, t := range want {
			s.keeps(t, core.Retention{MaxCount: uint64(i + 1)})
		}
		s.keeps(stream("gone"), core.Retention{MaxCount: 1})
		s.keeps(stream("gone"), core.Retention{})
		var got []core.RetentionTarget
		for q := (core.RetentionsRequest{Limit: 2}); ; {
			page, err := core.ListRetentions(s.ctx, s.node, q)
			s.ok(err)
			for _, p := range page.Policies {
				got = append(got, p.Target)
			}
			if page.End {
				break
			}
			q.After = page.Next
		}
		if !slices.Equal(got, want) {
			s.Errorf("policies of %v, want %v", got, want)
		}
	}},
	{"bad_input", badRetention},
	{"walk", func(s *aging) { newAgingWalk(s).run() }},
}

func badRetention(s *aging) {
	ids := s.write("a", 3)
	s.keeps(stream("a"), core.Retention{TruncateBefore: 2})
	for name, c := range map[string]struct {
		put  core.RetentionPut
		code core.Code
	}{
		"negative age":         {core.RetentionPut{Target: stream("a"), Retention: core.Retention{MaxAge: -time.Hour}}, core.CodeInvalidRetention},
		"tiny age":             {core.RetentionPut{Target: stream("a"), Retention: core.Retention{MaxAge: time.Millisecond}}, core.CodeInvalidRetention},
		"absurd age":           {core.RetentionPut{Target: stream("a"), Retention: core.Retention{MaxAge: core.MaxRetentionAge + time.Second}}, core.CodeInvalidRetention},
		"age in microseconds":  {core.RetentionPut{Target: stream("a"), Retention: core.Retention{MaxAge: time.Second + time.Microsecond}}, core.CodeInvalidRetention},
		"absurd count":         {core.RetentionPut{Target: stream("a"), Retention: core.Retention{MaxCount: core.MaxNumber + 1}}, core.CodeInvalidRetention},
		"beyond the end":       {core.RetentionPut{Target: stream("a"), Retention: core.Retention{TruncateBefore: 5}}, core.CodeInvalidRetention},
		"back":                 {core.RetentionPut{Target: stream("a"), Retention: core.Retention{TruncateBefore: 1}}, core.CodeInvalidRetention},
		"of a new stream":      {core.RetentionPut{Target: stream("b"), Retention: core.Retention{TruncateBefore: 2}}, core.CodeInvalidRetention},
		"category truncated":   {core.RetentionPut{Target: core.RetentionTarget{Category: "a"}, Retention: core.Retention{TruncateBefore: 1}}, core.CodeInvalidRetention},
		"no category":          {core.RetentionPut{Target: core.RetentionTarget{Category: "a-1"}}, core.CodeInvalidRetention},
		"nothing":              {core.RetentionPut{}, core.CodeInvalidRetention},
		"both":                 {core.RetentionPut{Target: core.RetentionTarget{Stream: "a", Category: "a"}}, core.CodeInvalidRetention},
		"the system's":         {core.RetentionPut{Target: stream("$audit"), Retention: core.Retention{MaxCount: 1}}, core.CodeReservedStreamName},
		"the system's streams": {core.RetentionPut{Target: core.RetentionTarget{Category: "$audit"}}, core.CodeReservedStreamName},
		"a bad name":           {core.RetentionPut{Target: stream("a\n")}, core.CodeInvalidStreamName},
	} {
		c.put.Expect = core.AnyVersion
		_, err := s.set(c.put)
		if !errors.Is(err, c.code) {
			s.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	s.shows("a", 3, ids[1:]...)
}

func stream(name string) core.RetentionTarget { return core.RetentionTarget{Stream: name} }

// lateStore is a Store to which something happens before a Commit.
type lateStore struct {
	*core.Store
	before func()
}

func (l *lateStore) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	l.before()
	return l.Store.Append(ctx, c)
}

// keeps sets a policy.
func (s *aging) keeps(t core.RetentionTarget, r core.Retention) {
	s.Helper()
	if _, err := s.set(core.RetentionPut{Target: t, Retention: r, Expect: core.AnyVersion}); err != nil {
		s.Fatalf("retention of %s: %v", t, err)
	}
}

// set puts a policy by the Log, if it can do that.
func (s *aging) set(p core.RetentionPut) (info core.RetentionInfo, err error) {
	client, ok := s.log.(interface {
		SetRetention(ctx context.Context, p core.RetentionPut) (core.RetentionInfo, error)
	})
	if ok {
		return client.SetRetention(s.ctx, p)
	}
	info, _, err = core.SetRetention(s.ctx, s.node, p)
	return info, err
}

// shows checks what can be read of a stream, both ways and selected, and its version.
func (s *aging) shows(name string, version uint64, want ...core.ID) {
	s.Helper()
	all := core.Selection{Filter: core.Filter{Types: []string{"*"}}}
	for _, r := range []core.ReadRequest{{}, {Backward: true}, {Select: all}, {Select: all, Backward: true}} {
		for _, n := range []int{1, 2, 1000} {
			r.Stream, r.Limit = name, limit(n)
			page, err := s.log.Read(s.ctx, r)
			s.ok(err)
			if name != core.All && page.Version != version {
				s.Errorf("stream %q is at version %d, want %d", name, page.Version, version)
			}
			got := eventIDs(s.readFrom(r))
			if r.Backward {
				slices.Reverse(got)
			}
			if !slices.Equal(got, want) {
				s.Errorf("%+v: %d events, want %d", r, len(got), len(want))
			}
		}
	}
}

// counts checks the first version that a stream has, and how many it has.
func (s *aging) counts(name string, first, count uint64) {
	s.Helper()
	if info := s.info(name); info.First != first || info.Count() != count {
		s.Errorf("stream %q begins at version %d and has %d, want %d and %d", name, info.First, info.Count(), first, count)
	}
}

// info describes a stream.
func (s *aging) info(name string) core.StreamInfo {
	s.Helper()
	page, err := s.node.Streams(s.ctx, core.StreamsRequest{Names: []string{name}, Details: true})
	if err != nil || len(page.Streams) != 1 {
		s.Fatalf("stream %q: %+v, %v", name, page, err)
	}
	return page.Streams[0]
}
