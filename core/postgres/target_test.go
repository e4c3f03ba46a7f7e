package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

func TestTargetsAreTold(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:secret@db/shop":                                        "db:5432/shop",
		"postgresql://u:secret@db:6000/shop?sslmode=disable":                 "db:6000/shop",
		"postgres://u:secret@db1:5432,db2:5433/shop?connect_timeout=2":       "db1:5432,db2:5433/shop",
		"postgres://u:sec%40ret%2F@[::1]:5432/shop":                          "[::1]:5432/shop",
		"postgres://u:se#cret@db":                                            "db:5432/u",
		"postgres:///shop?host=/run/postgresql&user=u&password=secret":       "/run/postgresql/shop",
		"postgres://db/shop?user=u&password=secret&target_session_attrs=any": "db:5432/shop",
	} {
		got, err := postgres.Config{URL: url}.Target()
		if err != nil || got.String() != want || got.Store != "gyre" {
			t.Errorf("%s leads to %s, store %s, %v; want %s", url, got, got.Store, err, want)
		}
	}
}

// TestPasswordsAreNotTold gives URLs that are wrong in all the ways that have a part of
// the password stand where something else is expected.
func TestPasswordsAreNotTold(t *testing.T) {
	for _, url := range []string{
		"", "db", "http://u:secret@db/x", "host=db password=secret", "postgres:/u:secret@db",
		"postgres://u:secret@db:x/shop", "postgres://u:secret@db:99999/shop", "postgres://u:secret@a:1,b:2x/shop",
		"postgres://u:sec/ret@db/shop", "postgres://u:12/secret@db/shop", "postgres://u:1@secret@db/shop",
		"postgres://u:se%zzcret@db/shop", "postgres://u:sec ret@db/shop",
		"postgres://db/shop?password=secret&sslmode=maybe", "postgres://db/shop?password=secret&connect_timeout=soon",
		"postgres://u:secret@db/shop?sslrootcert=/nowhere&sslmode=verify-full", "postgres://u:secret@db/shop?service=none",
		"postgres://u:secret@db/shop?default_query_exec_mode=fast", "postgres://u:secret@db/shop?pool_max_conns=many",
	} {
		_, err := postgres.Config{URL: url}.Target()
		if !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("%q: %v", url, err)
			continue
		}
		for _, part := range []string{"secret", "cret", "ret@"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%q: the error tells %q: %v", url, part, err)
			}
		}
	}
}

// TestScriptMakesAStore applies by hand what Migrate would.
func TestScriptMakesAStore(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	script, err := postgres.Script(store, 0)
	if err != nil {
		t.Fatal(err)
	}
	server.Exec(t, script)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store, NoMigrate: true})
	commit := &core.Commit{Appends: []core.Append{{Stream: "s", Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
	if step := engine.Commit(t.Context(), []*core.Commit{commit}); step.Outcomes[0].Err != nil {
		t.Error(step.Outcomes[0].Err)
	}
	if _, err := postgres.Script(store, 99); !errors.Is(err, core.CodeInvalidRequest) {
		t.Errorf("a script from nowhere: %v", err)
	}
}

// TestInspect surveys the server that tests use.
func TestInspect(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	openStore(t, postgres.Config{URL: server.URL, Store: store})
	s, err := postgres.Inspect(t.Context(), postgres.Config{URL: server.URL, Store: store})
	switch {
	case err != nil:
		t.Fatal(err)
	case s.Version < postgres.MinServerVersion, s.Encoding != "UTF8", s.Standby, s.ReadOnly, s.Pooler, s.Connections <= 0,
		len(s.Missing) > 0, s.Settings["fsync"] == "", len(s.RoundTrips) == 0, len(s.Commits) != len(s.RoundTrips):
		t.Errorf("the survey is %+v", s)
	}
}
