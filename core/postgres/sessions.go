package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gyre-events/gyre/core"
)

// A node has a session as long as it has a store open: a row that says which migration
// the node knows, so that none takes away what it uses, and whether anybody has the store
// open. The node beats: it puts off the end of its session, on a connection of its own, so
// that no Commit or read can hold a beat up. The session of a node that was killed ends by
// itself.
//
// A lock of a database session would end sooner. But a pooler in transaction mode has no
// sessions to give, and after a fail-over there is none left; rows are with the data.
//
// The end is by the server's clock, and a new primary's may differ: up to the next beat a
// session may count as ended, and one of a killed node stays for longer by the difference.
// Neither does harm: a node whose session has ended begins another one at its next beat,
// or is refused.
const (
	beatEvery = time.Second
	// sessionFor is how long a session lasts without a beat.
	sessionFor = 15 * time.Second
	// beatTimeout bounds a beat.
	beatTimeout = time.Second
	// unsureFor is how long a node that opens a store waits for the beats of others after
	// a restart of the server.
	unsureFor = 3 * beatEvery
)

// session is the engine's. Open begins it, one goroutine keeps it up, Close ends it.
type session struct {
	id      core.ID // of this opening of the store
	knows   int     // the newest migration that this version knows
	running sync.WaitGroup
	conn    *pgx.Conn // nil if it is lost
	joined  bool
	// now asks for a beat at once: the server may have been started anew.
	now chan struct{}
	// shutOut says why the node must not use the store any more: it has gone further than
	// this version can follow, or others have it.
	shutOut atomic.Pointer[core.Error]
	failed  chan error // see Failed
}

// Node is one that has a store open.
type Node struct {
	Name    string
	Version string // of its program
	Knows   int    // the newest migration that it knows
	Since   time.Time
}

// Nodes lists the nodes that have the store open, in the order in which they opened it.
// One that was killed is listed for another 15 s.
func Nodes(ctx context.Context, config Config) (nodes []Node, err error) {
	err = config.ask(ctx, func(ctx context.Context, c *pgx.Conn) error {
		there, err := hasTable(ctx, c, config.Store, "sessions")
		if err != nil || !there {
			return err
		}
		rows, err := c.Query(ctx, `SELECT name, version, knows, since FROM `+config.schema()+`.sessions
			WHERE until >= clock_timestamp() ORDER BY since, name`)
		if err != nil {
			return err
		}
		nodes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Node])
		return err
	})
	return nodes, err
}

// openSession begins the session. If nobody else has the store open it begins a timeline,
// too, as the log may have been restored since somebody had. After a restart of the server
// the sessions of others count if they beat soon.
func (e *Engine) openSession(ctx context.Context) (err error) {
	if err := e.connectSession(ctx); err != nil {
		return err
	}
	for begun := time.Now(); ; {
		unsure := unsureFails
		if time.Since(begun) > unsureFor {
			unsure = unsureIsGone
		}
		err := e.join(ctx, unsure)
		switch {
		case err == errUnsure:
		case stateOf(err) == stateLockTimeout, stateOf(err) == stateCanceled:
			err = e.rescue(ctx, e.session.conn)
		default:
			e.session.joined = err == nil
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(10 * firstPause):
		}
	}
}

// connectSession makes the session's connection.
func (e *Engine) connectSession(ctx context.Context) error {
	c, err := e.config.connect(ctx, writes)
	if err == nil {
		err = setUp(ctx, c)
		e.session.conn = c
	}
	return err
}

// errUnsure says that others may have the store open.
var errUnsure = errors.New("others may have the store open")

// unsure is what becomes of a session that has not beaten since the server started.
type unsure int

const (
	unsureFails  unsure = iota // errUnsure
	unsureIsGone               // nobody else has the store open
	unsureIsFine               // it does not matter: no timeline is begun
)

// join begins a session, unless the store has gone further than this version can follow,
// or others have it. Sessions that have ended are taken out on the way.
func (e *Engine) join(ctx context.Context, when unsure) error {
	c, schema := e.session.conn, e.config.schema()
	if err := begin(ctx, c); err != nil {
		return err
	}
	defer func() { _ = rollBack(ctx, c) }()
	if err := e.lockSessions(ctx, c); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `DELETE FROM `+schema+`.sessions WHERE id IN (SELECT id FROM `+schema+`.sessions
		WHERE until < clock_timestamp() OR place <> `+placeOf(schema)+` FOR UPDATE SKIP LOCKED)`); err != nil {
		return err
	}
	others, err := e.otherSessions(ctx, c)
	if err != nil {
		return err
	}
	sure := slices.ContainsFunc(others, func(o other) bool { return o.sure })
	if when == unsureFails && len(others) > 0 && !sure {
		return errUnsure
	}
	if err := e.refuseShared(others, when); err != nil {
		return err
	}
	row, err := e.logRow(ctx, c, "open", 0)
	if err != nil {
		return err
	}
	if err := e.refuseAgain(&row, when); err != nil {
		return err
	}
	var batch pgx.Batch
	batch.Queue(`INSERT INTO `+schema+`.sessions (id, name, version, knows, ring, until, place)
		VALUES ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6), `+placeOf(schema)+`)
		ON CONFLICT (id) DO UPDATE SET until = excluded.until`,
		e.session.id.String(), e.config.Node, e.config.Version, e.session.knows, e.config.sessionRing(), sessionFor.Seconds())
	if when != unsureIsFine {
		next := row.identity
		if !sure && !e.config.OnlyReads {
			next.timeline = newWord()
		}
		if e.isAlone() {
			next.epoch++
		}
		e.queueTakeOver(&batch)
		if next != row.identity {
			queueChange(&batch, schema, row.identity, next)
		}
	}
	batch.Queue(`COMMIT`)
	if err := c.SendBatch(ctx, &batch).Close(); err != nil {
		return err
	}
	if row, err = e.logRow(ctx, c, "open", 0); err == nil {
		e.reached(&row)
	}
	return err
}

