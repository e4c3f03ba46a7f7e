package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gyre-events/gyre/core"
)

const connectTimeout = 5 * time.Second

// applicationName is the same for all nodes of a store up to its last part.
func (c *Config) applicationName() string {
	name := applicationPrefix(c.Store) + c.Node
	return name[:min(len(name), 63)]
}

func applicationPrefix(store string) string { return "gyre/" + store + "/" }

// pool makes the configuration of a pool. No connection is made.
func (c *Config) pool() (*pgxpool.Config, error) {
	p, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, badURL(err)
	}
	c.harden(&p.ConnConfig.Config)
	p.ConnConfig.DefaultQueryExecMode = nothingPrepared
	p.HealthCheckPeriod = 15 * time.Second
	p.PingTimeout = connectTimeout
	return p, nil
}

// nothingPrepared is how statements are sent that do not matter for speed. Those
// that do are prepared by name (statements.go).
const nothingPrepared = pgx.QueryExecModeExec

// harden sets what every connection needs.
func (c *Config) harden(p *pgconn.Config) {
	if p.ConnectTimeout == 0 {
		p.ConnectTimeout = connectTimeout
	}
	p.RuntimeParams["application_name"] = c.applicationName()
	setFormats(p.RuntimeParams)
	if p.ValidateConnect == nil {
		p.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	validate := p.ValidateConnect
	p.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		err := validate(ctx, conn)
		var notPg *pgconn.PgError
		if err != nil && ctx.Err() == nil && !errors.As(err, &notPg) && !conn.IsClosed() {
			return core.Errorf(core.CodeStoreReadOnly, "the server takes no writes (%w)", err)
		}
		return err
	}
}

// need is what kind of server will do.
type need int

const (
	writes  need = iota // one that takes writes
	answers             // any, if none takes writes
)

// connect makes a connection outside the pools.
func (c *Config) connect(ctx context.Context, need need) (*pgx.Conn, error) {
	p, err := pgx.ParseConfig(c.URL)
	if err != nil {
		return nil, badURL(err)
	}
	c.harden(&p.Config)
	p.DefaultQueryExecMode = nothingPrepared
	conn, err := pgx.ConnectConfig(ctx, p)
	if need == answers && err != nil && errors.Is(asError(err), core.CodeStoreReadOnly) {
		p.ValidateConnect = nil
		conn, err = pgx.ConnectConfig(ctx, p)
	}
	return conn, err
}

// alone runs call on a connection of its own, for limit at most. It serves commands,
// whether or not a node runs.
func (c *Config) alone(ctx context.Context, limit time.Duration, need need, call func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := c.connect(ctx, need)
	if err != nil {
		return asError(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = call(ctx, conn)
	if err != nil && conn.IsClosed() {
		err = &lostError{err}
	}
	return asErrorOrNil(err)
}

// ask asks a server that will do about a store.
func (c *Config) ask(ctx context.Context, call func(ctx context.Context, conn *pgx.Conn) error) error {
	if err := c.validate(); err != nil {
		return err
	}
	return c.alone(ctx, c.CallTimeout, answers, func(ctx context.Context, conn *pgx.Conn) error {
		if err := checkServer(ctx, conn); err != nil {
			return err
		}
		return withSettings(ctx, conn, func() error { return call(ctx, conn) })
	})
}

// badURL is the answer to a URL that cannot be parsed. The driver leaves the
// password out of what it says.
func badURL(err error) error {
	return core.Errorf(core.CodeInvalidConfig, "not a PostgreSQL URL: %s", fmt.Sprint(err))
}

// unnamed reports whether the URL asks to do without prepared statements.
func (c *Config) unnamed() bool {
	p, err := pgx.ParseConfig(c.URL)
	return err == nil && p.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement
}
