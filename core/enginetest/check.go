package enginetest

import (
	"bytes"
	"cmp"
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
		if (!e.Link.IsZero() || core.IsSystem(e.Stream)) && !step.Written.Hidden {
			return fmt.Errorf("readers of $all do not get position %d, and written does not say so", e.Position)
		}
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
		n := a.Count()
		if r.Count() != n {
			return nil, fmt.Errorf("append %d: result %+v for %d events", i, r, n)
		}
		if o.Result.Duplicate {
			continue
		}
		if len(written) < n {
			return nil, fmt.Errorf("append %d: %d of %d events are in what was written", i, len(written), n)
		}
		for j := range n {
			want := core.Placement{Stream: a.Stream, Version: r.FirstVersion + uint64(j), Position: r.FirstPosition + uint64(j)}
			if len(a.Links) > 0 {
				err = checkLink(written[j], want, a.Links[j])
			} else {
				err = checkEvent(written[j], want, a.Events[j])
			}
			if err != nil {
				return nil, fmt.Errorf("append %d, event %d: %w", i, j, err)
			}
		}
		if last := written[n-1]; last.Position != r.LastPosition {
			return nil, fmt.Errorf("append %d: result %+v, the last event has position %d", i, r, last.Position)
		}
		written = written[n:]
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
	if got.Incarnation == 0 || !got.Link.IsZero() {
		return fmt.Errorf("is of incarnation %d, a link to %+v", got.Incarnation, got.Link)
	}
	return nil
}

// checkLink looks at a link as a step tells of it: without what it names.
func checkLink(got core.Event, at core.Placement, id core.ID) error {
	if got.Stream != at.Stream || got.Version != at.Version || got.Position != at.Position || got.ID != id || got.Incarnation == 0 {
		return fmt.Errorf("is %q version %d position %d of event %s, want %q version %d position %d of event %s",
			got.Stream, got.Version, got.Position, got.ID, at.Stream, at.Version, at.Position, id)
	}
	if o := got.Link; o.IsZero() || o.Stream == got.Stream || o.Position >= got.Position || len(got.Data)+len(got.Metadata) > 0 {
		return fmt.Errorf("is a link to %+v with %d bytes of data", o, len(got.Data))
	}
	return nil
}

// checkLog holds the whole log to P1, P2 and the order of recorded times, and
// every way to read it to every other.
func checkLog(s *suite) {
	s.Helper()
	s.undeleteAll()
	all, head := s.readAny(core.ReadRequest{Stream: core.All, System: true}), s.engine.State().Head
	streams := make(map[string][]core.Event)
	for i, e := range all {
		if !e.Link.IsZero() {
			s.Fatalf("P2: position %d of $all is a link", e.Position)
		}
		if i > 0 && e.Position <= all[i-1].Position {
			s.Fatalf("P2: position %d comes after %d in $all", e.Position, all[i-1].Position)
		}
		streams[e.Stream] = append(streams[e.Stream], e)
	}
	checkReversed(s, core.ReadRequest{Stream: core.All, System: true}, all)
	checkSystem(s, all)
	var whole []core.Event
	listed := s.streams(core.StreamsRequest{Limit: core.MaxReadEvents, System: true})
	for _, info := range listed {
		got := s.read(info.Name, false)
		whole = append(whole, got...)
		checkStream(s, info, got, streams[info.Name])
		checkReversed(s, core.ReadRequest{Stream: info.Name}, got)
		delete(streams, info.Name)
	}
	if len(streams) > 0 || !slices.IsSortedFunc(listed, func(a, b core.StreamInfo) int { return strings.Compare(a.Name, b.Name) }) {
		s.Errorf("the listing has %v, and not %d streams of $all", listed, len(streams))
	}
	checkPositions(s, whole, head)
	checkListings(s, listed, whole)
	checkWritten(s, whole)
	checkIDs(s, all)
}

