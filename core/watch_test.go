package core_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/memory"
)

// database is a log that several Stores share. A Store's engine is a session.
type database struct {
	*memory.Engine
	mu      sync.Mutex // protects the fields below
	changed chan struct{}
	log     string // once the log was replaced
}

func newDatabase() *database { return &database{Engine: memory.New(), changed: make(chan struct{})} }

func (d *database) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

// replace gives the log another identity, as after a fail-over that lost events.
func (d *database) replace(log string) {
	d.mu.Lock()
	d.log = log
	d.mu.Unlock()
	d.wake()
}

// session is one Store's way to the database.
type session struct {
	*database
	closing context.Context
	close   context.CancelFunc
}

var _ core.HeadWatcher = (*session)(nil)

func (d *database) session() *session {
	s := &session{database: d}
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

func (s *session) Commit(ctx context.Context, group []*core.Commit) core.Step {
	defer s.wake()
	return s.Engine.Commit(ctx, group)
}

func (s *session) State() core.State {
	state := s.Engine.State()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log != "" {
		state.Log = s.log
	}
	return state
}

func (s *session) WaitHead(ctx context.Context, log string, after uint64) (uint64, error) {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if state := s.State(); state.Head > after || state.Log != log {
			return state.Head, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, core.AsError(ctx.Err())
		case <-s.closing.Done():
			return 0, core.CodeStoreClosed
		}
	}
}

func (s *session) Close() error {
	s.close()
	return nil
}

func TestStoreOfASharedLogIsALog(t *testing.T) {
	logtest.Run(t, func(t testing.TB) core.Log {
		store := core.NewStore(newDatabase().session(), core.StoreConfig{})
		t.Cleanup(func() { store.Close() })
		return store
	})
}

// TestFollowersSeeWhatOtherStoresWrite has three Stores write to one log, and
// followers of every kind at each see all of it in order.
func TestFollowersSeeWhatOtherStoresWrite(t *testing.T) {
	const stores, writers, each = 3, 3, 200
	db := newDatabase()
	var running sync.WaitGroup
	for n := range stores {
		s := core.NewStore(db.session(), core.StoreConfig{TailBytes: 64 << 10})
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
	db := newDatabase()
	a, b := core.NewStore(db.session(), core.StoreConfig{}), core.NewStore(db.session(), core.StoreConfig{})
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
		db := newDatabase()
		a, b := core.NewStore(db.session(), core.StoreConfig{}), core.NewStore(db.session(), core.StoreConfig{})
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

// TestFollowOfALogThatWasReplaced ends with log_changed, at the head and behind
// it, and a new one works.
func TestFollowOfALogThatWasReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase()
		s := core.NewStore(db.session(), core.StoreConfig{})
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
		time.AfterFunc(time.Second, func() { db.replace("other") })
		if _, err := follows[1].Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); !errors.Is(err, core.CodeLogChanged) {
			t.Errorf("at the head: %v", err)
		}
		if _, err := follows[0].Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); !errors.Is(err, core.CodeLogChanged) {
			t.Errorf("behind: %v", err)
		}
		f, err := s.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: core.From{Kind: core.AfterPosition, N: 2, Log: "other"}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if d, err := f.Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); err != nil || d.First != 3 {
			t.Errorf("%+v, %v", d, err)
		}
	})
}
