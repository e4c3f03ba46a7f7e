package logtest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
)

var appendTests = []test{
	{"expected_versions", func(s *suite) {
		for _, x := range []core.Expect{core.NoStream, 1, core.AnyVersion, core.StreamExists, 4} {
			c := appendTo("a", x, newEvent())
			r := s.must(c)
			if len(r.Appends) != 1 || r.Position != r.Appends[0].LastPosition || r.Appends[0].Count() != 1 {
				s.Errorf("expecting %s: %+v", x, r)
			}
		}
		s.must(appendTo("b", 0, newEvent()))
	}},
	{"wrong_expected_version", func(s *suite) {
		s.write("a", 3)
		for _, x := range []core.Expect{0, 2, 4, core.NoStream} {
			s.wrongVersion(appendTo("a", x, newEvent()), 0, "a", x, 3)
		}
		s.wrongVersion(appendTo("b", core.StreamExists, newEvent()), 0, "b", core.StreamExists, 0)
		s.wrongVersion(appendTo("b", 1, newEvent()), 0, "b", 1, 0)
		if n := len(s.read(core.All, 0)); n != 3 {
			s.Errorf("the log has %d events, want 3", n)
		}
	}},
	{"several_streams_and_checks", func(s *suite) {
		s.write("a", 1)
		c := appendTo("a", 1, newEvents(2)...)
		c.Appends = append(c.Appends, appendTo("b", 0, newEvent()).Appends...)
		c.Checks = []core.Check{{Stream: "a", Expect: 1}, {Stream: "c", Expect: 2}}
		s.wrongVersion(c, 3, "c", 2, 0)
		c.Checks[1].Expect = core.NoStream
		c.Appends[1].Expect = 9
		s.wrongVersion(c, 1, "b", 9, 0)
		c.Appends[1].Expect = core.AnyVersion
		r := s.must(c)
		want := []core.Appended{
			{FirstVersion: 2, LastVersion: 3, FirstPosition: 2, LastPosition: 3},
			{FirstVersion: 1, LastVersion: 1, FirstPosition: 4, LastPosition: 4}}
		if !slices.Equal(r.Appends, want) || r.Position != 4 {
			s.Errorf("%+v, want %+v", r, want)
		}
	}},
	{"A28_retry", func(s *suite) {
		c := appendTo("a", core.NoStream, newEvents(3)...)
		first := s.must(c)
		s.write("a", 1)
		again, err := s.log.Append(s.ctx, c)
		if err != nil || !again.Duplicate || again.Position != first.Position || !slices.Equal(again.Appends, first.Appends) {
			s.Errorf("retry: %+v, %v, want %+v", again, err, first)
		}
	}},
	{"A18_duplicate_event", func(s *suite) {
		e := newEvent()
		s.must(appendTo("a", core.AnyVersion, e))
		_, err := s.log.Append(s.ctx, appendTo("b", core.AnyVersion, newEvent(), e))
		if e2 := s.refusal(err, core.CodeDuplicateEvent); e2.EventID != e.ID || e2.Stream != "b" {
			s.Errorf("%v: id %s, stream %q", e2, e2.EventID, e2.Stream)
		}
	}},
	{"duplicate_event_says_what_is_known", func(s *suite) {
		known := newEvents(4)
		s.must(appendTo("a", core.AnyVersion, known...))
		s.must(linkTo("l", core.AnyVersion, known[0].ID))
		c := appendTo("a", core.AnyVersion, known[2], newEvent(), known[1])
		c.Appends = append(c.Appends, appendTo("b", core.AnyVersion, known[3]).Appends...)
		c.Appends = append(c.Appends, linkTo("l", core.AnyVersion, known[3].ID, known[0].ID).Appends...)
		_, err := s.log.Append(s.ctx, c)
		if e := s.refusal(err, core.CodeDuplicateEvent); !slices.Equal(e.Known, []int{0, 2, 5}) {
			s.Errorf("%v: known are %v, want 0, 2 and 5", e, e.Known)
		}
	}},
	{"all_fields_arrive", allFields},
	{"P12_bad_commits_change_nothing", badCommits},
	{"A03_concurrent_any", func(s *suite) {
		results, errs := s.atOnce(20, func(int) core.Commit { return appendTo("a", core.AnyVersion, newEvents(2)...) })
		seen := make(map[uint64]bool)
		for i := range results {
			if errs[i] != nil {
				s.Fatal(errs[i])
			}
			seen[results[i].Appends[0].FirstVersion] = true
		}
		for v := uint64(1); v < 40; v += 2 {
			if !seen[v] {
				s.Errorf("no append was told version %d", v)
			}
		}
	}},
	{"A11_concurrent_appends_at_one_version", func(s *suite) {
		s.write("a", 2)
		results, errs := s.atOnce(8, func(int) core.Commit { return appendTo("a", 2, newEvent()) })
		won := 0
		for i := range results {
			if errs[i] == nil {
				won++
			} else if e := s.refusal(errs[i], core.CodeWrongExpectedVersion); e.Actual == nil || *e.Actual != 3 {
				s.Errorf("%v: actual %v", e, deref(e.Actual))
			}
		}
		if n := len(s.read("a", 0)); won != 1 || n != 3 {
			s.Errorf("%d won, %d events", won, n)
		}
	}},
	{"concurrent_retries_write_once", func(s *suite) {
		c := appendTo("a", core.NoStream, newEvents(3)...)
		results, errs := s.atOnce(8, func(int) core.Commit { return c })
		written := 0
		for i, r := range results {
			if errs[i] != nil || r.Position != 3 {
				s.Errorf("%+v, %v", r, errs[i])
			}
			if !r.Duplicate {
				written++
			}
		}
		if written != 1 {
			s.Errorf("written %d times", written)
		}
	}},
	{"caller_that_gave_up", func(s *suite) {
		c := appendTo("a", core.NoStream, newEvent())
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err := s.log.Append(ctx, c)
		if err != nil && !isEnd(err) && !errors.Is(err, core.CodeUnknownOutcome) {
			s.Errorf("append: %v", err)
		}
		if r, err := s.log.Append(s.ctx, c); err != nil || r.Position != 1 {
			s.Errorf("retry: %+v, %v", r, err)
		}
		if n := len(s.read("a", 0)); n != 1 {
			s.Errorf("%d events, want 1", n)
		}
	}},
	{"read_your_writes", func(s *suite) {
		for i := range 50 {
			ids := s.write("a", 2)
			if got := s.readFrom(core.ReadRequest{Stream: "a", From: uint64(2*i + 1)}); !slices.Equal(eventIDs(got), ids) {
				s.Fatalf("append %d: read %v, want %v", i, eventIDs(got), ids)
			}
		}
	}},
}

