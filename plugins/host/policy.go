package host

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// maxTextBytes bounds each text of a failure, which is stored.
const maxTextBytes = 16 << 10

// newFailure is f with texts that can be stored.
func newFailure(f failure) *failure {
	f.reason, f.stack = cut(f.reason), cut(f.stack)
	return &f
}

func cut(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxTextBytes)], "�")
}

// crashed is the failure of a handler that did not return a verdict. If the node has no room
// for it now, that is not its own.
func crashed(err error) *failure {
	f := failure{reason: err.Error(), batch: true}
	why, isFailure := errors.AsType[*plugins.Failure](err)
	switch {
	case isFailure:
		f.stack, f.park = why.Stack, why.Permanent
	case core.AsError(err).Info().Retryable:
		f.storage = err
	}
	return newFailure(f)
}

// explain adds to a failure what was refused last: the errno that the handler has got does not
// name the grant or the limit.
func (x *effects) explain(f *failure) *failure {
	if x.refused != "" && f.storage == nil {
		f.reason = cut(f.reason + " (" + x.refused + ")")
	}
	return f
}

// outcome reads a verdict and the results of events.
func (x *effects) outcome(verdict abi.Verdict) (done int, f *failure) {
	switch {
	case x.broken != nil && verdict == abi.Done:
		return x.brokenBy, x.broken
	case x.broken != nil:
		return 0, x.broken
	case verdict == abi.RetryBatch:
		return 0, &failure{reason: "the handler asked to retry the batch", batch: true}
	case verdict == abi.ParkBatch:
		return 0, &failure{reason: "the handler asked to park the batch", batch: true, park: true}
	case verdict == abi.Stop:
		return 0, &failure{reason: "the handler asked to stop", batch: true, stop: true}
	case verdict != abi.Done:
		return 0, &failure{reason: "the handler failed", batch: true}
	}
	for i := range x.results {
		r := &x.results[i]
		switch r.action {
		case abi.Retry:
			return i, newFailure(failure{reason: text(r.message, "the handler asked to retry the event"), delay: r.delay})
		case abi.Park:
			return i, newFailure(failure{reason: text(r.message, "the handler asked to park the event"), park: true})
		}
	}
	return len(x.results), nil
}

func text(message []byte, otherwise string) string {
	if len(message) == 0 {
		return otherwise
	}
	return string(message)
}

// settle does with an event, which was handled alone, what the error policy says.
func (l *lane) settle(ctx context.Context, event []queued, f *failure) error {
	l.shown.failures.Add(1)
	policy := &l.binding.OnError
	attempt := l.attempt()
	l.report(&event[0], attempt, f)
	switch {
	case f.stop:
		return l.stop(ctx, f.reason)
	case !f.park && attempt < policy.Attempts:
		return l.countAttempt(ctx, &event[0], attempt, f)
	case policy.Then == plugins.ThenStop && !f.park:
		return l.stop(ctx, f.reason)
	}
	return l.park(ctx, event, *f)
}

// report logs a failure to the binding's log.
func (l *lane) report(event *queued, attempt int, f *failure) {
	l.out.At(event.position)
	line := "attempt " + itoa(attempt) + " failed: " + f.reason
	l.out.Log(abi.Warn, clipLine(line))
}

// countAttempt stores a failed attempt, and holds the lane back.
func (l *lane) countAttempt(ctx context.Context, event *queued, attempt int, f *failure) error {
	next := l.stored.laneRecord
	next.Attempts, next.Reason = attempt, f.reason
	if made, err := l.store(ctx, next, nil); !made || err != nil {
		return err
	}
	l.discard()
	delay := f.delay
	if delay <= 0 {
		delay = backoff(&l.binding.OnError, attempt)
	}
	l.delay(min(delay, maxDelay), "event "+utoa(event.position)+": "+f.reason)
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
	next.Attempts, next.Reason = 0, reason
	made, err := l.store(ctx, next, []core.RecordOp{put(bindingsTable, b.Name, at(b.revision), &b)})
	if !made || err != nil {
		return err
	}
	return errChanged
}

// doesNotStart holds the lane back after a handler did not start.
func (l *lane) doesNotStart(f *failure) {
	l.shown.failures.Add(1)
	l.discard()
	l.failed++
	l.out.Log(abi.Error, clipLine("the handler did not start: "+f.reason))
	l.delay(l.breaker(), f.reason)
	l.publish(plugins.Broken, f.reason)
}

// breakAfter is how many events may be parked one after another before the lane slows down:
// a plugin that is broken must not park the whole log.
const breakAfter = 10

// breaker is how long the lane waits after so many failures in a row.
func (l *lane) breaker() time.Duration {
	return min(time.Second<<min(l.failed, 10), mostBackoff)
}
