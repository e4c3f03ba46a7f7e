package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A role or a database may have defaults for everything that a client can set. Those that
// the code relies on are set here, whatever the default is:
//
//   - formats, as startup parameters: every pooler knows these;
//   - the others once for a connection that is a session of the server's;
//   - behind a pooler, which lends a connection for a transaction, in each transaction;
//   - what makes a plan, by the function and the statements that need it.
//
// What the URL sets itself is left alone, formats excepted. So are
// default_transaction_read_only and default_tablespace, with which an administrator says
// something about this database: the first makes the store read-only.

// formats are startup parameters.
var formats = []setting{
	{"client_encoding", "UTF8"}, {"DateStyle", "ISO"}, {"TimeZone", "UTC"}, {"standard_conforming_strings", "on"},
}

// reliedOn are the settings that no startup parameter is used for.
var reliedOn = []setting{
	{"search_path", "pg_catalog, pg_temp"},
	{isolation, "read committed"},
	{"default_transaction_deferrable", "off"},
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"idle_session_timeout", "0"}, // since 14
	{"transaction_timeout", "0"},  // since 17
	{"synchronous_commit", "on"},  // instead of off; there are stronger ones
	{"bytea_output", "hex"},
	{"enable_indexscan", "on"},
	{"enable_indexonlyscan", "on"},
	{"enable_nestloop", "on"},
	{"jit", "off"},
	{"exit_on_error", "off"},
	{"default_table_access_method", "heap"},
}

const isolation = "default_transaction_isolation"

// setting is the name of one and the value that it gets.
type setting struct{ name, value string }

// sql sets it, for the session or for the transaction.
func (s setting) sql(local bool) string {
	set := fmt.Sprintf("pg_catalog.set_config('%s', '%s', %t)", s.name, s.value, local)
	switch s.name {
	case "idle_session_timeout", "transaction_timeout":
		return fmt.Sprintf("CASE WHEN pg_catalog.current_setting('%s', true) IS NOT NULL THEN %s END", s.name, set)
	case "synchronous_commit":
		return fmt.Sprintf("CASE WHEN pg_catalog.current_setting('%s') = 'off' THEN %s END", s.name, set)
	}
	return set
}

// settingsIn are those that are set on a connection whose URL has some itself.
func settingsIn(given map[string]string) (list []setting) {
	for _, s := range reliedOn {
		if _, ok := given[s.name]; !ok {
			list = append(list, s)
		}
	}
	return list
}

func settingsSQL(list []setting, local bool) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = s.sql(local)
	}
	return "SELECT " + strings.Join(parts, ", ")
}

// setFormats puts the formats in the place of what there is.
func setFormats(given map[string]string) {
	for name := range given {
		for _, f := range formats {
			if strings.EqualFold(name, f.name) {
				delete(given, name)
			}
		}
	}
	for _, f := range formats {
		given[f.name] = f.value
	}
}

// localKey is where a connection has the settings that each of its transactions needs.
const localKey = "gyre settings"

// setUp sets what is relied on for as long as a new connection lasts. If a pooler is in
// between it is noted for each transaction: a setting of the session would be another
// client's next.
func setUp(ctx context.Context, c *pgx.Conn) error {
	var pid uint32
	if err := c.QueryRow(ctx, `SELECT pg_catalog.pg_backend_pid()`).Scan(&pid); err != nil {
		return err
	}
	list := settingsIn(c.Config().RuntimeParams)
	if pid != c.PgConn().PID() { // a pooler tells a number of its own when it is connected to
		c.PgConn().CustomData()[localKey] = settingsSQL(list, true)
		return nil
	}
	_, err := c.Exec(ctx, settingsSQL(list, false))
	return err
}

// localSettings sets in a transaction what the connection cannot have; "" if it has all.
func localSettings(c *pgx.Conn) string {
	sql, _ := c.PgConn().CustomData()[localKey].(string)
	return sql
}

// beginReadCommitted begins a transaction whose statements see what was committed before
// each of them.
const beginReadCommitted = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`

// begin begins a transaction with all settings.
func begin(ctx context.Context, c *pgx.Conn) error {
	sql := beginReadCommitted
	if local := localSettings(c); local != "" {
		sql += "; " + local
	}
	_, err := c.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// rollBackTimeout bounds a roll back, which is tried though the call has ended.
const rollBackTimeout = 2 * time.Second

// rollBack ends the transaction that c is in, if any.
func rollBack(ctx context.Context, c *pgx.Conn) error {
	if c.IsClosed() || c.PgConn().TxStatus() == 'I' {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollBackTimeout)
	defer cancel()
	_, err := c.Exec(ctx, `ROLLBACK`)
	return err
}

// transact runs call in a transaction.
func transact(ctx context.Context, c *pgx.Conn, call func() error) error {
	if err := begin(ctx, c); err != nil {
		return err
	}
	err := call()
	if err == nil {
		_, err = c.Exec(ctx, `COMMIT`)
	}
	if err != nil {
		_ = rollBack(ctx, c)
	}
	return err
}

// withSettings runs call, in a transaction if the connection has not all settings.
func withSettings(ctx context.Context, c *pgx.Conn, call func() error) error {
	if localSettings(c) == "" || c.PgConn().TxStatus() != 'I' {
		return call()
	}
	return transact(ctx, c, call)
}

// wrapped is what goes before and behind the statements of a flush, if the connection has
// not all settings and is in no transaction yet.
func wrapped(c *pgx.Conn, batch *pgconn.Batch, statements func() error) (before int, err error) {
	local := localSettings(c)
	if local == "" || c.PgConn().TxStatus() != 'I' {
		return 0, statements()
	}
	batch.ExecParams(beginReadCommitted, nil, nil, nil, nil)
	batch.ExecParams(local, nil, nil, nil, nil)
	if err := statements(); err != nil {
		return 0, err
	}
	batch.ExecParams(`COMMIT`, nil, nil, nil, nil)
	return 2, nil
}

// overridden are the defaults of the role and the database, and of the server's
// configuration, that a node does not use.
func overridden(ctx context.Context, c *pgx.Conn, given map[string]string) (list []string, err error) {
	values := make(map[string]string)
	for _, s := range append(settingsIn(given), formats...) {
		values[strings.ToLower(s.name)] = s.value
	}
	rows, err := c.Query(ctx, `
		SELECT split_part(s, '=', 1), substr(s, strpos(s, '=') + 1), CASE WHEN r.setrole = 0 THEN 'database' ELSE 'role' END
		FROM pg_db_role_setting r, unnest(r.setconfig) s
		WHERE r.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
		  AND r.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
		ORDER BY 1, 3`)
	if err != nil {
		return nil, err
	}
	var name, value, whose string
	_, err = pgx.ForEachRow(rows, []any{&name, &value, &whose}, func() error {
		want, ok := values[strings.ToLower(name)]
		if ok && want != value && (name != "synchronous_commit" || value == "off") {
			list = append(list, fmt.Sprintf("%s = %s (%s)", name, value, whose))
		}
		return nil
	})
	return list, err
}
