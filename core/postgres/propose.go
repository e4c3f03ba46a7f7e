package postgres

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// failOverEpochs is by how much the epoch moves, without a view, when the first view
// after a fail-over is proposed. Views that the fail-over lost may be known to some nodes
// and not to others, so their epochs are never used again.
const failOverEpochs = 1000

// Propose is cluster.Arbiter's. The table of the log is locked before anything is looked
// at: that waits for the Commits under way, and keeps new ones out without being overtaken
// by those that share the log's row. Writers that are stuck are ended.
func (e *Engine) Propose(ctx context.Context, base uint64, next ring.View, dead []uint64) error {
	if next.Epoch != base+1 {
		return core.Errorf(core.CodeInvalidRequest, "view %d cannot follow epoch %d", next.Epoch, base)
	}
	members, err := json.Marshal(next.Members)
	if err != nil {
		return core.AsError(err)
	}
	p := &proposal{base: base, next: &next, members: string(members), dead: signed(dead)}
	for i := range next.Members {
		p.sessions = append(p.sessions, int64(next.Members[i].Session))
	}
	var found proposed
	err = e.arbiter.views.do(ctx, false, func(ctx context.Context, c *pgx.Conn) (err error) {
		for {
			found, err = e.tryPropose(ctx, c, p)
			if state := stateOf(err); ctx.Err() != nil || state != stateLockTimeout && state != stateCanceled {
				return err
			}
			if err := e.rescue(ctx, c); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return err
	}
	e.log.passed(found.epoch)
	return found.judge(p)
}

// proposal is what is proposed.
type proposal struct {
	base     uint64
	next     *ring.View
	members  string  // as JSON
	sessions []int64 // of the members
	dead     []int64
}

// proposed is what a proposal found, all of one moment.
type proposed struct {
	epoch    uint64 // of the log, after it
	stored   bool
	living   int     // members of the view with a session
	proposer bool    // has a session
	isMember bool    // of the newest view
	newest   *uint64 // epoch of the newest view; nil: there is none
	left     *string // a node of the newest view whose session has not ended
}

// judge returns why the view was not stored, or nil.
func (f *proposed) judge(p *proposal) error {
	switch next := p.next; {
	case f.stored:
		return nil
	case f.epoch != p.base:
		return core.NewStaleEpoch(p.base, f.epoch)
	case f.living < next.Quorum:
		return core.Errorf(core.CodeNotMember, "%d of %d members have a session, the quorum is %d",
			f.living, len(next.Members), next.Quorum)
	case !f.proposer:
		return core.Errorf(core.CodeNotMember, "session %d, which proposes, has ended", next.Proposer)
	case f.newest != nil && f.left != nil:
		return core.Errorf(core.CodeNotMember, "session %d is not in view %d, and node %s of it has not ended",
			next.Proposer, *f.newest, *f.left)
	}
	return core.Errorf(core.CodeInternal, "a view was left out for no reason")
}

// tryPropose goes in one flush, so that a node that stops in the middle holds no lock. The
// last statement begins when the lock is there, and sees what all before it wrote.
func (e *Engine) tryPropose(ctx context.Context, c *pgx.Conn, p *proposal) (found proposed, err error) {
	schema := e.config.schema()
	var batch pgx.Batch
	batch.Queue(beginReadCommitted)
	if local := localSettings(c); local != "" {
		batch.Queue(local)
	}
	queueLock(&batch, schema)
	batch.Queue(`WITH lives AS (SELECT number FROM `+schema+`.ring_sessions WHERE number <> ALL ($7)),
		newest AS (SELECT v.epoch, m.number, m.node
			FROM (SELECT epoch, members FROM `+schema+`.views ORDER BY epoch DESC LIMIT 1) v
			LEFT JOIN LATERAL (SELECT (m ->> 'session')::bigint AS number, m ->> 'node' AS node
				FROM jsonb_array_elements(v.members) m) m ON true),
		server AS (SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS wal),
		found AS (SELECT
			(SELECT count(*) FROM lives WHERE number = ANY ($6)) AS living,
			EXISTS (SELECT FROM lives WHERE number = $3) AS proposer,
			EXISTS (SELECT FROM newest WHERE number = $3) AS is_member,
			(SELECT max(epoch) FROM newest) AS newest,
			(SELECT min(node) FROM newest JOIN lives USING (number)) AS left_over),
		moved AS (UPDATE `+schema+`.log l
			SET epoch = l.epoch + CASE WHEN l.wal IN (0, server.wal) THEN 1 ELSE $8 END, wal = server.wal
			FROM found f, server
			WHERE l.epoch = $1 AND f.living >= $4 AND f.proposer AND (f.is_member OR f.left_over IS NULL)
			RETURNING l.epoch),
		stored AS (INSERT INTO `+schema+`.views (epoch, members, quorum, proposer, reason)
			SELECT epoch, $2::text::jsonb, $4, $3, $5 FROM moved WHERE epoch = $1 + 1 RETURNING epoch),
		ended AS (DELETE FROM `+schema+`.ring_sessions WHERE number = ANY ($7) AND EXISTS (SELECT FROM stored)),
		removed AS (DELETE FROM `+schema+`.views WHERE epoch <= $1 - $9 AND EXISTS (SELECT FROM stored))
		SELECT coalesce((SELECT epoch FROM moved), l.epoch), EXISTS (SELECT FROM stored), f.living, f.proposer, f.is_member, f.newest, f.left_over
		FROM `+schema+`.log l, found f`,
		int64(p.base), p.members, int64(p.next.Proposer), p.next.Quorum, p.next.Reason, p.sessions, p.dead,
		failOverEpochs, keptViews).
		QueryRow(func(row pgx.Row) error {
			return row.Scan(&found.epoch, &found.stored, &found.living, &found.proposer, &found.isMember, &found.newest, &found.left)
		})
	batch.Queue(`COMMIT`)
	if err = c.SendBatch(ctx, &batch).Close(); err != nil {
		_ = rollBack(ctx, c)
	}
	return found, err
}

// signed are numbers as PostgreSQL has them; never nil, which would be NULL.
func signed(numbers []uint64) []int64 {
	list := make([]int64, len(numbers))
	for i, n := range numbers {
		list[i] = int64(n)
	}
	return list
}
