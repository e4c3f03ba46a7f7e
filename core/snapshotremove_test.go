package core_test

import (
	"bytes"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// TestLateSnapshots: a snapshot that is recorded between the list of snapshots and the Commit that
// removes the events leaves no content, even if the process that wrote the Commit ended then. One of
// the next incarnation stays, and so do those of streams without events.
func TestLateSnapshots(t *testing.T) {
	late := func(s *core.Store, c *core.Commit) error { return core.RemoveLateSnapshots(t.Context(), s, c) }
	stale := func(s *core.Store, _ *core.Commit) error {
		return core.RemoveStaleSnapshots(t.Context(), s, core.NewPace(0))
	}
	for _, remove := range []func(*core.Store, *core.Commit) error{late, stale} {
		checkLateSnapshots(t, core.TombstoneStream, false, remove)
		checkLateSnapshots(t, core.RemoveStream, false, remove)
		checkLateSnapshots(t, core.RemoveStream, true, remove)
	}
}

// checkLateSnapshots has a late snapshot removed, of a stream that may have events again.
func checkLateSnapshots(t *testing.T, action core.StreamAction, again bool, remove func(*core.Store, *core.Commit) error) {
	t.Helper()
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(stream, kind, data string) {
		t.Helper()
		_, err := core.RecordSnapshot(t.Context(), store, core.SnapshotPut{Snapshot: core.Snapshot{Stream: stream, Kind: kind, Version: 1, Data: []byte(data)}})
		try(err)
	}
	event := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.NoStream, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
	_, err := store.Append(t.Context(), event)
	try(err)
	want := 5
	for _, stream := range []string{"a", "b", "s-1", "t", "u"} { // several pages
		put(stream, "kind", `"kept"`)
	}
	c := core.Commit{Streams: []core.StreamOp{{Stream: "s", Expect: core.AnyVersion, Action: action}}}
	try(core.RemoveSnapshots(t.Context(), store, &c))
	put("s", "late", `"secret"`)
	_, err = store.Append(t.Context(), c)
	try(err)
	if again {
		_, err := store.Append(t.Context(), event)
		try(err)
		put("s", "next", `"kept"`)
		want++
	}
	try(remove(store, &c))
	records, err := store.Records(t.Context(), core.RecordsRequest{Table: core.SnapshotsTable})
	try(err)
	kept := 0
	for i := range records {
		if bytes.Contains(records[i].Value, []byte("kept")) {
			kept++
		}
		if bytes.Contains(records[i].Value, []byte("secret")) {
			t.Errorf("%s: a late snapshot is left", action)
		}
	}
	if kept != want {
		t.Errorf("%s: %d snapshots are left, want %d", action, kept, want)
	}
}
