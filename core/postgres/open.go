package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gyre-events/gyre/core"
)

// MinServerVersion is the oldest PostgreSQL that will do, as Survey.Version has it.
const MinServerVersion = 130000

// ErrUnfit is in the error, invalid_config, about a server or a database that a store
// cannot be in.
var ErrUnfit = errors.New("the server cannot keep a store")

// Open connects to the server, brings the schema up to date and begins to
// watch the log. The error says what to do: invalid_config, store_unavailable,
// store_denied, store_read_only, store_newer, schema_outdated.
func Open(ctx context.Context, config Config) (*Engine, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	if err := prepare(ctx, &config); err != nil {
		return nil, err
	}
	known, err := migrationsOf(config.Store)
	if err != nil {
		return nil, err
	}
	e := &Engine{config: config, sql: newStatements(config.Store), names: newNameCache(), sizes: newSizes(), id: core.NewID(), knows: len(known)}
	e.unnamed.Store(config.unnamed())
	e.log.changed = make(chan struct{})
	e.poll.hurry = make(chan struct{}, 1)
	e.closing, e.close = context.WithCancel(context.Background())
	e.hurry, e.kill = context.WithCancel(context.Background())
	if err := e.connect(ctx); err != nil {
		_ = e.Close()
		return nil, asError(err)
	}
	e.poll.running.Go(e.run)
	return e, nil
}

// prepare checks the server and migrates the schema.
func prepare(ctx context.Context, config *Config) error {
	return config.alone(ctx, config.CallTimeout, writes, func(ctx context.Context, c *pgx.Conn) error {
		if err := checkServer(ctx, c); err != nil {
			return err
		}
		var fsync, commit string
		if err := c.QueryRow(ctx, `SELECT current_setting('fsync'), current_setting('synchronous_commit')`).Scan(&fsync, &commit); err != nil {
			return err
		}
		if fsync != "on" || commit == "off" {
			config.Logger.Warn("the server acknowledges before it has written: what was acknowledged may be lost when it fails",
				"fsync", fsync, "synchronous_commit", commit)
		}
		if config.NoMigrate {
			return checkSchema(ctx, c, config.Store)
		}
		return migrate(ctx, c, config.Store, config.Logger)
	})
}

// checkServer refuses a server, or a database, that a store cannot be in.
func checkServer(ctx context.Context, c *pgx.Conn) error {
	var version int
	var name, encoding string
	err := c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		current_setting('server_encoding')`).Scan(&version, &name, &encoding)
	switch {
	case err != nil:
		return err
	case version < MinServerVersion:
		return core.Errorf(core.CodeInvalidConfig, "%w: it is PostgreSQL %s and has to be 13 or newer", ErrUnfit, name)
	case encoding != "UTF8":
		return core.Errorf(core.CodeInvalidConfig, "%w: the database has the encoding %s and has to have UTF8", ErrUnfit, encoding)
	}
	return nil
}

// connect makes the pools, reads what the log is, and makes sure that every
// new connection leads to that log.
func (e *Engine) connect(ctx context.Context) error {
	for _, p := range []struct {
		pool **pgxpool.Pool
		max  int
	}{{&e.steps, stepConns}, {&e.reads, e.config.ReadConns}} {
		config, err := e.config.pool()
		if err != nil {
			return err
		}
		config.MaxConns = int32(p.max)
		config.AfterConnect = e.recognize
		if *p.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, e.config.CallTimeout)
	defer cancel()
	if err := e.join(ctx); err != nil {
		return err
	}
	e.joined = true
	return on(ctx, e.steps, func(ctx context.Context, c *pgx.Conn) error {
		var epoch int64
		err := c.QueryRow(ctx, `SELECT epoch FROM `+e.config.Store+`.log`).Scan(&epoch)
		e.epoch = uint64(epoch)
		return err
	})
}

// recognize looks whether a new connection leads to the log that is known. After
// a fail-over the new primary may lack the newest events, if the old one did not
// wait for it. Then positions that were told will be given to other events, so
// the log gets another identity: cursors of the old one are refused, and follows
// end with log_changed.
func (e *Engine) recognize(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, e.config.CallTimeout)
	defer cancel()
	known, last := e.log.known()
	for {
		var id string
		var head uint64
		var at *[16]byte
		err := c.QueryRow(ctx, `
			SELECT l.id, greatest(l.head, (SELECT e.position FROM `+e.config.Store+`.events e ORDER BY e.position DESC LIMIT 1)),
				(SELECT e.id FROM `+e.config.Store+`.events e WHERE e.position = $1)
			FROM `+e.config.Store+`.log l`, int64(last.position)).Scan(&id, &head, &at)
		if errors.Is(err, pgx.ErrNoRows) {
			return core.Errorf(core.CodeStoreCorrupt, "the log of store %q has no row", e.config.Store)
		}
		if err != nil {
			return err
		}
		switch {
		case known == "":
			e.log.replace(id, head)
			return nil
		case id != known:
			e.config.Logger.Warn("the log has another identity", "before", known, "now", id, "head", head)
			e.log.replace(id, head)
			return nil
		case last.position == 0 || at != nil && core.ID(*at) == last.id:
			return nil
		}
		e.config.Logger.Error("the log has lost its newest events", "position", last.position, "head", head)
		if _, err := c.Exec(ctx, `UPDATE `+e.config.Store+`.log
			SET id = left(translate(gen_random_uuid()::text, '-', ''), 12) WHERE id = $1`, known); err != nil {
			return err
		}
	}
}
