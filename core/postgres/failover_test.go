package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// L11: TestServerRestart restarts the server under a Store that is written to and
// followed: it goes on by itself, and nothing is lost or written twice.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	config := postgres.Config{URL: server.URL, Store: "restarted", RetryFor: 30 * time.Second}
	engine := openStore(t, config)
	n := startNode(t, nodeConfig{URL: server.URL, Store: "restarted", Node: "n0", Writers: 8, Streams: 4, RetryFor: 30 * time.Second})
	awaitHead(t, engine, 200)
	for _, end := range []func() error{server.Stop, server.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Read(t.Context(), core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: 1, Bytes: 1}}); !errors.Is(err, core.CodeStoreUnavailable) {
			t.Errorf("read without a server: %v", err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		appendWithin(t, engine, 10*time.Second)
	}
	if err := engine.State().ReadOnly; err != nil {
		t.Errorf("after the restarts the state is %v", err)
	}
	head := stopWriters(t, []*node{n}, engine)
	checkReports(t, engine, []*node{n}, head)
}

// awaitHead waits until others have written up to a position.
func awaitHead(t *testing.T, engine *postgres.Engine, position uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := engine.WaitHead(ctx, engine.State().Log, position-1); err != nil {
		t.Fatalf("up to position %d: %v", position, err)
	}
}

// appendWithin appends until it is taken.
func appendWithin(t *testing.T, engine *postgres.Engine, limit time.Duration) {
	t.Helper()
	c := &core.Commit{Appends: []core.Append{{Stream: "probe", Expect: core.AnyVersion, Events: benchEvents(1)}}}
	begin := time.Now()
	for {
		err := engine.Commit(context.Background(), []*core.Commit{c}).Outcomes[0].Err
		if err == nil {
			t.Logf("appends again after %s", time.Since(begin))
			return
		}
		if !core.AsError(err).Info().Retryable || time.Since(begin) > limit {
			t.Fatalf("append %s after the server was back: %v", time.Since(begin), err)
		}
	}
}

// TestTortureFailOver kills a primary under load and promotes its synchronous
// standby: the node goes on there by itself, within ten seconds, and everything
// that was acknowledged is there, once.
func TestTortureFailOver(t *testing.T) {
	t.Parallel()
	rounds := 1
	if soaking() {
		rounds = 10
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), failOver)
	}
}

func failOver(t *testing.T) {
	primary := pgtest.Private(t)
	standby, err := primary.Standby(true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.Close() })
	url := pgtest.URLs(primary, standby)
	engine := openStore(t, postgres.Config{URL: url, Store: "gyre", RetryFor: 30 * time.Second})
	log := engine.State().Log
	n := startNode(t, nodeConfig{URL: url, Store: "gyre", Node: "n0", Writers: 16, Streams: 8, RetryFor: 30 * time.Second})
	awaitHead(t, engine, 500)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	// The new primary would wait for a standby of its own.
	standby.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = ''")
	standby.Exec(t, "SELECT pg_reload_conf()")
	appendWithin(t, engine, 10*time.Second)
	if now := engine.State().Log; now != log {
		t.Errorf("the log was %s and is %s: nothing was lost", log, now)
	}
	head := stopWriters(t, []*node{n}, engine)
	checkReports(t, engine, []*node{n}, head)
}

