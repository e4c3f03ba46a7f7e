package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// CommitUnderLocks is Commit as it is when others were faster three times.
func (e *Engine) CommitUnderLocks(group []*core.Commit) (core.Step, error) {
	s := &step{engine: e, plan: newPlan(group), outcomes: make([]core.Outcome, len(group))}
	s.plan.choose(nil)
	a, err := s.send(true)
	if err == nil {
		s.settle(a, &a.found)
	}
	return core.Step{Outcomes: s.outcomes, Written: s.written}, err
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
