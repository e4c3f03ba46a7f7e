package enginetest

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/gyre-events/gyre/core"
)

// readTests are about pages.
var readTests = []test{
	{"P1", "C01_unknown_stream", func(s *suite) {
		s.write("a", 1)
		for _, r := range []core.ReadRequest{{}, {From: 3}, {Backward: true}} {
			r.Stream, r.Limit = "b", everything
			_, err := s.engine.Read(s.ctx(), r)
			var e *core.Error
			if !errors.As(err, &e) || e.Code != core.CodeStreamNotFound || e.Stream != "b" {
				s.Errorf("read %+v: %v, want stream_not_found", r, err)
			}
		}
	}},
	{"P1", "C02_stream_whose_only_append_was_refused", func(s *suite) {
		s.wrongVersion(s.commit(appendTo("a", 1, newEvent())), 0, "a", 1, 0)
		s.holds("a")
	}},
	{"P1", "C03_all_fields", func(s *suite) {
		e := newEvent()
		e.Metadata = []byte(`{"correlation_id":"c","causation_id":"d","x":[1.0,null]}`)
		r := s.must(appendTo("a", core.AnyVersion, e))
		at := core.Placement{Stream: "a", Version: 1, Position: r.Position}
		if err := checkEvent(s.read("a", false)[0], at, e); err != nil {
			s.Error(err)
		}
	}},
	{"P1", "C04_no_metadata", func(s *suite) {
		e := newEvent()
		e.Metadata = nil
		s.must(appendTo("a", core.AnyVersion, e))
		if got := s.read("a", false)[0].Metadata; len(got) != 0 {
			s.Errorf("metadata %q", got)
		}
	}},
	{"P1", "C05_C06_C09_one_page_of_a_stream", func(s *suite) { everyPage(s, "a") }},
	{"P1", "C07_C08_C10_C16_stream_in_batches", func(s *suite) { inBatches(s, "a") }},
	{"P2", "C11_empty_log", func(s *suite) {
		for _, r := range []core.ReadRequest{{}, {From: 5}, {Backward: true}, {From: 5, Backward: true}} {
			r.Stream, r.Limit = core.All, everything
			page, err := s.engine.Read(s.ctx(), r)
			if err = cmp.Or(err, checkPage(r, page, nil, 0)); err != nil {
				s.Error(err)
			}
			if page, err = s.engine.ReadLog(s.ctx(), r.From, everything); err != nil {
				s.Error(err)
			} else if err := checkLogPage(r.From, everything, page, nil, 0); err != nil {
				s.Error(err)
			}
		}
	}},
	{"P2", "C12_all_streams_in_order", func(s *suite) {
		for i := range 30 {
			s.write(fmt.Sprintf("s-%d", i*i%7), 1+i%3) // checkLog looks at the numbers
		}
	}},
	{"P2", "C13_one_page_of_all", func(s *suite) { everyPage(s, core.All) }},
	{"P2", "C14_all_in_batches", func(s *suite) { inBatches(s, core.All) }},
	{"P2", "limit_in_bytes", limitInBytes},
	{"P2", "reach_within_patterns", reachWithin},
	{"P3", "page_after_the_end_reads_on", func(s *suite) {
		first := s.write("a", 3)
		for _, stream := range []string{"a", core.All} {
			r := core.ReadRequest{Stream: stream, From: 1, Limit: everything}
			page, err := s.engine.Read(s.ctx(), r)
			if err != nil || !page.End {
				s.Fatalf("read %+v: %+v, %v", r, page, err)
			}
			before := page.Next
			first = append(first, s.write("a", 2)...)
			r.From = page.Next
			if page, err = s.engine.Read(s.ctx(), r); err != nil || page.Count != 2 || page.Next != before+2 {
				s.Errorf("read %+v: %d events, next %d, %v", r, page.Count, page.Next, err)
			}
		}
		s.holds("a", first...)
	}},
	{"P3", "pages_stay_as_they_are", func(s *suite) {
		s.write("a", 3)
		page, err := s.engine.Read(s.ctx(), core.ReadRequest{Stream: core.All, Limit: everything})
		if err != nil {
			s.Fatal(err)
		}
		before := string(page.Block)
		s.write("a", 100)
		if string(page.Block) != before {
			s.Error("a page changed under its reader")
		}
	}},
}

