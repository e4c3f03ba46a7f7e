package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// nodesOf are the names of the nodes that have a store open.
func nodesOf(t *testing.T, config postgres.Config) string {
	t.Helper()
	nodes, err := postgres.Nodes(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return namesOf(t, config, nodes)
}

// namesOf are the names and versions of nodes.
func namesOf(t *testing.T, config postgres.Config, nodes []postgres.Node) string {
	t.Helper()
	known, err := postgres.Migrations(config.Store)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range nodes {
		if n.Knows != len(known) || n.Since.IsZero() {
			t.Errorf("node %+v", n)
		}
		names = append(names, n.Name+" "+n.Version)
	}
	return strings.Join(names, ", ")
}

// TestNodesAreListed: those that have the store open, from Open to Close. One that is
// killed leaves by itself.
func TestNodesAreListed(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t), Node: "n1", Version: "1.0"}
	if got := nodesOf(t, config); got != "" {
		t.Errorf("of a store that is not there: %s", got)
	}
	first := openStore(t, config)
	killed := startNode(t, nodeConfig{URL: server.URL, Store: config.Store, Node: "n2"})
	if got := nodesOf(t, config); got != "n1 1.0, n2 " {
		t.Errorf("the nodes are %s", got)
	}
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The server pauses between two looks.
	waitFor(t, server, "SELECT pg_sleep(0.2) IS NOT NULL AND NOT EXISTS (SELECT FROM "+config.Store+".sessions WHERE name = 'n2' AND until >= clock_timestamp())")
	if got := nodesOf(t, config); got != "n1 1.0" {
		t.Errorf("after one was killed: %s", got)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got := nodesOf(t, config); got != "" {
		t.Errorf("after all were closed: %s", got)
	}
}

// takeAway does what a migration does after which a node has to know more than any does.
const takeAway = `BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('gyre migrations of %s', 0));
	SELECT %[1]s.refuse_older_nodes(9999);
	INSERT INTO %[1]s.migrations (version, name, least) VALUES (9999, 'later', 9999)`

// TestOlderNodeHoldsMigrationsUp: nothing is taken away while a node is there that does
// not know it, and it is named. One that slept through it, and counted as gone, serves
// nobody when it wakes.
func TestOlderNodeHoldsMigrationsUp(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store, Node: "n1", Version: "1.0"})
	_, err := server.Connect(t).PgConn().Exec(t.Context(), fmt.Sprintf(takeAway, store)).ReadAll()
	if err == nil || !strings.Contains(err.Error(), "GY002") || !strings.Contains(err.Error(), "n1 (gyre 1.0, knows ") {
		t.Fatalf("the migration beside a node: %v", err)
	}
	server.Exec(t, "UPDATE "+store+".sessions SET until = '-infinity'; "+fmt.Sprintf(takeAway, store)+"; COMMIT")
	answersSoon(t, engine, core.CodeStoreNewer)
	if err := appendTo(engine, "a", core.AnyVersion, 1).Err; !errors.Is(err, core.CodeStoreNewer) {
		t.Errorf("an append: %v", err)
	}
	if err := engine.State().ReadOnly; !errors.Is(err, core.CodeStoreNewer) {
		t.Errorf("the state is %v", err)
	}
	server.Exec(t, "DELETE FROM "+store+".migrations WHERE version = 9999")
	answersSoon(t, engine, nil)
	appendSoon(t, engine, "a")
}

// answersSoon waits until reads have that answer, which they have after a beat.
func answersSoon(t *testing.T, engine *postgres.Engine, want error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r := core.ReadRequest{Stream: core.All, From: 1, Limit: core.Limit{Events: 1, Bytes: 1}}
	var got error
	every(ctx, 50*time.Millisecond, func() {
		if _, got = engine.Read(ctx, r); errors.Is(got, want) {
			cancel()
		}
	})
	if !errors.Is(got, want) {
		t.Fatalf("reads are answered %v, want %v", got, want)
	}
}

// TestNodeWaitsForMigrations: a node that comes while something is taken away waits,
// and is refused.
func TestNodeWaitsForMigrations(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t)}
	openStore(t, config).Close()
	c := server.Connect(t)
	if _, err := c.PgConn().Exec(t.Context(), fmt.Sprintf(takeAway, config.Store)).ReadAll(); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		config.Ring = shared
		engine, err := postgres.Open(t.Context(), config)
		if err == nil {
			err = engine.Close()
		}
		opened <- err
	}()
	waitFor(t, server, `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE starts_with(application_name, 'gyre/`+config.Store+`/') AND wait_event = 'advisory')`)
	if _, err := c.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; !errors.Is(err, core.CodeStoreNewer) {
		t.Errorf("open: %v", err)
	}
}

// TestBeatsWaitForNobody: a session is kept up while every other connection of its node
// waits, and on another connection when its own is lost.
func TestBeatsWaitForNobody(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	appendSoon(t, engine, "a")
	tx, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "LOCK TABLE "+store+".events IN ACCESS EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	// The watch waits, in a look at the head or at the size of the tables.
	waitFor(t, server, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
		AND (query LIKE '%`+store+`%' OR query LIKE '%pg_total_relation_size%'))`)
	beats := func(n int) {
		t.Helper()
		for range n {
			var until string
			if err := server.Connect(t).QueryRow(t.Context(), "SELECT until::text FROM "+store+".sessions").Scan(&until); err != nil {
				t.Fatal(err)
			}
			waitFor(t, server, "SELECT pg_sleep(0.05) IS NOT NULL AND until > '"+until+"' FROM "+store+".sessions")
		}
	}
	beats(2)
	terminate(t, server, `SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE "`+store+`".sessions SET until%'`)
	beats(2)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendWithin(t, engine, 10*time.Second)
}

// TestCloseEndsTheSession: also where the connection of the session was lost, and no beat
// has noticed.
func TestCloseEndsTheSession(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t), Node: "n"}
	engine := openStore(t, config)
	waitFor(t, server, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'UPDATE "`+config.Store+`".sessions SET until%')`)
	terminate(t, server, `SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE "`+config.Store+`".sessions SET until%'`)
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if got := nodesOf(t, config); got != "" {
		t.Errorf("after Close: %s", got)
	}
}
