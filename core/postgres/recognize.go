package postgres

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gyre-events/gyre/core"
)

// logRow is the log as a connection finds it.
type logRow struct {
	identity
	head uint64
	// last is the last event, at the event at the position that was asked about; their
	// positions are 0 where there is none.
	last, at mark
}

// logRow reads the log's row and both events. Everything is of one moment.
func (e *Engine) logRow(ctx context.Context, c *pgx.Conn, position uint64) (row logRow, err error) {
	var last *uint64
	var lastID, atID *[16]byte
	err = c.QueryRow(ctx, `
		SELECT l.id, l.epoch, greatest(l.head, e.position), e.position, e.id,
			(SELECT e.id FROM `+e.config.Store+`.events e WHERE e.position = $1) FROM `+e.config.Store+`.log l
		LEFT JOIN LATERAL (
			SELECT e.position, e.id FROM `+e.config.Store+`.events e ORDER BY e.position DESC LIMIT 1) e ON true`,
		int64(position)).Scan(&row.id, &row.epoch, &row.head, &last, &lastID, &atID)
	if errors.Is(err, pgx.ErrNoRows) {
		return row, core.Errorf(core.CodeStoreCorrupt, "the log of store %q has no row", e.config.Store)
	}
	if last != nil && lastID != nil {
		row.last = mark{*last, core.ID(*lastID)}
	}
	if atID != nil {
		row.at = mark{position, core.ID(*atID)}
	}
	return row, err
}

// lacks reports whether a log that is found lacks what is known of it: an event that was
// acknowledged, or an epoch that was reached.
func (r *logRow) lacks(known identity, last mark) (event, epoch bool) {
	return r.id == known.id && r.at != last, r.epoch < known.epoch
}

// recognize compares the log that a new connection leads to with what is known of it.
//
// After a fail-over the new primary may lack the newest events, if the old one did not
// wait for it. Positions that clients have seen will then be given to other events, so
// the log gets a new id: cursors of the old one are refused, and follows end with
// log_changed. The new primary may lack the newest epochs in the same way. An epoch
// never goes back, so the known one is written again, in the same statement.
func (e *Engine) recognize(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, e.config.CallTimeout)
	defer cancel()
	for {
		known, last := e.log.known()
		now, err := e.logRow(ctx, c, last.position)
		if err != nil {
			return err
		}
		noEvent, noEpoch := now.lacks(known, last)
		if known.id == "" || !noEvent && !noEpoch {
			if known.id != "" && now.id != known.id {
				e.config.Logger.Warn("the log has another identity", "before", known.id, "now", now.id, "head", now.head)
			}
			e.log.replace(now.identity, now.head)
			return nil
		}
		next := identity{now.id, max(now.epoch, known.epoch)}
		if noEvent {
			next.id = newLogID()
		}
		e.config.Logger.Error("the log has lost its newest events or epochs",
			"position", last.position, "head", now.head, "epoch", known.epoch, "now", now.epoch)
		if _, err := e.changeLog(ctx, c, now.identity, next); err != nil {
			return err
		}
	}
}

// newLogID makes the id of a log, as migrations do.
func newLogID() string {
	id := core.NewID()
	return hex.EncodeToString(id[len(id)-6:])
}

// changeLog replaces the log's identity, if it is still the one from. It waits for the
// Commits that are being written and keeps others from beginning: a lock of the table
// queues, where one of the row is overtaken by Commits without events, which share it. A
// writer that has stopped with the row locked is ended.
func (e *Engine) changeLog(ctx context.Context, c *pgx.Conn, from, to identity) (changed bool, err error) {
	for {
		changed, err = e.tryChange(ctx, c, from, to)
		if state := stateOf(err); ctx.Err() != nil || state != stateLockTimeout && state != stateCanceled {
			return changed, err
		}
		if err := e.rescue(ctx, c); err != nil {
			return false, err
		}
	}
}

// tryChange goes in one flush, so that a node that stops in the middle holds no lock.
func (e *Engine) tryChange(ctx context.Context, c *pgx.Conn, from, to identity) (changed bool, err error) {
	var batch pgx.Batch
	batch.Queue(`BEGIN`)
	batch.Queue(`SET LOCAL lock_timeout = '500ms'`)
	batch.Queue(`SET LOCAL statement_timeout = '2s'`)
	batch.Queue(`LOCK TABLE ` + e.config.Store + `.log IN EXCLUSIVE MODE`)
	batch.Queue(`UPDATE `+e.config.Store+`.log SET id = $3, epoch = $4 WHERE id = $1 AND epoch = $2`, from.id, from.epoch, to.id, to.epoch).
		Exec(func(tag pgconn.CommandTag) error {
			changed = tag.RowsAffected() > 0
			return nil
		})
	batch.Queue(`COMMIT`)
	if err = c.SendBatch(ctx, &batch).Close(); err != nil {
		_, _ = c.Exec(ctx, `ROLLBACK`)
	}
	return changed && err == nil, err
}
