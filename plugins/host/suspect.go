package host

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
)

// mark notes that the binding runs, and returns the revision of the note, for unmark. If
// there is one already, the node that made it has not ended cleanly, and one of the events may
// be why: the lanes are suspect (L12).
func (r *runner) mark(ctx context.Context) (revision uint64, err error) {
	found, err := r.host.record(ctx, runsTable, r.binding.Name)
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
	op := core.RecordOp{Table: runsTable, Key: r.binding.Name, Expect: at(revision)}
	done := make(chan answer, 1)
	r.sub.Submit(core.Commit{Records: []core.RecordOp{op}}, func(x core.Result, err error) { done <- answer{x, err} })
	select {
	case a := <-done:
		return revision + 1, a.err
	case <-ctx.Done():
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
	_, err := r.host.config.Store.Append(ctx, core.Commit{Records: []core.RecordOp{remove(runsTable, r.binding.Name, at(revision))}})
	if err != nil {
		r.host.config.Logger.Debug("a plugin binding starts suspect next", "binding", r.binding.Name, "error", err)
	}
}

// suspect writes the attempt at an event before it is handled, so that one that ends the
// process is found, and parked after as many attempts as the error policy has. stop says that
// there is nothing to handle now.
func (l *lane) suspect(ctx context.Context, event *queued) (stop bool, err error) {
	if l.stored.Attempts >= l.binding.OnError.Attempts {
		reason := "the node stopped, or the handler failed, " + itoa(l.stored.Attempts) + " times while it was handled"
		return true, l.settle(ctx, []queued{*event}, &failure{reason: reason})
	}
	next := l.stored.laneRecord
	next.Attempts, next.Reason = next.Attempts+1, "it was not ended"
	made, err := l.store(ctx, next, nil)
	return !made, err
}

// succeeded takes notice of a batch, or of a replay, that was committed with its effects.
func (l *lane) succeeded(replay bool) {
	l.failed = 0
	switch {
	case replay:
	case l.suspects > 0:
		l.suspects--
	case l.wary > 0:
		l.wary--
	}
}