// lockSessions takes the locks of a transaction that begins a session: against migrations,
// which take the same lock alone, and then against others that begin one.
func (e *Engine) lockSessions(ctx context.Context, c *pgx.Conn) error {
	store := e.config.Store
	if _, err := c.Exec(ctx, `SELECT pg_advisory_xact_lock_shared(`+migrationLock+`)`, store); err != nil {
		return err
	}
	if err := checkSchema(ctx, c, store); err != nil {
		return err
	}
	_, err := c.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('gyre sessions of ' || $1, 0))`, store)
	return err
}

// liveSession is the condition that a row s of the sessions has not ended, in SQL.
func liveSession(schema string) string {
	return `s.until >= clock_timestamp() AND s.place = ` + placeOf(schema)
}

// placeOf is where the sessions of a store are, in SQL.
func placeOf(schema string) string {
	return `(SELECT d.oid || '/' || '` + schema + `.sessions'::regclass::oid FROM pg_database d WHERE d.datname = current_database())`
}

// keepSession beats until the engine closes.
func (e *Engine) keepSession() {
	for {
		timer := time.NewTimer(beatEvery)
		select {
		case <-timer.C:
		case <-e.session.now:
			timer.Stop()
		case <-e.closing.Done():
			timer.Stop()
			return
		}
		e.beat()
	}
}

// beat puts off the end of the session. If that fails it is tried again at once, on a new
// connection.
func (e *Engine) beat() {
	err := e.tryBeat()
	if err != nil && !isShutOut(err) {
		e.dropSession()
		err = e.tryBeat()
	}
	switch {
	case err == nil:
		e.session.shutOut.Store(nil)
	case isShutOut(err):
		known := asError(err)
		e.session.shutOut.Store(known)
		e.noteProblem(known)
		if known.Code == core.CodeNodeSuperseded {
			select {
			case e.session.failed <- known:
			default: // that is known already
			}
		}
	default:
		e.dropSession()
	}
}

// isShutOut reports whether err says that the node must not use the store.
func isShutOut(err error) bool {
	return errors.Is(err, core.CodeStoreNewer) || errors.Is(err, core.CodeStoreInUse) || errors.Is(err, core.CodeNodeSuperseded)
}

// dropSession closes the session's connection.
func (e *Engine) dropSession() {
	if c := e.session.conn; c != nil {
		ctx, cancel := context.WithTimeout(context.Background(), beatTimeout)
		defer cancel()
		_ = c.Close(ctx)
		e.session.conn = nil
	}
}

// tryBeat beats on the session's connection, or a new one. A session that is not there
// has ended, or was lost in a fail-over: another one begins. If it must not, as the store
// has gone further meanwhile, the engine serves nobody from then on.
func (e *Engine) tryBeat() (err error) {
	if e.session.conn == nil {
		ctx, cancel := context.WithTimeout(e.closing, connectTimeout)
		defer cancel()
		if err := e.connectSession(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(e.closing, beatTimeout)
	defer cancel()
	var batch pgx.Batch
	if local := localSettings(e.session.conn); local != "" {
		batch.Queue(local)
	}
	// A beat need not survive a crash, and must not wait for the disk or a standby.
	batch.Queue(`SELECT set_config('synchronous_commit', 'off', true), set_config('statement_timeout', '1000', true)`)
	there := false
	batch.Queue(`UPDATE `+e.config.schema()+`.sessions SET until = clock_timestamp() + make_interval(secs => $2), started = pg_postmaster_start_time()
		WHERE id = $1`, e.session.id.String(), sessionFor.Seconds()).
		Exec(func(tag pgconn.CommandTag) error {
			there = tag.RowsAffected() == 1
			return nil
		})
	if err := e.session.conn.SendBatch(ctx, &batch).Close(); err != nil || there {
		return err
	}
	return e.join(ctx, unsureIsFine)
}

// closeSession ends the session. If that fails it is tried again at once, on a new
// connection: the server may have closed the old one, and a beat that Close has
// interrupted leaves none. A session that is not ended here ends by itself, but until then
// it keeps the next node from beginning a timeline.
func (e *Engine) closeSession() {
	ctx, cancel := context.WithTimeout(context.Background(), beatTimeout)
	defer cancel()
	if e.session.joined && e.endSession(ctx) != nil {
		e.dropSession()
		_ = e.endSession(ctx)
	}
	e.session.joined = false
	e.dropSession()
}

func (e *Engine) endSession(ctx context.Context) error {
	if e.session.conn == nil {
		if err := e.connectSession(ctx); err != nil {
			return err
		}
	}
	_, err := e.session.conn.Exec(ctx, `DELETE FROM `+e.config.schema()+`.sessions WHERE id = $1`, e.session.id.String())
	return err
}
