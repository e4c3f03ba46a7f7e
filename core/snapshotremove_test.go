package core_test

import (
	"bytes"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// TestLateSnapshots: a snapshot that is recorded between the list of snapshots and the Commit that
// removes the events leaves no content. One of the next incarnation stays.
func TestLateSnapshots(t *testing.T) {
	for _, action := range []core.StreamAction{core.RemoveStream, core.TombstoneStream} {
		for _, again := range []bool{false, true} {
			if again && action == core.TombstoneStream {
				continue
			}
			store := core.NewStore(memory.New(), core.StoreConfig{})
			t.Cleanup(func() { _ = store.Close() })
			ctx := t.Context()
			try := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			put := func(kind, data string) {
				t.Helper()
				_, err := core.RecordSnapshot(ctx, store, core.SnapshotPut{Snapshot: core.Snapshot{Stream: "s", Kind: kind, Version: 1, Data: []byte(data)}})
				try(err)
			}
			event := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.NoStream, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
			_, err := store.Append(ctx, event)
			try(err)
			c := core.Commit{Streams: []core.StreamOp{{Stream: "s", Expect: core.AnyVersion, Action: action}}}
			try(core.RemoveSnapshots(ctx, store, &c))
			put("late", `"secret"`)
			_, err = store.Append(ctx, c)
			try(err)
			if again {
				_, err := store.Append(ctx, event)
				try(err)
				put("next", `"kept"`)
			}
			try(core.RemoveLateSnapshots(ctx, store, &c))
			records, err := store.Records(ctx, core.RecordsRequest{Table: core.SnapshotsTable})
			try(err)
			kept := false
			for i := range records {
				kept = kept || bytes.Contains(records[i].Value, []byte("kept"))
				if bytes.Contains(records[i].Value, []byte("secret")) {
					t.Errorf("%s: a late snapshot is left", action)
				}
			}
			if kept != again {
				t.Errorf("%s: the next incarnation's snapshot is there: %v", action, kept)
			}
		}
	}
}
