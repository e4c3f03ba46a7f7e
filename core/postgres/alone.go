package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// A store belongs to one node or to one ring. A node that has it alone refuses all others,
// and a ring those that are not in it; who only reads bothers nobody.
//
// A node alone moves the epoch when it opens the store, so nothing of who had it before is
// written any more: the session of a process that was killed, or stopped, may end while it
// still runs.

// other is the session of another process.
type other struct {
	name, version string
	ring          *string // as in the table
	since         time.Time
	// sure says that the session has beaten since the server started.
	sure bool
}

// isAlone reports whether the engine has the store alone.
func (e *Engine) isAlone() bool { return e.config.Ring == "" && !e.config.OnlyReads }

// sessionRing is the ring of a session, as in the table.
func (c *Config) sessionRing() *string {
	if c.OnlyReads {
		return nil
	}
	return &c.Ring
}

// otherSessions lists the sessions of others that have not ended.
func (e *Engine) otherSessions(ctx context.Context, c *pgx.Conn) ([]other, error) {
	schema := e.config.schema()
	rows, err := c.Query(ctx, `SELECT s.name, s.version, s.ring, s.since, s.started = pg_postmaster_start_time()
		FROM `+schema+`.sessions s WHERE `+liveSession(schema)+` AND s.id <> $1 ORDER BY s.since`, e.session.id.String())
	if err != nil {
		return nil, err
	}
	var list []other
	var o other
	_, err = pgx.ForEachRow(rows, []any{&o.name, &o.version, &o.ring, &o.since, &o.sure}, func() error {
		list = append(list, o)
		return nil
	})
	return list, err
}

// refuseShared returns store_in_use if others have the store that cannot share it with
// this node. A node alone of the same id, a process that was killed or is to be replaced,
// is none of them when a store is opened; later, it has replaced this one.
func (e *Engine) refuseShared(others []other, when unsure) error {
	if e.config.OnlyReads {
		return nil
	}
	var inTheWay []other
	for _, o := range others {
		same := o.ring != nil && *o.ring == "" && o.name == e.config.Node
		switch {
		case o.ring == nil, e.config.Ring != "" && *o.ring == e.config.Ring, !o.sure && when == unsureIsGone:
		case same && when == unsureIsFine:
			return core.Errorf(core.CodeNodeSuperseded, "another process of node %s has opened store %q", o.name, e.config.Store)
		case same:
		case !o.sure && when == unsureFails:
			return errUnsure
		case e.config.Ring != "" && *o.ring != "":
			return core.Errorf(core.CodeClusterMismatch, "node %s has store %q open in ring %q, and this node would be in ring %q",
				o.name, e.config.Store, *o.ring, e.config.Ring)
		default:
			inTheWay = append(inTheWay, o)
		}
	}
	if len(inTheWay) == 0 {
		return nil
	}
	return e.storeInUse(inTheWay)
}

// storeInUse says who has the store, and what to do.
func (e *Engine) storeInUse(by []other) *core.Error {
	var names []string
	for _, o := range by[:min(len(by), 5)] {
		names = append(names, o.name+" (gyre "+o.version+")")
	}
	if len(by) > len(names) {
		names = append(names, "…")
	}
	whose := "alone"
	if *by[0].ring != "" {
		whose = "as ring " + *by[0].ring
	}
	advice := "nodes that share a store form a ring: start each with --cluster"
	if e.config.Ring != "" {
		advice = "start it with --cluster, too, to have both in the ring"
	}
	return core.Errorf(core.CodeStoreInUse, "%s has store %q open, %s since %s; %s",
		strings.Join(slices.Compact(names), ", "), e.config.Store, whose, by[0].since.UTC().Format(time.RFC3339), advice)
}

// refuseAgain keeps a node alone from beginning another session where its first one has
// ended and another node has had the store since: the epoch is not its own any more.
func (e *Engine) refuseAgain(row *logRow, when unsure) error {
	if e.isAlone() && when == unsureIsFine && row.epoch > e.epoch {
		return core.Errorf(core.CodeNodeSuperseded, "another node has had store %q open since this one was stopped or cut off", e.config.Store)
	}
	return nil
}

// queueTakeOver ends the sessions of those that refuseShared let pass because they have gone.
func (e *Engine) queueTakeOver(batch *pgx.Batch) {
	schema := e.config.schema()
	switch {
	case e.isAlone():
		batch.Queue(`DELETE FROM `+schema+`.sessions WHERE ring IS NOT NULL AND id <> $1`, e.session.id.String())
		batch.Queue(`DELETE FROM ` + schema + `.ring_sessions`)
	case e.config.Ring != "":
		batch.Queue(`DELETE FROM `+schema+`.sessions WHERE ring IS NOT NULL AND ring <> $1`, e.config.Ring)
	}
}

// Failed returns a channel that gets, once, the error node_superseded if another process
// has the store now: the engine serves nobody any more.
func (e *Engine) Failed() <-chan error { return e.session.failed }
