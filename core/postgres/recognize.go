package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gyre-events/gyre/core"
)

// logRow is the log as a connection finds it.
type logRow struct {
	identity
	head uint64
	// changes is how many Commits have changed streams as a whole.
	changes uint64
	// last is the last event, at the event at the position that was asked about; their
	// positions are 0 where there is none.
	last, at  mark
	timelines []core.Timeline
}

// logRow reads the log's row and both events, all of one moment, and its timelines.
//
// why shows in pg_stat_activity.
func (e *Engine) logRow(ctx context.Context, c *pgx.Conn, why string, position uint64) (row logRow, err error) {
	err = withSettings(ctx, c, func() error {
		if row, err = e.readLogRow(ctx, c, why, position); err == nil {
			row.timelines, err = e.timelinesTo(ctx, c, row.timeline)
		}
		return err
	})
	return row, err
}

func (e *Engine) readLogRow(ctx context.Context, c *pgx.Conn, why string, position uint64) (row logRow, err error) {
	schema := e.config.schema()
	var last *uint64
	var lastID, atID *[16]byte
	// The last event says nothing if it is removed: its row may go at any moment.
	err = c.QueryRow(ctx, `/* `+why+` */
		SELECT l.id, l.epoch, l.timeline, `+strings.ReplaceAll(lastChange, "{schema}", schema)+`, greatest(l.head, e.position), e.position,
			CASE WHEN NOT EXISTS (SELECT FROM `+schema+`.removed r WHERE r.stream IN (
				e.stream, (SELECT h.stream FROM `+schema+`.events h WHERE h.position = e.link))) THEN e.id END,
			(SELECT e.id FROM `+schema+`.events e WHERE e.position = $1) FROM `+schema+`.log l
		LEFT JOIN LATERAL (
			SELECT e.position, e.id, e.stream, e.link FROM `+schema+`.events e ORDER BY e.position DESC LIMIT 1) e ON true`,
		int64(position)).Scan(&row.id, &row.epoch, &row.timeline, &row.changes, &row.head, &last, &lastID, &atID)
	if errors.Is(err, pgx.ErrNoRows) {
		return row, core.Errorf(core.CodeStoreCorrupt, "the log of store %q has no row", e.config.Store)
	}
	if last != nil && lastID != nil {
		row.last = mark{*last, core.ID(*lastID), row.changes}
	}
	if atID != nil {
		row.at = mark{position, core.ID(*atID), row.changes}
	}
	return row, err
}

// lacks reports whether a log that is found lacks what is known of it: an event or a change of
// a stream that was acknowledged, or an epoch that was reached. An event whose place is not
// behind the log's head may have been removed since.
func (r *logRow) lacks(k *known) (tail, epoch bool) {
	isThere := r.at.position == k.last.position && r.at.id == k.last.id
	isLost := !isThere && !r.mayHaveRemoved(k.last) || r.changes < k.changes
	return r.id == k.id && isLost, r.epoch < k.epoch
}

func (r *logRow) mayHaveRemoved(last mark) bool {
	return r.at.position == 0 && r.head >= last.position && r.changes > last.changes
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
		known := e.log.known()
		now, err := e.logRow(ctx, c, "recognize", known.last.position)
		if err != nil {
			return err
		}
		noTail, noEpoch := now.lacks(&known)
		if known.id == "" || !noTail && !noEpoch {
			if known.id != "" && now.id != known.id {
				e.config.Logger.Warn("the log has another identity", "before", known.id, "now", now.id, "head", now.head)
			}
			if known.id != "" {
				e.beatNow() // the server may be another one
			}
			e.replaceLog(&now)
			e.log.forget(&now, known.last)
			return nil
		}
		next := now.identity
		next.epoch = max(now.epoch, known.epoch)
		if noTail {
			next.id, next.timeline = newWord(), newWord()
		}
		e.config.Logger.Error("the log has lost its newest events or epochs",
			"position", known.last.position, "head", now.head, "epoch", known.epoch, "now", now.epoch)
		if _, err := e.changeLog(ctx, c, now.identity, next); err != nil {
			return err
		}
	}
}

// newWord makes the id of a log, as migrations do, or the name of a timeline.
func newWord() string {
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
	batch.Queue(beginReadCommitted)
	if local := localSettings(c); local != "" {
		batch.Queue(local)
	}
	queueChange(&batch, e.config.schema(), from, to).Exec(func(tag pgconn.CommandTag) error {
		changed = tag.RowsAffected() > 0
		return nil
	})
	batch.Queue(`COMMIT`)
	if err = c.SendBatch(ctx, &batch).Close(); err != nil {
		_ = rollBack(ctx, c)
	}
	return changed && err == nil, err
}

// queueChange queues what replaces from in a transaction, and returns the update itself. A
// log of another id has none of the timelines that were before.
func queueChange(batch *pgx.Batch, schema string, from, to identity) *pgx.QueuedQuery {
	queueLock(batch, schema)
	update := batch.Queue(`UPDATE `+schema+`.log SET id = $4, epoch = $5, timeline = $6 WHERE id = $1 AND epoch = $2 AND timeline = $3`,
		from.id, int64(from.epoch), from.timeline, to.id, int64(to.epoch), to.timeline)
	if to.id != from.id {
		batch.Queue(`DELETE FROM `+schema+`.timelines WHERE EXISTS (SELECT FROM `+schema+`.log l WHERE l.timeline = $1)`, to.timeline)
	}
	if to.timeline != from.timeline {
		batch.Queue(`INSERT INTO `+schema+`.timelines (name, after)
			SELECT l.timeline, greatest(l.head, (SELECT e.position FROM `+schema+`.events e ORDER BY e.position DESC LIMIT 1))
			FROM `+schema+`.log l WHERE l.timeline = $1`, to.timeline)
	}
	return update
}

// queueLock queues what locks the log for a change.
func queueLock(batch *pgx.Batch, schema string) {
	batch.Queue(`SET LOCAL lock_timeout = '500ms'`)
	batch.Queue(`SET LOCAL statement_timeout = '2s'`)
	batch.Queue(`LOCK TABLE ` + schema + `.log IN EXCLUSIVE MODE`)
}

// timelinesTo are the log's timelines, of which the newest has a name.
func (e *Engine) timelinesTo(ctx context.Context, c *pgx.Conn, newest string) ([]core.Timeline, error) {
	if known := e.log.state(); newest == "" || known.Timeline() == newest {
		return known.Timelines, nil
	}
	rows, err := c.Query(ctx, `SELECT name, after FROM `+e.config.schema()+`.timelines ORDER BY number`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t core.Timeline, err error) {
		err = row.Scan(&t.Name, &t.After)
		return t, err
	})
}

// beatNow asks for a beat.
func (e *Engine) beatNow() {
	select {
	case e.session.now <- struct{}{}:
	default:
	}
}
