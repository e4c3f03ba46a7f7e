package host

import (
	"cmp"
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Get returns the value of a key of a lane's state, at any node. The errors are
// binding_not_found, state_not_found and invalid_request.
func (h *Host) Get(ctx context.Context, name string, lane int, key string) (plugins.Entry, error) {
	b, err := h.binding(ctx, name)
	if err != nil {
		return plugins.Entry{}, err
	}
	if lane, err = b.lane(lane); err != nil {
		return plugins.Entry{}, err
	}
	if err := checkKey(key); err != nil {
		return plugins.Entry{}, err
	}
	r, err := h.record(ctx, stateTable(name, b.Generation), statePrefix(lane)+key)
	switch {
	case err != nil:
		return plugins.Entry{}, err
	case r == nil:
		return plugins.Entry{}, h.noKey(ctx, b, lane, key)
	}
	return plugins.Entry{Lane: lane, Key: key, Value: r.Value}, nil
}

// noKey is the error of a key that a lane does not have, or not yet: it says how far the lane is.
func (h *Host) noKey(ctx context.Context, b *binding, lane int, key string) error {
	lanes, err := h.lanes(ctx, b)
	if err != nil {
		return err
	}
	return core.Errorf(core.CodeStateNotFound, "lane %d of binding %q has no key %q; it has handled events up to position %d, the log ends at %d",
		lane, clip(b.Name), clip(key), lanes[lane].Checkpoint, h.config.Store.State().Head)
}

// Entries returns a page of a lane's state, at any node. The errors are binding_not_found and
// invalid_request.
func (h *Host) Entries(ctx context.Context, name string, r plugins.StateRequest) (plugins.StatePage, error) {
	b, err := h.binding(ctx, name)
	if err != nil {
		return plugins.StatePage{}, err
	}
	if r.Lane, err = b.lane(r.Lane); err != nil {
		return plugins.StatePage{}, err
	}
	if err := cmp.Or(checkKey(r.Prefix), checkKey(r.After)); err != nil {
		return plugins.StatePage{}, err
	}
	limit := r.Limit
	if limit <= 0 || limit > core.MaxReadEvents {
		limit = core.MaxReadEvents
	}
	prefix := statePrefix(r.Lane)
	s := pages{table: stateTable(name, b.Generation), prefix: prefix + r.Prefix, after: prefix + r.After}
	page := plugins.StatePage{Entries: []plugins.Entry{}}
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
		page.Entries = append(page.Entries, plugins.Entry{Lane: r.Lane, Key: e.Key[len(prefix):], Value: e.Value})
	}
	_, ok, err := s.next(ctx, h.config.Store)
	page.End = !ok
	return page, err
}

// lane returns a lane of the binding; plugins.OnlyLane stands for the one that there is.
func (b *binding) lane(n int) (int, error) {
	switch {
	case n == plugins.OnlyLane && b.Lanes == 1:
		return 0, nil
	case n == plugins.OnlyLane:
		return 0, core.Errorf(core.CodeInvalidRequest, "lane is missing: binding %q has %d, from 0 on", clip(b.Name), b.Lanes)
	case n < 0 || n >= b.Lanes:
		return 0, core.Errorf(core.CodeInvalidRequest, "lane is %d, binding %q has %d, from 0 on", n, clip(b.Name), b.Lanes)
	}
	return n, nil
}

func checkKey(key string) error {
	if key != "" && abi.CheckKey(key) != abi.OK {
		return core.Errorf(core.CodeInvalidRequest, "%q is no key of state: it has up to %d bytes of UTF-8", clip(key), abi.MaxStateKeyBytes)
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
