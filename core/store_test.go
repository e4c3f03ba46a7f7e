package core_test

import (
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/memory"
)

func TestStoreIsALog(t *testing.T) {
	logtest.Run(t, func(t testing.TB) core.Log { return openStore(t, core.StoreConfig{}) })
}

// TestStoreWithATinyTailIsALog sends every follower that falls behind to storage.
func TestStoreWithATinyTailIsALog(t *testing.T) {
	logtest.Run(t, func(t testing.TB) core.Log { return openStore(t, core.StoreConfig{TailBytes: 1, QueueBytes: 1}) })
}

func openStore(t testing.TB, config core.StoreConfig) *core.Store {
	store := core.NewStore(memory.New(), config)
	t.Cleanup(func() { store.Close() })
	return store
}
