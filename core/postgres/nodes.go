package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// A node says in a row of the store that it has it open, and which migration it knows,
// so that none takes away what it uses. Its row has an end, which it puts off as long
// as it runs: a node that was killed is gone by itself.
//
// A lock of a session would be gone sooner. But a pooler in transaction mode has no
// sessions to give, and after a fail-over there is none left; rows are with the data.
//
// The end is by the server's clock, and a new primary's may differ: up to the next beat a
// node may count as gone, and one that was killed stays for longer by the difference. That
// is left so. Who might put it right has only one of the clocks, and a count of beats in
// place of a time would have each migration watch the nodes for 15 s. One that counts as
// gone and is not does no more harm than one that was asleep: it comes in again, or is
// refused, at its next beat.
const (
	beatEvery = 5 * time.Second
	// nodeLease is for how long a node counts as there that has not been heard of.
	nodeLease = 15 * time.Second
	// beatTimeout keeps a beat that has to wait from holding up the watch for long.
	beatTimeout = time.Second
)

// Node is one that has a store open.
type Node struct {
	Name    string
	Version string // of its program
	Knows   int    // the newest migration that it knows
	Since   time.Time
}

// Nodes lists the nodes that have the store open, in the order in which they came. One
// that was killed is there for another 15 s.
func Nodes(ctx context.Context, config Config) (nodes []Node, err error) {
	err = config.ask(ctx, func(ctx context.Context, c *pgx.Conn) error {
		there, err := hasTable(ctx, c, config.Store, "nodes")
		if err != nil || !there {
			return err
		}
		rows, err := c.Query(ctx, `SELECT name, version, knows, since FROM `+config.Store+`.nodes
			WHERE until >= clock_timestamp() ORDER BY since, name`)
		if err != nil {
			return err
		}
		nodes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Node])
		return err
	})
	return nodes, err
}

// join enters the engine's row, unless the store has gone further than this version
// can follow. Rows of nodes that are gone are taken out on the way.
func (e *Engine) join(ctx context.Context) error {
	return on(ctx, e.steps, func(ctx context.Context, c *pgx.Conn) error {
		tx, err := c.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		// Against migrations, which take the same lock alone.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared(`+migrationLock+`)`, e.config.Store); err != nil {
			return err
		}
		if err := checkSchema(ctx, c, e.config.Store); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM `+e.config.Store+`.nodes WHERE id IN (
			SELECT id FROM `+e.config.Store+`.nodes WHERE until < clock_timestamp() FOR UPDATE SKIP LOCKED)`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO `+e.config.Store+`.nodes (id, name, version, knows, until)
			VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
			ON CONFLICT (id) DO UPDATE SET until = excluded.until`,
			e.id.String(), e.config.Node, e.config.Version, e.knows, nodeLease.Seconds()); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
}

// beat puts off the end of the engine's row. A row that is not there was taken for
// one of a node that is gone, or was lost in a fail-over; then the engine comes in
// again. Where it must not, as the store has gone further meanwhile, it serves nobody
// from then on.
func (e *Engine) beat() {
	ctx, cancel := context.WithTimeout(e.closing, beatTimeout)
	defer cancel()
	there := false
	err := on(ctx, e.steps, func(ctx context.Context, c *pgx.Conn) error {
		var batch pgx.Batch
		// It matters to nobody that a standby has it, and a beat must not wait for one.
		batch.Queue(`SELECT set_config('synchronous_commit', 'local', true)`)
		batch.Queue(`UPDATE `+e.config.Store+`.nodes SET until = clock_timestamp() + make_interval(secs => $2) WHERE id = $1`,
			e.id.String(), nodeLease.Seconds())
		results := c.SendBatch(ctx, &batch)
		_, err := results.Exec()
		if err == nil {
			tag, updateErr := results.Exec()
			there, err = tag.RowsAffected() == 1, updateErr
		}
		return errors.Join(err, results.Close())
	})
	if err == nil && !there {
		err = e.join(ctx)
	}
	switch {
	case err == nil:
		e.outgrown.Store(nil)
	case errors.Is(err, core.CodeStoreNewer):
		known := asError(err)
		e.outgrown.Store(known)
		e.noteProblem(known)
	}
}

// leave takes the engine's row out. Where that fails, it ends by itself.
func (e *Engine) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), beatTimeout)
	defer cancel()
	_ = on(ctx, e.steps, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `DELETE FROM `+e.config.Store+`.nodes WHERE id = $1`, e.id.String())
		return err
	})
}
