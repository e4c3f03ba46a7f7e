package dev

import (
	"cmp"
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/project"
	"github.com/gyre-events/gyre/plugins/trial"
)

// Window are the events of a round. It does not change.
type Window struct {
	Items []delivery.Item // that the input delivers, in the order of positions
	// Read reads streams for the handler.
	Read func(ctx context.Context, r core.ReadRequest) (core.Page, error)
	// first is the same in windows that begin at the same place with the same input.
	first *Window
}

// Source has the events of rounds. It is used by one goroutine.
type Source interface {
	// Window returns the events that an input delivers, as they are now. The errors are those of
	// subscriptions.NewPicker, and of what has the events.
	Window(ctx context.Context, input *plugins.Input) (*Window, error)
}

// The bounds of the events of a round.
const (
	DefaultLast = 1000
	MaxLast     = 10_000
	maxBytes    = 64 << 20
	// fetchTimeout is how long events are waited for.
	fetchTimeout = time.Minute
)

// Last is the Source of the newest events of a log.
type Last struct {
	log     core.Log
	most    int
	compile subscriptions.Compiler

	input *plugins.Input
	shown *Window
	head  uint64 // up to which the log was read
}

// NewLast returns a Source of the newest events of a log that an input delivers, at most so many
// when they are fetched first.
func NewLast(log core.Log, most int, compile subscriptions.Compiler) *Last {
	return &Last{log: log, most: most, compile: compile}
}

// Window is Source.Window. It reads what the log has grown by.
func (l *Last) Window(ctx context.Context, input *plugins.Input) (*Window, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	head, err := l.end(ctx, input)
	if err != nil {
		return nil, err
	}
	known := l.shown != nil && reflect.DeepEqual(l.input, input) && head >= l.head
	if known && head == l.head {
		return l.shown, nil
	}
	w := &Window{Read: l.log.Read}
	if known {
		w.first = l.shown.first
		w.Items, err = l.fetch(ctx, input, l.head+1, head)
		w.Items = append(slices.Clip(l.shown.Items), w.Items...)
	}
	if !known || len(w.Items) > 2*l.most {
		w.first = w
		w.Items, err = l.newest(ctx, input, head)
	}
	if err != nil {
		return nil, err
	}
	of := *input
	l.input, l.shown, l.head = &of, w, head
	return w, nil
}

// end is the position of the last event of the input's stream.
func (l *Last) end(ctx context.Context, input *plugins.Input) (position uint64, err error) {
	stream := cmp.Or(input.Stream, core.All)
	page, err := l.log.Read(ctx, core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1}})
	if core.IsAbsent(err) {
		return 0, nil
	}
	if stream == core.All {
		return page.Version, err
	}
	for place := range page.Places() {
		position = place.Position
	}
	return position, err
}

// newest returns the newest events up to a position. Filters pass over nobody knows how many, so
// more and more of the log is read until there are enough.
func (l *Last) newest(ctx context.Context, input *plugins.Input, to uint64) ([]delivery.Item, error) {
	const wider = 16
	for span := 2 * uint64(l.most); ; span *= wider {
		from := to - min(to, span) + 1
		items, err := l.fetch(ctx, input, from, to)
		if err != nil || from == 1 || len(items) >= l.most {
			return items[max(0, len(items)-l.most):], err
		}
	}
}

// fetch returns what an input delivers of a part of the log: of more than MaxLast events, or of
// more than maxBytes, the newest.
func (l *Last) fetch(ctx context.Context, input *plugins.Input, from, to uint64) (items []delivery.Item, err error) {
	definition, err := input.Definition()
	if err != nil || from > to {
		return nil, err
	}
	events, err := trial.NewRange(ctx, l.log, &definition, subscriptions.Programs{Compile: l.compile}, from, to)
	if err != nil {
		return nil, err
	}
	defer events.Close()
	bytes := 0
	for read := []delivery.Item(nil); err == nil; {
		read, err = events.Next(ctx, read[:0])
		for i := range read {
			e := read[i]
			e.Raw, e.Key = slices.Clone(e.Raw), strings.Clone(e.Key) // they are parts of blocks
			items = append(items, e)
			bytes += len(e.Raw)
		}
		over := 0
		for bytes > maxBytes || len(items)-over > 2*MaxLast {
			bytes -= len(items[over].Raw)
			over++
		}
		items = slices.Delete(items, 0, over)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return items, err
}

// Sample is the Source of events of a file.
type Sample struct {
	load    func() ([]project.Event, error)
	compile subscriptions.Compiler

	input *plugins.Input
	shown *Window
}

// NewSample returns a Source of events that are loaded for each round.
func NewSample(load func() ([]project.Event, error), compile subscriptions.Compiler) *Sample {
	return &Sample{load: load, compile: compile}
}

// Window is Source.Window. It is the same as before if the events are.
func (s *Sample) Window(ctx context.Context, input *plugins.Input) (*Window, error) {
	events, err := s.load()
	if err != nil {
		return nil, err
	}
	sample := project.NewSample(events)
	w := &Window{Read: sample.Read}
	w.first = w
	if w.Items, err = sample.Deliver(ctx, input, s.compile); err != nil {
		return nil, err
	}
	if s.shown != nil && reflect.DeepEqual(s.input, input) && reflect.DeepEqual(s.shown.Items, w.Items) {
		return s.shown, nil
	}
	of := *input
	s.input, s.shown = &of, w
	return w, nil
}

// positions are the first and the last position of a window; 0 if it is empty.
func (w *Window) positions() (from, to uint64) {
	if len(w.Items) == 0 {
		return 0, 0
	}
	return w.Items[0].Position, w.Items[len(w.Items)-1].Position
}
