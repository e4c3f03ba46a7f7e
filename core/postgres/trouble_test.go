package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// newUser makes a user who has the schema of a store, and answers the name and a URL.
// All that is the user's goes with the test.
func newUser(t *testing.T, server *pgtest.Server, store string) (name, address string) {
	t.Helper()
	name = "user_" + store
	server.Exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'secret-word'; CREATE SCHEMA %s AUTHORIZATION %[1]s", name, store))
	t.Cleanup(func() { server.Exec(t, fmt.Sprintf("DROP OWNED BY %s CASCADE; DROP ROLE %[1]s", name)) })
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "secret-word")
	return name, u.String()
}

// answersIn appends once, and wants an error of a code, soon.
func answersIn(t *testing.T, engine *postgres.Engine, limit time.Duration, code core.Code) {
	t.Helper()
	begin := time.Now()
	if err := appendTo(engine, "a", core.AnyVersion, 1).Err; !errors.Is(err, code) || time.Since(begin) > limit {
		t.Errorf("an append: %v after %s, want %s", err, time.Since(begin), code)
	}
}

// TestOldServer: a PostgreSQL 12 is refused, whatever is asked of it, in words that say
// what it is, and nothing is changed. A survey has its version.
func TestOldServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.Old(t), Store: server.Store(t)}
	for name, ask := range map[string]func() error{
		"open": func() error {
			_, err := postgres.Open(t.Context(), config)
			return err
		},
		"migrate": func() error { return postgres.Migrate(t.Context(), config) },
		"status": func() error {
			_, _, err := postgres.Status(t.Context(), config)
			return err
		},
		"schema": func() error { return postgres.CheckSchema(t.Context(), config) },
	} {
		err := ask()
		if !errors.Is(err, core.CodeInvalidConfig) || !errors.Is(err, postgres.ErrUnfit) || !strings.Contains(err.Error(), "it is PostgreSQL 12.22 and has to be 13 or newer") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var there bool
	c := server.Connect(t)
	if err := c.QueryRow(t.Context(), "SELECT to_regnamespace($1) IS NOT NULL", config.Store).Scan(&there); err != nil || there {
		t.Errorf("the store was made: %v, %v", there, err)
	}
	s, err := postgres.Inspect(t.Context(), config)
	if err != nil || s.Version != 120022 {
		t.Errorf("the survey is %+v, %v", s, err)
	}
}

// TestPrivilegesComeAndGo takes a running node's privilege away: it says so, at once,
// and goes on when it is back.
func TestPrivilegesComeAndGo(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	user, address := newUser(t, server, store)
	engine := openStore(t, postgres.Config{URL: address, Store: store})
	appendSoon(t, engine, "a")
	server.Exec(t, "REVOKE INSERT ON "+store+".events FROM "+user)
	answersIn(t, engine, 5*time.Second, core.CodeStoreDenied)
	if log := readLog(t, engine); len(log) != 1 {
		t.Errorf("%d events", len(log))
	}
	server.Exec(t, "GRANT INSERT ON "+store+".events TO "+user)
	appendSoon(t, engine, "a")
}

// TestServerTurnsReadOnly has the server refuse writes under a running node.
func TestServerTurnsReadOnly(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	user, address := newUser(t, server, store)
	engine := openStore(t, postgres.Config{URL: address, Store: store, RetryFor: time.Second})
	appendSoon(t, engine, "a")
	server.Exec(t, "ALTER ROLE "+user+" SET default_transaction_read_only = on; "+endSessions(user))
	if err := appendTo(engine, "a", core.AnyVersion, 1).Err; !errors.Is(err, core.CodeStoreReadOnly) && !errors.Is(err, core.CodeUnknownOutcome) {
		t.Errorf("the first append: %v", err)
	}
	answersIn(t, engine, 15*time.Second, core.CodeStoreReadOnly)
	if err := engine.State().ReadOnly; !errors.Is(err, core.CodeStoreReadOnly) {
		t.Errorf("the state is %v", err)
	}
	server.Exec(t, "ALTER ROLE "+user+" RESET default_transaction_read_only")
	appendWithin(t, engine, 10*time.Second)
}

func endSessions(user string) string {
	return "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + user + "'"
}

// TestConnectionStorm has others take every connection that the server has: a node that
// starts is told so, one that runs says that it has none, and neither hangs. When there
// are some again it goes on.
func TestConnectionStorm(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	server.Exec(t, "ALTER SYSTEM SET max_connections = 16")
	if err := errors.Join(server.Stop(), server.Start()); err != nil {
		t.Fatal(err)
	}
	user, address := newUser(t, server, "storm")
	other, otherAddress := newUser(t, server, "others")
	config := postgres.Config{URL: address, Store: "storm", ReadConns: 2, RetryFor: time.Second}
	engine := openStore(t, config)
	appendSoon(t, engine, "a")

	// Superusers have connections of their own, so that the end can be seen from here.
	watch := server.Connect(t)
	// A backend that is ending has its connection longer than it can be seen.
	const connections = `SELECT count(*) FILTER (WHERE usename = $1),
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int - count(*)
		FROM pg_stat_activity WHERE backend_type = 'client backend'`
	for left, free := 1, 1; left > 0 || free > 0; {
		if _, err := watch.Exec(t.Context(), endSessions(user)); err != nil {
			t.Fatal(err)
		}
		takeAll(t, otherAddress)
		if err := watch.QueryRow(t.Context(), connections, user).Scan(&left, &free); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	_, err := postgres.Open(t.Context(), config)
	if !errors.Is(err, core.CodeStoreUnavailable) || !strings.Contains(err.Error(), "connection") || time.Since(begin) > 10*time.Second {
		t.Errorf("open: %v after %s", err, time.Since(begin))
	}
	// A call to a backend that was ended may or may not have been answered.
	if err := appendTo(engine, "a", core.AnyVersion, 1).Err; !errors.Is(err, core.CodeStoreUnavailable) && !errors.Is(err, core.CodeUnknownOutcome) {
		t.Errorf("the first append: %v", err)
	}
	answersIn(t, engine, 10*time.Second, core.CodeStoreUnavailable)
	if _, err := engine.Read(t.Context(), core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: 1, Bytes: 1}}); !errors.Is(err, core.CodeStoreUnavailable) {
		t.Errorf("a read: %v", err)
	}
	if err := engine.State().ReadOnly; !errors.Is(err, core.CodeStoreUnavailable) {
		t.Errorf("the state is %v", err)
	}
	if _, err := watch.Exec(t.Context(), endSessions(other)); err != nil {
		t.Fatal(err)
	}
	appendWithin(t, engine, 10*time.Second)
}

// takeAll connects until the server takes no more.
func takeAll(t *testing.T, address string) {
	t.Helper()
	for {
		c, err := pgx.Connect(t.Context(), address)
		if err != nil {
			if !strings.Contains(err.Error(), "53300") {
				t.Fatal(err)
			}
			return
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
	}
}
