package postgres

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
)

// surveySamples is how often a survey measures what varies.
const surveySamples = 20

// Survey has the facts about a server that decide whether a store is well kept there.
type Survey struct {
	Version     int    // 150004 for 15.4
	VersionName string // as the server writes it
	Encoding    string // of the database
	Standby     bool   // the server follows another one
	ReadOnly    bool   // it takes no writes, as a standby or by a setting
	// Settings has fsync, synchronous_commit, full_page_writes and
	// synchronous_standby_names.
	Settings map[string]string
	// Overridden are the defaults of the role and the database that a node replaces.
	Overridden []string
	// Missing are the privileges that the user lacks to create the store, or to use
	// the one that is there.
	Missing []string
	// Connections that the user may still open.
	Connections int
	// Ahead is how much the server's clock is ahead of this machine's.
	Ahead time.Duration
	// Pooler says that something like PgBouncer is between here and the server, and
	// LosesStatements that prepared statements get lost there: each transaction gets
	// another connection.
	Pooler, LosesStatements bool
	// Encrypted says that the connection has TLS, Local that it stays in the machine.
	Encrypted, Local bool
	// RoundTrips are times of the smallest query, Commits of the smallest transaction
	// that the server has to make durable. There are none where it takes no writes.
	RoundTrips, Commits []time.Duration
}

// NodeConns is how many connections a node with this Config opens at most.
func (c Config) NodeConns() int {
	if c.ReadConns == 0 {
		c.ReadConns = defaultReadConns
	}
	conns := c.ReadConns + stepConns + sessionConns
	if c.Ring != "" {
		conns += ringConns
	}
	return conns
}

// Inspect surveys the server that config leads to, with a server that takes no
// writes if there is no other. It changes nothing; its transactions leave a few
// bytes in the server's write-ahead log.
func Inspect(ctx context.Context, config Config) (s Survey, err error) {
	if err := config.validate(); err != nil {
		return Survey{}, err
	}
	err = config.alone(ctx, config.CallTimeout, answers, func(ctx context.Context, c *pgx.Conn) error {
		for _, ask := range []func(context.Context, *pgx.Conn) error{s.askServer, s.askConnections, s.askTimes} {
			if err := ask(ctx, c); err != nil {
				return err
			}
		}
		err := withSettings(ctx, c, func() (err error) {
			s.Missing, err = missingPrivileges(ctx, c, config.Store)
			return err
		})
		if err != nil || !s.Pooler {
			return err
		}
		s.LosesStatements, err = losesStatements(ctx, c, &config)
		return err
	})
	return s, err
}

func (s *Survey) askServer(ctx context.Context, c *pgx.Conn) error {
	s.Settings = make(map[string]string)
	err := c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		current_setting('server_encoding'), pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'`).
		Scan(&s.Version, &s.VersionName, &s.Encoding, &s.Standby, &s.ReadOnly)
	if err == nil && s.Version >= MinServerVersion {
		err = setUp(ctx, c)
	}
	if err != nil {
		return err
	}
	s.Pooler = localSettings(c) != ""
	conn := c.PgConn().Conn()
	_, s.Encrypted = conn.(*tls.Conn)
	s.Local = isLocal(conn.RemoteAddr())
	return withSettings(ctx, c, func() error {
		if s.Overridden, err = overridden(ctx, c, c.Config().RuntimeParams); err != nil {
			return err
		}
		rows, err := c.Query(ctx, `SELECT n, current_setting(n)
			FROM unnest('{fsync,synchronous_commit,full_page_writes,synchronous_standby_names}'::text[]) n`)
		if err != nil {
			return err
		}
		var name, value string
		_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
			s.Settings[name] = value
			return nil
		})
		return err
	})
}

// losesStatements prepares a statement, has another client take the connection on
// which that was, if connections are lent for a transaction, and tries to use it. A
// pooler may choose another connection: it is asked a few times.
func losesStatements(ctx context.Context, c *pgx.Conn, config *Config) (lost bool, err error) {
	// It may have one connection only.
	err = config.alone(ctx, connectTimeout, answers, func(ctx context.Context, other *pgx.Conn) error {
		if err := setUp(ctx, other); err != nil {
			return err
		}
		for i := 0; i < 4 && !lost; i++ {
			name := fmt.Sprintf("gyre_survey_%d", i)
			if _, err := c.Prepare(ctx, name, "SELECT 1"); err != nil {
				lost = stateOf(err) == stateStatementThere
				return nil
			}
			// The server may have defaults that end a transaction that is slow.
			if err := begin(ctx, other); err != nil {
				return err
			}
			lost = useStatement(ctx, c, name)
			if err := rollBack(ctx, other); err != nil {
				return err
			}
		}
		return nil
	})
	return lost, err
}

