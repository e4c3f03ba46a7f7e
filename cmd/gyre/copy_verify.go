package main

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/gyre-events/gyre/core"
)

// What --verify of a copy compares.
const (
	verifyFull = "full"
	verifyEnds = "ends"
)

// verify compares all events and links between two positions of source and target. It
// reports the first difference, and their number.
func (c *copier) verify(ctx context.Context, from, to uint64) error {
	if c.mode != verifyFull || from > to {
		return nil
	}
	meter := c.app.newMeter("compare", int64(to))
	defer meter.finish()
	there, stop := iter.Pull2(c.events(ctx, c.to, from, to))
	defer stop()
	w := &comparison{copier: c, there: there}
	err := readAhead(ctx, func(ctx context.Context, out chan<- []core.Event) error {
		return c.read(ctx, from, to, out)
	}, func(events []core.Event) error {
		for i := range events {
			if err := w.compare(&events[i]); err != nil {
				return err
			}
			if isLink(events[i]) {
				c.verified++
			}
		}
		c.done.Verified += int64(len(events))
		meter.set(int64(events[len(events)-1].Position), c.done.Verified)
		return nil
	})
	if err != nil {
		return err
	}
	return w.end()
}

// events are what an end has from one position to another, links among it.
func (c *copier) events(ctx context.Context, end *logEnd, from, to uint64) iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		for page := (core.Page{Next: from}); page.Next <= to && !page.End; {
			var err error
			if page, err = c.app.readLog(ctx, end, page.Next, core.MaxReadEvents); err != nil {
				yield(core.Event{}, end.explain(err))
				return
			}
			for e := range page.Events() {
				if e.Position > to || !yield(e, nil) {
					return
				}
			}
		}
	}
}

// comparison is the result so far.
type comparison struct {
	copier *copier
	there  func() (core.Event, error, bool) // the target's events
	first  string
	differ int64
}

// compare compares an event of the source with the target's next one. The error is of
// the reading, or says that one of the two is not there: then nothing after it fits.
func (w *comparison) compare(want *core.Event) error {
	got, err, ok := w.there()
	switch {
	case err != nil:
		return err
	case !ok:
		return w.found(fmt.Sprintf("%s does not have %s", w.copier.to.name, placeOf(want)))
	case got.Position != want.Position:
		return w.found(fmt.Sprintf("where %s has %s, the next of %s is at %d",
			w.copier.from.name, placeOf(want), w.copier.to.name, got.Position))
	}
	if what := difference(want, &got); what != "" {
		if w.differ++; w.first == "" {
			noun := "event"
			if isLink(got) {
				noun = "link"
			}
			w.first = fmt.Sprintf("the %s at position %d of %s has another %s than that of %s",
				noun, want.Position, w.copier.to.name, what, w.copier.from.name)
		}
	}
	return nil
}

// end returns the result, once all of the source was compared.
func (w *comparison) end() error {
	got, err, more := w.there()
	switch {
	case err != nil:
		return err
	case more:
		return w.found(fmt.Sprintf("%s has %s, and %s has not", w.copier.to.name, placeOf(&got), w.copier.from.name))
	case w.differ > 1:
		return w.found(fmt.Sprintf("%s, and so on: %s events differ", w.first, comma(w.differ)))
	case w.differ > 0:
		return w.found(w.first)
	}
	return nil
}

func (w *comparison) found(what string) error {
	return &advised{
		core.Errorf(core.CodeNotClean, "%s", what),
		"Look at it in both: gyre read '$all' --from POSITION --limit 1 -o json, or the stream of a link. A target that was changed is no copy; copy to an empty log.",
	}
}

// difference names the first field that differs in two events or links; "" if none does. The time
// at the server is each log's own, and a link has no other.
func difference(a, b *core.Event) string {
	switch {
	case a.ID != b.ID:
		return "id"
	case a.Stream != b.Stream:
		return "stream"
	case a.Version != b.Version:
		return "version"
	case a.Link != b.Link:
		return "link"
	case a.Type != b.Type:
		return "type"
	case isLink(*a):
		return ""
	case !a.Time.Equal(b.Time):
		return "time"
	case a.Format != b.Format || a.ContentType != b.ContentType:
		return "content type"
	case !bytes.Equal(a.Metadata, b.Metadata):
		return "metadata"
	case !bytes.Equal(a.Data, b.Data):
		return "data"
	}
	return ""
}