// checkWritten compares what was written with what the streams have, by position.
func checkWritten(s *suite, whole []core.Event) {
	s.Helper()
	written := s.readLog()
	if len(written) != len(whole) {
		s.Fatalf("the log has %d events and links, the streams have %d", len(written), len(whole))
	}
	for i, e := range written {
		want := whole[i]
		if !want.Link.IsZero() {
			if err := checkLink(e, placementOf(want), want.ID); err != nil || e.Link != want.Link || e.Type != want.Type || !e.Recorded.Equal(want.Recorded) {
				s.Errorf("the log has %+v where a link %+v is read, %v", e, want, err)
			}
		} else if !sameRaw(e, want) {
			s.Errorf("the log has %+v where %+v is read", e, want)
		}
	}
}

// checkStream holds what was read of a stream to P1, and to what $all has of it.
func checkStream(s *suite, info core.StreamInfo, got, want []core.Event) {
	s.Helper()
	var own []core.Event
	seen := make(map[core.ID]bool, len(got))
	for i, e := range got {
		before := core.Event{}
		if i > 0 {
			before = got[i-1]
		}
		gap := e.Version - before.Version - 1
		if e.Stream != info.Name || e.Version <= before.Version || gap > 0 && !s.removes || e.Position <= before.Position {
			s.Fatalf("P1: event %d of %q is version %d of %q at position %d", i+1, info.Name, e.Version, e.Stream, e.Position)
		}
		if seen[e.ID] {
			s.Errorf("event %s is in %q twice", e.ID, info.Name)
		}
		seen[e.ID] = true
		if e.Link.IsZero() {
			own = append(own, e)
		} else {
			checkResolved(s, e)
		}
	}
	if n := uint64(len(got)); info.Version < n || info.Version > n && !s.removes {
		s.Errorf("%q is listed at version %d and has %d events", info.Name, info.Version, len(got))
	}
	if !slices.EqualFunc(own, want, sameRaw) {
		s.Errorf("P2: stream %q read alone has %d events, %d in $all, or differs", info.Name, len(own), len(want))
	}
}

// checkResolved compares a link that was read with the event that it names.
func checkResolved(s *suite, link core.Event) {
	s.Helper()
	event, err := s.engine.Event(s.ctx(), link.ID)
	if err != nil {
		s.Fatalf("link %+v: %v", link, err)
	}
	m := &model{known: map[core.ID]core.Event{event.ID: event}}
	bare := link
	bare.Data, bare.Metadata = nil, nil
	if want, err := m.resolve(bare); err != nil || !sameRaw(link, want) {
		s.Errorf("link %+v to %+v, %v", link, event, err)
	}
}

// checkPositions checks that what all streams have together is everything, and that
// recorded times go with positions.
func checkPositions(s *suite, whole []core.Event, head uint64) {
	s.Helper()
	slices.SortFunc(whole, func(a, b core.Event) int { return cmp.Compare(a.Position, b.Position) })
	for i, e := range whole {
		if e.Position != uint64(i+1) && !s.removes || i > 0 && e.Position == whole[i-1].Position {
			s.Fatalf("P2: position %d is missing, or there twice", i+1)
		}
		if i > 0 && e.Recorded.Before(whole[i-1].Recorded) {
			s.Errorf("position %d was recorded at %v, the one before at %v", e.Position, e.Recorded, whole[i-1].Recorded)
		}
	}
	if n := uint64(len(whole)); head < n || head > n && !s.removes {
		s.Errorf("head %d, the streams have %d events", head, len(whole))
	}
}

func checkReversed(s *suite, r core.ReadRequest, forward []core.Event) {
	s.Helper()
	r.Backward = true
	got := s.readAny(r)
	slices.Reverse(got)
	if !slices.EqualFunc(got, forward, sameRaw) {
		s.Errorf("%q read backward has %d events, forward %d, or differs", r.Stream, len(got), len(forward))
	}
}

// checkSystem compares what readers of $all get who do not ask for the system's streams
// with what those get who do.
func checkSystem(s *suite, all []core.Event) {
	s.Helper()
	want := withoutSystem(all)
	got := s.read(core.All, false)
	if !slices.EqualFunc(got, want, sameRaw) {
		s.Errorf("$all without the system's streams has %d events, want %d of %d, or differs", len(got), len(want), len(all))
	}
	checkReversed(s, core.ReadRequest{Stream: core.All}, got)
}

