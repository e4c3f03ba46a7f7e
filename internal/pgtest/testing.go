//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
