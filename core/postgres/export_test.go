package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

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