// fill writes a log whose stream "a" is 12 of 30 events.
func fill(s *suite) {
	for i := range 6 {
		s.must(appendsTo("b", "a", "c"))
		s.write("a", 1)
		s.write(fmt.Sprintf("d-%d", i), 1)
	}
}

// everyPage reads one page from every place, with every limit.
func everyPage(s *suite, stream string) {
	fill(s)
	all, head := s.read(stream, false), s.engine.State().Head
	for _, backward := range []bool{false, true} {
		for from := range uint64(len(all)) + 3 {
			for _, limit := range []int{1, 2, 5, len(all) - 1, len(all), len(all) + 1, 1000} {
				r := core.ReadRequest{Stream: stream, From: from, Backward: backward, Limit: core.Limit{Events: limit, Bytes: everything.Bytes}}
				page, err := s.engine.Read(s.ctx(), r)
				if err != nil {
					s.Fatalf("read %+v: %v", r, err)
				}
				if err := checkPage(r, page, all, head); err != nil {
					s.Error(err)
				}
			}
		}
		r := core.ReadRequest{Stream: stream, From: core.MaxNumber, Backward: backward, Limit: everything}
		page, err := s.engine.Read(s.ctx(), r)
		if err == nil {
			err = checkPage(r, page, all, head)
		}
		if err != nil {
			s.Errorf("read %+v: %v", r, err)
		}
	}
}

// inBatches reads from several places to the end, in batches of several sizes.
func inBatches(s *suite, stream string) {
	fill(s)
	all, head := s.read(stream, false), s.engine.State().Head
	for _, backward := range []bool{false, true} {
		for _, from := range []uint64{0, 1, 2, 7, uint64(len(all)), uint64(len(all)) + 1} {
			for _, limit := range []core.Limit{
				{Events: 1, Bytes: everything.Bytes}, {Events: 2, Bytes: everything.Bytes}, {Events: 1000, Bytes: everything.Bytes},
				{Events: 1000, Bytes: 1}, {Events: 1000, Bytes: 500}, {Events: 3, Bytes: 700},
			} {
				readThrough(s, core.ReadRequest{Stream: stream, From: from, Backward: backward, Limit: limit}, all, head)
			}
		}
	}
}

// readThrough reads page after page; checkPage compares each with what it has to
// be, so that together they are everything.
func readThrough(s *suite, r core.ReadRequest, all []core.Event, head uint64) {
	s.Helper()
	for range len(all) + 1 {
		page, err := s.engine.Read(s.ctx(), r)
		if err == nil {
			err = checkPage(r, page, all, head)
		}
		if err != nil {
			s.Fatalf("read %+v: %v", r, err)
		}
		if page.End {
			return
		}
		r.From = page.Next
	}
	s.Errorf("read %+v: no end after %d pages", r, len(all)+1)
}

func limitInBytes(s *suite) {
	big := newEvent()
	big.Format, big.Data = core.Bytes, make([]byte, core.MaxEventBytes-len(big.Metadata))
	s.must(appendTo("a", core.AnyVersion, newEvent(), newEvent(), big, newEvent()))
	for _, stream := range []string{"a", core.All} {
		all := s.read(stream, false)
		for _, bytes := range []int{1, len(all[0].Raw), len(all[0].Raw) + 1, 2 * len(all[0].Raw), 1000, len(all[2].Raw), len(all[2].Raw) + 1000} {
			for _, backward := range []bool{false, true} {
				r := core.ReadRequest{Stream: stream, Backward: backward, Limit: core.Limit{Events: 1000, Bytes: bytes}}
				readThrough(s, r, all, 4)
			}
		}
	}
}
