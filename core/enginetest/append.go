package enginetest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
)

var appendTests = []test{
	{"P1", "A01_any_on_a_new_stream", func(s *suite) {
		s.holds("a", s.write("a", 3)...)
	}},
	{"P1", "A02_any_on_an_existing_stream", func(s *suite) {
		first := s.write("a", 2)
		s.holds("a", append(first, s.write("a", 3)...)...)
	}},
	{"P1", "A03_concurrent_any_on_a_new_stream", func(s *suite) { concurrentAny(s, 0) }},
	{"P1", "A04_concurrent_any_on_an_existing_stream", func(s *suite) { concurrentAny(s, 3) }},
	{"P6", "A05_no_stream_on_a_new_stream", func(s *suite) {
		s.must(appendTo("a", core.NoStream, newEvents(2)...))
	}},
	{"P6", "A06_no_stream_on_an_existing_stream", func(s *suite) {
		kept := s.write("a", 2)
		s.wrongVersion(s.commit(appendTo("a", core.NoStream, newEvent())), 0, "a", core.NoStream, 2)
		s.holds("a", kept...)
	}},
	{"P6", "A07_stream_exists_on_a_new_stream", func(s *suite) {
		s.wrongVersion(s.commit(appendTo("a", core.StreamExists, newEvent())), 0, "a", core.StreamExists, 0)
		s.holds("a")
	}},
	{"P6", "A08_stream_exists_on_an_existing_stream", func(s *suite) {
		s.write("a", 1)
		s.must(appendTo("a", core.StreamExists, newEvents(2)...))
	}},
	{"P6", "A09_exact_version", func(s *suite) {
		s.must(appendTo("a", 0, newEvents(2)...))
		r := s.must(appendTo("a", 2, newEvents(3)...))
		if want := (core.Appended{FirstVersion: 3, LastVersion: 5, FirstPosition: 3, LastPosition: 5}); r.Appends[0] != want {
			s.Errorf("%+v, want %+v", r.Appends[0], want)
		}
		s.must(appendTo("a", 5, newEvent()))
	}},
	{"P6", "A10_versions_below_and_above", func(s *suite) {
		kept := s.write("a", 3)
		for _, x := range []core.Expect{0, 1, 2, 4, core.MaxNumber} {
			s.wrongVersion(s.commit(appendTo("a", x, newEvent())), 0, "a", x, 3)
		}
		s.holds("a", kept...)
	}},
	{"P6", "A11_concurrent_appends_at_one_version", func(s *suite) {
		kept := s.write("a", 3)
		outcomes := s.atOnce(4, func(int) *core.Commit { return appendTo("a", 3, newEvent()) })
		won := 0
		for _, o := range outcomes {
			if o.Err == nil {
				won++
				continue
			}
			s.wrongVersion(o, 0, "a", 3, 4)
		}
		if won != 1 || len(s.read("a", false)) != len(kept)+1 {
			s.Errorf("%d of 4 won, the stream has %d events", won, len(s.read("a", false)))
		}
	}},
	{"P6", "A12_exact_version_of_a_missing_stream", func(s *suite) {
		s.wrongVersion(s.commit(appendTo("a", 2, newEvent())), 0, "a", 2, 0)
		s.holds("a")
		s.head(0)
	}},
	{"P6", "A13_8001_events_in_one_commit", func(s *suite) {
		const n = 8001
		r := s.must(appendTo("a", core.NoStream, newEvents(n)...))
		if r.Position != n || r.Appends[0].LastVersion != n {
			s.Errorf("%+v, want version and position %d", r, n)
		}
		s.head(n)
	}},
	{"P1", "A14_separate_writes", func(s *suite) {
		a := s.write("a", 1)
		b := s.write("b", 3)
		a = append(a, s.write("a", 2)...)
		b = append(b, s.write("b", 1)...)
		s.holds("a", a...)
		s.holds("b", b...)
	}},
	{"P2", "A15_interleaved_streams", func(s *suite) {
		var want []core.ID
		for i := range 12 {
			for _, e := range s.write(fmt.Sprintf("s-%d", i%3), 1+i%2) {
				want = append(want, e.ID)
			}
		}
		for i, e := range s.read(core.All, false) {
			if e.ID != want[i] {
				s.Fatalf("position %d has id %s, want %s", e.Position, e.ID, want[i])
			}
		}
	}},
	{"P1", "A19_ids_are_kept_or_made", func(s *suite) {
		mine, none := newEvent(), newEvent()
		none.ID = core.ID{}
		s.must(appendTo("a", core.AnyVersion, none, mine, none))
		s.must(appendTo("a", core.AnyVersion, none))
		got := s.read("a", false)
		if len(got) != 4 || got[1].ID != mine.ID || got[0].ID == got[2].ID || got[2].ID == got[3].ID || got[0].ID.IsZero() {
			s.Errorf("ids %v", got)
		}
	}},
	{"P1", "A21_recorded_is_the_servers_clock", func(s *suite) {
		before := time.Now().Add(-time.Second)
		s.write("a", 1)
		e := s.read("a", false)[0]
		if e.Recorded.Before(before) || e.Recorded.After(time.Now().Add(time.Second)) {
			s.Errorf("recorded %v, now is %v", e.Recorded, time.Now())
		}
		if e.Recorded.Location() != time.UTC {
			s.Errorf("recorded in %v, want UTC", e.Recorded.Location())
		}
	}},
	{"P1", "A22_events_with_a_time_of_their_own", ownTimes},
	{"P1", "A24_unicode_and_bytes", unicodeAndBytes},
	{"P1", "large_event", func(s *suite) {
		e := newEvent()
		e.Format, e.Data = core.Bytes, bytes.Repeat([]byte{0, 1, 254, 255}, (core.MaxEventBytes-len(e.Metadata))/4)
		s.must(appendTo("a", core.AnyVersion, newEvent(), e, newEvent()))
		if got := s.read("a", false); !bytes.Equal(got[1].Data, e.Data) {
			s.Error("the data was not kept")
		}
	}},
	{"P1", "long_names", func(s *suite) {
		e := newEvent()
		e.Type = strings.Repeat("t", core.MaxEventTypeBytes)
		e.ContentType = strings.Repeat("c", core.MaxContentTypeBytes)
		s.must(appendTo(strings.Repeat("s", core.MaxStreamNameBytes), core.NoStream, e))
		s.must(appendTo(strings.Repeat("s", core.MaxStreamNameBytes-1), core.NoStream, newEvent()))
	}},
}