// withoutSystem is $all without the events of the system's streams.
func withoutSystem(all []core.Event) []core.Event {
	return slices.DeleteFunc(slices.Clone(all), func(e core.Event) bool { return core.IsSystem(e.Stream) })
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
		if page.End != (page.Next == "") || page.Next != "" && page.Next == r.After {
			s.Fatalf("list streams %+v: goes on after %q, end %v", r, page.Next, page.End)
		}
		got = append(got, page.Streams...)
		if page.End {
			return got
		}
		if r.Sort == core.ByName && len(page.Streams) < r.Limit {
			s.Fatalf("list streams %+v: %d on a page that is not the last", r, len(page.Streams))
		}
		if page.Looked < len(page.Streams) || page.Looked > core.MaxStreamsWalk {
			s.Fatalf("list streams %+v: looked at %d for %d streams", r, page.Looked, len(page.Streams))
		}
		r.After = page.Next
	}
}

// checkPage compares a page of a quiet log with all events of what was read, in
// order of their numbers: versions, or positions of $all. Both may have gaps.
func checkPage(r core.ReadRequest, page core.Page, all []core.Event, head uint64) error {
	last := head
	if r.Stream != core.All {
		last = 0
		if n := len(all); n > 0 {
			last = all[n-1].Version
		}
	}
	return checkPageTo(r, page, all, last, head)
}

// checkPageTo is checkPage of what has last as its last number, though the events from
// there on back may be removed.
func checkPageTo(r core.ReadRequest, page core.Page, all []core.Event, last, head uint64) error {
	number := func(e core.Event) uint64 { return e.Version }
	if r.Stream == core.All {
		number = func(e core.Event) uint64 { return e.Position }
	}
	from := max(r.From, 1)
	rest := slices.Clone(all)
	if r.Backward {
		if r.From == 0 || r.From > last {
			from = last
		}
		slices.Reverse(rest)
	}
	rest = slices.DeleteFunc(rest, func(e core.Event) bool { return number(e) < from && !r.Backward || number(e) > from && r.Backward })
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
	if len(got) == 0 && (len(rest) > 0 || !page.End) {
		return fmt.Errorf("read %+v: no events, end = %v, want some of %d", r, page.End, len(rest))
	}
	if len(got) > 0 && (page.First != got[0].Position || page.Last != got[len(got)-1].Position) {
		return fmt.Errorf("read %+v: first %d, last %d, want %d, %d", r, page.First, page.Last, got[0].Position, got[len(got)-1].Position)
	}
	gaps := uint64(len(all)) < last
	if done := len(got) == len(rest); page.End != done && (page.End || !gaps) {
		return fmt.Errorf("read %+v: end = %v after %d of %d events", r, page.End, len(got), len(rest))
	}
	return checkNext(r, page, got, rest, from, last, number)
}

// checkLogPage compares a page of what was written with all of it.
func checkLogPage(from uint64, limit core.Limit, page core.Page, written []core.Event, head uint64) error {
	if page.Count > 0 && !page.Hidden {
		return fmt.Errorf("the page from %d does not say that there may be more than $all has", from)
	}
	return checkPage(core.ReadRequest{Stream: core.All, From: from, Limit: limit}, page, written, head)
}

// checkNext checks that the next page leaves nothing out and repeats nothing.
func checkNext(r core.ReadRequest, page core.Page, got, rest []core.Event, from, last uint64, number func(core.Event) uint64) error {
	least, most := from, max(from, last+1)
	if r.Backward {
		least, most = 0, from
	}
	if n := len(got); n > 0 && r.Backward {
		most = number(got[n-1]) - 1
	} else if n > 0 {
		least = number(got[n-1]) + 1
	}
	if n := len(got); n < len(rest) && r.Backward {
		least = number(rest[n])
	} else if n < len(rest) {
		most = number(rest[n])
	}
	if (page.Next < least || page.Next > most) && (!r.Backward || !page.End) {
		return fmt.Errorf("read %+v: next %d, want %d to %d", r, page.Next, least, most)
	}
	return nil
}
