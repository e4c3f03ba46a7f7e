package host

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// sweepAgain is when sweeping is tried again that met an error.
const sweepAgain = 10 * time.Second

// sweepPage bounds what is deleted in one Commit, which other Commits wait behind.
const sweepPage = 500

// sweepAll deletes what is left of generations that have ended, also of those that another
// node has left behind.
func (h *Host) sweepAll() {
	wake(h.sweep)
	var later <-chan time.Time
	for {
		select {
		case <-h.sweep:
		case <-later:
		case <-h.ctx.Done():
			return
		}
		later = nil
		if err := h.sweepOnce(); err != nil && h.ctx.Err() == nil {
			h.config.Logger.Warn("sweeping the state of plugin bindings", "error", err)
			later = time.After(sweepAgain)
		}
	}
}

func (h *Host) sweepOnce() error {
	for after := ""; ; {
		page, err := h.config.Store.Records(h.ctx, core.RecordsRequest{Table: sweepsTable, After: after, Limit: core.MaxReadEvents})
		if err != nil {
			return err
		}
		for i := range page {
			if after = page[i].Key; h.config.Subscriptions.Owned(sweptName(after)) != nil {
				continue // its owner sweeps
			}
			if err := h.sweepGeneration(after); err != nil {
				return err
			}
		}
		if len(page) < core.MaxReadEvents {
			return nil
		}
	}
}

// sweptName is the binding of a generation's key.
func sweptName(key string) string { return key[:strings.LastIndexByte(key, '/')] }

// sweepGeneration deletes the state and the lanes of a generation, and then the note that
// says so.
func (h *Host) sweepGeneration(key string) error {
	name := sweptName(key)
	generation, err := strconv.ParseUint(key[len(name)+1:], 16, 64)
	if err != nil {
		return core.Errorf(core.CodeInternal, "the record %s/%s: %w", sweepsTable, key, err)
	}
	if err := h.sweepTable(stateTable(name, generation), ""); err != nil {
		return err
	}
	if err := h.sweepTable(lanesTable, key+"/"); err != nil {
		return err
	}
	gone, err := h.deleted(h.ctx, name, generation)
	if err != nil {
		return err
	}
	if gone {
		if err := h.config.Ended(h.ctx, name, generation); err != nil {
			return err
		}
	}
	_, err = h.config.Store.Append(h.ctx, core.Commit{Records: []core.RecordOp{remove(sweepsTable, key, core.AnyVersion)}})
	return err
}

// deleted reports whether the binding that a generation was of is deleted.
func (h *Host) deleted(ctx context.Context, name string, generation uint64) (bool, error) {
	r, err := h.record(ctx, bindingsTable, name)
	if err != nil || r == nil {
		return err == nil, err
	}
	b, err := decodeBinding(bindingsTable, r)
	return err == nil && b.FirstGeneration > generation, nil // one that cannot be read is there
}

// sweepTable deletes the records of a table with a prefix, page by page.
func (h *Host) sweepTable(table, prefix string) error {
	for {
		page, err := h.config.Store.Records(h.ctx, core.RecordsRequest{Table: table, Prefix: prefix, Limit: sweepPage})
		if err != nil || len(page) == 0 {
			return err
		}
		ops := make([]core.RecordOp, len(page))
		for i := range page {
			ops[i] = remove(table, page[i].Key, core.AnyVersion)
		}
		if _, err := h.config.Store.Append(h.ctx, core.Commit{Records: ops}); err != nil {
			return err
		}
	}
}
