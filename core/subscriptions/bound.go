package subscriptions

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
)

// A bound subscription belongs to a plugin's binding of the same name, whose lanes are the
// truth about what was handled. The binding is its only subscriber, and alone decides what
// is retried or parked. Its machine follows: see delivery.Config.Bound.

// Incarnation is a subscription from its creation to its deletion.
type Incarnation struct {
	ID    string
	Start uint64 // the position that Definition.From was
}

// Mark is what the subscription found about an event, for a Bound subscriber.
type Mark struct {
	Key   string // the partition key
	Fault string // why its filter, key or map failed, if so
}

// tracesTable has the traces of bound subscriptions: see TraceOf.
const tracesTable = "plugin_traces"

// TraceOf names the record that says that an event was passed without effect, and why. A
// binding writes it when it parks the event. It goes with the replay's Commit, when the
// event is dropped from the parked, and with the incarnation.
func TraceOf(incarnation string, position uint64) (table, key string) {
	return tracesTable, positionKey(incarnation, position)
}

// EventAt reads the event at a position of a stream, which may be a link; ok is false if it is no
// longer there.
func EventAt(ctx context.Context, store Store, stream string, position uint64) (b core.Batch, ok bool, err error) {
	return records{store}.event(ctx, stream, position)
}

// Bind makes a bound subscription, in one Commit with the records that with returns. The errors
// are those of Put, subscription_in_use if there is one, and those of with.
func (o *Owner) Bind(ctx context.Context, name string, d *Definition, with func(Incarnation) ([]core.RecordOp, error)) (Incarnation, error) {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return Incarnation{}, err
	}
	defer o.leave(lock)
	_, err = o.records.incarnation(ctx, name)
	switch {
	case err == nil:
		return Incarnation{}, core.Errorf(core.CodeSubscriptionInUse,
			"there is a subscription %q already; a binding has one of its own, of its name: choose another name for the binding, or delete the subscription", core.Clip(name))
	case !errors.Is(err, core.CodeSubscriptionNotFound):
		return Incarnation{}, err
	}
	if err := o.takePlace(ctx); err != nil {
		return Incarnation{}, err
	}
	l, ops, err := o.compose(ctx, name, d, false)
	if err != nil {
		return Incarnation{}, err
	}
	made := Incarnation{ID: l.ID, Start: l.Start}
	more, err := with(made)
	if err != nil {
		return Incarnation{}, err
	}
	return made, o.commitDefinition(ctx, d, append(ops, more...)...)
}

// compose makes a bound incarnation, which has the name or is unnamed, and what is to be stored
// for it.
func (o *Owner) compose(ctx context.Context, name string, d *Definition, isUnnamed bool) (*incarnation, []core.RecordOp, error) {
	if err := d.Validate(); err != nil {
		return nil, nil, err
	}
	if err := o.check(ctx, d); err != nil {
		return nil, nil, err
	}
	start, err := o.resolve(ctx, d.Stream, d.From)
	if err != nil {
		return nil, nil, err
	}
	l := &incarnation{ID: core.NewID().String(), Created: moment(time.Now()), Start: start, Definition: *d, Bound: true, key: stored(name)}
	if isUnnamed {
		l.key.unnamed = l.ID
	}
	table, key := l.key.record()
	definition, err := put(table, key, core.NoStream, l)
	if err != nil {
		return nil, nil, err
	}
	p := o.firstProgress(l)
	first, err := put(progressTable, l.ID, core.NoStream, &p)
	return l, []core.RecordOp{definition, first}, err
}

// removal deletes the progress of an incarnation, and notes that the rest is to be swept.
func removal(id string, progress core.Expect) []core.RecordOp {
	return []core.RecordOp{
		{Table: progressTable, Key: id, Expect: progress, Action: core.DeleteRecord},
		{Table: removalsTable, Key: id, Expect: core.AnyVersion},
	}
}

// Unbind deletes a bound subscription, with its unnamed incarnations, in one Commit with other
// records. The error is subscription_not_found if there is none of that incarnation. An empty
// incarnation stands for the one that is bound, if any: the other records are written in any case.
func (o *Owner) Unbind(ctx context.Context, name, incarnation string, with []core.RecordOp) error {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return err
	}
	defer o.leave(lock)
	others, err := o.endAllUnnamed(ctx, name)
	if err != nil {
		return err
	}
	with = append(others, with...)
	defer wake(o.sweep)
	l, err := o.records.incarnation(ctx, name)
	switch {
	case incarnation == "" && (errors.Is(err, core.CodeSubscriptionNotFound) || err == nil && !l.Bound):
		return o.commit(ctx, with...)
	case err != nil:
		return err
	case incarnation != "" && l.ID != incarnation:
		return core.Errorf(core.CodeSubscriptionNotFound, "the binding %q has another subscription by now", core.Clip(name))
	}
	if err := o.unhost(lock, core.Errorf(core.CodeSubscriptionNotFound, "the binding %q was deleted", core.Clip(name))); err != nil {
		return err
	}
	ops := append(removal(l.ID, core.AnyVersion),
		core.RecordOp{Table: definitionsTable, Key: name, Expect: core.Expect(l.revision), Action: core.DeleteRecord})
	return o.commit(ctx, append(ops, with...)...)
}

// JoinBound joins a bound subscription for its binding. The errors are those of Join.
func (o *Owner) JoinBound(ctx context.Context, r JoinRequest) (*Bound, error) {
	r.bound = true
	w, err := JoinWaiting(ctx, o, r)
	if err != nil {
		return nil, err
	}
	h := w.Subscriber.(*subscriber).host
	return &Bound{Waiting: w, Incarnation: h.incarnation.ID, host: h}, nil
}

// Bound is the Subscriber of a bound subscription.
type Bound struct {
	*Waiting
	Incarnation string
	host        *host
}

// Submit makes a Commit as the owner of the subscription: under the epoch in which this
// node owns it, and as long as the subscriber has not ended. When Release, Unbind, Bind or
// Owner.Close returns, no such Commit is under way. done and the order of Commits are as
// core.Store.Submit's, but in a ring a change of the view may have one overtake another.
func (b *Bound) Submit(c core.Commit, done func(core.Result, error)) {
	h := b.host
	h.mu.Lock()
	ended := h.ended
	if ended == nil {
		h.running.Add(1)
	}
	h.mu.Unlock()
	if ended != nil {
		done(core.Result{}, leaseLost(ended))
		return
	}
	h.owner.store.Submit(h.ctx, c, func(r core.Result, err error) {
		done(r, err)
		h.running.Done()
	})
}

// Owned returns an error for a subscription that another node owns, or that cannot be one.
func (o *Owner) Owned(name string) error { return o.owned(name) }

// unbound refuses what only its binding may do with a bound subscription; command is the
// plugin command that does.
func (l *incarnation) unbound(command string) error {
	if !l.Bound {
		return nil
	}
	return core.Errorf(core.CodeSubscriptionBound,
		"the subscription %q belongs to the plugin binding %q: use gyre plugin %s %s", core.Clip(l.key.name), core.Clip(l.key.name), command, core.Clip(l.key.name))
}
