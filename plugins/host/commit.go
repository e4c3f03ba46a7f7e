package host

import (
	"context"
	"errors"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/effects"
)

// commit makes the Commit of events that were handled: what they have appended, the state
// that they have changed, and the lane's place behind them. rest says that the handler has
// seen more than that: then it waits for the answer.
func (l *lane) commit(ctx context.Context, events []queued, rest bool) error {
	grown, err := l.stage.Grown(ctx)
	if err != nil {
		if ok, lost := l.drain(ctx); !ok {
			return lost
		}
		return l.fail(err)
	}
	next := l.next(events[len(events)-1].position)
	next.StateBytes += grown
	if !l.holds(ruleTell) {
		l.ack(events)
	}
	followed := l.shadowBatch(ctx, events)
	l.launch(events, next, nil)
	l.flights[len(l.flights)-1].followed = followed
	if !rest {
		return nil
	}
	if ok, lost := l.drain(ctx); !ok {
		return lost
	}
	l.discard()
	return nil
}

// next is the lane's record behind a position that was not passed before.
func (l *lane) next(position uint64) laneRecord {
	next := l.stored.laneRecord
	next.Checkpoint, next.Attempts, next.Reason, next.History = position, 0, "", nil
	return next
}

// holds reports whether the Host keeps a rule.
func (l *lane) holds(r rules) bool { return l.host.holds(r) }

// store makes a Commit of the lane without effects of a handler, and waits for the answer.
// made is false if it was not made: then what to do about that is done, and the error ends the
// runner.
func (l *lane) store(ctx context.Context, next laneRecord, records []core.RecordOp) (made bool, err error) {
	_, err = l.submit(ctx, core.Commit{Records: l.guard(records, next)})
	if err == nil {
		l.goOn(next)
		l.settled(next)
		l.tellOf(&effects.Staged{}) // of the state it has changed nothing
		return true, nil
	}
	before := l.stored.revision
	if wrong := l.lookAgain(ctx, err); wrong != nil || !l.read || l.stored.revision != before {
		return false, wrong
	}
	l.backOff(err)
	return false, nil
}

// guard adds what makes a Commit that of the lane (L1): its record, compared and replaced,
// and the binding's, compared, if it is not among the records; and the fence, which the first
// Commit replaces since the lane was read (L13).
func (l *lane) guard(records []core.RecordOp, next laneRecord) []core.RecordOp {
	b := l.binding
	next.Generation, next.Version = b.Generation, b.SHA256
	expect := at(l.stored.revision)
	if !l.holds(ruleCompare) {
		expect = core.AnyVersion
	}
	check := b.check()
	checked := !l.holds(ruleCheck)
	for i := range records {
		checked = checked || records[i].Table == check.Table
	}
	if !checked {
		records = append(records, check)
	}
	key := laneKey(b.Name, b.Generation, l.number)
	if fence := (core.RecordOp{Table: lanesTable, Key: fenceKey(key), Expect: at(l.stored.fence)}); l.holds(ruleFence) {
		if l.fenced {
			fence.Action = core.CheckRecord
		}
		records = append(records, fence)
	}
	return append(records, put(lanesTable, key, expect, &next))
}

// submit makes a Commit, and waits for the answer.
func (l *lane) submit(ctx context.Context, c core.Commit) (core.Result, error) {
	l.sub.Submit(c, func(r core.Result, err error) { l.answers <- answer{r, err} })
	select {
	case a := <-l.answers:
		return a.result, a.err
	case <-ctx.Done():
		return core.Result{}, ctx.Err()
	}
}

// settled takes notice of a Commit that was made.
func (l *lane) settled(next laneRecord) {
	if !l.fenced {
		l.stored.fence++
		l.fenced = true
	}
	l.made = next
	l.conflicts, l.backoff = 0, leastBackoff
	l.publish("", "")
}

// maxConflicts is how often a batch is handled again at once because a stream was not at the
// version that it expected.
const maxConflicts = 8

// refused goes on after a Commit was not made, as far as is known, that expected the lane at
// a revision. It is the handler's failure only if it is not that of an earlier try of it, or of
// another node.
func (l *lane) refused(ctx context.Context, events []queued, before uint64, err error) error {
	if err == nil {
		err = core.Errorf(core.CodeDuplicateEvent, "its events are in the log already, and not from here")
	}
	if !l.holds(ruleKeepPlaces) {
		l.queue.remove(events)
	}
	if wrong := l.lookAgain(ctx, err); wrong != nil || !l.read || l.stored.revision != before {
		return wrong
	}
	switch {
	case errors.Is(err, core.CodeUnknownOutcome), errors.Is(err, core.CodeRecordConflict):
		l.backOff(err)
		return nil
	case errors.Is(err, core.CodeWrongExpectedVersion) && l.conflicts < maxConflicts:
		l.conflicts++
		return nil
	case len(events) > 1:
		l.search.Failed(len(events), events[len(events)-1].position)
		return nil
	}
	f := &effects.Failure{Reason: core.AsError(err).Error(), Park: !errors.Is(err, core.CodeWrongExpectedVersion)}
	if events[0].replay {
		return l.replayFailed(ctx, &events[0], f)
	}
	return l.settle(ctx, events, f)
}

// lookAgain throws away what a Commit that was not made was about, and reads the lane, unless
// storage is away. The error ends the runner.
func (l *lane) lookAgain(ctx context.Context, err error) error {
	l.shown.failures.Add(1)
	doubtful := errors.Is(err, core.CodeUnknownOutcome) || errors.Is(err, core.CodeRecordConflict)
	if isOver(err) || !doubtful && core.AsError(err).Info().Retryable {
		return l.fail(err)
	}
	if l.holds(ruleDiscard) {
		l.discard()
	}
	if wrong := l.reread(ctx); wrong != nil {
		return l.fail(wrong)
	}
	return nil
}
