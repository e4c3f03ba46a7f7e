package host

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// failure is why an event was not handled.
type failure struct {
	reason   string
	stack    string
	delay    time.Duration // before the next attempt; by the policy if 0
	park     bool          // without another attempt
	stop     bool          // the binding, too
	batch    bool          // it may be any event of the batch
	storage  error         // it was not the handler's
	notBegun bool          // the handler did not start
}

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
	case f.storage != nil:
		l.takeBack(ctx)
		return l.fail(f.storage)
	case f.notBegun:
		l.doesNotStart(f)
		return nil
	case len(events) == 1:
		return l.settle(ctx, events, f)
	}
	l.alone = events[min(done, len(events)-1)].position
	if f.batch {
		l.alone = events[len(events)-1].position
	}
	if done == 0 {
		l.discard()
		return nil
	}
	l.fx.truncate(done)
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
func (l *lane) handle(ctx context.Context, events []queued) (done int, f *failure) {
	l.fx.reset(ctx, l.events)
	if l.handler == nil {
		if f := l.begin(ctx); f != nil {
			return 0, f
		}
	}
	l.out.At(events[0].position)
	began := time.Now()
	verdict, fuel, err := l.call(ctx)
	l.shown.handled(time.Since(began), fuel)
	switch {
	case ctx.Err() != nil:
		return 0, &failure{storage: ctx.Err()}
	case l.fx.storage != nil:
		return 0, &failure{storage: l.fx.storage}
	case err != nil:
		return 0, l.fx.explain(crashed(err))
	}
	if done, f = l.fx.outcome(verdict); f != nil {
		f = l.fx.explain(f)
	}
	return done, f
}

// compose makes the batch of as many events, from the first, as fit one. If the first does
// not, it returns that event, and why.
func (l *lane) compose(events []queued, attempt int, flags abi.Flag) ([]queued, *failure) {
	for {
		n, err := l.encode(events, attempt, flags)
		switch {
		case err == nil:
			return events, nil
		case n == 0:
			return events[:1], newFailure(failure{reason: err.Error(), park: true})
		}
		events = events[:n]
	}
}

// encode encodes the batch. It returns how many events it could encode, and why not all.
func (l *lane) encode(events []queued, attempt int, flags abi.Flag) (n int, err error) {
	l.events = l.events[:0]
	for i := range events {
		var e core.Event
		if _, err := core.DecodeEvent(events[i].raw, &e); err != nil {
			return i, err
		}
		l.events = append(l.events, e)
	}
	now := l.events[len(l.events)-1].Recorded.UnixMicro()
	l.batch.Reset(now, uint32(attempt), 0)
	for i := range l.events {
		if err := l.add(&l.events[i], attempt, flags); err != nil {
			return i, fmt.Errorf("event %d cannot be handed to a plugin: %w", l.events[i].Position, err)
		}
		attempt = 1 // those behind the first are not begun
	}
	return len(events), nil
}

func (l *lane) add(e *core.Event, attempt int, flags abi.Flag) error {
	out := EventOf(e, l.fx.fields[:0])
	out.Attempt, out.Flags = uint32(attempt), out.Flags|flags
	l.fx.fields = out.Fields
	return l.batch.Add(&out)
}

// begin makes the lane's handler.
func (l *lane) begin(ctx context.Context) *failure {
	l.shown.starts.Add(1)
	handler, err := l.program.New(ctx, plugins.Connection{
		Limits: l.binding.Limits, Seed: l.seed(), Effects: &l.fx, Reads: &l.fx, Output: l.out,
	})
	switch {
	case ctx.Err() != nil:
		if err == nil {
			handler.Close()
		}
		return &failure{storage: ctx.Err()}
	case err != nil:
		f := crashed(err)
		f.notBegun = true
		return f
	}
	l.handler = handler
	return nil
}

// call calls the handler. One in Go that panics has crashed, and nothing else with it.
func (l *lane) call(ctx context.Context) (verdict abi.Verdict, fuel int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &plugins.Failure{Reason: "panicked", Detail: fmt.Sprint(p), Stack: string(debug.Stack())}
		}
	}()
	return l.handler.Handle(ctx, l.batch.Bytes())
}
