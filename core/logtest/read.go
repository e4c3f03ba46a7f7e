package logtest

import (
	"errors"
	"slices"

	"github.com/gyre-events/gyre/core"
)

var readTests = []test{
	{"C01_unknown_stream", func(s *suite) {
		s.write("a", 1)
		_, err := s.log.Read(s.ctx, core.ReadRequest{Stream: "b"})
		if e := s.refusal(err, core.CodeStreamNotFound); e.Stream != "b" {
			s.Errorf("%v: stream %q", e, e.Stream)
		}
		for _, err := range core.ReadAll(s.ctx, s.log, core.ReadRequest{Stream: "b", Backward: true}) {
			s.refused(err, core.CodeStreamNotFound)
		}
	}},
	{"C11_empty_log", func(s *suite) {
		page, err := s.log.Read(s.ctx, core.ReadRequest{Stream: core.All})
		if err != nil || page.Count != 0 || !page.End || page.Head != 0 {
			s.Errorf("%+v, %v", page, err)
		}
		s.isEmpty()
	}},
	{"names_that_cannot_be", func(s *suite) {
		for name, code := range map[string]core.Code{"": core.CodeInvalidStreamName, "$": core.CodeInvalidStreamName, "$any": core.CodeStreamNotFound} {
			if _, err := s.log.Read(s.ctx, core.ReadRequest{Stream: name}); !errors.Is(err, code) {
				s.Errorf("read %q: %v, want %s", name, err, code)
			}
		}
	}},
	{"C07_C10_C14_in_batches", func(s *suite) {
		var a, all []core.ID
		for range 7 {
			ids := s.write("a", 3)
			a, all = append(a, ids...), append(append(all, ids...), s.write("b", 2)...)
		}
		for stream, want := range map[string][]core.ID{"a": a, core.All: all} {
			for _, n := range []int{1, 2, 10, 1000, 0} {
				for _, from := range []uint64{0, 1, 5, uint64(len(want)), uint64(len(want)) + 1} {
					r := core.ReadRequest{Stream: stream, From: from, Limit: core.Limit{Events: n}}
					if got := eventIDs(s.readFrom(r)); !slices.Equal(got, want[max(from, 1)-1:]) {
						s.Errorf("read %+v: %d events, want %d", r, len(got), len(want[max(from, 1)-1:]))
					}
					r.Backward = true
					last := int(from)
					if from == 0 || last > len(want) {
						last = len(want)
					}
					if got := eventIDs(s.readFrom(r)); !slices.Equal(got, reversed(want[:last])) {
						s.Errorf("read %+v: %d events, want %d", r, len(got), last)
					}
				}
			}
		}
	}},
	{"page", func(s *suite) {
		s.write("b", 4)
		s.write("a", 3)
		page, err := s.log.Read(s.ctx, core.ReadRequest{Stream: "a", From: 2, Limit: core.Limit{Events: 1}})
		if err != nil || page.Count != 1 || page.First != 6 || page.Next != 3 || page.End || page.Version != 3 || page.Head != 7 {
			s.Errorf("%+v, %v", page, err)
		}
		page, err = s.log.Read(s.ctx, core.ReadRequest{Stream: "a", From: 3})
		if err != nil || page.Count != 1 || page.Next != 4 || !page.End {
			s.Errorf("%+v, %v", page, err)
		}
		page, err = s.log.Read(s.ctx, core.ReadRequest{Stream: "a", From: 9})
		if err != nil || page.Count != 0 || page.Next != 9 || !page.End {
			s.Errorf("%+v, %v", page, err)
		}
		page, err = s.log.Read(s.ctx, core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 2}})
		if err != nil || page.Count != 2 || page.First != 7 || page.Last != 6 || page.Next != 5 || page.End || page.Version != 7 {
			s.Errorf("%+v, %v", page, err)
		}
	}},
	{"limits_have_defaults_and_caps", func(s *suite) {
		want := s.write("a", core.MaxReadEvents+200)
		for limit, most := range map[int]int{0: core.DefaultReadEvents, 7: 7, 1 << 20: core.MaxReadEvents} {
			page, err := s.log.Read(s.ctx, core.ReadRequest{Stream: "a", Limit: core.Limit{Events: limit}})
			if err != nil || page.Count > most || page.Count == 0 || page.End {
				s.Errorf("limit %d: %d events, end = %v, %v, want up to %d", limit, page.Count, page.End, err, most)
			}
			if got := eventIDs(s.read("a", limit)); !slices.Equal(got, want) {
				s.Errorf("limit %d: %d events in all, want %d", limit, len(got), len(want))
			}
		}
	}},
	{"limit_in_bytes", func(s *suite) {
		big := newEvent()
		big.Format, big.Data = core.Bytes, make([]byte, 100_000)
		s.must(appendTo("a", core.AnyVersion, newEvent(), newEvent(), big, newEvent()))
		r := core.ReadRequest{Stream: "a", Limit: core.Limit{Events: 100, Bytes: 50_000}}
		var counts []int
		for end := false; !end; {
			page, err := s.log.Read(s.ctx, r)
			if err != nil || page.Count == 0 {
				s.Fatalf("read %+v: %+v, %v", r, page, err)
			}
			counts = append(counts, page.Count)
			r.From, end = page.Next, page.End
		}
		if !slices.Equal(counts, []int{2, 1, 1}) {
			s.Errorf("pages of %v events, want 2, 1, 1", counts)
		}
	}},
}
