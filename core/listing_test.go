package core_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// listed is a store with so many streams that not all of them are sorted at once, and what a
// list of all is to have.
func listed(t *testing.T, streams int) (*core.Store, []string) {
	t.Helper()
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	var names []string
	c := core.Commit{}
	for i := range streams {
		name := fmt.Sprintf("%s-%04d%s", []string{"order", "cart"}[i%2], i, []string{"", "-eu", "-us"}[i%3])
		names = append(names, name)
		c.Appends = append(c.Appends, core.Append{Stream: name, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte("{}")}}})
	}
	if streams == 0 {
		return store, nil
	}
	if _, err := store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return store, names
}

// pages lists all pages.
func pages(t *testing.T, store *core.Store, r core.StreamsRequest) (names []string, most int) {
	t.Helper()
	for {
		page, err := store.Streams(t.Context(), r)
		if err != nil {
			t.Fatalf("streams %+v: %v", r, err)
		}
		for _, s := range page.Streams {
			names = append(names, s.Name)
			if r.Details != (s.Created.Position > 0 && s.Changed.Position > 0) {
				t.Fatalf("streams %+v: %+v", r, s)
			}
		}
		if most = max(most, page.Looked); page.End {
			return names, most
		}
		if page.Next == "" {
			t.Fatalf("streams %+v: no end and nothing to go on after", r)
		}
		r.After = page.Next
	}
}

// TestListedByEverything: D04: names by prefix, suffix and pattern, in every order, and totals, on
// both sides of what is sorted at once.
func TestListedByEverything(t *testing.T) {
	for _, streams := range []int{0, 1, 90, 2_100} {
		store, created := listed(t, streams)
		for n := range 96 {
			r := core.StreamsRequest{
				Prefix: []string{"", "order-"}[n%2], Suffix: []string{"", "-eu"}[n/2%2], Pattern: []string{"", "*-00*-*"}[n/4%2],
				Sort: core.StreamsSort(n / 8 % 3), Descending: n/24%2 == 1, Details: n/48 == 1, Limit: []int{7, 900}[min(streams/100, 1)],
			}
			if !r.Details && r.Sort != core.ByName {
				continue // has the place that it is sorted by
			}
			want := slices.DeleteFunc(slices.Clone(created), func(name string) bool {
				return !strings.HasPrefix(name, r.Prefix) || !strings.HasSuffix(name, r.Suffix) || r.Pattern != "" && !core.MatchAny([]string{r.Pattern}, name)
			})
			if r.Sort == core.ByName {
				slices.Sort(want)
			}
			if r.Descending {
				slices.Reverse(want)
			}
			if got, _ := pages(t, store, r); !slices.Equal(got, want) {
				t.Fatalf("%d streams, %+v: %d, want %d", streams, r, len(got), len(want))
			}
			r.Totals = true
			if page, err := store.Streams(t.Context(), r); err != nil || *page.Total != (core.StreamsTotal{Streams: uint64(len(want))}) {
				t.Fatalf("%d streams, %+v: total %+v, %v", streams, r, page.Total, err)
			}
		}
	}
}

// TestNamesThatDoNotMatchAreBounded: a page without a match says where to go on.
func TestNamesThatDoNotMatchAreBounded(t *testing.T) {
	store, _ := listed(t, 3_000)
	for range 9 {
		c := core.Commit{}
		for range 2_500 {
			c.Appends = append(c.Appends, core.Append{Stream: "a-" + core.NewID().String(), Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte("{}")}}})
		}
		if _, err := store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	r := core.StreamsRequest{Suffix: "-eu", Limit: 600}
	page, err := store.Streams(t.Context(), r)
	if err != nil || page.End || page.Next == "" || len(page.Streams) > 0 || page.Looked != core.MaxStreamsNames {
		t.Fatalf("%+v, %v", page, err)
	}
	if got, most := pages(t, store, r); len(got) != 1_000 || most > core.MaxStreamsNames {
		t.Errorf("%d streams, looked at %d", len(got), most)
	}
	// A reader who may not see the others gets no name of theirs.
	r.Within = []string{"*-eu"}
	if page, err = store.Streams(t.Context(), r); err != nil || len(page.Streams) == 0 || page.Looked != 0 || page.Next != page.Streams[len(page.Streams)-1].Name {
		t.Errorf("%d streams, next %q, %v", len(page.Streams), page.Next, err)
	}
	r = core.StreamsRequest{Within: []string{"order-*-eu", "order-1*"}, Totals: true}
	if page, err = store.Streams(t.Context(), r); err != nil || page.Total.AtLeast || page.Total.Streams != 833 {
		t.Errorf("total %+v, %v", page.Total, err)
	}
}

// TestNamed: D01, D03: streams by their names, $all among them.
func TestNamed(t *testing.T) {
	store, names := listed(t, 3)
	r := core.StreamsRequest{Names: []string{names[2], "not there", core.All, names[0]}, Details: true}
	page, err := store.Streams(t.Context(), r)
	if err != nil || len(page.Streams) != 3 || page.Streams[0].Name != names[2] || page.Streams[2].Name != names[0] || !page.End {
		t.Fatalf("%+v, %v", page, err)
	}
	all := page.Streams[1]
	if all.Name != core.All || all.Version != 3 || all.Count() != 3 || all.Created.Position != 1 || all.Changed.Position != 3 || all.Created.Recorded.IsZero() {
		t.Errorf("%+v", all)
	}
	r.Within = []string{"cart-*"}
	if page, err := store.Streams(t.Context(), r); err != nil || len(page.Streams) != 1 {
		t.Errorf("within: %+v, %v", page, err)
	}
	empty, _ := listed(t, 0)
	if page, err := empty.Streams(t.Context(), core.StreamsRequest{Names: []string{core.All}}); err != nil || page.Streams[0] != (core.StreamInfo{Name: core.All}) {
		t.Errorf("an empty log: %+v, %v", page, err)
	}
}

