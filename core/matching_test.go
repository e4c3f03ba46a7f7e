package core_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

func TestMatching(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer func() { _ = store.Close() }()
	for n := range 6 {
		commit := core.Commit{Appends: []core.Append{{Stream: "s" + strconv.Itoa(n%2), Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T" + strconv.Itoa(n%3), Data: []byte("{}")}}}}}
		if _, err := store.Append(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	page, err := store.Read(t.Context(), core.ReadRequest{Stream: core.All})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		filter core.Filter
		want   []uint64
	}{
		{core.Filter{}, []uint64{1, 2, 3, 4, 5, 6}},
		{core.Filter{Within: []string{"s*"}}, []uint64{1, 2, 3, 4, 5, 6}},
		{core.Filter{Within: []string{"s1"}}, []uint64{2, 4, 6}},
		{core.Filter{Within: []string{"s0"}}, []uint64{1, 3, 5}},
		{core.Filter{Within: []string{}}, nil},
		{core.Filter{Within: []string{"s0"}, Streams: []string{"s1"}}, nil},
		{core.Filter{Within: []string{"s0", "s1"}, Types: []string{"T0"}}, []uint64{1, 4}},
	} {
		var got []uint64
		b := page.Matching(&c.filter)
		for e := range b.Events() {
			got = append(got, e.Position)
		}
		if !slices.Equal(got, c.want) || b.Count != len(got) || len(got) > 0 && (b.First != got[0] || b.Last != got[len(got)-1]) {
			t.Errorf("%+v: %v in %d from %d to %d, want %v", c.filter, got, b.Count, b.First, b.Last, c.want)
		}
	}
}
