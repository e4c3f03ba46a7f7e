package core_test

import (
	"context"
	"errors"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// racing is a Store to which something happens before a Commit, once.
type racing struct {
	*core.Store
	first func()
}

func (r *racing) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	if first := r.first; first != nil {
		r.first = nil
		first()
	}
	return r.Store.Append(ctx, c)
}

// What a put has read may be gone when it writes: also where the record that is there now was
// made anew, and has come as far.
func TestASnapshotThatIsLateDoesNotOverwrite(t *testing.T) {
	put := func(t *testing.T, s core.SnapshotStore, version uint64) error {
		_, err := core.RecordSnapshot(t.Context(), s, core.SnapshotPut{Snapshot: core.Snapshot{Stream: "s", Version: version, Data: []byte(`{}`)}})
		return err
	}
	for name, meanwhile := range map[string]func(t *testing.T, s core.SnapshotStore){
		"another": func(t *testing.T, s core.SnapshotStore) {
			if err := put(t, s, 7); err != nil {
				t.Error(err)
			}
		},
		"deleted and another": func(t *testing.T, s core.SnapshotStore) {
			deleted, err := core.DeleteSnapshot(t.Context(), s, "s", "")
			if err = errors.Join(err, put(t, s, 7)); err != nil || !deleted {
				t.Error(deleted, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := core.NewStore(memory.New(), core.StoreConfig{})
			t.Cleanup(func() { _ = store.Close() })
			if err := put(t, store, 5); err != nil {
				t.Fatal(err)
			}
			late := &racing{store, func() { meanwhile(t, store) }}
			if err := put(t, late, 6); !errors.Is(err, core.CodeSnapshotOlder) {
				t.Errorf("the late one: %v", err)
			}
			if s, err := core.ReadSnapshot(t.Context(), store, "s", ""); err != nil || s.Version != 7 {
				t.Errorf("version %d, %v", s.Version, err)
			}
		})
	}
}

// Events that are appended between the two reads of Load are in it.
func TestLoadMissesNothing(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	write := func(n int) {
		t.Helper()
		for range n {
			c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte(`1`)}}}}}
			if _, err := store.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	record := func(version uint64) {
		t.Helper()
		p := core.SnapshotPut{Snapshot: core.Snapshot{Stream: "s", Version: version, Data: []byte(`{}`)}}
		if _, err := core.RecordSnapshot(t.Context(), store, p); err != nil {
			t.Fatal(err)
		}
	}
	write(3)
	record(2)
	l, err := core.Load(t.Context(), &betweenReads{store, func() {
		write(3)
		record(6)
	}}, core.LoadRequest{Stream: "s"})
	if err != nil || l.Snapshot == nil || l.Snapshot.Version != 2 || l.Count != 4 || l.Version != 6 {
		t.Errorf("%+v, %v", l, err)
	}
}

// betweenReads does something after records were read.
type betweenReads struct {
	*core.Store
	then func()
}

func (b *betweenReads) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	found, err := b.Store.Records(ctx, r)
	b.then()
	return found, err
}
