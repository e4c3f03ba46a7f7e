package logtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

var selectTests = []test{
	{"every_selection", func(s *suite) {
		events := s.writeSelectable()
		for _, stream := range []string{core.All, "order-1", "links"} {
			for _, selection := range selections(events) {
				for _, n := range []int{1, 3, 1000} {
					s.selects(core.ReadRequest{Stream: stream, Select: selection, Limit: core.Limit{Events: n}})
				}
			}
		}
	}},
	{"from_every_place", func(s *suite) {
		events := s.writeSelectable()
		selection := core.Selection{Category: "order", Filter: core.Filter{Types: []string{"*1"}}}
		for from := range uint64(len(events) + 4) {
			s.selects(core.ReadRequest{Stream: core.All, From: from, Select: selection, Limit: core.Limit{Events: 2}})
			s.selects(core.ReadRequest{Stream: "order-1", From: from, Select: selection, Limit: core.Limit{Events: 2}})
		}
	}},
	{"from_a_time", func(s *suite) {
		s.writeSelectable()
		for _, stream := range []string{core.All, "order-1", "links"} {
			all := s.read(stream, 0)
			times := []time.Time{all[0].Recorded.Add(-time.Hour), all[len(all)-1].Recorded.Add(time.Hour)}
			for _, e := range all {
				times = append(times, e.Recorded, e.Recorded.Add(time.Nanosecond), e.Recorded.Add(-time.Microsecond))
			}
			for _, t := range times {
				want := slices.DeleteFunc(slices.Clone(all), func(e core.Event) bool { return e.Recorded.Before(t) })
				if got := s.readFrom(core.ReadRequest{Stream: stream, FromTime: t, Limit: core.Limit{Events: 4}}); !sameOrder(got, want) {
					s.Errorf("%s from %s: %d events, want %d", stream, t, len(got), len(want))
				}
				want = slices.DeleteFunc(slices.Clone(all), func(e core.Event) bool { return e.Recorded.After(t) })
				slices.Reverse(want)
				if got := s.readFrom(core.ReadRequest{Stream: stream, FromTime: t, Backward: true, Limit: core.Limit{Events: 4}}); !sameOrder(got, want) {
					s.Errorf("%s back from %s: %d events, want %d", stream, t, len(got), len(want))
				}
			}
		}
	}},
	{"invalid", func(s *suite) {
		s.write("a", 1)
		now := time.Now()
		for _, selection := range []core.Selection{
			{Category: "a-1"}, {Since: now, Until: now}, {Filter: core.Filter{Types: []string{"\n"}}},
			{Correlation: string(make([]byte, core.MaxCorrelationBytes+1))},
		} {
			_, err := s.log.Read(s.ctx, core.ReadRequest{Stream: core.All, Select: selection})
			s.refused(err, core.CodeInvalidFilter)
		}
		_, err := s.log.Read(s.ctx, core.ReadRequest{Stream: "none", Select: core.Selection{Category: "a"}})
		s.refused(err, core.CodeStreamNotFound)
		_, err = s.log.Read(s.ctx, core.ReadRequest{Stream: "none", FromTime: now})
		s.refused(err, core.CodeStreamNotFound)
		page, err := s.log.Read(s.ctx, core.ReadRequest{Stream: core.All, Select: core.Selection{Category: "b"}})
		if err != nil || page.Count != 0 || !page.End || page.Scanned != 1 {
			s.Errorf("no match: %d events, end %v, scanned %d, %v", page.Count, page.End, page.Scanned, err)
		}
	}},
}

// writeSelectable writes events of several streams, types, times and correlations, with
// links to some of them, and returns what $all has.
func (s *suite) writeSelectable() []core.Event {
	s.Helper()
	day := time.Date(2023, 5, 1, 0, 0, 0, 0, time.UTC)
	streams := []string{"order-1", "order-2", "order", "file-temporal/service", "other", "-x"}
	for i := range 30 {
		e := newEvent()
		e.Type = fmt.Sprint("T", i%3)
		if i%5 > 0 {
			e.Time = day.AddDate(0, 0, (i*7)%20)
		}
		if i%4 > 0 {
			e.Metadata = fmt.Appendf(nil, `{"correlation_id":"c-%d"}`, i%4)
		}
		stream := streams[i%len(streams)]
		id := s.writeEvent(stream, e)
		if i%7 == 0 {
			s.must(linkTo("links", core.AnyVersion, id...))
		}
		s.writeSystem("$s", i%2)
	}
	return s.read(core.All, 0)
}

// selections are some that match some of the events.
func selections(events []core.Event) []core.Selection {
	day := func(n int) time.Time { return time.Date(2023, 5, n, 0, 0, 0, 0, time.UTC) }
	types := func(patterns ...string) core.Filter { return core.Filter{Types: patterns} }
	return []core.Selection{
		{Category: "order"}, {Category: "-x"}, {Category: "nothing"},
		{Filter: types("T1")}, {Filter: types("T1", "T2")}, {Filter: types("*")},
		{Filter: core.Filter{Streams: []string{"order-*", "other"}}},
		{Since: day(10)}, {Until: day(10)}, {Since: day(5), Until: day(15)}, {Since: events[len(events)/2].Recorded},
		{Correlation: "c-1"}, {Correlation: "c"},
		{Category: "order", Filter: types("T0"), Since: day(2), Correlation: "c-2"},
	}
}

// selects checks that a read finds what matches of what a read without Select finds, in both
// directions, and that its pages reach over all of it.
func (s *suite) selects(r core.ReadRequest) {
	s.Helper()
	for _, r.Backward = range []bool{false, true} {
		plain := r
		plain.Select, plain.Limit = core.Selection{}, core.Limit{}
		var want, got []core.Event
		for _, e := range s.readFrom(plain) {
			if r.Select.Match(&e) {
				want = append(want, e)
			}
		}
		next := r
		for end := false; !end; {
			page, err := s.log.Read(s.ctx, next)
			if err != nil {
				s.Fatalf("read %+v: %v", next, err)
			}
			if page.Count > r.Limit.Events || !page.End && page.Next == next.From {
				s.Fatalf("read %+v: %d events, next %d", next, page.Count, page.Next)
			}
			from := max(next.From, 1)
			if r.Backward {
				from = page.Version
				if next.From > 0 {
					from = min(from, next.From)
				}
			}
			if !page.End && page.Scanned != max(from, page.Next)-min(from, page.Next) {
				s.Errorf("read %+v: scanned %d up to %d", next, page.Scanned, page.Next)
			}
			got, next.From, end = append(got, page.Slice()...), page.Next, page.End
		}
		if !sameOrder(got, want) {
			s.Errorf("read %+v: %d events, want %d", r, len(got), len(want))
		}
	}
}

func sameOrder(a, b []core.Event) bool {
	return slices.EqualFunc(a, b, func(a, b core.Event) bool { return a.Stream == b.Stream && a.Version == b.Version && a.ID == b.ID })
}
