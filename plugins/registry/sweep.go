package registry

import (
	"context"
	"log/slog"
	"time"

	"github.com/gyre-events/gyre/core"
)

const (
	// sweepEvery is how often modules that no version has are looked for.
	sweepEvery = time.Hour
	// orphanAge is how long ago such a module was put at least. An upload takes less from
	// putting its blob to its Commit.
	orphanAge = time.Hour
	// storeWithin bounds that.
	storeWithin = 10 * time.Minute
)

// sweep removes the modules that no version has: those of uploads that were cut off, and of
// versions that were deleted.
func (r *Registry) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := r.sweepOnce(r.ctx); err != nil && r.ctx.Err() == nil {
			r.config.Logger.LogAttrs(r.ctx, slog.LevelWarn, "the modules of deleted plugin versions are not swept for now", slog.Any("error", err))
		}
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return
		}
	}
}

// sweepOnce sweeps. Only modules are blobs, so what no version has is nobody's.
func (r *Registry) sweepOnce(ctx context.Context) error {
	var used map[[32]byte]bool // nil: not read yet
	var failed error
	keep := func(id [32]byte) bool {
		if used == nil && failed == nil {
			used, failed = r.modules(ctx)
		}
		return failed != nil || used[id]
	}
	if err := r.config.Store.SweepBlobs(ctx, keep, orphanAge); err != nil {
		return err
	}
	return failed
}

// modules returns the ids of the modules of all versions.
func (r *Registry) modules(ctx context.Context) (map[[32]byte]bool, error) {
	used := map[[32]byte]bool{}
	after := ""
	for {
		records, err := r.config.Store.Records(ctx, core.RecordsRequest{Table: versionsTable, After: after, Limit: core.MaxReadEvents})
		if err != nil {
			return used, err
		}
		for i := range records {
			v, err := decodeVersion(&records[i])
			if err != nil {
				return nil, err
			}
			id, err := moduleID(&v)
			if err != nil {
				return nil, err
			}
			used[id] = true
		}
		if len(records) < core.MaxReadEvents {
			return used, nil
		}
		after = records[len(records)-1].Key
	}
}
