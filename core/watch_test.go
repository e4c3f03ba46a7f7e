package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/memory"
)

func TestStoreOfASharedLogIsALog(t *testing.T) {
	logtest.Run(t, func(t testing.TB) (core.Log, *core.Store) {
		store := core.NewStore(memory.NewLog().Open(), core.StoreConfig{})
		t.Cleanup(func() { store.Close() })
		return store, store
	})
}

// N09: TestFollowersSeeWhatOtherStoresWrite has three Stores write to one log, and
// followers of every kind at each see all of it in order.
func TestFollowersSeeWhatOtherStoresWrite(t *testing.T) {
	const stores, writers, each = 3, 3, 200
	db := memory.NewLog()
	var running sync.WaitGroup
	for n := range stores {
		s := core.NewStore(db.Open(), core.StoreConfig{TailBytes: 64 << 10})
		defer s.Close()
		for w := range writers {
			stream := fmt.Sprintf("%d-%d", n, w)
			running.Go(func() {
				for range each {
					if _, err := s.Append(t.Context(), one(stream)); err != nil {
						t.Error(err)
						return
					}
				}
			})
			// The next Store's stream.
			other := fmt.Sprintf("%d-%d", (n+1)%stores, w)
			running.Go(func() { expectVersions(t, s, core.FollowRequest{Stream: other}, each) })
			running.Go(func() {
				expectVersions(t, s, core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{other}}}, each)
			})
		}
		running.Go(func() {
			next := uint64(1)
			for e, err := range core.FollowEvents(t.Context(), s, core.FollowRequest{Stream: core.All}) {
				if err != nil || e.Position != next {
					t.Errorf("position %d, %v; want %d", e.Position, err, next)
					return
				}
				if next++; next > stores*writers*each {
					return
				}
			}
		})
	}
	running.Wait()
}

// TestCursorOfAnotherStore follows at one Store from a place that another has
// just given.
func TestCursorOfAnotherStore(t *testing.T) {
	db := memory.NewLog()
	a, b := core.NewStore(db.Open(), core.StoreConfig{}), core.NewStore(db.Open(), core.StoreConfig{})
	defer a.Close()
	defer b.Close()
	for n := uint64(1); n < 50; n++ {
		r, err := a.Append(t.Context(), one("a"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := b.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: core.From{Kind: core.AfterPosition, N: r.Position - 1}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := f.Next(t.Context(), core.Limit{Events: 1, Bytes: 1})
		if err != nil || d.First != r.Position {
			t.Errorf("%+v, %v; want position %d", d, err, r.Position)
		}
		f.Close()
	}
}

// TestOnlyFollowerSeesWhatOthersWrite follows once, and again after it has
// stopped, while nothing else happens at its Store: what another writes comes.
func TestOnlyFollowerSeesWhatOthersWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memory.NewLog()
		a, b := core.NewStore(db.Open(), core.StoreConfig{}), core.NewStore(db.Open(), core.StoreConfig{})
		defer a.Close()
		defer b.Close()
		for n := range uint64(20) {
			f, err := b.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: core.From{Kind: core.FromEnd}})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if _, err := a.Append(t.Context(), one("a")); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			for d := (core.Delivery{}); d.Count == 0 && err == nil; {
				if d, err = f.Next(ctx, core.Limit{Events: 1, Bytes: 1}); d.Count > 0 && d.First != n+1 {
					t.Errorf("position %d, want %d", d.First, n+1)
				}
			}
			cancel()
			f.Close()
			if err != nil {
				t.Fatalf("follow %d: %v", n, err)
			}
		}
	})
}

// readCounter counts the reads of an engine.
type readCounter struct {
	*memory.Handle
	reads atomic.Int64
}

func (c *readCounter) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	c.reads.Add(1)
	return c.Handle.Read(ctx, r)
}

