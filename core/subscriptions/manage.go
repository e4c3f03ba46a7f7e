package subscriptions

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Put creates a subscription. If there is one with the same definition that is the
// answer, created is false; if with another, the error is
// subscription_options_differ. Others are invalid_request, invalid_filter,
// invalid_cursor, invalid_expression and too_many_subscriptions.
func (o *Owner) Put(ctx context.Context, name string, d *Definition) (info Info, created bool, err error) {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return Info{}, false, err
	}
	defer o.leave(lock)
	l, err := o.records.incarnation(ctx, name)
	switch {
	case errors.Is(err, core.CodeSubscriptionNotFound):
		l, err = o.create(ctx, stored(name), d)
		created = true
	case err == nil:
		err = l.Definition.Same(d)
	}
	if err != nil {
		return Info{}, false, err
	}
	info, err = o.info(ctx, l, lock.host)
	return info, created, err
}

// loadOrCreate loads a subscription that is not hosted. The name is locked.
func (o *Owner) loadOrCreate(ctx context.Context, key nameKey, r *JoinRequest) (*loaded, error) {
	if !key.transient {
		l, err := o.loader.load(ctx, key)
		switch {
		case !errors.Is(err, core.CodeSubscriptionNotFound):
			return l, err
		case r.Incarnation != "":
			return nil, core.Errorf(core.CodeSubscriptionNotFound, "the subscription %q that was joined was deleted", core.Clip(key.name))
		case !r.creates():
			return nil, err
		}
	}
	if !r.creates() {
		return nil, core.Errorf(core.CodeSubscriptionNotFound, "there is no transient subscription %q", core.Clip(key.name))
	}
	d := r.Definition
	if d == nil {
		d = new(DefaultDefinition())
	}
	l, err := o.create(ctx, key, d)
	switch {
	case err != nil:
		return nil, err
	case key.transient:
		return &loaded{incarnation: l, progress: o.firstProgress(l)}, nil
	}
	return o.loader.load(ctx, key)
}

// creates reports whether the subscription is created if there is none.
func (r *JoinRequest) creates() bool {
	return r.Incarnation == "" && (r.Definition != nil || r.Transient)
}

// create makes an incarnation, and writes its definition and its first progress if it is to be
// stored. The name is locked.
func (o *Owner) create(ctx context.Context, key nameKey, d *Definition) (*incarnation, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if err := o.check(ctx, d); err != nil {
		return nil, err
	}
	start, err := o.resolve(ctx, d.Stream, d.From)
	if err != nil {
		return nil, err
	}
	l := &incarnation{ID: core.NewID().String(), Created: moment(time.Now()), Start: start, Definition: *d, key: key, revision: 1}
	if key.transient {
		return l, nil
	}
	if err := o.takePlace(ctx); err != nil {
		return nil, err
	}
	definition, err := put(definitionsTable, key.name, core.NoStream, l)
	if err != nil {
		return nil, err
	}
	p := o.firstProgress(l)
	first, err := put(progressTable, l.ID, core.NoStream, &p)
	if err != nil {
		return nil, err
	}
	if err := o.commitDefinition(ctx, d, definition, first); err != nil {
		return nil, err
	}
	return l, nil
}

// firstProgress is how an incarnation begins.
func (o *Owner) firstProgress(l *incarnation) progress {
	p := progress{Log: o.store.State().Log, Checkpoint: l.Start, Mode: running, Writer: o.id}
	if l.Definition.Paused {
		p.Mode = paused
	}
	return p
}

// resolve is the position that a place is now.
func (o *Owner) resolve(ctx context.Context, stream string, from core.From) (uint64, error) {
	follower, err := o.store.Follow(ctx, core.FollowRequest{Stream: stream, From: from})
	if err != nil {
		return 0, err
	}
	defer func() { _ = follower.Close() }() // it only ends the wait
	// The first answer comes at once, and says where the follow stands.
	d, err := follower.Next(ctx, core.Limit{Events: 1, Bytes: 1})
	if err != nil {
		return 0, err
	}
	if from.Kind == core.FromStart {
		return 0, nil
	}
	if d.Count > 0 {
		return d.First - 1, nil
	}
	return d.Cursor, nil
}

// commit writes records. A record_conflict is that of another owner.
func (o *Owner) commit(ctx context.Context, ops ...core.RecordOp) error {
	_, err := o.store.Append(ctx, core.Commit{Records: ops})
	if errors.Is(err, core.CodeRecordConflict) {
		return core.Errorf(core.CodeSubscriptionInterrupted, "another owner has changed the subscription (%w)", err)
	}
	return err
}

// Pause stops delivery until Resume; what is in flight may be acked. The error is
// subscription_not_found.
func (o *Owner) Pause(ctx context.Context, name string) error {
	return o.control(ctx, name, "pause", (*delivery.Machine).Pause)
}

// Resume ends Pause, and the stop of a subscription that has stopped itself. The
// error is subscription_not_found.
func (o *Owner) Resume(ctx context.Context, name string) error {
	return o.control(ctx, name, "resume", (*delivery.Machine).Resume)
}

// control changes the mode of a machine, and waits until that is stored.
func (o *Owner) control(ctx context.Context, name, command string, input func(*delivery.Machine)) error {
	return o.withHost(ctx, name, func(h *host) error {
		if err := h.incarnation.unbound(command); err != nil {
			return err
		}
		h.mu.Lock()
		input(h.machine)
		h.advance(time.Now())
		h.mu.Unlock()
		return h.await(ctx, h.saver.modeStored)
	})
}

