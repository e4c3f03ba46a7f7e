package host

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/effects"
)

// mark notes that the binding runs, and returns the revision of the note, for unmark. If
// there is one already, the node that made it has not ended cleanly, and one of the events may
// be why: the lanes are suspect (L12).
func (r *runner) mark(ctx context.Context) (revision uint64, err error) {
	found, err := r.host.record(ctx, runsTable, r.binding.runKey())
	if err != nil {
		return 0, err
	}
	if found != nil {
		revision = found.Revision
		if r.host.holds(ruleSuspect) {
			for _, l := range r.lanes {
				l.suspects, l.wary = r.binding.Limits.BatchEvents, maxFlights
			}
		}
	}
	op := core.RecordOp{Table: runsTable, Key: r.binding.runKey(), Expect: at(revision)}
	done := make(chan answer, 1)
	r.sub.Submit(core.Commit{Records: []core.RecordOp{op}}, func(x core.Result, err error) { done <- answer{x, err} })
	select {
	case a := <-done:
		return revision + 1, a.err
	case <-ctx.Done():
		if revision == 0 { // no event was handled under it
			r.unmark(1)
		}
		return 0, ctx.Err()
	}
}

// unmarkWithin bounds the Commit that takes the note back.
const unmarkWithin = 2 * time.Second

// unmark takes the note back. If that cannot be, the next start is suspect, which costs a
// moment.
func (r *runner) unmark(revision uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), unmarkWithin)
	defer cancel()
	_, err := r.host.config.Store.Append(ctx, core.Commit{Records: []core.RecordOp{remove(runsTable, r.binding.runKey(), at(revision))}})
	if err != nil {
		r.host.config.Logger.Debug("a plugin binding starts suspect next", "binding", r.binding.Name, "error", err)
	}
}

// handleSuspect is handleBatch of a suspect lane. The lanes take turns, each until its Commit is
// answered: when the process ends, no event has an attempt written but the one that was handled.
func (l *lane) handleSuspect(ctx context.Context, events []queued) error {
	select {
	case l.driver.suspecting <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.driver.suspecting }()
	if stop, err := l.suspect(ctx, &events[0]); stop || err != nil {
		return err
	}
	if err := l.handleNext(ctx, events); err != nil {
		return err
	}
	_, err := l.drain(ctx)
	return err
}

// suspect writes the attempt at an event before it is handled, so that one that ends the
// process is found, and parked after as many attempts as the error policy has. One that is handled
// again at once, such as after a conflict, is in the same attempt. stop says that there is nothing
// to handle now.
func (l *lane) suspect(ctx context.Context, event *queued) (stop bool, err error) {
	if l.begun == event.position {
		return false, nil
	}
	if l.stored.Attempts >= l.binding.OnError.Attempts {
		reason := "the node stopped, or the handler failed, " + itoa(l.stored.Attempts) + " times while it was handled"
		return true, l.settle(ctx, []queued{*event}, &effects.Failure{Reason: reason})
	}
	next := l.stored.laneRecord
	next.Attempts, next.Reason = next.Attempts+1, notEnded
	next.History = l.past(next.History, next.Attempts, next.Reason)
	made, err := l.store(ctx, next, nil)
	if made {
		l.begun = event.position
	}
	return !made, err
}

// notEnded is the reason of an attempt that was written before it was made.
const notEnded = "it was not ended"

// takeBack takes the attempt back that suspect has written: the event was not handled for want of
// something that is not its own. Without storage it stays, as it does when the process ends.
func (l *lane) takeBack(ctx context.Context) {
	if l.suspects == 0 || l.stored.Attempts == 0 || ctx.Err() != nil {
		return
	}
	l.begun = 0
	next := l.stored.laneRecord
	next.Attempts--
	next.History = next.History[:max(len(next.History)-1, 0)]
	if _, err := l.store(ctx, next, nil); err != nil {
		l.host.config.Logger.Debug("an attempt at an event stays counted", "binding", l.binding.Name, "error", err)
	}
}

// succeeded takes notice of a batch, or of a replay, that was committed with its effects.
func (l *lane) succeeded(f *flight) {
	l.failed = 0
	if f.events[0].replay {
		return
	}
	l.search.Passed(f.last())
	switch {
	case l.suspects > 0:
		l.suspects--
	case l.wary > 0:
		l.wary--
	}
}
