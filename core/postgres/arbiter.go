package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// arbiter is what an Engine needs to be a cluster.Arbiter.
//
// Beats and views have a connection each, so that neither waits for a Commit, a read, or
// the other.
type arbiter struct {
	beats, views *ownConn

	mu    sync.Mutex        // protects the field below
	nodes map[uint64]string // of the sessions that were registered here
}

// keptViews is how many of the newest views are kept.
const keptViews = 10_000

// sessionColumns are those of a ring.Session.
const sessionColumns = `number, member::text, beats, released, draining, secret`

// Register is cluster.Arbiter's. Sessions that refuse m are passed over if their process
// has gone.
func (e *Engine) Register(ctx context.Context, name string, m ring.Member, secret [32]byte) (session uint64, err error) {
	err = e.arbiter.views.do(ctx, true, func(ctx context.Context, c *pgx.Conn) error {
		return transact(ctx, c, func() (err error) {
			session, err = e.register(ctx, c, name, m, secret)
			return err
		})
	})
	if err != nil {
		return 0, err
	}
	e.arbiter.mu.Lock()
	defer e.arbiter.mu.Unlock()
	e.arbiter.nodes[session] = m.Node
	return session, nil
}

func (e *Engine) register(ctx context.Context, c *pgx.Conn, name string, m ring.Member, secret [32]byte) (session uint64, err error) {
	schema := e.config.schema()
	member, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	if err := e.lockSessions(ctx, c); err != nil {
		return 0, err
	}
	others, err := e.otherSessions(ctx, c)
	if err == nil {
		err = e.refuseShared(others, unsureIsFine)
	}
	if err != nil {
		return 0, err
	}
	if err := e.refuseMismatch(ctx, c, name, m); err != nil {
		return 0, err
	}
	// What is left of another ring has gone.
	if _, err := c.Exec(ctx, `DELETE FROM `+schema+`.ring_sessions WHERE node = $1 OR ring <> $2`, m.Node, name); err != nil {
		return 0, err
	}
	err = c.QueryRow(ctx, `INSERT INTO `+schema+`.ring_sessions (ring, node, member, secret, opened)
		VALUES ($1, $2, $3::text::jsonb, $4, $5) RETURNING number`,
		name, m.Node, string(member), secret[:], e.session.id.String()).Scan(&session)
	return session, err
}

// refuseMismatch returns cluster_mismatch if m cannot be in a ring with the others.
func (e *Engine) refuseMismatch(ctx context.Context, c *pgx.Conn, name string, m ring.Member) error {
	schema := e.config.schema()
	rows, err := c.Query(ctx, `SELECT r.node, r.ring, (r.member ->> 'protocol')::int,
			coalesce((r.member ->> 'tls')::boolean, false) FROM `+schema+`.ring_sessions r
		WHERE r.node <> $1 AND EXISTS (SELECT FROM `+schema+`.sessions s WHERE s.id = r.opened AND `+liveSession(schema)+`)
		ORDER BY r.number`, m.Node)
	if err != nil {
		return err
	}
	var other ring.Member
	var ringName string
	var mismatch error
	_, err = pgx.ForEachRow(rows, []any{&other.Node, &ringName, &other.Protocol, &other.TLS}, func() error {
		switch why := other.Mismatch(m); {
		case mismatch != nil:
		case ringName != name:
			mismatch = core.Errorf(core.CodeClusterMismatch, "node %s is in ring %q, and %s would be in ring %q", other.Node, ringName, m.Node, name)
		case why != "":
			mismatch = core.Errorf(core.CodeClusterMismatch, "%s", why)
		}
		return nil
	})
	return cmp.Or(err, mismatch)
}

// Beat is cluster.Arbiter's. It takes a second at most, beside the time to connect.
func (e *Engine) Beat(ctx context.Context, session, released uint64, draining bool) (standing ring.Standing, err error) {
	err = e.arbiter.beats.do(ctx, true, func(ctx context.Context, c *pgx.Conn) (err error) {
		if standing, err = e.ringBeat(ctx, c, session, released, draining); err != nil {
			return err
		}
		if known := e.log.known(); standing.Epoch < known.epoch {
			// Behind a pooler the same connection may lead to another server.
			if err = e.recognize(ctx, c); err == nil {
				standing, err = e.ringBeat(ctx, c, session, released, draining)
			}
		}
		if _, ok := standing.Session(session); err == nil && !ok {
			// The UPDATE may have waited for the Register that ended the session, and what
			// was listed is from before it.
			standing, err = e.ringBeat(ctx, c, session, released, draining)
		}
		return err
	})
	if err != nil {
		return ring.Standing{}, err
	}
	e.log.passed(standing.Epoch)
	if _, ok := standing.Session(session); ok {
		return standing, nil
	}
	return ring.Standing{}, e.whyEnded(session, &standing)
}

