package sdk_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
)

// serve serves a store on a loopback port for as long as the test lasts.
func serve(t testing.TB, store *core.Store, limits wsapi.Limits) (url string) {
	t.Helper()
	return serveConfig(t, wsapi.Config{Store: store, Limits: limits})
}

func serveConfig(t testing.TB, config wsapi.Config) (url string) {
	t.Helper()
	config.Version, config.Node = "test", "n1"
	api, err := wsapi.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := api.Close(ctx); err != nil {
			t.Errorf("close the API: %v", err)
		}
		server.Close()
	})
	return server.URL
}

// newStore is an empty log in memory.
func newStore(t testing.TB) *core.Store {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// dial connects a client for as long as the test lasts.
func dial(t testing.TB, url string, o sdk.Options) *sdk.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := sdk.Dial(ctx, url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRetentionSoak(t *testing.T) {
	logtest.RunRetention(t, func(t testing.TB, clock *logtest.Clock) (core.Log, *core.Store) {
		store := core.NewStore(memory.New(), core.StoreConfig{Clock: clock.Now})
		t.Cleanup(func() { _ = store.Close() })
		return dial(t, serve(t, store, wsapi.Limits{}), sdk.Options{}), store
	})
}

func TestClientIsALog(t *testing.T) {
	for name, options := range map[string]sdk.Options{"bin": {}, "json": {JSON: true}} {
		t.Run(name, func(t *testing.T) {
			logtest.Run(t, func(t testing.TB) (core.Log, *core.Store) {
				store := newStore(t)
				return dial(t, serve(t, store, wsapi.Limits{}), options), store
			})
		})
	}
}
