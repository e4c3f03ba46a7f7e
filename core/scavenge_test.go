package core_test

import (
	"errors"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// A scavenge leaves the events of $streams: they say which streams are tombstoned, and nodes
// learn from them. No policy is about them.
func TestScavengeLeavesNotices(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	for range 3 {
		c := core.Commit{Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}, {Type: "T", Data: []byte("2")}}}}}
		for _, c := range []core.Commit{c, {Streams: []core.StreamOp{{Stream: "a", Expect: core.AnyVersion, Action: core.RemoveStream}}}, c} {
			if _, err := store.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	policy := core.Retention{MaxCount: 1}
	for _, target := range []core.RetentionTarget{{Stream: "$streams"}, {Category: "$streams"}} {
		_, _, err := core.SetRetention(t.Context(), store, core.RetentionPut{Target: target, Retention: policy, Expect: core.AnyVersion})
		if e := (*core.Error)(nil); !errors.As(err, &e) {
			t.Errorf("a policy of %+v: %v", target, err)
		}
	}
	if _, _, err := core.SetRetention(t.Context(), store, core.RetentionPut{Target: core.RetentionTarget{Stream: "a"}, Retention: policy, Expect: core.AnyVersion}); err != nil {
		t.Fatal(err)
	}
	before, err := store.Read(t.Context(), core.ReadRequest{Stream: "$streams"})
	if err != nil || before.Count < 4 {
		t.Fatalf("%d notices, %v", before.Count, err)
	}
	if done, err := store.Scavenge(t.Context(), core.Scavenging{All: true}); err != nil || done.Events == 0 {
		t.Errorf("%+v, %v", done, err)
	}
	after, err := store.Read(t.Context(), core.ReadRequest{Stream: "$streams"})
	if err != nil || after.Count != before.Count || after.First != before.First {
		t.Errorf("%d notices are left of %d, %v", after.Count, before.Count, err)
	}
}
