package runtime

import (
	"context"
	"errors"
	"testing"

	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
)

// storeWithPuts puts, before each Append, the first policy on the next one of some streams.
type storeWithPuts struct {
	wsapi.Store
	puts []string
}

func (s *storeWithPuts) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	if len(s.puts) > 0 {
		p := core.RetentionPut{Target: core.RetentionTarget{Stream: s.puts[0]}, Retention: core.Retention{MaxCount: 1}}
		if _, _, err := core.SetRetention(ctx, s.Store, p); err != nil {
			return core.Result{}, err
		}
		s.puts = s.puts[1:]
	}
	return s.Store.Append(ctx, c)
}

// TestFirstPolicyDuringRemoval puts first policies on streams that are being removed. The removal
// takes them along, or is refused if there are more and more.
func TestFirstPolicyDuringRemoval(t *testing.T) {
	streams := []string{"a", "b", "c"}
	for puts := range len(streams) + 1 {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		defer store.Close()
		var removal core.Commit
		for _, name := range streams {
			c := core.Commit{Appends: []core.Append{{Stream: name, Expect: core.NoStream, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte("1")}}}}}
			if _, err := store.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			removal.Streams = append(removal.Streams, core.StreamOp{Stream: name, Expect: 1, Action: core.RemoveStream})
		}
		k, err := keys.New(t.Context(), keys.Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		s := &changes{Store: &storeWithPuts{Store: store, puts: streams[:puts]}, hardDeletes: true, keys: k, forget: forgetting{removed: func(context.Context) error { return nil }}}
		_, err = s.Append(t.Context(), removal)
		if puts == removeTries {
			if !errors.Is(err, core.CodeRecordConflict) {
				t.Errorf("%d puts: %v, want record_conflict", puts, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%d puts: %v", puts, err)
		}
		if page, err := core.ListRetentions(t.Context(), store, core.RetentionsRequest{}); err != nil || len(page.Policies) > 0 {
			t.Errorf("%d puts: %d policies are left, %v", puts, len(page.Policies), err)
		}
	}
}
