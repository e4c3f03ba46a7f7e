package postgres

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// CommitUnderLocks is Commit as it is when others were faster three times.
func (e *Engine) CommitUnderLocks(group []*core.Commit) core.Step {
	until := time.Now().Add(e.config.RetryFor)
	return inParts(group, func(part []*core.Commit) core.Step {
		s := e.newStep(part, until)
		s.run(context.Background(), maxTries)
		return core.Step{Outcomes: s.outcomes, Written: s.written}
	})
}

// LoseStatements takes from every idle connection the statements that it has
// prepared, as a pooler does.
func (e *Engine) LoseStatements(ctx context.Context) error {
	for _, c := range e.steps.AcquireAllIdle(ctx) {
		_, err := c.Exec(ctx, "DEALLOCATE ALL", pgx.QueryExecModeSimpleProtocol)
		c.Release()
		if err != nil {
			return err
		}
	}
	for _, c := range e.reads.AcquireAllIdle(ctx) {
		_, err := c.Exec(ctx, "DEALLOCATE ALL", pgx.QueryExecModeSimpleProtocol)
		c.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// Joined is what two parts of a step have written.
var Joined = joined

// LinkID is the id of the row of a link.
var LinkID = linkID

// PageStatements are the statements that pages are read with, behind the one that is
// before them in the same flush.
func (e *Engine) PageStatements() (before string, pages []string) {
	s := e.sql
	for _, page := range []statement{s.allForward, s.allBackward, s.streamForward, s.streamBackward, s.log} {
		pages = append(pages, page.sql)
	}
	return s.head.sql, pages
}

// ReadConnsMade is how many connections reads have made.
func (e *Engine) ReadConnsMade() int64 { return e.reads.Stat().NewConnsCount() }

// AdvanceEpoch moves the log to the next epoch, as a new view of a cluster does.
func (e *Engine) AdvanceEpoch(ctx context.Context) (changed bool, err error) {
	err = on(ctx, e.steps, func(ctx context.Context, c *pgx.Conn) error {
		row, err := e.logRow(ctx, c, "test", 0)
		if err == nil {
			next := row.identity
			next.epoch++
			changed, err = e.changeLog(ctx, c, row.identity, next)
		}
		return err
	})
	return changed, err
}

// StoreName is the name of the engine's store.
func (e *Engine) StoreName() string { return e.config.Store }

// FreeLocks ends backends that are stuck.
func (e *Engine) FreeLocks() { e.freeLocks() }

// Awaited reports whether somebody waits for the head.
func (e *Engine) Awaited() bool { return e.log.awaited() }

// MigrateTo makes a store as it was at a migration.
func MigrateTo(ctx context.Context, config Config, version int) error {
	return config.alone(ctx, time.Minute, writes, func(ctx context.Context, c *pgx.Conn) error {
		known, err := migrationsOf(config.Store)
		if err != nil {
			return err
		}
		return transact(ctx, c, func() error {
			return migrateAlone(ctx, c, config.Store, known[:version], slog.New(slog.DiscardHandler))
		})
	})
}

// Measure asks what the engine asks every now and then.
func (e *Engine) Measure() { e.measure() }

// SelectWithin has a query of a selection look at n positions. It must be called before any.
func (e *Engine) SelectWithin(n uint64) { e.sizes.selectedRange = n }
