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
// store_denied, store_read_only, store_newer, schema_outdated, store_in_use,
// cluster_mismatch.
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
	e := &Engine{config: config, sql: newStatements(config.schema()), hints: hints{newNameCache(), newSizes()}}
	e.session.knows = len(known)
	e.session.id, e.session.now, e.session.failed = core.NewID(), make(chan struct{}, 1), make(chan error, 1)
	e.unnamed.Store(config.unnamed())
	e.log.changed = make(chan struct{})
	e.poll.now, e.poll.hinted = make(chan struct{}, 1), make(chan struct{}, 1)
	e.remover.now = make(chan struct{}, 1)
	e.scavenger = scavenger{newOwnConn(e), make(chan struct{}, 1)}
	e.arbiter = arbiter{beats: newOwnConn(e), views: newOwnConn(e), nodes: make(map[uint64]string)}
	e.closing, e.close = context.WithCancel(context.Background())
	e.stepCtx, e.kill = context.WithCancel(context.Background())
	if err := e.connect(ctx); err != nil {
		_ = e.Close()
		return nil, asError(err)
	}
	e.poll.running.Go(e.run)
	e.session.running.Go(e.keepSession)
	if !config.OnlyReads {
		e.remover.running.Go(e.runRemover)
	}
	return e, nil
}

// prepare checks the server and migrates the schema.
func prepare(ctx context.Context, config *Config) error {
	return config.alone(ctx, config.CallTimeout, writes, func(ctx context.Context, c *pgx.Conn) error {
		if err := checkServer(ctx, c); err != nil {
			return err
		}
		var fsync, commit string
		err := withSettings(ctx, c, func() error {
			return c.QueryRow(ctx, `SELECT current_setting('fsync'), current_setting('synchronous_commit')`).Scan(&fsync, &commit)
		})
		if err != nil {
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

// checkServer refuses a server, or a database, that a store cannot be in, and sets a
// connection up to one that it can.
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
	return setUp(ctx, c)
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
		config.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
			if err := setUp(ctx, c); err != nil {
				return err
			}
			return e.recognize(ctx, c)
		}
		if *p.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, e.config.CallTimeout+unsureFor)
	defer cancel()
	err := on(ctx, e.steps, func(context.Context, *pgx.Conn) error { return nil }) // recognizes the log
	if err == nil {
		err = e.openSession(ctx)
	}
	if err != nil {
		return err
	}
	e.epoch = e.log.state().Epoch
	return nil
}
