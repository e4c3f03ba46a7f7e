package keys_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
)

// late is a store that tells nothing of new events, as if they were on their way for ever.
type late struct {
	*core.Store
	looks, atOnce, most atomic.Int32
	stuck               atomic.Bool // looks are not answered
}

func (*late) Follow(context.Context, core.FollowRequest) (core.Follower, error) { return silent{}, nil }

// Records counts the looks at single keys.
func (l *late) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	if r.Keys == nil {
		return l.Store.Records(ctx, r)
	}
	l.looks.Add(1)
	l.most.Store(max(l.most.Load(), l.atOnce.Add(1)))
	defer l.atOnce.Add(-1)
	if l.stuck.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.Store.Records(ctx, r)
}

// silent is a Follower that never has anything.
type silent struct{ core.Follower }

func (silent) Next(ctx context.Context, _ core.Limit) (core.Delivery, error) {
	<-ctx.Done()
	return core.Delivery{}, ctx.Err()
}

func (silent) Close() error { return nil }

// TestANewKeyWorksBeforeItIsHeardOf: a node looks a key up that it does not know.
func TestANewKeyWorksBeforeItIsHeardOf(t *testing.T) {
	store := newStore(t)
	here := open(t, store)
	_, root, err := here.Init(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	there := &late{Store: store}
	node := open(t, there)
	for range 30 {
		made, token, err := here.Create(as(t, here, root), keys.Key{Role: access.Operator})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := node.Authenticate(token); err != nil || p.Name != made.ID {
			t.Fatalf("%v, %v", p, err)
		}
		looks := there.looks.Load()
		for _, known := range []string{token, flip(token), "", "no key"} {
			if _, err := node.Authenticate(known); (err == nil) != (known == token) {
				t.Errorf("%q: %v", known, err)
			}
		}
		if there.looks.Load() != looks {
			t.Error("a known id, or what is no key, is looked up")
		}
	}
}

// TestWrongKeysAreLookedUpNowAndThen: however many come, storage is asked a few times.
func TestWrongKeysAreLookedUpNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		here := open(t, store)
		_, root, err := here.Init(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		there := &late{Store: store}
		node := open(t, there)
		guess := func(times int) (looks int32) {
			before := there.looks.Load()
			var guessing sync.WaitGroup
			for range times {
				guessing.Go(func() {
					if _, err := node.Authenticate(keys.NewToken()); !errors.Is(err, core.CodeUnauthenticated) {
						t.Error(err)
					}
				})
			}
			guessing.Wait()
			return there.looks.Load() - before
		}
		if looks := guess(1000); looks != 50 || there.most.Load() != 1 {
			t.Errorf("1000 wrong keys at once are %d looks, %d at a time", looks, there.most.Load())
		}
		time.Sleep(time.Second)
		if looks := guess(1000); looks != 10 {
			t.Errorf("1000 wrong keys a second later are %d looks", looks)
		}
		time.Sleep(time.Minute)
		there.stuck.Store(true)
		began := time.Now()
		if guess(1000); time.Since(began) != time.Second {
			t.Errorf("wrong keys waited %v for a store that does not answer", time.Since(began))
		}
		if _, err := node.Authenticate(root); err != nil {
			t.Error(err)
		}
	})
}
