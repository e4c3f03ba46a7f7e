package host

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// settle does with an event, which was handled alone, what the error policy says.
func (l *lane) settle(ctx context.Context, event []queued, f *effects.Failure) error {
	l.shown.failures.Add(1)
	l.begun = 0
	policy := &l.binding.OnError
	attempt := l.attempt()
	l.report(&event[0], attempt, f)
	switch {
	case f.Stop:
		return l.stop(ctx, f.Reason)
	case !f.Park && attempt < policy.Attempts:
		return l.countAttempt(ctx, &event[0], attempt, f)
	case policy.Then == plugins.ThenStop && !f.Park:
		return l.stop(ctx, f.Reason)
	}
	return l.park(ctx, event, *f)
}

// report logs a failure to the binding's log.
func (l *lane) report(event *queued, attempt int, f *effects.Failure) {
	l.out.At(event.position)
	line := "attempt " + itoa(attempt) + " failed: " + f.Reason
	l.out.Log(abi.Warn, plugins.Line(line))
}

// countAttempt stores a failed attempt, and holds the lane back.
func (l *lane) countAttempt(ctx context.Context, event *queued, attempt int, f *effects.Failure) error {
	next := l.stored.laneRecord
	next.Attempts, next.Reason, next.History = attempt, f.Reason, l.past(next.History, attempt, f.Reason)
	if made, err := l.store(ctx, next, nil); !made || err != nil {
		return err
	}
	l.discard()
	delay := f.Delay
	if delay <= 0 {
		delay = backoff(&l.binding.OnError, attempt)
	}
	l.delay(min(delay, maxDelay), "event "+utoa(event.position)+": "+f.Reason)
	return nil
}

// maxDelay bounds the delay that a handler asks for.
const maxDelay = time.Hour

// backoff is the wait after so many attempts.
func backoff(p *plugins.ErrorPolicy, attempts int) time.Duration {
	ms := p.MinMs
	for range attempts - 1 {
		if ms *= 2; ms >= p.MaxMs {
			return time.Duration(p.MaxMs) * time.Millisecond
		}
	}
	return time.Duration(min(ms, p.MaxMs)) * time.Millisecond
}

// stop stops the binding until it is resumed. The attempts begin anew then.
func (l *lane) stop(ctx context.Context, reason string) error {
	b := *l.binding
	b.Stopped = reason
	next := l.stored.laneRecord
	next.History = l.past(next.History, l.attempt(), reason)
	next.Attempts, next.Reason = 0, reason
	made, err := l.store(ctx, next, []core.RecordOp{b.put()})
	if !made || err != nil {
		return err
	}
	return errChanged
}

// doesNotStart holds the lane back after a handler did not start.
func (l *lane) doesNotStart(f *effects.Failure) {
	l.shown.failures.Add(1)
	l.discard()
	l.failed++
	l.out.Log(abi.Error, plugins.Line("the handler did not start: "+f.Reason))
	l.delay(l.breaker(), f.Reason)
	l.publish(plugins.Broken, f.Reason)
}

// breakAfter is how many events may be parked one after another before the lane slows down:
// a plugin that is broken must not park the whole log.
const breakAfter = 10

// breaker is how long the lane waits after so many failures in a row.
func (l *lane) breaker() time.Duration {
	return min(time.Second<<min(l.failed, 10), mostBackoff)
}