// ringBeat counts a beat and lists all sessions, in one statement and one flush.
func (e *Engine) ringBeat(ctx context.Context, c *pgx.Conn, session, released uint64, draining bool) (standing ring.Standing, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	schema := e.config.schema()
	var batch pgx.Batch
	if local := localSettings(c); local != "" {
		batch.Queue(local)
	}
	// A beat need not survive a crash, and must not wait for the disk or a standby.
	batch.Queue(`SELECT set_config('synchronous_commit', 'off', true), set_config('statement_timeout', '1000', true)`)
	batch.Queue(`WITH own AS (
			UPDATE `+schema+`.ring_sessions SET beats = beats + 1, released = greatest(released, $2), draining = $3
			WHERE number = $1 RETURNING `+sessionColumns+`)
		SELECT l.epoch, s.* FROM `+schema+`.log l LEFT JOIN (
			SELECT * FROM own UNION ALL SELECT `+sessionColumns+` FROM `+schema+`.ring_sessions WHERE number <> $1) s ON true
		ORDER BY s.number`, int64(session), int64(released), draining).
		Query(func(rows pgx.Rows) error {
			for rows.Next() {
				if err := addSession(&standing, rows); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	err = c.SendBatch(ctx, &batch).Close()
	if err == nil && standing.Epoch == 0 {
		err = core.Errorf(core.CodeStoreCorrupt, "the log of store %q has no row", e.config.Store)
	}
	return standing, err
}

// addSession adds a row to a Standing. It has an epoch, and a session unless there is none.
func addSession(standing *ring.Standing, rows pgx.Rows) error {
	var number, beats, released *uint64
	var member *string
	var draining *bool
	var secret []byte
	err := rows.Scan(&standing.Epoch, &number, &member, &beats, &released, &draining, &secret)
	if err != nil || number == nil {
		return err
	}
	s := ring.Session{Beats: *beats, Released: *released, Draining: *draining}
	err = json.Unmarshal([]byte(*member), &s.Member)
	s.Member.Session = *number
	copy(s.Secret[:], secret)
	standing.Sessions = append(standing.Sessions, s)
	return err
}

// whyEnded is the error of a session that is not in a Standing.
func (e *Engine) whyEnded(session uint64, standing *ring.Standing) error {
	e.arbiter.mu.Lock()
	node := e.arbiter.nodes[session]
	e.arbiter.mu.Unlock()
	for _, s := range standing.Sessions {
		if s.Node == node && s.Session > session {
			return core.Errorf(core.CodeNodeSuperseded, "another process has the node id %s", node)
		}
	}
	return core.Errorf(core.CodeNotMember, "session %d has ended", session)
}

// Leave is cluster.Arbiter's.
func (e *Engine) Leave(ctx context.Context, session uint64) error {
	return e.arbiter.views.do(ctx, true, func(ctx context.Context, c *pgx.Conn) error {
		return withSettings(ctx, c, func() error {
			_, err := c.Exec(ctx, `DELETE FROM `+e.config.schema()+`.ring_sessions WHERE number = $1`, int64(session))
			return err
		})
	})
}

// Views is cluster.Arbiter's.
func (e *Engine) Views(ctx context.Context, after uint64, limit int) (views []ring.View, err error) {
	err = e.arbiter.views.do(ctx, true, func(ctx context.Context, c *pgx.Conn) error {
		return withSettings(ctx, c, func() error {
			rows, err := c.Query(ctx, `SELECT epoch, members::text, quorum, proposer, reason, at FROM `+e.config.schema()+`.views
				WHERE epoch > $1 ORDER BY epoch LIMIT $2`, int64(after), limit)
			if err == nil {
				views, err = pgx.CollectRows(rows, scanView)
			}
			return err
		})
	})
	return views, err
}

func scanView(row pgx.CollectableRow) (v ring.View, err error) {
	var members string
	if err = row.Scan(&v.Epoch, &members, &v.Quorum, &v.Proposer, &v.Reason, &v.At); err == nil {
		err = json.Unmarshal([]byte(members), &v.Members)
	}
	v.At = v.At.In(time.UTC)
	return v, err
}
