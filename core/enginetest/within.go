package enginetest

import (
	"fmt"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// reachWithin reads as one that may read some streams. How far its pages reach must not tell
// what others have: it is the same whether there is what is selected, or not.
func reachWithin(s *suite) {
	s.closed = true // with the Store
	store := core.NewStore(s.engine, core.StoreConfig{})
	defer func() { _ = store.Close() }()
	event := func(typ string, bytes int) core.NewEvent {
		return core.NewEvent{ID: core.NewID(), Type: typ, Format: core.Bytes, Data: make([]byte, bytes), Metadata: fmt.Appendf(nil, `{"correlation_id":"c-%s"}`, typ)}
	}
	for i := range 6 { // 18 MiB are more than one page looks at
		secret := appendTo(fmt.Sprint("secret-", i%3), core.AnyVersion)
		for range 3 {
			secret.Appends[0].Events = append(secret.Appends[0].Events, event("Sec", 1<<20-64))
		}
		for _, c := range []*core.Commit{appendTo("mine-1", core.AnyVersion, event("M", 10)), secret} {
			if _, err := store.Append(s.ctx(), *c); err != nil {
				s.Fatal(err)
			}
		}
	}
	types := func(pattern string) core.Selection {
		return core.Selection{Filter: core.Filter{Types: []string{pattern}}}
	}
	for _, backward := range []bool{false, true} {
		of := []core.Selection{types("Sec"), {Category: "secret"}}
		if backward {
			of = of[:1]
		}
		want := reaches(s, store, types("none"), backward)
		if len(want) < 2 {
			s.Errorf("a page looks at everything: %+v", want)
		}
		for _, selection := range of {
			if got := reaches(s, store, selection, backward); !slices.Equal(got, want) {
				s.Errorf("%+v, backward %v: %+v, and %+v of what is not there", selection, backward, got, want)
			}
		}
	}
	found := 0
	for _, page := range reaches(s, store, types("M"), false) {
		found += page.count
	}
	if found != 6 {
		s.Errorf("%d events that may be read, want 6", found)
	}
}

// reach is what a page tells but for its events.
type reach struct {
	count                        int
	next, scanned, version, last uint64
	end                          bool
}

// reaches are those of the pages from one end of the log to the other.
func reaches(s *suite, store *core.Store, of core.Selection, backward bool) (all []reach) {
	s.Helper()
	of.Filter.Within = []string{"mine-*"}
	r := core.ReadRequest{Stream: core.All, Backward: backward, Select: of}
	for {
		page, err := store.Read(s.ctx(), r)
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, reach{page.Count, page.Next, page.Scanned, page.Version, page.Head, page.End})
		if page.End {
			return all
		}
		r.From = page.Next
	}
}
