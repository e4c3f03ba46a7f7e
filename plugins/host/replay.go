package host

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// replay handles a parked event again, on the lane's present state (L6). Its Commit takes the
// trace away. An event without one was handled or dropped before, and is not run.
func (l *lane) replay(ctx context.Context, event *queued) error {
	events := []queued{*event}
	traces, err := l.tracesOf(ctx, events)
	if err != nil {
		return l.fail(err)
	}
	t := traces[event.position]
	switch {
	case t == nil && l.holds(ruleReplay):
		l.ack(events)
		return nil
	case t == nil:
		t = &trace{}
	case event.fault != "":
		return l.replayFailed(ctx, event, &effects.Failure{Reason: event.fault})
	}
	if ready, err := l.beginReplay(ctx, event, t); !ready || err != nil {
		return err
	}
	events, f := l.compose(events, t.Attempts+1, abi.Replay)
	if f == nil {
		_, f = l.handle(ctx, events)
	}
	switch {
	case f == nil:
		return l.commitReplay(ctx, events)
	case f.Storage != nil:
		return l.fail(f.Storage)
	case f.NotBegun:
		l.doesNotStart(f)
		return nil
	case f.Stop:
		return l.stop(ctx, f.Reason)
	}
	l.shown.failures.Add(1)
	return l.replayFailed(ctx, event, f)
}

// beginReplay writes that a replay begins, as suspect does of an attempt. ready is false if the
// event is not to be handled now.
func (l *lane) beginReplay(ctx context.Context, event *queued, t *trace) (ready bool, err error) {
	switch {
	case l.begun == event.position:
		return true, nil
	case t.Interrupted >= l.binding.OnError.Attempts:
		return false, l.replayFailed(ctx, event, &effects.Failure{Reason: "the node stopped " + itoa(t.Interrupted) + " times while it was handled"})
	}
	t.Interrupted, t.Carried = t.Interrupted+1, false
	made, err := l.storeTrace(ctx, event, t)
	if made {
		l.begun = event.position
	}
	return made, err
}

// commitReplay makes the Commit of a replayed event. The lane stays at its place.
func (l *lane) commitReplay(ctx context.Context, events []queued) error {
	grown, err := l.stage.Grown(ctx)
	if err != nil {
		return l.fail(err)
	}
	next := l.stored.laneRecord
	next.StateBytes += grown
	table, key := l.trace(events[0].position)
	var ops []core.RecordOp
	if l.holds(ruleReplay) {
		ops = append(ops, remove(table, key, core.StreamExists))
	}
	l.launch(events, next, ops)
	_, err = l.drain(ctx)
	return err
}

// replayFailed stores that a replay has failed, which is a Commit too: one of an earlier try
// that is still on its way is refused then. The event stays parked.
func (l *lane) replayFailed(ctx context.Context, event *queued, f *effects.Failure) error {
	traces, err := l.tracesOf(ctx, []queued{*event})
	if err != nil {
		return l.fail(err)
	}
	t := traces[event.position]
	if t == nil {
		return nil // it is looked at again, and acknowledged
	}
	l.report(event, t.Attempts+1, f)
	l.begun, t.Interrupted = 0, 0
	t.failed(l, t.Attempts+1, f)
	t.fit()
	if made, err := l.storeTrace(ctx, event, t); !made || err != nil {
		return err
	}
	l.discard()
	l.nackPark(event, t)
	return nil
}

// storeTrace replaces the trace of an event. The lane stays at its place.
func (l *lane) storeTrace(ctx context.Context, event *queued, t *trace) (made bool, err error) {
	table, key := l.trace(event.position)
	return l.store(ctx, l.stored.laneRecord, []core.RecordOp{put(table, key, core.StreamExists, t)})
}
