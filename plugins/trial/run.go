package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/plugins"
)

// Run is a dry run of one version, or of two.
type Run struct {
	Tried   *Version
	Against *Version // nil: of one
	// Comparison watches both, if there are two.
	Comparison *Comparison
	// Before are the events before the range, of which nothing is shown; nil: none are handled.
	Before Source
	Range  Source
	// From and To are the positions of the range, in which at most Count events are handled.
	From, To uint64
	Count    int
	// Progress is called every now and then; nil is not.
	Progress func(plugins.DryRunProgress)

	handled   int // with those before the range
	position  uint64
	before    bool
	lastShown time.Time
}

// progressEvery is how often progress is shown.
const progressEvery = 100 * time.Millisecond

// Do does the run. What a version was stopped for, and the end of its time, are in the result.
// The errors are those of Version.Handle but *Stopped, and of the sources.
func (r *Run) Do(ctx context.Context) (plugins.DryRunResult, error) {
	began := time.Now()
	result := plugins.DryRunResult{Binding: r.Tried.config.Binding.Name, From: r.From}
	limited, cancel := context.WithTimeout(ctx, plugins.MaxDryRunTime)
	defer cancel()
	ended, err := r.run(limited)
	var stopped *Stopped
	switch {
	case errors.As(err, &stopped):
		ended = fmt.Sprintf("event %d stopped it: %s", stopped.Event.Position, stopped.Reason)
	case err != nil && ctx.Err() == nil && limited.Err() != nil:
		ended = fmt.Sprintf("%d minutes were over", int(plugins.MaxDryRunTime.Minutes()))
	case err != nil:
		return result, err
	}
	result.Ended, result.To = ended, r.To
	if ended != "" {
		result.To = r.position
	}
	result.Events, result.Seconds = r.handled, time.Since(began).Seconds()
	return result, r.fill(ctx, &result)
}

// fill fills in what the versions did.
func (r *Run) fill(ctx context.Context, result *plugins.DryRunResult) (err error) {
	if result.Tried, err = r.Tried.Result(ctx); err != nil || r.Against == nil {
		return err
	}
	against, err := r.Against.Result(ctx)
	if err != nil {
		return err
	}
	result.Against = &against
	d := r.Comparison.Differences
	result.Differences = &d
	d.State, err = Diff(ctx, len(r.Tried.lanes), r.Against.state.Pages, r.Tried.state.Pages, r.Tried.config.Show)
	return err
}

// run handles all events. ended is why not all of the range, if so.
func (r *Run) run(ctx context.Context) (ended string, err error) {
	if r.Before != nil {
		r.before = true
		more, err := r.handle(ctx, r.Before, plugins.MaxDryRunEvents)
		if err != nil {
			return "", err
		}
		if more {
			return "", core.Errorf(core.CodeInvalidDryRunRange, "more than %d events come before position %d: begin with other state, or earlier", plugins.MaxDryRunEvents, r.From)
		}
		r.Tried.Restart()
		if r.Against != nil {
			r.Against.Restart()
		}
		if r.Comparison != nil {
			*r.Comparison = *NewComparison(r.Tried.config.Show)
		}
	}
	left := plugins.MaxDryRunEvents - r.handled
	r.handled, r.before = 0, false
	count := r.Count
	if count == 0 || count > left {
		count = left
	}
	more, err := r.handle(ctx, r.Range, count)
	if more && err == nil && r.handled != r.Count {
		ended = fmt.Sprintf("%d events were handled, with those before the range", plugins.MaxDryRunEvents)
	} else if more {
		r.To = r.position
	}
	return ended, err
}

// each does something to both versions.
func (r *Run) each(do func(*Version) error) error {
	err := do(r.Tried)
	if err == nil && r.Against != nil {
		err = do(r.Against)
	}
	return err
}

// handle handles at most so many events of a source. more reports that there may be others.
func (r *Run) handle(ctx context.Context, from Source, most int) (more bool, err error) {
	var events []delivery.Item
	for r.handled < most {
		clear(events) // they hold their blocks in memory
		events, err = from.Next(ctx, events[:0])
		if errors.Is(err, io.EOF) {
			return false, r.each(func(v *Version) error { return v.Flush(ctx) })
		}
		if err != nil {
			return false, err
		}
		events = events[:min(len(events), most-r.handled)]
		if err := r.each(func(v *Version) error { return v.Handle(ctx, events) }); err != nil {
			return false, err
		}
		r.handled += len(events)
		r.position = events[len(events)-1].Position
		r.show()
	}
	return true, r.each(func(v *Version) error { return v.Flush(ctx) })
}

// show shows the progress, if it is time to.
func (r *Run) show() {
	if r.Progress == nil || time.Since(r.lastShown) < progressEvery {
		return
	}
	r.lastShown = time.Now()
	t := r.Tried.tally
	r.Progress(plugins.DryRunProgress{Events: r.handled, Position: r.position, To: r.To, Outputs: t.Outputs.Count, Parked: t.Parked, Before: r.before})
}
