package core_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// noisy is a Store whose log has n events of type Noise with so much data, and one of type
// Rare at each of the positions.
func noisy(t *testing.T, engine core.Engine, n, bytes int, rare ...int) *core.Store {
	t.Helper()
	store := core.NewStore(engine, core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	data := fmt.Appendf(nil, "%q", make([]byte, bytes/4))
	for done := 0; done < n; {
		var events []core.NewEvent
		for size := 0; done < n && len(events) < core.MaxCommitEvents && size+len(data) < core.MaxCommitBytes; size += len(data) {
			done++
			events = append(events, core.NewEvent{ID: core.NewID(), Type: "Noise", Data: data})
			for _, at := range rare {
				if at == done {
					events[len(events)-1].Type = "Rare"
				}
			}
		}
		if _, err := store.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: events}}}); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// A page looks at a bounded part of the log and says where to go on.
func TestAScanIsBounded(t *testing.T) {
	for _, x := range []struct {
		name         string
		events, size int
		most         uint64 // that a page reaches over
	}{
		{"in events", 150_000, 2, 66_000},
		{"in bytes", 5_000, 8_000, 2_300},
	} {
		t.Run(x.name, func(t *testing.T) {
			store := noisy(t, memory.New(), x.events, x.size, 1, x.events)
			for _, stream := range []string{core.All, "s"} {
				for _, backward := range []bool{false, true} {
					r := core.ReadRequest{Stream: stream, Backward: backward, Select: core.Selection{Filter: core.Filter{Types: []string{"Rare"}}}}
					found, scanned, pages := 0, uint64(0), 0
					for end := false; !end; pages++ {
						page, err := store.Read(t.Context(), r)
						if err != nil {
							t.Fatal(err)
						}
						if page.Scanned > x.most || page.Scanned == 0 {
							t.Fatalf("%+v reaches over %d, at most %d", r, page.Scanned, x.most)
						}
						found, scanned, end = found+page.Count, scanned+page.Scanned, page.End
						r.From = page.Next
					}
					if found != 2 || scanned != uint64(x.events) || pages < 3 {
						t.Errorf("%s, backward %v: %d events in %d pages over %d", stream, backward, found, pages, scanned)
					}
				}
			}
		})
	}
}

// A scan ends when half of the request's time is gone, and returns what it has.
func TestAScanEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handle := memory.NewLog().Open()
		store := noisy(t, handle, 20_000, 2, 1)
		handle.Slow(time.Second, 0)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		page, err := store.Read(ctx, core.ReadRequest{Stream: core.All, Select: core.Selection{Filter: core.Filter{Types: []string{"Rare"}}}})
		if err != nil || page.Count != 1 || page.End || page.Next != page.Scanned+1 || page.Scanned < 4_000 || page.Scanned > 6_000 {
			t.Errorf("%d events, next %d, scanned %d, end %v, %v", page.Count, page.Next, page.Scanned, page.End, err)
		}
	})
}