func TestBadListings(t *testing.T) {
	store, _ := listed(t, 1)
	for what, c := range map[string]struct {
		r    core.StreamsRequest
		code core.Code
	}{
		"prefix":       {core.StreamsRequest{Prefix: "\x00"}, core.CodeInvalidRequest},
		"suffix":       {core.StreamsRequest{Suffix: "\n"}, core.CodeInvalidRequest},
		"pattern":      {core.StreamsRequest{Pattern: "\n"}, core.CodeInvalidFilter},
		"order":        {core.StreamsRequest{Sort: 3}, core.CodeInvalidRequest},
		"name":         {core.StreamsRequest{Names: []string{""}}, core.CodeInvalidStreamName},
		"many names":   {core.StreamsRequest{Names: make([]string, core.MaxReadEvents+1)}, core.CodeInvalidRequest},
		"after":        {core.StreamsRequest{After: "\n"}, core.CodeInvalidCursor},
		"no position":  {core.StreamsRequest{Sort: core.ByChanged, After: "a"}, core.CodeInvalidCursor},
		"01":           {core.StreamsRequest{Sort: core.ByCreated, After: "01"}, core.CodeInvalidCursor},
		"too far away": {core.StreamsRequest{Sort: core.ByCreated, After: "9223372036854775807"}, core.CodeInvalidCursor},
	} {
		if _, err := store.Streams(t.Context(), c.r); !errors.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", what, err, c.code)
		}
	}
}

// TestListedByState: each state has a list; tombstoned streams are on no other.
func TestListedByState(t *testing.T) {
	store, names := listed(t, 12)
	change := func(action core.StreamAction, streams ...string) {
		t.Helper()
		for _, stream := range streams {
			if _, err := store.Append(t.Context(), core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: core.AnyVersion, Action: action}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	change(core.DeleteStream, names[0], names[1], names[2])
	change(core.UndeleteStream, names[1])
	change(core.RemoveStream, names[3])
	change(core.TombstoneStream, names[7], names[5], "never-eu", names[4])
	live, deleted, tombstoned := core.StreamLive, core.StreamDeleted, core.StreamTombstoned
	for _, limit := range []int{1, 2, 100} {
		for _, x := range []struct {
			r    core.StreamsRequest
			want []string
		}{
			{core.StreamsRequest{State: &deleted, Sort: core.ByChanged}, []string{names[0], names[2]}},
			{core.StreamsRequest{State: &deleted, Sort: core.ByName, Prefix: "cart"}, nil},
			{core.StreamsRequest{State: &live, Sort: core.ByCreated}, []string{names[1], names[6], names[8], names[9], names[10], names[11]}},
			{core.StreamsRequest{State: &tombstoned}, []string{names[7], names[5], "never-eu", names[4]}},
			{core.StreamsRequest{State: &tombstoned, Descending: true, Sort: core.ByChanged}, []string{names[4], "never-eu", names[5], names[7]}},
			{core.StreamsRequest{State: &tombstoned, Prefix: "cart"}, []string{names[7], names[5]}},
			{core.StreamsRequest{State: &tombstoned, Suffix: "-eu", Pattern: "*-*"}, []string{names[7], "never-eu", names[4]}},
			{core.StreamsRequest{State: &tombstoned, Within: []string{"never-*"}}, []string{"never-eu"}},
			{core.StreamsRequest{State: &tombstoned, Within: []string{}}, nil},
		} {
			x.r.Limit = limit
			x.r.Details = true
			var got []string
			for {
				page, err := store.Streams(t.Context(), x.r)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range page.Streams {
					got = append(got, s.Name)
				}
				if page.End {
					break
				}
				x.r.After = page.Next
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%+v, %d at a time: %v, want %v", x.r, limit, got, x.want)
			}
		}
	}
	page, err := store.Streams(t.Context(), core.StreamsRequest{State: &tombstoned, Totals: true, Limit: 1})
	if err != nil || page.Total == nil || *page.Total != (core.StreamsTotal{Streams: 4}) || page.Streams[0].Changed.Position == 0 || page.Streams[0].State != tombstoned {
		t.Errorf("%+v, %v", page, err)
	}
	if _, err := store.Streams(t.Context(), core.StreamsRequest{State: &tombstoned, Sort: core.ByCreated}); !errors.Is(err, core.CodeInvalidRequest) {
		t.Error("tombstoned by created:", err)
	}
	if _, err := store.Streams(t.Context(), core.StreamsRequest{State: &tombstoned, After: "a"}); !errors.Is(err, core.CodeInvalidCursor) {
		t.Error("tombstoned after a name:", err)
	}
	none, _ := listed(t, 0)
	if got, _ := pages(t, none, core.StreamsRequest{State: &tombstoned}); len(got) > 0 {
		t.Error(got)
	}
}
