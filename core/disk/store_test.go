package disk

import (
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
)

func TestStoreIsALog(t *testing.T) {
	t.Parallel()
	logtest.Run(t, func(t testing.TB) (core.Log, *core.Store) {
		store := core.NewStore(open(t, Config{}), core.StoreConfig{})
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return store, store
	})
}

func TestRetentionSoak(t *testing.T) {
	t.Parallel()
	logtest.RunRetention(t, func(t testing.TB, clock *logtest.Clock) (core.Log, *core.Store) {
		store := core.NewStore(open(t, Config{}), core.StoreConfig{Clock: clock.Now})
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return store, store
	})
}