// TestSlowStorageSendsNoFollowersThere has storage take long for what another Store writes:
// the tail is filled all the same, and followers at the head read nothing.
func TestSlowStorageSendsNoFollowersThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const followers, events = 100, 20
		db := memory.NewLog()
		slow := &readCounter{Handle: db.Open()}
		a, b := core.NewStore(db.Open(), core.StoreConfig{}), core.NewStore(slow, core.StoreConfig{})
		defer a.Close()
		defer b.Close()
		var running sync.WaitGroup
		for i := range followers {
			running.Go(func() {
				stream := fmt.Sprintf("s%d", i)
				f, err := b.Follow(t.Context(), core.FollowRequest{Stream: stream, From: core.From{Kind: core.FromEnd}})
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				for seen := 0; seen < events; {
					d, err := f.Next(t.Context(), core.Limit{Events: events, Bytes: core.MaxPageBytes})
					if err != nil {
						t.Error(err)
						return
					}
					seen += d.Count
				}
			})
		}
		synctest.Wait()
		before := slow.reads.Load()
		slow.Slow(400*time.Millisecond, 400*time.Millisecond)
		for range events {
			for i := range followers {
				if _, err := a.Append(t.Context(), one(fmt.Sprintf("s%d", i))); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		running.Wait()
		if n := slow.reads.Load() - before; n > 0 {
			t.Errorf("%d reads of followers at the head", n)
		}
	})
}