// withHost does something with the host of a subscription that exists.
func (o *Owner) withHost(ctx context.Context, name string, do func(*host) error) error {
	return o.withHostOf(ctx, stored(name), do)
}

// withHostOf is withHost of a key.
func (o *Owner) withHostOf(ctx context.Context, key nameKey, do func(*host) error) error {
	lock, err := o.enter(ctx, key)
	if err != nil {
		return err
	}
	defer o.leave(lock)
	h, err := o.hosted(ctx, lock, func() (*loaded, error) { return o.loader.load(ctx, lock.key) })
	if err != nil {
		return err
	}
	return do(h)
}

// Reset moves the checkpoint: what comes after the place is delivered, again or not at all.
// Subscribers are ended with subscription_interrupted, and may join again. Parked events stay
// parked, attempts and backoffs are forgotten. The errors are subscription_not_found,
// subscription_bound, invalid_cursor and log_changed.
func (o *Owner) Reset(ctx context.Context, name string, to core.From) error {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return err
	}
	defer o.leave(lock)
	l, err := o.records.incarnation(ctx, name)
	if err != nil {
		return err
	}
	if err := l.unbound("rebuild"); err != nil {
		return err
	}
	position, err := o.resolve(ctx, l.Definition.Stream, to)
	if err != nil {
		return err
	}
	if h := lock.host; h != nil && h.ctx.Err() == nil { // a stop stays
		if err := h.await(ctx, h.saver.modeStored); err != nil && h.ctx.Err() == nil {
			return core.AsError(ctx.Err()) // nothing was begun
		}
	}
	why := core.Errorf(core.CodeSubscriptionInterrupted, "subscription %q was reset", core.Clip(name))
	if err := o.unhost(lock, why); err != nil {
		return err
	}
	if err := o.sweepTable(ctx, failedTable, l.ID); err != nil {
		return err
	}
	return o.retry(func() error {
		p, revision, err := o.records.progress(ctx, l.ID)
		if err != nil {
			return err
		}
		p.Checkpoint, p.Ahead, p.Log, p.Writer, p.Serial = position, nil, o.store.State().Log, o.id, 0
		op, err := put(progressTable, l.ID, core.Expect(revision), &p)
		if err != nil {
			return err
		}
		return o.commit(ctx, op)
	})
}

// Delete deletes a subscription with its checkpoint and what it has parked. Subscribers
// are ended with subscription_not_found, which is also the error if there is none. Another
// is subscription_bound.
func (o *Owner) Delete(ctx context.Context, name string) error {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return err
	}
	defer o.leave(lock)
	l, err := o.records.incarnation(ctx, name)
	if err != nil {
		return err
	}
	if err := l.unbound("rm"); err != nil {
		return err
	}
	why := core.Errorf(core.CodeSubscriptionNotFound, "subscription %q was deleted", core.Clip(name))
	if err := o.unhost(lock, why); err != nil {
		return err
	}
	err = o.retry(func() error { return o.remove(ctx, name) })
	wake(o.sweep)
	return err
}

// remove deletes what makes a subscription, at once. What is parked of it is swept
// later; the record of the removal says so until then.
func (o *Owner) remove(ctx context.Context, name string) error {
	l, err := o.records.incarnation(ctx, name)
	if err != nil {
		return err
	}
	_, revision, err := o.records.progress(ctx, l.ID)
	if err != nil {
		return err
	}
	definition := core.RecordOp{Table: definitionsTable, Key: name, Expect: core.Expect(l.revision), Action: core.DeleteRecord}
	return o.commit(ctx, append(removal(l.ID, core.Expect(revision)), definition)...)
}

// retry does something again that met the last Commit of a host that was ended.
func (o *Owner) retry(do func() error) (err error) {
	for range 3 {
		if err = do(); !errors.Is(err, core.CodeSubscriptionInterrupted) {
			return err
		}
	}
	return err
}

// sweepRemovals deletes what is left of deleted subscriptions, also of those that an
// earlier process deleted.
func (o *Owner) sweepRemovals() {
	var later <-chan time.Time
	for {
		select {
		case <-o.sweep:
		case <-later:
		case <-o.ctx.Done():
			return
		}
		later = nil
		if err := o.sweepAll(); err != nil && o.ctx.Err() == nil {
			o.config.Logger.Warn("sweeping deleted subscriptions", "error", err)
			later = time.After(mostBackoff)
		}
	}
}

func (o *Owner) sweepAll() error {
	return o.records.each(o.ctx, removalsTable, "", "", core.MaxReadEvents, func(removal *core.Record) (bool, error) {
		for _, table := range []string{parkedTable, failedTable, replaysTable, tracesTable, judgingTable} {
			if err := o.sweepTable(o.ctx, table, removal.Key); err != nil {
				return false, err
			}
		}
		return true, o.commit(o.ctx, core.RecordOp{Table: removalsTable, Key: removal.Key, Expect: core.AnyVersion, Action: core.DeleteRecord})
	})
}

// sweepTable deletes an incarnation's records of a table, page by page.
func (o *Owner) sweepTable(ctx context.Context, table, id string) error {
	for {
		page, err := o.store.Records(ctx, core.RecordsRequest{Table: table, Prefix: id + "/", Limit: core.MaxReadEvents})
		if err != nil || len(page) == 0 {
			return err
		}
		ops := make([]core.RecordOp, len(page))
		for i := range page {
			ops[i] = core.RecordOp{Table: table, Key: page[i].Key, Expect: core.AnyVersion, Action: core.DeleteRecord}
		}
		if err := o.commit(ctx, ops...); err != nil {
			return err
		}
	}
}