// wrongVersion checks that c is refused, and that the error carries why.
func (s *suite) wrongVersion(c core.Commit, element int, stream string, expected core.Expect, actual uint64) {
	s.Helper()
	_, err := s.log.Append(s.ctx, c)
	e := s.refusal(err, core.CodeWrongExpectedVersion)
	if e.Stream != stream || e.Expected == nil || *e.Expected != expected || e.Actual == nil || *e.Actual != actual {
		s.Errorf("%v: stream %q, expected %v, actual %v", e, e.Stream, deref(e.Expected), deref(e.Actual))
	}
	if e.Element == nil || *e.Element != element {
		s.Errorf("%v: element %v, want %d", e, deref(e.Element), element)
	}
}

// atOnce appends n Commits from as many goroutines.
func (s *suite) atOnce(n int, commit func(i int) core.Commit) ([]core.Result, []error) {
	results, errs := make([]core.Result, n), make([]error, n)
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range n {
		c := commit(i)
		done.Go(func() {
			start.Wait()
			results[i], errs[i] = s.log.Append(s.ctx, c)
		})
	}
	start.Done()
	done.Wait()
	return results, errs
}

func allFields(s *suite) {
	at := time.Date(2001, 2, 3, 4, 5, 6, 789_012_000, time.UTC)
	events := []core.NewEvent{
		newEvent(),
		{ID: core.NewID(), Type: "größer", Data: []byte(`{"文":"字","n":1.10,"e":1E400}`), Time: at},
		{ID: core.NewID(), Type: "bytes", Format: core.Bytes, Data: []byte{0, 0xff, '\n', 0xc3}},
		{ID: core.NewID(), Type: "png", Format: core.Bytes, ContentType: "image/png", Data: []byte("\x89PNG"), Metadata: []byte(`{"a":[1,null]}`)},
		{ID: core.NewID(), Type: "empty", Format: core.Bytes},
		{Type: "null", Data: []byte("null")},
	}
	const stream = "日本語/🌀?c%2F#d e"
	s.must(appendTo(stream, core.NoStream, events...))
	for _, name := range []string{stream, core.All} {
		got := s.read(name, 0)
		if len(got) != len(events) {
			s.Fatalf("%d events, want %d", len(got), len(events))
		}
		for i, e := range got {
			want := events[i]
			if e.Stream != stream || e.Version != uint64(i+1) || e.Position != uint64(i+1) || e.Incarnation != 1 {
				s.Errorf("event %d is %q version %d position %d", i, e.Stream, e.Version, e.Position)
			}
			if e.Type != want.Type || e.Format != want.Format || e.ContentType != want.ContentType || e.ID.IsZero() || e.ID != want.ID && !want.ID.IsZero() {
				s.Errorf("event %d: %+v, want %+v", i, e, want)
			}
			if !bytes.Equal(e.Data, want.Data) || !bytes.Equal(e.Metadata, want.Metadata) {
				s.Errorf("event %d: data %q, metadata %q, want %q, %q", i, e.Data, e.Metadata, want.Data, want.Metadata)
			}
			if e.Recorded.IsZero() || want.Time.IsZero() && !e.Time.Equal(e.Recorded) || !want.Time.IsZero() && !e.Time.Equal(at) {
				s.Errorf("event %d: time %v, recorded %v", i, e.Time, e.Recorded)
			}
		}
	}
}

