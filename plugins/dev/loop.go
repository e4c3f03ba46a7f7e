package dev

import (
	"context"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/plugins/project"
)

// Once makes one round.
func (l *Loop) Once(ctx context.Context) *Round {
	r, built := l.build(ctx, nil)
	if built != nil {
		l.run(ctx, r, built)
	}
	l.rounds = r.Round
	return r
}

// Run makes a round now and whenever files have changed, and shows each. It ends with ctx, whose
// cause it returns, and with an error of show or of the directory.
func (l *Loop) Run(ctx context.Context, w *Watch, show func(*Round) error) error {
	for files := []string(nil); ; {
		r, built := l.build(ctx, files)
		var changed []string
		if built != nil {
			var err error
			if changed, err = l.runBeside(ctx, w, r, built); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if changed != nil && r.Err != nil { // it was cut off
			files = slices.Compact(slices.Sorted(slices.Values(append(files, changed...))))
			continue
		}
		l.rounds = r.Round
		if err := show(r); err != nil {
			return err
		}
		if files = changed; files == nil {
			var err error
			if files, err = w.Next(ctx); err != nil {
				return err
			}
		}
	}
}

// runBeside runs a module until files change, and returns these.
func (l *Loop) runBeside(ctx context.Context, w *Watch, r *Round, built *project.Built) (changed []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var looking sync.WaitGroup
	looking.Go(func() {
		if changed, err = w.Next(ctx); err != nil && ctx.Err() != nil {
			err = nil // the run has ended first
		}
		cancel()
	})
	l.run(ctx, r, built)
	cancel()
	looking.Wait()
	return changed, err
}