// useStatement reports whether a statement that was prepared is not there.
func useStatement(ctx context.Context, c *pgx.Conn, name string) (lost bool) {
	_, err := c.PgConn().ExecPrepared(ctx, name, nil, nil, nil).Close()
	return stateOf(err) == stateNoStatement
}

// askConnections counts what the server, the database and the user leave.
func (s *Survey) askConnections(ctx context.Context, c *pgx.Conn) error {
	return withSettings(ctx, c, func() error { return s.countConnections(ctx, c) })
}

func (s *Survey) countConnections(ctx context.Context, c *pgx.Conn) error {
	return c.QueryRow(ctx, `
		WITH used AS (
		  SELECT count(*) AS server, count(*) FILTER (WHERE datname = current_database()) AS database,
		         count(*) FILTER (WHERE usename = session_user) AS role
		  FROM pg_stat_activity WHERE datname IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend')
		SELECT greatest(0, least(
		  current_setting('max_connections')::int - u.server
		    - CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int
		      + coalesce(current_setting('reserved_connections', true)::int, 0) END, -- since 16
		  CASE WHEN d.datconnlimit < 0 OR r.rolsuper THEN NULL ELSE d.datconnlimit - u.database END,
		  CASE WHEN r.rolconnlimit < 0 OR r.rolsuper THEN NULL ELSE r.rolconnlimit - u.role END))::int
		FROM used u, pg_roles r, pg_database d
		WHERE r.rolname = session_user AND d.datname = current_database()`).Scan(&s.Connections)
}

// askTimes measures, and compares the clocks by the quickest answer.
func (s *Survey) askTimes(ctx context.Context, c *pgx.Conn) error {
	quickest := time.Duration(-1)
	for range surveySamples {
		var there time.Time
		begun := time.Now()
		if err := c.QueryRow(ctx, `SELECT pg_catalog.clock_timestamp()`).Scan(&there); err != nil {
			return err
		}
		took := time.Since(begun)
		s.RoundTrips = append(s.RoundTrips, took)
		if quickest < 0 || took < quickest {
			quickest, s.Ahead = took, there.Sub(begun.Add(took/2))
		}
	}
	if s.ReadOnly {
		return nil
	}
	for range surveySamples {
		begun := time.Now()
		// A message without a reader: the smallest thing whose commit waits for the disk.
		if _, err := c.Exec(ctx, `SELECT pg_catalog.pg_logical_emit_message(true, 'gyre', '')`); err != nil {
			return err
		}
		s.Commits = append(s.Commits, time.Since(begun))
	}
	return nil
}

// missingPrivileges are those to create a store, or to use the one that is there.
func missingPrivileges(ctx context.Context, c *pgx.Conn, store string) ([]string, error) {
	rows, err := c.Query(ctx, `
		WITH the AS (SELECT to_regnamespace($1)::oid AS schema),
		needed AS (
		  SELECT 'CREATE on database ' || current_database() AS what, has_database_privilege(current_database(), 'CREATE') AS has
		  FROM the WHERE schema IS NULL
		  UNION ALL
		  SELECT p || ' on schema ' || $1, has_schema_privilege(schema, p)
		  FROM the, unnest(CASE WHEN EXISTS (SELECT FROM pg_class WHERE relnamespace = schema AND relname = 'log')
		    THEN '{USAGE}'::text[] ELSE '{USAGE,CREATE}' END) p
		  WHERE schema IS NOT NULL
		  UNION ALL
		  SELECT p || ' on ' || $1 || '.' || c.relname, has_table_privilege(c.oid, p)
		  FROM the, pg_class c, unnest(CASE c.relname
		    WHEN 'migrations' THEN '{SELECT}'::text[] WHEN 'log' THEN '{SELECT,UPDATE}'
		    WHEN 'changes' THEN '{SELECT,INSERT}'
		    WHEN 'timelines' THEN '{SELECT,INSERT,DELETE}' WHEN 'views' THEN '{SELECT,INSERT,DELETE}' ELSE '{SELECT,INSERT,UPDATE,DELETE}' END) p
		  WHERE c.relnamespace = schema AND c.relname IN ('migrations', 'log', 'streams', 'events', 'records', 'sessions', 'timelines',
		    'ring_sessions', 'views', 'blobs', 'blob_chunks', 'removed', 'changes'))
		SELECT what FROM needed WHERE NOT has`, store)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func isLocal(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// CheckSchema answers whether this version of Gyre can use the store as it is:
// schema_outdated, store_newer, or nil.
func CheckSchema(ctx context.Context, config Config) error {
	return config.ask(ctx, func(ctx context.Context, c *pgx.Conn) error { return checkSchema(ctx, c, config.Store) })
}