// TestLostTail promotes a standby that lacks acknowledged events: the log gets
// another identity, cursors of the old one are refused and its follows end.
func TestLostTail(t *testing.T) {
	t.Parallel()
	primary := pgtest.Private(t)
	standby, err := primary.Standby(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.Close() })
	engine := openStore(t, postgres.Config{URL: pgtest.URLs(primary, standby), Store: "gyre"})
	store := core.NewStore(engine, core.StoreConfig{})
	for range 3 {
		if o := appendTo(engine, "a", core.AnyVersion, 1); o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	follower, err := store.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: core.From{Kind: core.FromEnd}})
	if err != nil {
		t.Fatal(err)
	}
	waitForReplay(t, primary, standby)
	standby.Exec(t, "ALTER SYSTEM SET primary_conninfo = ''") // it gets no more
	standby.Exec(t, "SELECT pg_reload_conf()")
	waitForNoReceiver(t, primary)
	for range 5 {
		if o := appendTo(engine, "a", core.AnyVersion, 1); o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	before := engine.State()
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	following, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for err = nil; err == nil || errors.Is(err, core.CodeStoreUnavailable); {
		_, err = follower.Next(following, core.Limit{Events: 10, Bytes: 1 << 20})
	}
	if !errors.Is(err, core.CodeLogChanged) {
		t.Errorf("the follow ended with %v", err)
	}
	appendWithin(t, engine, 10*time.Second)
	after := engine.State()
	if after.Log == before.Log || after.Head != 4 {
		t.Errorf("the log was %s up to %d, it is %s up to %d", before.Log, before.Head, after.Log, after.Head)
	}
	_, err = store.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: core.Cursor{Log: before.Log, Position: 2}.From()})
	if !errors.Is(err, core.CodeLogChanged) {
		t.Errorf("a cursor of the old log: %v", err)
	}
}

// TestLostTailWithoutNewConnection takes the newest events away, as when a pooler leads
// the connections that there are to a server that lacks them.
func TestLostTailWithoutNewConnection(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	if o := appendTo(engine, "a", core.AnyVersion, 5); o.Err != nil {
		t.Fatal(o.Err)
	}
	before := engine.State()
	server.Exec(t, "DELETE FROM "+store+".events WHERE position > 3")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if head, err := engine.WaitHead(ctx, before.Log, before.Head); err != nil || head != 3 {
		t.Errorf("the head is %d, %v", head, err)
	}
	if after := engine.State(); after.Log == before.Log || after.Head != 3 {
		t.Errorf("the log was %s up to %d, it is %s up to %d", before.Log, before.Head, after.Log, after.Head)
	}
}

func waitForReplay(t *testing.T, primary, standby *pgtest.Server) {
	t.Helper()
	var lsn string
	if err := primary.Connect(t).QueryRow(t.Context(), "SELECT pg_current_wal_lsn()::text").Scan(&lsn); err != nil {
		t.Fatal(err)
	}
	waitFor(t, standby, fmt.Sprintf("SELECT pg_last_wal_replay_lsn() >= '%s'::pg_lsn", lsn))
}

func waitForNoReceiver(t *testing.T, primary *pgtest.Server) {
	t.Helper()
	waitFor(t, primary, "SELECT count(*) = 0 FROM pg_stat_replication")
}

