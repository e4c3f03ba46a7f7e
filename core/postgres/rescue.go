package postgres

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// stuckAfter is how long a backend holds locks and waits for its client before it
	// counts as stuck. A healthy one never does: its Sync comes in the write that its call
	// came in.
	stuckAfter = 500 * time.Millisecond
	// lookAgainAfter is the time between the two looks at a stuck backend.
	lookAgainAfter = 50 * time.Millisecond

	rescueTimeout = 2 * time.Second
)

// freeLocks is rescue on a connection of its own.
func (e *Engine) freeLocks() {
	ctx, cancel := context.WithTimeout(e.stepCtx, rescueTimeout)
	defer cancel()
	if err := on(ctx, e.steps, e.rescue); err != nil {
		e.config.Logger.Warn("could not look for stuck writers", "error", asError(err))
	}
}

// stuck is a backend that looks stuck: a query that began, and its last change of state.
type stuck struct {
	pid                   int32
	name                  string
	begun, query, changed int64 // µs
}

// rescue terminates backends of this store's nodes whose client has stopped in the
// middle of a call: a paused process, or one whose network is gone. They hold their locks
// for ever, and no timeout of the server's ends them.
//
// It looks twice and terminates what has not moved between. What one look tells of a
// backend's query and of its wait are not of one moment: a healthy one that has just
// answered a slow call is seen in that call and waiting for its client.
//
// Nothing is lost: the server rolls back what its client has not finished, and the
// client, should it come back, finds its outcome unknown and resolves it.
func (e *Engine) rescue(ctx context.Context, c *pgx.Conn) error {
	first, err := e.lookForStuck(ctx, c)
	if err != nil || len(first) == 0 {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(lookAgainAfter):
	}
	again, err := e.lookForStuck(ctx, c)
	if err != nil {
		return err
	}
	for _, b := range again {
		if !slices.Contains(first, b) {
			continue
		}
		var ended bool
		if err := c.QueryRow(ctx, `SELECT pg_terminate_backend($1)`, b.pid).Scan(&ended); err != nil {
			return err
		}
		e.config.Logger.Warn("a node stopped in the middle of a commit; its backend was terminated",
			"application", b.name, "pid", b.pid, "ended", ended)
	}
	return nil
}

// lookForStuck lists the backends that look stuck, in a transaction of its own.
func (e *Engine) lookForStuck(ctx context.Context, c *pgx.Conn) (list []stuck, err error) {
	rows, err := c.Query(ctx, `
		SELECT a.pid, a.application_name, (extract(epoch FROM a.backend_start) * 1000000)::bigint,
			(extract(epoch FROM a.query_start) * 1000000)::bigint, (extract(epoch FROM a.state_change) * 1000000)::bigint
		FROM pg_stat_activity a
		WHERE a.datname = current_database() AND a.usename = session_user AND a.pid <> pg_backend_pid()
		  AND starts_with(a.application_name, $1) AND a.wait_event_type = 'Client'
		  AND a.backend_xid IS NOT NULL
		  AND greatest(a.state_change, a.query_start) < clock_timestamp() - make_interval(secs => $2)`,
		applicationPrefix(e.config.Store), stuckAfter.Seconds())
	if err != nil {
		return nil, err
	}
	var b stuck
	_, err = pgx.ForEachRow(rows, []any{&b.pid, &b.name, &b.begun, &b.query, &b.changed}, func() error {
		list = append(list, b)
		return nil
	})
	return list, err
}

// cutOff are backends that a try was sent to whose connection is gone, and that are not
// known to be gone themselves: each may come to an end of its own yet.
type cutOff struct {
	mu   sync.Mutex // protects the field below
	pids []int32
}

func (o *cutOff) add(pid uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pids = append(o.pids, int32(pid))
}

func (o *cutOff) list() []int32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.pids)
}

func (o *cutOff) remove(gone []int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pids = slices.DeleteFunc(o.pids, func(pid int32) bool { return slices.Contains(gone, pid) })
}

// endCutOff is endBackends on a connection of its own.
func (e *Engine) endCutOff() {
	ctx, cancel := context.WithTimeout(e.stepCtx, rescueTimeout)
	defer cancel()
	if err := on(ctx, e.steps, e.endBackends); err != nil {
		e.config.Logger.Warn("a try that was cut off may not have ended", "error", asError(err))
	}
}

// endBackends ends the backends that are cut off, and returns nil when all are gone: of
// what was sent to them, nothing is written any more. No Commit is sent before. Behind a
// pooler they cannot be found, and only the ids of events, or the epoch, stop them.
func (e *Engine) endBackends(ctx context.Context, c *pgx.Conn) error {
	pids := e.cutOff.list()
	if len(pids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, rescueTimeout)
	defer cancel()
	for {
		var left int
		err := c.QueryRow(ctx, `
			SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a
			WHERE a.pid = ANY ($1) AND a.pid <> pg_backend_pid() AND a.usename = session_user AND a.application_name = $2`,
			pids, e.config.applicationName()).Scan(&left)
		if err != nil {
			return err
		}
		if left == 0 {
			e.cutOff.remove(pids)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(firstPause):
		}
	}
}
