package runtime

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/postgres"
)

const (
	// A server that is just starting is not kept waiting, and one that is not there
	// not flooded.
	postgresRetryEvery = time.Second
	postgresLogEvery   = 5 * time.Second
)

// openEngine opens what the Store stands on, and tells n.starting how far that is:
// the disk engine may have to read much of its log first, after a crash, and
// PostgreSQL may not be there yet.
func (n *Node) openEngine(ctx context.Context) (core.Engine, error) {
	c := n.config
	switch c.Engine {
	case EngineMemory:
		return memory.New(), nil
	case EnginePostgres:
		engine, err := n.openPostgres(ctx)
		if err != nil {
			return nil, err
		}
		return engine, nil
	}
	engine, err := disk.Open(ctx, disk.Config{Dir: c.Data, SegmentBytes: c.SegmentBytes, Logger: c.Logger, Progress: func(done, total int64) {
		n.starting.Progress(done, total)
		c.Progress(done, total)
	}})
	if err != nil {
		return nil, err
	}
	return engine, nil
}

// openPostgres opens the store.
func (n *Node) openPostgres(ctx context.Context) (engine *postgres.Engine, err error) {
	c := n.config.Postgres
	c.Node, c.Version, c.Logger = n.config.Node, n.config.Version, n.logger
	if n.config.Ring.Enabled {
		c.Ring = n.place.name
	}
	err = n.untilPostgres(ctx, func() error {
		engine, err = postgres.Open(ctx, c)
		return err
	})
	return engine, err
}

// mayPass reports whether an error may pass soon: the server is starting, or the session of
// a node that had the store ends.
func mayPass(err error) bool {
	return slices.ContainsFunc([]core.Code{core.CodeStoreUnavailable, core.CodeStoreReadOnly, core.CodeTimeout, core.CodeStoreInUse},
		func(c core.Code) bool { return errors.Is(err, c) })
}

// watchEngine has the node fail when another process has its store.
func (n *Node) watchEngine(engine *postgres.Engine) {
	select {
	case err := <-engine.Failed():
		select {
		case n.failed <- err:
		default: // it has failed already
		}
	case <-n.stopping:
	}
}

// untilPostgres tries again for a while what fails because the server may be starting, too,
// or because the store is not free yet.
func (n *Node) untilPostgres(ctx context.Context, try func() error) error {
	until := time.Now().Add(n.config.PostgresWait)
	nextLog := time.Time{}
	for {
		err := try()
		if err == nil {
			return nil
		}
		now := time.Now()
		if !mayPass(err) || !now.Before(until) || ctx.Err() != nil {
			return err
		}
		n.starting.Waiting(err)
		if !now.Before(nextLog) {
			nextLog = now.Add(postgresLogEvery)
			n.logger.LogAttrs(ctx, slog.LevelWarn, "waiting for PostgreSQL", slog.Any("error", err),
				slog.Int("atMostSeconds", int(until.Sub(now).Seconds())))
		}
		select {
		case <-ctx.Done():
			return core.AsError(ctx.Err())
		case <-time.After(min(postgresRetryEvery, until.Sub(now))):
		}
	}
}
