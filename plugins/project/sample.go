package project

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
)

// Event is an event to try a module with.
type Event struct {
	Stream string
	core.NewEvent
}

// Sample are events to try a module with, in a log of their own.
type Sample struct {
	streams map[string]*core.Batch // and core.All
}

// NewSample returns a log that has the events. Those that have no id get one, and those that have
// no time were recorded a second after each other.
func NewSample(events []Event) *Sample {
	s := &Sample{streams: map[string]*core.Batch{}}
	versions := map[string]uint64{}
	for i := range events {
		e := &events[i]
		versions[e.Stream]++
		at := e.Time
		if at.IsZero() {
			at = firstDay.Add(time.Duration(i) * time.Second)
		}
		p := core.Placement{Stream: e.Stream, Version: versions[e.Stream], Position: uint64(i + 1), Recorded: at.UnixMicro(), ID: e.ID}
		if p.ID == (core.ID{}) {
			binary.BigEndian.PutUint64(p.ID[8:], p.Position)
		}
		raw := core.EncodeEvent(nil, p, &e.NewEvent)
		for _, name := range []string{core.All, e.Stream} {
			if s.streams[name] == nil {
				s.streams[name] = &core.Batch{}
			}
			s.streams[name].Add(raw, p.Position)
		}
	}
	return s
}

// firstDay is when the first event was recorded that has no time, and a second later the next.
var firstDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Deliver returns the events that an input delivers.
func (s *Sample) Deliver(ctx context.Context, input *plugins.Input, compile subscriptions.Compiler) (items []delivery.Item, err error) {
	definition, err := input.Definition()
	if err != nil {
		return nil, err
	}
	picker, err := subscriptions.NewPicker(&definition, subscriptions.Programs{Compile: compile})
	if err != nil {
		return nil, err
	}
	if all := s.streams[definition.Stream]; all != nil {
		filter := picker.Filter()
		for rest := all.Matching(&filter); rest.Count > 0 && err == nil; {
			items, rest, err = picker.Items(ctx, items, rest)
		}
	}
	return items, errors.Join(err, picker.Close())
}

// Read reads a stream, as a core.Log does.
func (s *Sample) Read(_ context.Context, r core.ReadRequest) (core.Page, error) {
	all := s.streams[r.Stream]
	if all == nil {
		return core.Page{}, core.Errorf(core.CodeStreamNotFound, "there is no stream %.80q", r.Stream)
	}
	passed := 0
	for p := range all.Places() {
		at := p.Version
		if r.Stream == core.All {
			at = p.Position
		}
		if at >= r.From {
			break
		}
		passed++
	}
	_, rest := all.Cut(core.Limit{Events: passed, Bytes: math.MaxInt})
	page, rest := rest.Cut(r.Limit)
	return core.Page{Batch: page, Next: page.Last + 1, End: rest.Count == 0}, nil
}
