package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// Migrations are files that are applied in the order of their numbers, all that
// are missing in one transaction. They expand first and contract later, so that
// nodes of two neighbouring versions can work on one schema: each says which
// migration a node has to know to work with the schema after it. One that asks for
// more than the one before begins by refusing to go while older nodes have the store
// open; the second migration makes them known.

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migration is one version of the schema.
type Migration struct {
	Version int
	Name    string
	// Least is the newest migration that a node has to know to work with the schema
	// after this one.
	Least int
	// SQL is what it does, for one store.
	SQL string
	// Applied is when; zero if it is not.
	Applied time.Time
}

// Migrations lists what this version of Gyre knows, with the SQL for a store.
func Migrations(store string) ([]Migration, error) {
	config := Config{URL: "-", Store: store}
	if err := config.validate(); err != nil {
		return nil, err
	}
	return migrationsOf(config.Store)
}

var leastLine = regexp.MustCompile(`(?m)^-- least: ([0-9]+)$`)

func migrationsOf(schema string) ([]Migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var list []Migration
	for i, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		m := Migration{Version: i + 1, Least: i + 1, SQL: strings.ReplaceAll(string(text), "{schema}", quoted(schema))}
		m.Name = strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql")
		if number, rest, _ := strings.Cut(m.Name, "_"); number != fmt.Sprintf("%04d", m.Version) || rest == "" {
			return nil, fmt.Errorf("migration %s should be number %04d", name, m.Version)
		}
		if least := leastLine.FindStringSubmatch(m.SQL); least != nil {
			m.Least, _ = strconv.Atoi(least[1])
		}
		if i > 0 && m.Least > list[i-1].Least {
			m.SQL = fmt.Sprintf("SELECT %s.refuse_older_nodes(%d);\n%s", quoted(schema), m.Least, m.SQL)
		}
		list = append(list, m)
	}
	return list, nil
}

// Migrate applies what is missing, and then makes the optional indexes of these
// names where they are not there; see Indexes. It is safe to call from several nodes
// at once. Config.CallTimeout bounds the migrations; only ctx the indexes.
func Migrate(ctx context.Context, config Config, indexes ...string) error {
	if err := config.validate(); err != nil {
		return err
	}
	list, err := findIndexes(indexes)
	if err != nil {
		return err
	}
	config.NoMigrate = false
	if err := prepare(ctx, &config); err != nil {
		return err
	}
	return makeIndexes(ctx, &config, list)
}

// Status lists the migrations that this version of Gyre knows, and when they
// were applied, and the number of the newest that was, which may be one that is
// not known.
func Status(ctx context.Context, config Config) (known []Migration, newest int, err error) {
	err = config.ask(ctx, func(ctx context.Context, c *pgx.Conn) error {
		if known, err = migrationsOf(config.Store); err != nil {
			return err
		}
		applied, err := readApplied(ctx, c, config.Store)
		if err != nil {
			return err
		}
		for i := range known {
			known[i].Applied = applied.at[known[i].Version]
		}
		newest = applied.newest
		return nil
	})
	return known, newest, err
}

// applied is what a schema says of itself.
type applied struct {
	at     map[int]time.Time
	newest int
	least  int // that a node has to know
}

func readApplied(ctx context.Context, c *pgx.Conn, schema string) (applied, error) {
	a := applied{at: make(map[int]time.Time)}
	if there, err := hasTable(ctx, c, schema, "migrations"); err != nil || !there {
		return a, err
	}
	rows, err := c.Query(ctx, `SELECT version, least, applied FROM `+quoted(schema)+`.migrations`)
	if err != nil {
		return a, err
	}
	var version, least int
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&version, &least, &at}, func() error {
		a.at[version] = at
		a.newest, a.least = max(a.newest, version), max(a.least, least)
		return nil
	})
	return a, err
}

// hasTable asks the catalog itself: to_regclass may answer from a cache that does not
// know yet what another node has just made.
func hasTable(ctx context.Context, c *pgx.Conn, schema, table string) (there bool, err error) {
	err = c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2)`, schema, table).Scan(&there)
	return there, err
}

// check compares a schema with what this version knows.
func (a applied) check(schema string, known int) error {
	if a.least > known {
		return core.Errorf(core.CodeStoreNewer, "store %q is at migration %d and needs a node that knows %d; this one knows %d",
			schema, a.newest, a.least, known)
	}
	return nil
}

func checkSchema(ctx context.Context, c *pgx.Conn, schema string) error {
	known, err := migrationsOf(schema)
	if err != nil {
		return err
	}
	a, err := readApplied(ctx, c, schema)
	if err != nil {
		return err
	}
	if a.newest < len(known) {
		return core.Errorf(core.CodeSchemaOutdated, "store %q is at migration %d of %d", schema, a.newest, len(known))
	}
	return a.check(schema, len(known))
}

// migrationLock is the number of the lock of a store's migrations, of the store $1.
const migrationLock = `hashtextextended('gyre migrations of ' || $1, 0)`

// migrate applies what is missing, in one transaction and alone.
func migrate(ctx context.Context, c *pgx.Conn, schema string, logger *slog.Logger) error {
	known, err := migrationsOf(schema)
	if err != nil {
		return err
	}
	a, err := readApplied(ctx, c, schema)
	if err != nil {
		return err
	}
	if a.newest >= len(known) {
		return a.check(schema, len(known))
	}
	return transact(ctx, c, func() error { return migrateAlone(ctx, c, schema, known, logger) })
}

// migrateAlone applies what is missing, in the transaction that c is in.
func migrateAlone(ctx context.Context, c *pgx.Conn, schema string, known []Migration, logger *slog.Logger) error {
	// A lock of the transaction, as a lock of the session would be lost in a pooler.
	if _, err := c.Exec(ctx, `SELECT pg_advisory_xact_lock(`+migrationLock+`)`, schema); err != nil {
		return err
	}
	a, err := readApplied(ctx, c, schema)
	if err != nil {
		return err
	}
	if err := a.check(schema, len(known)); err != nil {
		return err
	}
	if a.newest == 0 {
		if err := createSchema(ctx, c, schema); err != nil {
			return err
		}
	}
	for _, m := range known[min(a.newest, len(known)):] {
		if err := apply(ctx, c, schema, m); err != nil {
			return err
		}
		logger.Info("migrated the store", "store", schema, "migration", m.Name)
	}
	return nil
}

const createMigrations = `CREATE TABLE {schema}.migrations (
  version integer NOT NULL PRIMARY KEY,
  name    text NOT NULL,
  least   integer NOT NULL, -- the migration that a node has to know from here on
  applied timestamptz NOT NULL DEFAULT now()
)`

// createSchema makes the schema, unless it is there.
func createSchema(ctx context.Context, c *pgx.Conn, schema string) error {
	var there bool
	if err := c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)`, schema).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := c.Exec(ctx, `CREATE SCHEMA `+quoted(schema)); err != nil {
			return err
		}
	}
	_, err := c.Exec(ctx, strings.ReplaceAll(createMigrations, "{schema}", quoted(schema)))
	return err
}

func apply(ctx context.Context, c *pgx.Conn, schema string, m Migration) error {
	// Without parameters: several statements go in one text.
	if _, err := c.PgConn().Exec(ctx, m.SQL).ReadAll(); err != nil {
		return fmt.Errorf("migration %s: %w", m.Name, err)
	}
	_, err := c.Exec(ctx, `INSERT INTO `+quoted(schema)+`.migrations (version, name, least) VALUES ($1, $2, $3)`, m.Version, m.Name, m.Least)
	return err
}