// waitFor asks a server until the answer is true.
func waitFor(t *testing.T, server *pgtest.Server, sql string) {
	t.Helper()
	c := server.Connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for done := false; !done; {
		if err := c.QueryRow(ctx, sql).Scan(&done); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// TestBadConfig opens what cannot be opened: each is told in words that say what
// is wrong, soon, and no word is the password.
func TestBadConfig(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	openStore(t, postgres.Config{URL: server.URL, Store: store})
	newer := server.Store(t)
	openStore(t, postgres.Config{URL: server.URL, Store: newer}).Close()
	server.Exec(t, "INSERT INTO "+newer+".migrations (version, name, least) VALUES (9999, 'later', 9999)")
	role := "plain_" + store
	server.Exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD 'secret-word'")
	t.Cleanup(func() { server.Exec(t, "DROP ROLE "+role) })
	at := server.URL[strings.Index(server.URL, "@"):]
	plain := "postgres://" + role + ":secret-word" + at
	cases := []struct {
		name   string
		config postgres.Config
		code   core.Code
		words  string
	}{
		{"no URL", postgres.Config{}, core.CodeInvalidConfig, "not set"},
		{"not a URL", postgres.Config{URL: "postgres://u:secret-word@[:1/x"}, core.CodeInvalidConfig, "URL"},
		{"no server", postgres.Config{URL: "postgres://u:secret-word@127.0.0.1:1/postgres"}, core.CodeStoreUnavailable, "refused"},
		{"misspelt parameter", postgres.Config{URL: server.URL + "&sslmod=require"}, core.CodeInvalidConfig, `"sslmod"`},
		{"setting that cannot be", postgres.Config{URL: server.URL + "&work_mem=much"}, core.CodeInvalidConfig, `"work_mem"`},
		{"no such host", postgres.Config{URL: "postgres://u:secret-word@nowhere.invalid/postgres"}, core.CodeStoreUnavailable, "nowhere"},
		{"wrong password", postgres.Config{URL: strings.Replace(plain, "secret-word", "secret-word-2", 1)}, core.CodeStoreDenied, "password"},
		{"no such database", postgres.Config{URL: strings.Replace(server.URL, "/postgres?", "/nothing?", 1)}, core.CodeStoreUnavailable, "nothing"},
		{"no privileges on the store", postgres.Config{URL: plain, Store: store}, core.CodeStoreDenied, "permission"},
		{"no right to make one", postgres.Config{URL: plain, Store: "other_" + store[:20]}, core.CodeStoreDenied, "permission"},
		{"newer schema", postgres.Config{URL: server.URL, Store: newer}, core.CodeStoreNewer, "9999"},
		{"schema behind", postgres.Config{URL: server.URL, Store: "behind_" + store[:20], NoMigrate: true}, core.CodeSchemaOutdated, "migration"},
		{"bad name", postgres.Config{URL: server.URL, Store: `x"; DROP`}, core.CodeInvalidConfig, "name"},
		{"read-only server", postgres.Config{URL: server.URL + "&default_transaction_read_only=on", Store: store}, core.CodeStoreReadOnly, "writes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			c.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
			begin := time.Now()
			engine, err := postgres.Open(t.Context(), c.config)
			if err == nil {
				engine.Close()
			}
			if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("open: %v, want %s with %q", err, c.code, c.words)
			}
			for _, reason := range []string{"refused", "no such host"} {
				if strings.Count(err.Error(), reason) > 1 {
					t.Errorf("it is told twice: %v", err)
				}
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			if said := fmt.Sprint(err) + log.String(); strings.Contains(said, "secret-word") || strings.Contains(said, "tell-nobody") {
				t.Errorf("the password was told: %s", said)
			}
		})
	}
}

// TestWithoutPreparedStatements does without them when told to, and when they
// get lost, as they do behind a pooler that shares connections.
func TestWithoutPreparedStatements(t *testing.T) {
	server := pgtest.Shared(t)
	for name, url := range map[string]string{"told": server.URL + "&default_query_exec_mode=exec", "lost": server.URL} {
		t.Run(name, func(t *testing.T) {
			store := server.Store(t)
			engine := openStore(t, postgres.Config{URL: url, Store: store})
			for range 5 {
				if o := appendTo(engine, "a", core.AnyVersion, 1); o.Err != nil {
					t.Fatal(o.Err)
				}
				if name == "lost" {
					if err := engine.LoseStatements(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				readLog(t, engine)
			}
			if log := readLog(t, engine); len(log) != 5 {
				t.Errorf("%d events, want 5", len(log))
			}
		})
	}
}

// TestStatementTimeout has the server end calls that take too long: the answer is
// timeout, and nothing hangs.
func TestStatementTimeout(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL + "&statement_timeout=200", Store: store, RetryFor: time.Second})
	if o := appendTo(engine, "a", core.AnyVersion, 1); o.Err != nil {
		t.Fatal(o.Err)
	}
	tx, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "LOCK TABLE "+store+".events IN EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	o := appendTo(engine, "a", core.AnyVersion, 1)
	if !errors.Is(o.Err, core.CodeTimeout) || time.Since(begin) > 5*time.Second {
		t.Errorf("append to a locked table: %v after %s", o.Err, time.Since(begin))
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendWithin(t, engine, 5*time.Second)
}
