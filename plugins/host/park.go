package host

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins/effects"
)

// trace is the record that says that an event was passed without effect.
func (l *lane) trace(position uint64) (table, key string) {
	return subscriptions.TraceOf(l.binding.Incarnation, position)
}

// park passes an event without effect (L5): its trace, and the lane's place behind it, are
// one Commit. Then the machine parks it.
func (l *lane) park(ctx context.Context, event []queued, f effects.Failure) error {
	t := trace{Position: event[0].position, Lane: l.number, History: l.stored.History}
	t.failed(l, l.attempt(), &f)
	if parked, err := l.parkAs(ctx, event, &t); !parked || err != nil {
		return err
	}
	if l.failed++; l.failed >= breakAfter {
		l.delay(l.breaker(), itoa(l.failed)+" events were parked one after another, the last one because "+f.Reason)
	}
	return nil
}

// parkAs passes an event with a trace. parked is false if the Commit was not made: then what to do
// about that is done, and the error ends the runner.
func (l *lane) parkAs(ctx context.Context, event []queued, t *trace) (parked bool, err error) {
	var ops []core.RecordOp
	t.fit()
	if table, key := l.trace(t.Position); l.holds(ruleTrace) {
		ops = append(ops, put(table, key, core.NoStream, t))
	}
	made, err := l.store(ctx, l.next(event[0].position), ops)
	if !made || err != nil {
		return false, err
	}
	l.shadowParked(ctx, &event[0], t.Reason)
	l.discard()
	l.search.Found()
	l.shown.parked.Add(1)
	l.nackPark(&event[0], t)
	return true, nil
}

// pass tells the machine of events that the lane has passed before (L5): those that left a
// trace are parked, the others were handled. None is run.
func (l *lane) pass(ctx context.Context) error {
	n := 1
	for n < len(l.front) && !l.front[n].replay && l.front[n].position <= l.passed() {
		n++
	}
	events := l.front[:n]
	traces, err := l.tracesOf(ctx, events)
	if err != nil {
		return l.fail(err)
	}
	handled := events[:0:0]
	for i := range events {
		if t := traces[events[i].position]; t != nil {
			l.nackPark(&events[i], t)
		} else {
			handled = append(handled, events[i])
		}
	}
	if len(handled) > 0 {
		l.ack(handled)
	}
	return nil
}

// tracesOf reads the traces of events, by position.
func (l *lane) tracesOf(ctx context.Context, events []queued) (map[uint64]*trace, error) {
	keys := make([]string, len(events))
	positions := make(map[string]uint64, len(events))
	table := ""
	for i := range events {
		table, keys[i] = l.trace(events[i].position)
		positions[keys[i]] = events[i].position
	}
	found, err := l.host.config.Store.Records(ctx, core.RecordsRequest{Table: table, Keys: keys, Limit: len(keys)})
	if err != nil {
		return nil, err
	}
	traces := make(map[uint64]*trace, len(found))
	for i := range found {
		t := &trace{}
		if err := decode(table, &found[i], t); err != nil {
			return nil, err
		}
		traces[positions[found[i].Key]] = t
	}
	return traces, nil
}
