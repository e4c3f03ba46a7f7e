package core_test

import (
	"context"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// TestCatchUp: a Store that has caught up knows of what another one has removed, whether or not
// somebody follows there, and whether or not its own events come after the notice.
func TestCatchUp(t *testing.T) {
	for name, c := range map[string]struct{ follows, appends, removes, puts bool }{
		"nobody follows":            {},
		"its own event is behind":   {appends: true},
		"its own removal is behind": {removes: true},
		"somebody follows":          {follows: true},
		"both":                      {follows: true, appends: true},
		"a policy":                  {puts: true},
		"a policy, appended":        {puts: true, appends: true},
	} {
		t.Run(name, func(t *testing.T) {
			db := memory.NewLog()
			a, b := core.NewStore(db.Open(), core.StoreConfig{}), core.NewStore(db.Open(), core.StoreConfig{})
			defer a.Close()
			defer b.Close()
			write(t, a, one("s"))
			write(t, a, one("r"))
			if c.follows {
				f, err := b.Follow(t.Context(), core.FollowRequest{Stream: "other"})
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
			}
			page, err := b.Read(t.Context(), core.ReadRequest{Stream: "s"})
			if err != nil {
				t.Fatal(err)
			}
			known := b.Removals()
			if c.puts {
				put := core.RetentionPut{Target: core.RetentionTarget{Stream: "s"}, Retention: core.Retention{TruncateBefore: 2}}
				if _, _, err := core.SetRetention(t.Context(), a, put); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, a, removal("s"))
			}
			if c.appends {
				write(t, b, one("b"))
			}
			if c.removes {
				write(t, b, removal("r"))
			}
			if err := b.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if now := b.Removals(); now == known && !c.puts {
				t.Errorf("Removals is %d before and after", now)
			}
			if gone, err := b.Gone(t.Context(), known, [][]byte{page.Block}); err != nil || !gone[0] {
				t.Errorf("Gone: %v, %v", gone, err)
			}
		})
	}
}

// TestCatchUpEnds: CatchUp ends with its context and with the Store.
func TestCatchUpEnds(t *testing.T) {
	db := memory.NewLog()
	a, b := core.NewStore(db.Open(), core.StoreConfig{}), core.NewStore(db.Open(), core.StoreConfig{})
	defer a.Close()
	write(t, a, one("s"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.CatchUp(ctx); core.AsError(err).Code != core.CodeCanceled {
		t.Errorf("the context has ended: %v", err)
	}
	b.Close()
	if err := b.CatchUp(t.Context()); core.AsError(err).Code != core.CodeStoreClosed {
		t.Errorf("the Store is closed: %v", err)
	}
}

// removal is a Commit that removes a stream.
func removal(stream string) core.Commit {
	return core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: core.AnyVersion, Action: core.RemoveStream}}}
}

func write(t *testing.T, s *core.Store, c core.Commit) {
	t.Helper()
	if _, err := s.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}