func badCommits(s *suite) {
	with := func(change func(e *core.NewEvent)) core.Commit {
		e := newEvent()
		change(&e)
		return appendTo("a", core.AnyVersion, newEvent(), e)
	}
	cases := []struct {
		name string
		c    core.Commit
		code core.Code
	}{
		{"A20 append to $all", appendTo(core.All, core.AnyVersion, newEvent()), core.CodeReservedStreamName},
		{"reserved name", appendTo("$x", core.AnyVersion, newEvent()), core.CodeReservedStreamName},
		{"no name", appendTo("", core.AnyVersion, newEvent()), core.CodeInvalidStreamName},
		{"control character", appendTo("a\n", core.AnyVersion, newEvent()), core.CodeInvalidStreamName},
		{"long name", appendTo(strings.Repeat("x", core.MaxStreamNameBytes+1), core.AnyVersion, newEvent()), core.CodeInvalidStreamName},
		{"A23 no type", with(func(e *core.NewEvent) { e.Type = "" }), core.CodeInvalidEventType},
		{"A27 no events", appendTo("a", core.AnyVersion), core.CodeEmptyAppend},
		{"nothing", core.Commit{}, core.CodeEmptyAppend},
		{"checks only", core.Commit{Checks: []core.Check{{Stream: "a", Expect: 0}}}, core.CodeEmptyAppend},
		{"expected version", appendTo("a", -4, newEvent()), core.CodeInvalidExpectedVersion},
		{"no data", with(func(e *core.NewEvent) { e.Data = nil }), core.CodeInvalidData},
		{"large event", with(func(e *core.NewEvent) {
			e.Format, e.Data = core.Bytes, make([]byte, core.MaxEventBytes+1)
		}), core.CodeEventTooLarge},
		{"many events", appendTo("a", core.AnyVersion, newEvents(core.MaxCommitEvents+1)...), core.CodeCommitTooLarge},
	}
	for _, c := range cases {
		r, err := s.log.Append(s.ctx, c.c)
		if !errors.Is(err, c.code) {
			s.Errorf("%s: %+v, %v, want %s", c.name, r, err, c.code)
		}
	}
	s.isEmpty()
	_, err := s.log.Read(s.ctx, core.ReadRequest{Stream: "a"})
	s.refused(err, core.CodeStreamNotFound)
}
