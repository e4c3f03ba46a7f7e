package core_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// Removed names the streams that were removed since a count, as long as a Store remembers all.
func TestRemoved(t *testing.T) {
	s := openStore(t, core.StoreConfig{})
	remove := func(streams ...string) {
		t.Helper()
		var c core.Commit
		for _, stream := range streams {
			c.Streams = append(c.Streams, core.StreamOp{Stream: stream, Expect: core.AnyVersion, Action: core.TombstoneStream})
		}
		if _, err := s.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Removed(0); !got.Any {
		t.Errorf("before the Store: %+v", got)
	}
	before := s.Removals()
	remove("a", "b")
	remove("c")
	got := s.Removed(before)
	slices.Sort(got.Streams)
	if !slices.Equal(got.Streams, []string{"a", "b", "c"}) || got.Any || got.Expired {
		t.Errorf("removed are %+v", got)
	}
	last := s.Removals()
	keep(t, s, "d", core.Retention{MaxCount: 1})
	if got := s.Removed(last); len(got.Streams) > 0 || got.Any || !got.Expired {
		t.Errorf("after a policy: %+v", got)
	}
	for i := range 3 {
		many := make([]string, core.MaxCommitStreams)
		for j := range many {
			many[j] = fmt.Sprintf("many-%d-%d", i, j)
		}
		remove(many...)
	}
	if got := s.Removed(before); !got.Any {
		t.Errorf("after more than it remembers: %+v", len(got.Streams))
	}
}

// Deletions says which streams were deleted, or undeleted, as long as a Store remembers all. These
// are no removals.
func TestDeletions(t *testing.T) {
	s := openStore(t, core.StoreConfig{})
	change := func(action core.StreamAction, streams ...string) {
		t.Helper()
		var c core.Commit
		for _, stream := range streams {
			c.Streams = append(c.Streams, core.StreamOp{Stream: stream, Expect: core.AnyVersion, Action: action})
		}
		if _, err := s.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	many := make([]string, core.MaxCommitStreams)
	for i := range many {
		many[i] = fmt.Sprintf("many-%d", i)
		c := core.Commit{Appends: []core.Append{{Stream: many[i], Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("{}")}}}}}
		if _, err := s.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	removals, before := s.Removals(), s.Deletions()
	if !s.MayBeDeleted(many[0], 0) || s.MayBeDeleted(many[0], before) {
		t.Error("a new Store knows of a deletion, or of those before it")
	}
	change(core.DeleteStream, many[0])
	change(core.UndeleteStream, many[0])
	change(core.TombstoneStream, "gone")
	if after := s.Deletions(); after != before+2 || s.Removals() != removals+1 {
		t.Errorf("counts %d deletions and %d removals", after-before, s.Removals()-removals)
	}
	if !s.MayBeDeleted(many[0], before) || s.MayBeDeleted(many[0], s.Deletions()) || s.MayBeDeleted(many[1], before) {
		t.Errorf("another stream than %q was deleted", many[0])
	}
	for range 3 {
		change(core.DeleteStream, many...)
		change(core.UndeleteStream, many...)
	}
	if !s.MayBeDeleted("other", before) {
		t.Error("a Store remembers more than it has")
	}
}
