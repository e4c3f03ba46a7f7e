package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/memory"
)

func TestStoreIsALog(t *testing.T) {
	logtest.Run(t, func(t testing.TB) (core.Log, *core.Store) {
		store := openStore(t, core.StoreConfig{})
		return store, store
	})
}

// TestStoreWithATinyTailIsALog sends every follower that falls behind to storage.
func TestStoreWithATinyTailIsALog(t *testing.T) {
	logtest.Run(t, func(t testing.TB) (core.Log, *core.Store) {
		store := openStore(t, core.StoreConfig{TailBytes: 1, QueueBytes: 1})
		return store, store
	})
}

func openStore(t testing.TB, config core.StoreConfig) *core.Store {
	store := core.NewStore(memory.New(), config)
	t.Cleanup(func() { store.Close() })
	return store
}

// TestFilteredFollowTellsItsProgress waits in virtual time: a live reader whom
// nothing matches is told its place after a while, so that it need not begin again
// from where something last did.
func TestFilteredFollowTellsItsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		defer store.Close()
		for _, r := range []core.FollowRequest{
			{Stream: core.All, Filter: core.Filter{Types: []string{"none"}}}, {Stream: "none"},
		} {
			f, err := store.Follow(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			first, err := f.Next(t.Context(), core.Limit{Events: 1, Bytes: 1})
			if err != nil || !first.Live || first.Count != 0 {
				t.Fatalf("follow %+v: %+v, %v", r, first, err)
			}
			for range 3 {
				if _, err := store.Append(t.Context(), one("a")); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			d, err := f.Next(ctx, core.Limit{Events: 1, Bytes: 1})
			cancel()
			if err != nil || d.Cursor != first.Cursor+3 || d.Count != 0 || !d.Live {
				t.Errorf("follow %+v: %+v, %v, want progress to %d", r, d, err, first.Cursor+3)
			}
			// With nothing passed there is nothing to tell.
			ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
			if d, err := f.Next(ctx, core.Limit{Events: 1, Bytes: 1}); !errors.Is(err, core.CodeTimeout) {
				t.Errorf("follow %+v: %+v, %v, want timeout", r, d, err)
			}
			cancel()
		}
	})
}

func TestCloseEndsFollows(t *testing.T) {
	store := openStore(t, core.StoreConfig{})
	ended := make(chan error)
	const followers = 10
	for i := range followers {
		r := core.FollowRequest{Stream: core.All}
		if i%2 == 0 {
			r.Stream = "a"
		}
		f, err := store.Follow(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer f.Close()
			for {
				if _, err := f.Next(t.Context(), core.Limit{Events: 10, Bytes: 1000}); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	if _, err := store.Append(t.Context(), one("a")); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for range followers {
		if err := <-ended; !errors.Is(err, core.CodeStoreClosed) {
			t.Errorf("next: %v, want store_closed", err)
		}
	}
	f, err := store.Follow(t.Context(), core.FollowRequest{Stream: core.All})
	if err == nil {
		_, err = f.Next(t.Context(), core.Limit{Events: 1, Bytes: 1})
	}
	if !errors.Is(err, core.CodeStoreClosed) {
		t.Errorf("follow after close: %v, want store_closed", err)
	}
	if err := store.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

func TestStoreListsWithinItsLimits(t *testing.T) {
	store := openStore(t, core.StoreConfig{})
	c := core.Commit{}
	for i := range core.MaxReadEvents + 5 {
		c.Appends = append(c.Appends, one(fmt.Sprintf("s-%04d", i)).Appends...)
		c.Records = append(c.Records, core.RecordOp{Table: "t", Key: fmt.Sprintf("k-%04d", i), Expect: core.NoStream})
	}
	if _, err := store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int]int{0: core.DefaultReadEvents, -1: core.DefaultReadEvents, 7: 7, 1 << 20: core.MaxReadEvents} {
		page, err := store.Streams(t.Context(), core.StreamsRequest{Limit: limit})
		if err != nil || len(page.Streams) != want || page.End {
			t.Errorf("%d streams of at most %d, end = %v, %v, want %d", len(page.Streams), limit, page.End, err, want)
		}
		records, err := store.Records(t.Context(), core.RecordsRequest{Table: "t", Limit: limit})
		if err != nil || len(records) != want {
			t.Errorf("%d records of at most %d, %v, want %d", len(records), limit, err, want)
		}
	}
	page, err := store.Read(t.Context(), core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 1}})
	if err != nil || page.Last != store.State().Head {
		t.Fatalf("%+v, %v", page, err)
	}
	last := page.Slice()[0]
	if e, err := store.Event(t.Context(), last.ID); err != nil || e.Position != last.Position {
		t.Errorf("event %s: %+v, %v", last.ID, e, err)
	}
	if stats := store.Stats(); stats.Commits != 1 || stats.Steps != 1 || stats.Events != uint64(core.MaxReadEvents+5) {
		t.Errorf("%+v", stats)
	}
}

// TestReadLogIsBounded reads a log with links through the Store, which has the bounds
// of a Read.
func TestReadLogIsBounded(t *testing.T) {
	store := openStore(t, core.StoreConfig{})
	for i := range 600 {
		c := one("a")
		c.Appends[0].Events[0].ID = core.NewID()
		c.Appends = append(c.Appends, core.Append{Stream: "l", Expect: core.Expect(i), Links: []core.ID{c.Appends[0].Events[0].ID}})
		if _, err := store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int]int{0: core.DefaultReadEvents, 7: 7, core.MaxReadEvents + 1: core.MaxReadEvents} {
		page, err := store.ReadLog(t.Context(), 3, core.Limit{Events: limit})
		if err != nil || page.Count != want || page.First != 3 || page.Last != uint64(2+want) || !page.Hidden {
			t.Errorf("limit %d: %d from %d to %d, %v, want %d", limit, page.Count, page.First, page.Last, err, want)
		}
	}
	for _, limit := range []core.Limit{{Events: -1}, {Bytes: -1}} {
		if _, err := store.ReadLog(t.Context(), 1, limit); !errors.Is(err, core.CodeInvalidRequest) {
			t.Errorf("%+v: %v", limit, err)
		}
	}
	if _, err := store.ReadLog(t.Context(), core.MaxNumber+1, core.Limit{}); !errors.Is(err, core.CodeInvalidRequest) {
		t.Errorf("from beyond all numbers: %v", err)
	}
}
