package core_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/memory"
)

func TestRetentionSoak(t *testing.T) {
	for name, config := range map[string]core.StoreConfig{"tail": {}, "tiny tail": {TailBytes: 1}} {
		t.Run(name, func(t *testing.T) {
			logtest.RunRetention(t, func(t testing.TB, clock *logtest.Clock) (core.Log, *core.Store) {
				config := config // each test has a clock of its own
				config.Clock = clock.Now
				store := openStore(t, config)
				return store, store
			})
		})
	}
	t.Run("shared log", func(t *testing.T) {
		logtest.RunRetention(t, func(t testing.TB, clock *logtest.Clock) (core.Log, *core.Store) {
			store := core.NewStore(memory.NewLog().Open(), core.StoreConfig{Clock: clock.Now})
			t.Cleanup(func() { store.Close() })
			return store, store
		})
	})
}

// TestRetentionOfAnotherNode sets policies at one node of a shared log, and reads and follows at
// another.
func TestRetentionOfAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memory.NewLog()
		a, b := core.NewStore(db.Open(), core.StoreConfig{}), core.NewStore(db.Open(), core.StoreConfig{})
		defer a.Close()
		defer b.Close()
		for range 5 {
			if _, err := a.Append(t.Context(), one("s")); err != nil {
				t.Fatal(err)
			}
		}
		has := func(want int) {
			t.Helper()
			page, err := b.Read(t.Context(), core.ReadRequest{Stream: "s"})
			if err != nil || page.Count != want {
				t.Errorf("the other node reads %d events, %v, want %d", page.Count, err, want)
			}
		}
		has(5)
		keep(t, a, "s", core.Retention{MaxCount: 3})
		time.Sleep(time.Second) // in virtual time
		has(3)
		f, err := b.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: core.From{Kind: core.FromEnd}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		keep(t, a, "s", core.Retention{MaxCount: 1})
		synctest.Wait() // the follower's node learns of it as of any event
		has(1)
	})
}

func keep(t *testing.T, s *core.Store, stream string, r core.Retention) {
	t.Helper()
	p := core.RetentionPut{Target: core.RetentionTarget{Stream: stream}, Retention: r, Expect: core.AnyVersion}
	if _, _, err := core.SetRetention(t.Context(), s, p); err != nil {
		t.Fatal(err)
	}
}

// TestTooManyRetentions fills a store with policies. Those that there are can still be changed.
func TestTooManyRetentions(t *testing.T) {
	s := openStore(t, core.StoreConfig{})
	core.LimitRetentions(s, 3)
	for n := range 3 {
		keep(t, s, fmt.Sprintf("s%d", n), core.Retention{MaxCount: 1})
	}
	keep(t, s, "s1", core.Retention{MaxCount: 2})
	p := core.RetentionPut{Target: core.RetentionTarget{Category: "more"}, Retention: core.Retention{MaxCount: 1}, Expect: core.AnyVersion}
	if _, _, err := core.SetRetention(t.Context(), s, p); !errors.Is(err, core.CodeTooManyRetentions) {
		t.Errorf("%v, want too_many_retentions", err)
	}
	keep(t, s, "s2", core.Retention{})
	if _, changed, err := core.SetRetention(t.Context(), s, p); err != nil || !changed {
		t.Errorf("changed %v, %v", changed, err)
	}
}

// TestExpiryOfWhatIsKept has those that keep events look again as time goes by.
func TestExpiryOfWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := core.NewStore(memory.New(), core.StoreConfig{})
		defer s.Close()
		keep(t, s, "s", core.Retention{MaxAge: time.Hour})
		if _, err := s.Append(t.Context(), one("s")); err != nil {
			t.Fatal(err)
		}
		count := s.Removals()
		page, err := s.Read(t.Context(), core.ReadRequest{Stream: "s"})
		if err != nil || page.Count != 1 {
			t.Fatalf("%d events, %v", page.Count, err)
		}
		for begun := time.Now(); ; {
			after, err := s.AwaitRemoval(t.Context(), count)
			if err != nil || after <= count {
				t.Fatalf("count %d after %d, %v", after, count, err)
			}
			count = after
			gone, err := s.Gone(t.Context(), count, [][]byte{page.Block})
			if err != nil {
				t.Fatal(err)
			}
			age := time.Since(begun)
			if gone[0] != (age > time.Hour) {
				t.Fatalf("gone %v after %s", gone[0], age)
			}
			if gone[0] {
				return
			}
		}
	})
}
