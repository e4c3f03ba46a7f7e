package postgres_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

func benchStore(b *testing.B) *core.Store {
	server := pgtest.Shared(b)
	engine, err := postgres.Open(b.Context(), postgres.Config{URL: server.URL, Store: server.Store(b)})
	if err != nil {
		b.Fatal(err)
	}
	store := core.NewStore(engine, core.StoreConfig{})
	b.Cleanup(func() { store.Close() })
	return store
}

// benchEvents are n events of about 430 bytes, encoded.
func benchEvents(n int) []core.NewEvent {
	events := make([]core.NewEvent, n)
	for i := range events {
		events[i] = core.NewEvent{ID: core.NewID(), Type: "OrderPlaced", Format: core.Bytes, Data: make([]byte, 368)}
	}
	return events
}

// BenchmarkAppend appends single events, each of its callers to a stream of its
// own; an op is one event.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			store := benchStore(b)
			left := make(chan struct{}, b.N)
			for range b.N {
				left <- struct{}{}
			}
			close(left)
			b.ResetTimer()
			var running sync.WaitGroup
			for i := range callers {
				running.Go(func() {
					for range left {
						c := core.Commit{Appends: []core.Append{{Stream: fmt.Sprint("s", i), Expect: core.AnyVersion, Events: benchEvents(1)}}}
						if _, err := store.Append(b.Context(), c); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			running.Wait()
		})
	}
}

// BenchmarkRead reads $all; an op is one event.
func BenchmarkRead(b *testing.B) {
	store := benchStore(b)
	for range 20 {
		c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: benchEvents(1000)}}}
		if _, err := store.Append(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		for _, err := range core.ReadAll(b.Context(), store, core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: 1000}}) {
			if err != nil {
				b.Fatal(err)
			}
			if n++; n == b.N {
				break
			}
		}
	}
}
