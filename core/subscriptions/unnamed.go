package subscriptions

import (
	"context"
	"errors"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// A bound subscription can have more incarnations than the one that has its name. Each of these
// unnamed ones has progress, parked events and traces of its own, is hosted by who owns the name,
// and can be joined by its binding alone. Lists, counts and requests about the name do not know
// them. Swap has one change places with the one that has the name.

// unnamed is the key of an unnamed incarnation.
func unnamed(name, incarnation string) nameKey { return nameKey{name: name, unnamed: incarnation} }

// ReplayOf names the record that has a parked event delivered again. Who swaps incarnations
// may write it before the event is stored as parked.
func ReplayOf(incarnation string, position uint64) (table, key string) {
	return replaysTable, positionKey(incarnation, position)
}

// BindUnnamed makes an unnamed incarnation of a bound subscription, in one Commit with the records
// that with returns. It takes the place of the unnamed one that replaces says, if that is not
// empty. The errors are those of Put, and subscription_not_found.
func (o *Owner) BindUnnamed(ctx context.Context, name string, d *Definition, replaces string, with func(Incarnation) ([]core.RecordOp, error)) (Incarnation, error) {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return Incarnation{}, err
	}
	defer o.leave(lock)
	switch l, err := o.records.incarnation(ctx, name); {
	case err != nil:
		return Incarnation{}, err
	case !l.Bound:
		return Incarnation{}, core.Errorf(core.CodeSubscriptionNotFound, "the subscription %q belongs to no binding", core.Clip(name))
	}
	l, ops, err := o.compose(ctx, name, d, true)
	if err != nil {
		return Incarnation{}, err
	}
	if replaces != "" {
		more, err := o.endUnnamed(ctx, name, replaces)
		if err != nil {
			return Incarnation{}, err
		}
		ops = append(ops, more...)
		defer wake(o.sweep)
	}
	made := Incarnation{ID: l.ID, Start: l.Start}
	more, err := with(made)
	if err != nil {
		return Incarnation{}, err
	}
	return made, o.commitDefinition(ctx, d, append(ops, more...)...)
}

// endUnnamed ends the host of an unnamed incarnation, and returns what deletes it. The name
// is locked, so that nobody joins it again but to find that it is gone.
func (o *Owner) endUnnamed(ctx context.Context, name, incarnation string) ([]core.RecordOp, error) {
	lock, err := o.enter(ctx, unnamed(name, incarnation))
	if err != nil {
		return nil, err
	}
	defer o.leave(lock)
	l, err := o.records.incarnationOf(ctx, lock.key)
	if err != nil {
		return nil, err
	}
	if err := o.unhost(lock, core.Errorf(core.CodeSubscriptionNotFound, "the generation of the binding %q was dropped", core.Clip(name))); err != nil {
		return nil, err
	}
	table, key := lock.key.record()
	return append(removal(l.ID, core.AnyVersion), core.RecordOp{Table: table, Key: key, Expect: core.Expect(l.revision), Action: core.DeleteRecord}), nil
}

// UnbindUnnamed deletes an unnamed incarnation, in one Commit with other records. The error
// is subscription_not_found if there is none.
func (o *Owner) UnbindUnnamed(ctx context.Context, name, incarnation string, with []core.RecordOp) error {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return err
	}
	defer o.leave(lock)
	ops, err := o.endUnnamed(ctx, name, incarnation)
	if err != nil {
		return err
	}
	defer wake(o.sweep)
	return o.commit(ctx, append(ops, with...)...)
}

// endAllUnnamed is endUnnamed of all unnamed incarnations of a name.
func (o *Owner) endAllUnnamed(ctx context.Context, name string) (ops []core.RecordOp, err error) {
	var ids []string
	err = o.records.each(ctx, unnamedTable, name+"/", "", core.MaxReadEvents, func(r *core.Record) (bool, error) {
		if id := r.Key[len(name)+1:]; !strings.Contains(id, "/") { // else it is of a longer name
			ids = append(ids, id)
		}
		return true, nil
	})
	for _, id := range ids {
		if err != nil {
			break
		}
		var some []core.RecordOp
		some, err = o.endUnnamed(ctx, name, id)
		ops = append(ops, some...)
	}
	return ops, err
}

// Swap says which incarnations of a bound subscription change places.
type Swap struct {
	From, To string // the one that has the name, and the one that gets it
	// Ready waits until To may take over. The subscriber of From has ended by then, and nothing of
	// From is under way; To goes on. nil does not wait.
	Ready func(context.Context) error
	// With returns what is stored in the same Commit. Nothing of either is under way.
	With func(context.Context) ([]core.RecordOp, error)
}

// Swap gives the name to an unnamed incarnation, and takes it from the one that has it, in one
// Commit. Both have to be joined anew. The errors are subscription_not_found, and those of Ready
// and With, after which both are as they were.
func (o *Owner) Swap(ctx context.Context, name string, s Swap) error {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return err
	}
	defer o.leave(lock)
	from, err := o.records.incarnation(ctx, name)
	switch {
	case err != nil:
		return err
	case from.ID != s.From || !from.Bound:
		return core.Errorf(core.CodeSubscriptionNotFound, "the binding %q has another subscription by now", core.Clip(name))
	}
	why := core.Errorf(core.CodeSubscriptionInterrupted, "the binding %q changes its generation", core.Clip(name))
	if err := o.unhost(lock, why); err != nil {
		return err
	}
	if s.Ready != nil {
		if err := s.Ready(ctx); err != nil {
			return err
		}
	}
	other, err := o.enter(ctx, unnamed(name, s.To))
	if err != nil {
		return err
	}
	defer o.leave(other)
	to, err := o.records.incarnationOf(ctx, other.key)
	if err != nil {
		return err
	}
	if err := o.unhost(other, why); err != nil {
		return err
	}
	ops, err := s.ops(from, to)
	if err != nil {
		return err
	}
	more, err := s.With(ctx)
	if err != nil {
		return err
	}
	return o.commit(ctx, append(ops, more...)...)
}

// ops has the definitions change places.
func (s *Swap) ops(from, to *incarnation) ([]core.RecordOp, error) {
	named, err := put(definitionsTable, from.key.name, core.Expect(from.revision), to)
	if err != nil {
		return nil, err
	}
	table, key := unnamed(from.key.name, from.ID).record()
	away, err := put(table, key, core.NoStream, from)
	if err != nil {
		return nil, err
	}
	table, key = to.key.record()
	return []core.RecordOp{named, away, {Table: table, Key: key, Expect: core.Expect(to.revision), Action: core.DeleteRecord}}, nil
}

// UnnamedInfo is Info of an unnamed incarnation.
func (o *Owner) UnnamedInfo(ctx context.Context, name, incarnation string) (Info, error) {
	if err := o.owned(name); err != nil {
		return Info{}, err
	}
	l, err := o.records.incarnationOf(ctx, unnamed(name, incarnation))
	if err != nil {
		return Info{}, err
	}
	return o.info(ctx, l, o.hostOf(l))
}

// JoinUnnamed is JoinBound of an unnamed incarnation.
func (o *Owner) JoinUnnamed(ctx context.Context, r JoinRequest) (*Bound, error) {
	if r.Incarnation == "" {
		return nil, errors.New("subscriptions: an unnamed incarnation is joined by its id")
	}
	r.unnamed = r.Incarnation
	return o.JoinBound(ctx, r)
}
