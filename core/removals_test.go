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
