package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/enginetest"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestThroughPooler has the contracts of engines and of Logs kept through PgBouncer, by
// stores that share a few connections: each transaction gets another one, and nothing
// that belongs to a session is there in the next.
func TestThroughPooler(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	pooler := server.Pooler(t)
	open := func(t testing.TB) core.Engine {
		return openAlone(t, postgres.Config{URL: pooler.URL, Store: server.Store(t)})
	}
	t.Run("engine", func(t *testing.T) { enginetest.Run(t, open) })
	t.Run("log", func(t *testing.T) {
		logtest.Run(t, func(t testing.TB) (core.Log, *core.Store) {
			store := core.NewStore(open(t), core.StoreConfig{})
			t.Cleanup(func() { store.Close() })
			return store, store
		})
	})
}

// TestPoolerIsFound: a survey says that there is one, and what is lost. Migrations,
// indexes and the list of nodes work.
func TestPoolerIsFound(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.Pooler(t).URL, Store: server.Store(t), Node: "n1", Version: "1.0"}
	if err := postgres.Migrate(t.Context(), config, "type"); err != nil {
		t.Fatal(err)
	}
	engine := openStore(t, config)
	if o := appendTo(engine, "a", core.AnyVersion, 3); o.Err != nil {
		t.Fatal(o.Err)
	}
	readLog(t, engine)
	s, err := postgres.Inspect(t.Context(), config)
	if err != nil || !s.Pooler || !s.LosesStatements {
		t.Errorf("the survey is %+v, %v", s, err)
	}
	list, err := postgres.Indexes(t.Context(), config)
	if err != nil || len(list) != 4 || list[1].State != postgres.IndexReady {
		t.Errorf("the indexes are %+v, %v", list, err)
	}
	if got := nodesOf(t, config); got != "n1 1.0" {
		t.Errorf("the nodes are %s", got)
	}
}

// TestPoolerRestart ends the pooler under a node that writes and follows, and starts it
// again: the node goes on by itself, and nothing is lost or written twice.
func TestPoolerRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store, pooler := server.Store(t), server.Pooler(t)
	engine := openStore(t, postgres.Config{URL: pooler.URL, Store: store, RetryFor: 30 * time.Second})
	n := startNode(t, nodeConfig{URL: pooler.URL, Store: store, Node: "n0", Writers: 8, Streams: 4, RetryFor: 30 * time.Second})
	for round := range uint64(2) {
		awaitHead(t, engine, (round+1)*200)
		if err := pooler.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Read(t.Context(), core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: 1, Bytes: 1}}); !errors.Is(err, core.CodeStoreUnavailable) {
			t.Errorf("read without the pooler: %v", err)
		}
		if err := pooler.Start(); err != nil {
			t.Fatal(err)
		}
		appendWithin(t, engine, 10*time.Second)
	}
	head := stopWriters(t, []*node{n}, engine)
	checkReports(t, engine, []*node{n}, head)
}
