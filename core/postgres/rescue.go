package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// stuckAfter is for how long a backend may hold locks and wait for its client.
	// A healthy one never does: its Sync comes in the write that its call came in.
	stuckAfter = 500 * time.Millisecond

	rescueTimeout = 2 * time.Second
)

// freeLocks terminates backends of this store's nodes whose client has stopped
// in the middle of a call: a paused process, or one whose network is gone. They
// hold the locks they have for ever, and no timeout of the server's ends them.
//
// Nothing is lost: the server rolls back what its client has not finished, and
// the client, should it come back, finds its outcome unknown and resolves it.
func (e *Engine) freeLocks() {
	ctx, cancel := context.WithTimeout(e.hurry, rescueTimeout)
	defer cancel()
	err := on(ctx, e.steps, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `
			SELECT a.pid, a.application_name, pg_terminate_backend(a.pid)
			FROM pg_stat_activity a
			WHERE a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid()
			  AND starts_with(a.application_name, $1) AND a.wait_event_type = 'Client'
			  AND a.backend_xid IS NOT NULL
			  AND greatest(a.state_change, a.query_start) < clock_timestamp() - make_interval(secs => $2)`,
			applicationPrefix(e.config.Store), stuckAfter.Seconds())
		if err != nil {
			return err
		}
		var pid int32
		var name string
		var ended bool
		_, err = pgx.ForEachRow(rows, []any{&pid, &name, &ended}, func() error {
			e.config.Logger.Warn("a node stopped in the middle of a commit; its backend was terminated",
				"node", name, "pid", pid, "ended", ended)
			return nil
		})
		return err
	})
	if err != nil {
		e.config.Logger.Warn("could not look for stuck writers", "error", asError(err))
	}
}

// endBackend ends the backend that a try was sent to whose connection is gone,
// so that it cannot come to an end of its own after the outcome was told. Where
// that cannot be done, the ids of the events still keep them from being written
// twice.
func (e *Engine) endBackend(pid uint32) {
	ctx, cancel := context.WithTimeout(e.hurry, rescueTimeout)
	defer cancel()
	_ = on(ctx, e.steps, func(ctx context.Context, c *pgx.Conn) error {
		for {
			var left int
			err := c.QueryRow(ctx, `
				SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a
				WHERE a.pid = $1 AND a.usename = current_user AND a.application_name = $2`,
				int32(pid), e.config.applicationName()).Scan(&left)
			if err != nil || left == 0 {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(firstPause):
			}
		}
	})
}