// atOnce commits n Commits, each from a goroutine of its own.
func (s *suite) atOnce(n int, commit func(i int) *core.Commit) []core.Outcome {
	s.Helper()
	steps := make([]core.Step, n)
	errs := make([]error, n)
	ctx := s.ctx()
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range n {
		c := commit(i)
		done.Go(func() {
			start.Wait()
			steps[i] = s.engine.Commit(ctx, []*core.Commit{c})
			errs[i] = checkStep([]*core.Commit{c}, steps[i])
		})
	}
	start.Done()
	done.Wait()
	outcomes := make([]core.Outcome, n)
	for i, err := range errs {
		if err != nil {
			s.Fatal(err)
		}
		outcomes[i] = steps[i].Outcomes[0]
	}
	return outcomes
}

func concurrentAny(s *suite, before int) {
	const writers = 4
	if before > 0 {
		s.write("a", before)
	}
	for _, o := range s.atOnce(writers, func(int) *core.Commit { return appendTo("a", core.AnyVersion, newEvent()) }) {
		if o.Err != nil {
			s.Errorf("append: %v", o.Err)
		}
	}
	if n := len(s.read("a", false)); n != before+writers {
		s.Errorf("%d events, want %d", n, before+writers)
	}
}

func ownTimes(s *suite) {
	times := []time.Time{
		time.Date(1999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(1700, 1, 2, 3, 4, 5, 6_000, time.FixedZone("", 3600)),
		time.Date(2261, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Unix(0, 0),
	}
	for _, stream := range []string{"exact", "any"} {
		expect := core.AnyVersion
		for i, at := range times {
			if stream == "exact" {
				expect = core.Expect(i)
			}
			e := newEvent()
			e.Time = at
			s.must(appendTo(stream, expect, e))
		}
		for i, e := range s.read(stream, false) {
			if !e.Time.Equal(times[i]) || e.Recorded.Equal(times[i]) {
				s.Errorf("%s: time %v, recorded %v, want %v", stream, e.Time, e.Recorded, times[i])
			}
		}
	}
}

func unicodeAndBytes(s *suite) {
	events := []core.NewEvent{
		{Type: "größer", Data: []byte(`{"文":"字 \u0000","n":1.10,"e":1E400}`), Metadata: []byte(`{"κ":"λ"}`)},
		{Type: "bytes", Format: core.Bytes, Data: []byte{0, 0xff, '\n', 0xc3}},
		{Type: "empty", Format: core.Bytes},
		{Type: "image", Format: core.Bytes, ContentType: "image/png; q=\"ü\"", Data: []byte("\x89PNG")},
		{Type: "null", Data: []byte("null")},
		{Type: "🌀", Data: []byte(`"🌀"`), ContentType: "application/cloudevents+json", Metadata: []byte(`{}`)},
	}
	for _, stream := range []string{"日本語-🌀", "a/b?c%2F#d e", "é", "e\u0301"} {
		for i := range events {
			events[i].ID = core.NewID()
		}
		r := s.must(appendTo(stream, core.AnyVersion, events...))
		before := int(r.Appends[0].FirstVersion) - 1
		for i, e := range s.read(stream, false)[before:] {
			at := core.Placement{Stream: stream, Version: uint64(before + i + 1), Position: r.Appends[0].FirstPosition + uint64(i)}
			if err := checkEvent(e, at, events[i]); err != nil {
				s.Errorf("%q, event %d: %v", stream, i, err)
			}
		}
	}
}
