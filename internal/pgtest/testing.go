//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// shared starts the server of this process once. It ends with the process.
var shared = sync.OnceValues(func() (*Server, error) {
	if url := os.Getenv("GYRE_TEST_POSTGRES"); url != "" {
		return &Server{URL: url}, nil
	}
	return New("")
})

// Shared is the server that all tests of a process use.
func Shared(t testing.TB) *Server {
	t.Helper()
	s, err := shared()
	must(t, err)
	return s
}

// Private starts a server for one test, which may stop it.
func Private(t testing.TB) *Server {
	t.Helper()
	s, err := New("")
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	switch {
	case (errors.Is(err, ErrMissing) || errors.Is(err, ErrNoPooler)) && os.Getenv("CI") != "true":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// Store is the name of a store that is not there yet. It is dropped when the
// test ends.
func (s *Server) Store(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%016x", rand.Uint64())
	t.Cleanup(func() { s.Exec(t, "DROP SCHEMA IF EXISTS "+name+" CASCADE") })
	return name
}

// Connect is a connection that is closed when the test ends.
func (s *Server) Connect(t testing.TB) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// tooOld is the newest PostgreSQL that is too old for Gyre, as server_version_num has it.
const tooOld = 129999

// Old is the URL of a PostgreSQL 12: of s, if it is as old as that, or of a user to whom
// it lies, by a function that their search path has before the server's own.
func (s *Server) Old(t testing.TB) string {
	t.Helper()
	var version int
	if err := s.Connect(t).QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if version <= tooOld {
		return s.URL
	}
	name := fmt.Sprintf("old_%016x", rand.Uint64())
	s.Exec(t, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'; CREATE SCHEMA AUTHORIZATION %[1]s;
		CREATE FUNCTION %[1]s.current_setting(name text) RETURNS text LANGUAGE sql AS $$
			SELECT CASE name WHEN 'server_version_num' THEN '120022' WHEN 'server_version' THEN '12.22' ELSE pg_catalog.current_setting(name) END $$;
		ALTER ROLE %[1]s SET search_path = %[1]s, pg_catalog`, name, password))
	t.Cleanup(func() { s.Exec(t, fmt.Sprintf("DROP OWNED BY %s CASCADE; DROP ROLE %[1]s", name)) })
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, password)
	return u.String()
}

// Exec runs SQL on a connection of its own.
func (s *Server) Exec(t testing.TB, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = c.Close(ctx) }()
	if _, err := c.Exec(ctx, sql); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
}
