package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// checkStep compares a step with the group it answers.
func checkStep(group []*core.Commit, step core.Step) error {
	if len(step.Outcomes) != len(group) {
		return fmt.Errorf("%d outcomes for %d commits", len(step.Outcomes), len(group))
	}
	written, err := core.ParseBatch(step.Written.Block, step.Written.Count)
	if err != nil {
		return fmt.Errorf("written: %w", err)
	}
	if written.First != step.Written.First || written.Last != step.Written.Last {
		return fmt.Errorf("written is said to be %d to %d and is %d to %d",
			step.Written.First, step.Written.Last, written.First, written.Last)
	}
	rest := written.Slice()
	for i, e := range rest {
		if e.Position != written.First+uint64(i) {
			return fmt.Errorf("written event %d has position %d, the first has %d", i, e.Position, written.First)
		}
	}
	for i, o := range step.Outcomes {
		if rest, err = checkOutcome(group[i], o, rest); err != nil {
			return fmt.Errorf("commit %d of the group: %w", i, err)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("the step wrote %d events that no commit has", len(rest))
	}
	return nil
}

// checkOutcome takes the events of c off the front of written.
func checkOutcome(c *core.Commit, o core.Outcome, written []core.Event) (rest []core.Event, err error) {
	if o.Err != nil {
		if e := (*core.Error)(nil); !errors.As(o.Err, &e) {
			return nil, fmt.Errorf("%w is not a *core.Error", o.Err)
		}
		return written, nil
	}
	if len(o.Result.Appends) != len(c.Appends) {
		return nil, fmt.Errorf("%d results for %d appends", len(o.Result.Appends), len(c.Appends))
	}
	position := uint64(0)
	for i, a := range c.Appends {
		r := o.Result.Appends[i]
		position = r.LastPosition
		if r.Count() != len(a.Events) {
			return nil, fmt.Errorf("append %d: result %+v for %d events", i, r, len(a.Events))
		}
		if o.Result.Duplicate {
			continue
		}
		if len(written) < len(a.Events) {
			return nil, fmt.Errorf("append %d: %d of %d events are in what was written", i, len(written), len(a.Events))
		}
		for j := range a.Events {
			want := core.Placement{Stream: a.Stream, Version: r.FirstVersion + uint64(j), Position: r.FirstPosition + uint64(j)}
			if err := checkEvent(written[j], want, a.Events[j]); err != nil {
				return nil, fmt.Errorf("append %d, event %d: %w", i, j, err)
			}
		}
		if last := written[len(a.Events)-1]; last.Position != r.LastPosition {
			return nil, fmt.Errorf("append %d: result %+v, the last event has position %d", i, r, last.Position)
		}
		written = written[len(a.Events):]
	}
	if o.Result.Position != position {
		return nil, fmt.Errorf("result has position %d, its last append %d", o.Result.Position, position)
	}
	return written, nil
}

// checkEvent compares a recorded event with what was sent.
func checkEvent(got core.Event, at core.Placement, sent core.NewEvent) error {
	if got.Stream != at.Stream || got.Version != at.Version || got.Position != at.Position {
		return fmt.Errorf("is %q version %d position %d, want %q version %d position %d",
			got.Stream, got.Version, got.Position, at.Stream, at.Version, at.Position)
	}
	if got.ID != sent.ID && (!sent.ID.IsZero() || got.ID.IsZero()) {
		return fmt.Errorf("has id %s, want %s", got.ID, sent.ID)
	}
	if got.Type != sent.Type || got.Format != sent.Format || got.ContentType != sent.ContentType {
		return fmt.Errorf("is a %q (%d, %q), want %q (%d, %q)",
			got.Type, got.Format, got.ContentType, sent.Type, sent.Format, sent.ContentType)
	}
	if !bytes.Equal(got.Data, sent.Data) || !bytes.Equal(got.Metadata, sent.Metadata) {
		return fmt.Errorf("has %d bytes of data and %d of metadata that differ from the %d and %d sent",
			len(got.Data), len(got.Metadata), len(sent.Data), len(sent.Metadata))
	}
	if sent.Time.IsZero() && !got.Time.Equal(got.Recorded) {
		return fmt.Errorf("has time %v, recorded %v", got.Time, got.Recorded)
	}
	if !sent.Time.IsZero() && got.Time.UnixMicro() != sent.Time.UnixMicro() {
		return fmt.Errorf("has time %v, want %v", got.Time, sent.Time)
	}
	if got.Incarnation != 1 {
		return fmt.Errorf("is of incarnation %d", got.Incarnation)
	}
	return nil
}

// checkLog holds the whole log to P1, P2 and the order of recorded times, and
// every way to read it to every other.
func checkLog(s *suite) {
	s.Helper()
	all := s.read(core.All, false)
	s.head(uint64(len(all)))
	streams := make(map[string][]core.Event)
	for i, e := range all {
		if e.Position != uint64(i+1) {
			s.Fatalf("P2: event %d of $all has position %d", i+1, e.Position)
		}
		if i > 0 && e.Recorded.Before(all[i-1].Recorded) {
			s.Errorf("position %d was recorded at %v, the one before at %v", e.Position, e.Recorded, all[i-1].Recorded)
		}
		streams[e.Stream] = append(streams[e.Stream], e)
		if e.Version != uint64(len(streams[e.Stream])) {
			s.Fatalf("P1: position %d is version %d of %q, want %d", e.Position, e.Version, e.Stream, len(streams[e.Stream]))
		}
	}
	checkReversed(s, core.All, all)
	for stream, want := range streams {
		if got := s.read(stream, false); !slices.EqualFunc(got, want, sameRaw) {
			s.Errorf("P2: stream %q read alone has %d events, %d in $all, or differs", stream, len(got), len(want))
		}
		checkReversed(s, stream, want)
	}
	checkIDs(s, all)
	checkListing(s, streams)
}

func checkReversed(s *suite, stream string, forward []core.Event) {
	s.Helper()
	got := s.read(stream, true)
	slices.Reverse(got)
	if !slices.EqualFunc(got, forward, sameRaw) {
		s.Errorf("%q read backward has %d events, forward %d, or differs", stream, len(got), len(forward))
	}
}

// checkIDs checks that ids are unique, and finds some events by them.
func checkIDs(s *suite, all []core.Event) {
	s.Helper()
	seen := make(map[core.ID]bool, len(all))
	every := 1 + len(all)/200
	for i, e := range all {
		if seen[e.ID] {
			s.Errorf("P5: id %s is in the log twice", e.ID)
		}
		seen[e.ID] = true
		if i%every != 0 && i != len(all)-1 {
			continue
		}
		if got, err := s.engine.Event(s.ctx(), e.ID); err != nil || !sameRaw(got, e) {
			s.Errorf("event %s: position %d, %v, want position %d", e.ID, got.Position, err, e.Position)
		}
	}
}

func checkListing(s *suite, streams map[string][]core.Event) {
	s.Helper()
	var want []core.StreamInfo
	for name, events := range streams {
		want = append(want, core.StreamInfo{Name: name, Version: uint64(len(events))})
	}
	slices.SortFunc(want, func(a, b core.StreamInfo) int { return strings.Compare(a.Name, b.Name) })
	if got := s.streams(core.StreamsRequest{Limit: core.MaxReadEvents}); !slices.Equal(got, want) {
		s.Errorf("the listing has %v, want %v", got, want)
	}
}

// streams lists page by page.
func (s *suite) streams(r core.StreamsRequest) []core.StreamInfo {
	s.Helper()
	var got []core.StreamInfo
	for {
		page, err := s.engine.Streams(s.ctx(), r)
		if err != nil {
			s.Fatalf("list streams %+v: %v", r, err)
		}
		if len(page.Streams) > r.Limit {
			s.Fatalf("list streams %+v: %d of them", r, len(page.Streams))
		}
		if len(page.Streams) > 0 && page.Streams[0].Name <= r.After {
			s.Fatalf("list streams %+v: begins with %q", r, page.Streams[0].Name)
		}
		got = append(got, page.Streams...)
		if page.End {
			return got
		}
		if len(page.Streams) == 0 {
			s.Fatalf("list streams %+v: an empty page that is not the end", r)
		}
		r.After = page.Streams[len(page.Streams)-1].Name
	}
}

// checkPage compares a page of a quiet log with all events of what was read, in
// order of their numbers.
func checkPage(r core.ReadRequest, page core.Page, all []core.Event, head uint64) error {
	last := uint64(len(all))
	from := max(r.From, 1)
	var rest []core.Event
	if r.Backward {
		if r.From == 0 || r.From > last {
			from = last
		}
		rest = slices.Clone(all[:from])
		slices.Reverse(rest)
	} else if from <= last {
		rest = all[from-1:]
	}
	if page.Version != last || page.Head != head {
		return fmt.Errorf("read %+v: version %d, head %d, want %d, %d", r, page.Version, page.Head, last, head)
	}
	got := page.Slice()
	if len(got) != page.Count || len(got) > len(rest) || !slices.EqualFunc(got, rest[:len(got)], sameRaw) {
		return fmt.Errorf("read %+v: count %d, %d events that are not the %d of the stream", r, page.Count, len(got), len(rest))
	}
	if page.Count > r.Limit.Events || page.Count > 1 && len(page.Block) > r.Limit.Bytes {
		return fmt.Errorf("read %+v: %d events of %d bytes", r, page.Count, len(page.Block))
	}
	if len(got) == 0 && len(rest) > 0 {
		return fmt.Errorf("read %+v: no events, want some of %d", r, len(rest))
	}
	if len(got) > 0 && (page.First != got[0].Position || page.Last != got[len(got)-1].Position) {
		return fmt.Errorf("read %+v: first %d, last %d, want %d, %d", r, page.First, page.Last, got[0].Position, got[len(got)-1].Position)
	}
	if page.End != (len(got) == len(rest)) {
		return fmt.Errorf("read %+v: end = %v after %d of %d events", r, page.End, len(got), len(rest))
	}
	next := from + uint64(len(got))
	if r.Backward {
		next = from - uint64(len(got))
	}
	if page.Next != next && (!r.Backward || !page.End) {
		return fmt.Errorf("read %+v: next %d, want %d", r, page.Next, next)
	}
	return nil
}