// TestManyBeginToFollowAtOnce has many begin to follow streams of which the tail has what
// they lack. Storage is asked for its head, and for nothing else, few times.
func TestManyBeginToFollowAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const followers = 100
		db := memory.NewLog()
		slow := &readCounter{Handle: db.Open()}
		s := core.NewStore(slow, core.StoreConfig{})
		defer s.Close()
		first, err := s.Follow(t.Context(), core.FollowRequest{Stream: core.All})
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		for i := range followers {
			if _, err := s.Append(t.Context(), one(fmt.Sprintf("s%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		before := slow.reads.Load()
		slow.Slow(time.Second, time.Second)
		begin := func(ctx context.Context, i int) error {
			from := core.From{Kind: core.AfterPosition, N: uint64(i)} // the event of s<i> is the next
			f, err := s.Follow(ctx, core.FollowRequest{Stream: fmt.Sprintf("s%d", i), From: from})
			if err != nil {
				return err
			}
			defer f.Close()
			d, err := f.Next(ctx, core.Limit{Events: 1, Bytes: 1})
			if err == nil && d.First != uint64(i)+1 {
				err = fmt.Errorf("position %d", d.First)
			}
			return err
		}
		var running sync.WaitGroup
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		running.Go(func() { // the one whose read the others wait for gives up
			if err := begin(gone, 0); !errors.Is(err, core.CodeTimeout) {
				t.Error(err)
			}
		})
		synctest.Wait()
		for i := range followers {
			running.Go(func() {
				if err := begin(t.Context(), i); err != nil {
					t.Errorf("follower %d: %v", i, err)
				}
			})
		}
		running.Wait()
		if n := slow.reads.Load() - before; n > 3 {
			t.Errorf("%d reads for %d followers", n, followers)
		}
	})
}

// TestFollowFromBehindTheTail begins a follow of a stream at every place that is not in the
// tail. If not much comes after it, one read has all of it.
func TestFollowFromBehindTheTail(t *testing.T) {
	const events = 40
	db := memory.NewLog()
	a := core.NewStore(db.Open(), core.StoreConfig{})
	defer a.Close()
	for range events { // the stream has every second position
		for _, stream := range []string{"other", "s"} {
			if _, err := a.Append(t.Context(), one(stream)); err != nil {
				t.Fatal(err)
			}
		}
	}
	counted := &readCounter{Handle: db.Open()}
	b := core.NewStore(counted, core.StoreConfig{})
	defer b.Close()
	for position := range uint64(2*events + 1) {
		for _, limit := range []int{1, 3, core.MaxReadEvents} {
			before := counted.reads.Load()
			f, err := b.Follow(t.Context(), core.FollowRequest{Stream: "s", From: core.From{Kind: core.AfterPosition, N: position}})
			if err != nil {
				t.Fatal(err)
			}
			next := position/2*2 + 2
			for live := false; !live; {
				d, err := f.Next(t.Context(), core.Limit{Events: limit, Bytes: core.MaxPageBytes})
				if err != nil {
					t.Fatal(err)
				}
				for e := range d.Events() {
					if e.Position != next {
						t.Fatalf("after %d, by %d: position %d, want %d", position, limit, e.Position, next)
					}
					next += 2
				}
				live = d.Live
			}
			if next != 2*events+2 {
				t.Errorf("after %d, by %d: live at position %d", position, limit, next)
			}
			f.Close()
			// One of the log's head, and one of the stream.
			if n := counted.reads.Load() - before; n > 2 && limit == core.MaxReadEvents && 2*events-position < 30 {
				t.Errorf("after %d: %d reads", position, n)
			}
		}
	}
}

// TestFollowOfALogThatWasReplaced ends with log_changed, at the head and behind
// it, and a new one works.
func TestFollowOfALogThatWasReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memory.NewLog()
		s := core.NewStore(db.Open(), core.StoreConfig{})
		defer s.Close()
		for range 3 {
			if _, err := s.Append(t.Context(), one("a")); err != nil {
				t.Fatal(err)
			}
		}
		var follows []core.Follower
		for _, from := range []core.FromKind{core.FromStart, core.FromEnd} {
			f, err := s.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: core.From{Kind: from}})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			follows = append(follows, f)
		}
		if d, err := follows[1].Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); err != nil || !d.Live {
			t.Fatalf("%+v, %v", d, err)
		}
		time.AfterFunc(time.Second, func() { db.Replace() })
		if _, err := follows[1].Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); !errors.Is(err, core.CodeLogChanged) {
			t.Errorf("at the head: %v", err)
		}
		if _, err := follows[0].Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); !errors.Is(err, core.CodeLogChanged) {
			t.Errorf("behind: %v", err)
		}
		f, err := s.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: core.From{Kind: core.AfterPosition, N: 2, Log: s.State().Log}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if d, err := f.Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); err != nil || d.First != 3 {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

// TestLogIsReplacedUnderARead has the log replaced while a follower at the tail reads a link,
// whose content is in storage: the page may be of another log, so nothing of it is delivered.
func TestLogIsReplacedUnderARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memory.NewLog()
		slow := db.Open()
		s := core.NewStore(slow, core.StoreConfig{})
		defer s.Close()
		f, err := s.Follow(t.Context(), core.FollowRequest{Stream: "linked"})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		event := one("home")
		event.Appends[0].Events[0].ID = core.ID{1}
		link := core.Commit{Appends: []core.Append{{Stream: "linked", Expect: core.AnyVersion, Links: []core.ID{{1}}}}}
		for _, c := range []core.Commit{event, link} {
			if _, err := s.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		slow.Slow(time.Second, time.Second)
		if d, err := f.Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); err != nil || d.Count > 0 {
			t.Fatalf("before the link: %d events, %v", d.Count, err)
		}
		time.AfterFunc(time.Second, db.Replace)
		if d, err := f.Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); !errors.Is(err, core.CodeLogChanged) {
			t.Errorf("%d events, %v", d.Count, err)
		}
	})
}

// A page that a filtered follower takes from storage has no room for more: readers keep many.
func TestFilteredPagesHaveNoRoom(t *testing.T) {
	db := memory.NewLog()
	a := core.NewStore(db.Open(), core.StoreConfig{})
	defer a.Close()
	var c core.Commit
	for i := range 2000 {
		next := one([]string{"other", "s"}[i%2])
		next.Appends[0].Events[0].Data = []byte(`"` + strings.Repeat("a", 500) + `"`)
		c.Appends = append(c.Appends, next.Appends...)
	}
	if _, err := a.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	b := core.NewStore(db.Open(), core.StoreConfig{})
	defer b.Close()
	f, err := b.Follow(t.Context(), core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{"s"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, events := range []int{400, 100, 500} {
		d, err := f.Next(t.Context(), core.Limit{Events: events, Bytes: core.MaxPageBytes})
		if err != nil || d.Count != events {
			t.Fatalf("%d events, want %d: %v", d.Count, events, err)
		}
		const rounding = 8 << 10 // of the allocator
		if room := cap(d.Block) - len(d.Block); room >= rounding {
			t.Errorf("%d bytes have room for %d more", len(d.Block), room)
		}
	}
}
