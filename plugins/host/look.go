package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Get returns the value of a key of a lane's state, at any node; at the owner, if it is to be at
// least of a position. The errors are binding_not_found, state_not_found, invalid_request and those
// of reached.
func (h *Host) Get(ctx context.Context, name string, r plugins.KeyRequest) (plugins.Entry, error) {
	if err := checkKey(r.Key); err != nil {
		return plugins.Entry{}, err
	}
	b, lane, position, err := h.reached(ctx, name, r.Lane, r.AtLeast)
	if err != nil {
		return plugins.Entry{}, err
	}
	found, err := h.record(ctx, stateTable(name, b.Generation), statePrefix(lane)+r.Key)
	switch {
	case err != nil:
		return plugins.Entry{}, err
	case found == nil:
		return plugins.Entry{}, core.Errorf(core.CodeStateNotFound, "lane %d of binding %q has no key %q; it has handled events up to position %d, the log ends at %d",
			lane, core.Clip(b.Name), core.Clip(r.Key), position, h.config.Store.State().Head)
	}
	return plugins.Entry{Lane: lane, Key: r.Key, Value: found.Value, Position: position}, nil
}

// Entries returns a page of a lane's state, at any node; at the owner, if it is to be at least of a
// position. The errors are binding_not_found, invalid_request and those of reached.
func (h *Host) Entries(ctx context.Context, name string, r plugins.StateRequest) (plugins.StatePage, error) {
	if err := cmp.Or(checkKey(r.Prefix), checkKey(r.After)); err != nil {
		return plugins.StatePage{}, err
	}
	b, lane, position, err := h.reached(ctx, name, r.Lane, r.AtLeast)
	if err != nil {
		return plugins.StatePage{}, err
	}
	limit := r.Limit
	if limit <= 0 || limit > core.MaxReadEvents {
		limit = core.MaxReadEvents
	}
	prefix := statePrefix(lane)
	s := pages{table: stateTable(name, b.Generation), prefix: prefix + r.Prefix, after: prefix + r.After}
	page := plugins.StatePage{Entries: []plugins.Entry{}, Position: position}
	for size := 0; len(page.Entries) < limit; {
		e, ok, err := s.next(ctx, h.config.Store)
		if err != nil {
			return page, err
		}
		if page.End = !ok; !ok {
			return page, nil
		}
		if size += len(e.Key) + len(e.Value); size > core.MaxPageBytes && len(page.Entries) > 0 {
			return page, nil
		}
		page.Entries = append(page.Entries, plugins.Entry{Lane: lane, Key: e.Key[len(prefix):], Value: e.Value})
	}
	_, ok, err := s.next(ctx, h.config.Store)
	page.End = !ok
	return page, err
}

// reached returns the live generation of a binding, a lane of it, and a position up to which
// everything is in the lane's state, which is at least the given one: it waits for that until ctx
// ends. The errors are then timeout, or, at a node that does not own the binding, not_owner.
func (h *Host) reached(ctx context.Context, name string, lane int, atLeast uint64) (b *binding, _ int, position uint64, err error) {
	for {
		if b, err = h.binding(ctx, name); err != nil {
			return nil, 0, 0, err
		}
		if lane, err = b.lane(lane); err != nil {
			return nil, 0, 0, err
		}
		incarnation, least := b.Incarnation, b.Start
		if atLeast > 0 {
			if incarnation, least, err = h.await(ctx, b, atLeast); err != nil {
				return nil, 0, 0, err
			}
		}
		if incarnation != b.Incarnation {
			continue // they have changed places
		}
		found, err := h.lanesFrom(ctx, b, lane, lane+1)
		if err != nil {
			return nil, 0, 0, err
		}
		return b, lane, max(least, found[0].Checkpoint), nil
	}
}

// answerWithin is left of the time of a wait to say how far it has come.
const answerWithin = 50 * time.Millisecond

// await waits until a binding has handled or parked everything up to a position.
func (h *Host) await(ctx context.Context, b *binding, atLeast uint64) (incarnation string, position uint64, err error) {
	waiting, cancel := ctx, context.CancelFunc(func() {})
	if by, ok := ctx.Deadline(); ok {
		waiting, cancel = context.WithDeadline(ctx, by.Add(-min(answerWithin, time.Until(by)/2)))
	}
	defer cancel()
	at, err := h.config.Subscriptions.Await(waiting, b.Subscription, atLeast)
	if err == nil || !errors.Is(waiting.Err(), context.DeadlineExceeded) {
		return at.Incarnation, at.Finished, err
	}
	head := h.config.Store.State().Head
	why := fmt.Sprintf("the log ends at %d", head)
	switch {
	case b.Paused:
		why += ", and it is paused: gyre plugin resume has it go on"
	case b.Stopped != "":
		why += ", and it has stopped: gyre plugin info says why"
	case atLeast <= head:
		why += ", and it is at work"
	}
	return "", 0, core.Errorf(core.CodeTimeout, "binding %q has handled everything up to position %d, and not yet up to %d: %s", core.Clip(b.Name), at.Finished, atLeast, why)
}

// lane returns a lane of the binding; plugins.OnlyLane stands for the one that there is.
func (b *binding) lane(n int) (int, error) {
	switch {
	case n == plugins.OnlyLane && b.Lanes == 1:
		return 0, nil
	case n == plugins.OnlyLane:
		return 0, core.Errorf(core.CodeInvalidRequest, "lane is missing: binding %q has %d lanes, and the first is 0", core.Clip(b.Name), b.Lanes)
	case n < 0 || n >= b.Lanes:
		return 0, b.noLane(n)
	}
	return n, nil
}

// noLane refuses a lane that there is not.
func (b *binding) noLane(n int) error {
	return core.Errorf(core.CodeInvalidRequest, "lane is %d, it may be from 0 to %d in binding %q", n, b.Lanes-1, core.Clip(b.Name))
}

func checkKey(key string) error {
	if key != "" && abi.CheckKey(key) != abi.OK {
		return core.Errorf(core.CodeInvalidRequest, "%q is no key of state: it has up to %d bytes of UTF-8", core.Clip(key), abi.MaxStateKeyBytes)
	}
	return nil
}

// pages reads the records of a table one by one, a page at a time: a page of values of the
// largest size is no more than a few MiB.
type pages struct {
	table, prefix, after string
	page                 []core.Record
	last                 bool
}

const entriesPage = 32

func (p *pages) next(ctx context.Context, store core.RecordReader) (r core.Record, ok bool, err error) {
	if len(p.page) == 0 && !p.last {
		p.page, err = store.Records(ctx, core.RecordsRequest{Table: p.table, Prefix: p.prefix, After: p.after, Limit: entriesPage})
		if err != nil {
			return r, false, err
		}
		if p.last = len(p.page) < entriesPage; !p.last {
			p.after = p.page[len(p.page)-1].Key
		}
	}
	if len(p.page) == 0 {
		return r, false, nil
	}
	r, p.page = p.page[0], p.page[1:]
	return r, true, nil
}
