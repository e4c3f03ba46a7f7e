package census

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// BenchmarkAppends has 64 writers append, with and without a fold beside them. The two alternate on
// one log, so that what the machine does else meets both.
func BenchmarkAppends(b *testing.B) {
	b.Run("disk", func(b *testing.B) {
		e, err := disk.Open(b.Context(), disk.Config{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		besideFold(b, newStore(b, e))
	})
	b.Run("postgres", func(b *testing.B) {
		server := pgtest.Shared(b)
		e, err := postgres.Open(b.Context(), postgres.Config{URL: server.URL, Store: server.Store(b)})
		if err != nil {
			b.Fatal(err)
		}
		besideFold(b, newStore(b, e))
	})
}

func besideFold(b *testing.B, store *core.Store) {
	const turn = 2 * time.Second
	var events [2]int
	data := []byte(`{"total":10,"currency":"EUR","lines":[1,2,3,4,5,6,7,8,9,10]}`)
	for b.Loop() {
		for with := range 2 {
			var owned atomic.Bool
			owned.Store(with == 1)
			c := New(Config{Store: store, Commits: store, Owns: owned.Load})
			var total atomic.Int64
			var writers sync.WaitGroup
			until := time.Now().Add(turn)
			for w := range 64 {
				writers.Go(func() {
					for n := 0; time.Now().Before(until); n++ {
						events := make([]core.NewEvent, 10)
						for i := range events {
							events[i] = core.NewEvent{ID: core.NewID(), Type: fmt.Sprint("T", i), Data: data}
						}
						if _, err := store.Append(b.Context(), core.Commit{Appends: []core.Append{{Stream: fmt.Sprintf("order-%d-%d", w, n%100), Expect: core.AnyVersion, Events: events}}}); err != nil {
							b.Error(err)
							return
						}
						total.Add(int64(len(events)))
					}
				})
			}
			writers.Wait()
			c.Close()
			events[with] += int(total.Load())
		}
	}
	seconds := float64(b.N) * turn.Seconds()
	b.ReportMetric(float64(events[0])/seconds, "alone/s")
	b.ReportMetric(float64(events[1])/seconds, "beside/s")
	b.ReportMetric(float64(events[1])/float64(events[0]), "ratio")
}

// BenchmarkFold counts a log on disk from its start.
func BenchmarkFold(b *testing.B) {
	e, err := disk.Open(b.Context(), disk.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	store := newStore(b, e)
	const all = 500_000
	for n := 0; n < all; n += 1000 {
		events := make([]core.NewEvent, 1000)
		for i := range events {
			events[i] = core.NewEvent{Type: fmt.Sprint("T", i%10), Data: []byte(`{"total":10,"currency":"EUR","lines":[1,2,3,4,5,6,7,8,9,10]}`)}
		}
		if _, err := store.Append(b.Context(), core.Commit{Appends: []core.Append{{Stream: fmt.Sprintf("order-%d", n), Events: events}}}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		f := &fold{store: store, state: &state{}}
		f.types, f.categories = newTable(typesTable, &Count{}), newTable(categoriesTable, &Count{})
		for more := true; more; {
			if more, err = f.count(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(all*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
