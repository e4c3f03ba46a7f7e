package postgres_test

import (
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestSelectedRanges has selections read in ranges of few positions.
func TestSelectedRanges(t *testing.T) {
	t.Parallel()
	logtest.RunSelect(t, func(t testing.TB) (core.Log, *core.Store) {
		server := pgtest.Shared(t)
		engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
		engine.SelectWithin(7)
		store := core.NewStore(engine, core.StoreConfig{})
		t.Cleanup(func() { store.Close() })
		return store, store
	})
}
