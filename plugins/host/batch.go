package host

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// handleBatch handles events, and commits what became of them. What an event does beside
// being acknowledged is decided when it is handled alone: then nothing but its own effects
// are dropped with it, and no other event counts its attempts.
func (l *lane) handleBatch(ctx context.Context, events []queued) error {
	if l.suspects > 0 {
		return l.handleSuspect(ctx, events)
	}
	return l.handleNext(ctx, events)
}

// handleNext is handleBatch of events that have their attempts written where that is needed.
func (l *lane) handleNext(ctx context.Context, events []queued) error {
	done := 0
	events, f := l.compose(events, l.attempt(), 0)
	if f == nil {
		done, f = l.handle(ctx, events)
	}
	if f == nil {
		return l.commit(ctx, events, false)
	}
	if ok, err := l.drain(ctx); !ok {
		return err
	}
	switch {
	case f.Storage != nil:
		l.takeBack(ctx)
		return l.fail(f.Storage)
	case f.NotBegun:
		l.doesNotStart(f)
		return nil
	case len(events) == 1:
		return l.settle(ctx, events, f)
	}
	if f.Batch {
		l.search.Failed(len(events), events[len(events)-1].position)
	} else {
		l.search.FailedAt(events[min(done, len(events)-1)].position)
	}
	if done == 0 {
		l.discard()
		return nil
	}
	l.stage.Truncate(done)
	return l.commit(ctx, events[:done], true)
}

// attempt is the number of the attempt at the event behind the checkpoint, from 1. One that
// a suspect lane has written before is this one.
func (l *lane) attempt() int {
	if l.suspects > 0 {
		return max(l.stored.Attempts, 1)
	}
	return l.stored.Attempts + 1
}

// handle has the handler handle events, as composed. It returns how many events, from the
// first, are to be acknowledged with their effects, and why not all of them, if so.
func (l *lane) handle(ctx context.Context, events []queued) (done int, f *effects.Failure) {
	if l.handler == nil {
		l.shown.starts.Add(1)
		if l.handler, f = l.stage.Start(ctx, l.program); f != nil {
			return 0, f
		}
	}
	began := time.Now()
	l.host.handling.Add(1)
	done, fuel, f := l.stage.Handle(ctx, l.handler, &l.batch)
	l.host.handling.Add(-1)
	took := time.Since(began)
	l.shown.handled(took, fuel)
	if l.tried = (tried{Fuel: fuel, Micros: took.Microseconds()}); len(events) == 1 {
		l.tried.position = events[0].position
	}
	l.shown.memory.Store(l.handler.MemoryBytes())
	return done, f
}

// compose makes the batch of as many events, from the first, as fit one. If the first does
// not, it returns that event, and why.
func (l *lane) compose(events []queued, attempt int, flags abi.Flag) ([]queued, *effects.Failure) {
	n, f := l.batch.Compose(len(events), func(i int) []byte { return events[i].raw }, attempt, flags)
	return events[:n], f
}
