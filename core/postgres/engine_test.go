package postgres_test

import (
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/enginetest"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// open makes an engine on a store of its own.
func open(t testing.TB) core.Engine {
	server := pgtest.Shared(t)
	return openAlone(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
}

// shared is the ring of engines that share a store.
const shared = "ring"

// openStore opens a store that others may open, too.
func openStore(t testing.TB, config postgres.Config) *postgres.Engine {
	t.Helper()
	if config.Ring == "" {
		config.Ring = shared
	}
	return openAlone(t, config)
}

// openAlone opens a store as a node without a ring does.
func openAlone(t testing.TB, config postgres.Config) *postgres.Engine {
	t.Helper()
	if config.Node == "" {
		config.Node = t.Name()
	}
	engine, err := postgres.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, engine)
	return engine
}

func closeAtEnd(t testing.TB, engine *postgres.Engine) {
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

func TestEngine(t *testing.T) { enginetest.Run(t, open) }

// TestEngineIsDurable has a store for each folder of the suite.
func TestEngineIsDurable(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	var mu sync.Mutex
	stores := make(map[string]string)
	enginetest.RunDurable(t, func(t testing.TB, dir string) core.Engine {
		mu.Lock()
		defer mu.Unlock()
		if stores[dir] == "" {
			stores[dir] = server.Store(t)
		}
		return openAlone(t, postgres.Config{URL: server.URL, Store: stores[dir]})
	})
}

// TestEngineHasEpochs moves them by another engine of the store.
func TestEngineHasEpochs(t *testing.T) {
	server := pgtest.Shared(t)
	enginetest.RunEpochs(t, func(t testing.TB) (core.Engine, func()) {
		config := postgres.Config{URL: server.URL, Store: server.Store(t)}
		engine := openStore(t, config)
		config.Node = "other"
		other := openStore(t, config)
		return engine, func() {
			if changed, err := other.AdvanceEpoch(t.Context()); !changed || err != nil {
				t.Errorf("advance: %t, %v", changed, err)
			}
		}
	})
}

func TestEngineSoak(t *testing.T) { enginetest.Soak(t, open) }
