package postgres_test

import (
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// uneven writes a log whose events are small, then large, then small, and answers how
// many there are.
func uneven(t *testing.T, engine *postgres.Engine) (events int) {
	t.Helper()
	for _, run := range []struct{ commits, events, bytes int }{{1, 1500, 10}, {5, 20, 100_000}, {1, 1500, 10}} {
		for range run.commits {
			a := core.Append{Stream: "a", Expect: core.AnyVersion, Events: benchEvents(run.events)}
			for i := range a.Events {
				a.Events[i].Data = make([]byte, run.bytes)
			}
			if o := engine.Commit(t.Context(), []*core.Commit{{Appends: []core.Append{a}}}).Outcomes[0]; o.Err != nil {
				t.Fatal(o.Err)
			}
			events += run.events
		}
	}
	return events
}

// TestPagesOfUnevenEvents: what a page is asked for with is guessed from the one before.
// However wrong that is, pages have what they should, and are not much smaller than they
// may be.
func TestPagesOfUnevenEvents(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	events := uneven(t, engine)
	for _, stream := range []string{core.All, "a"} {
		for _, limit := range []core.Limit{{Events: 1000, Bytes: core.MaxPageBytes}, {Events: 1000, Bytes: 256 << 10}, {Events: 30, Bytes: core.MaxPageBytes}} {
			for _, backward := range []bool{false, true} {
				r := core.ReadRequest{Stream: stream, Backward: backward, Limit: limit}
				t.Run(fmt.Sprint(stream, limit, backward), func(t *testing.T) { readUneven(t, engine, r, events) })
			}
		}
	}
}

func readUneven(t *testing.T, engine *postgres.Engine, r core.ReadRequest, events int) {
	next, step := uint64(1), uint64(1)
	if r.Backward {
		next, step = uint64(events), ^uint64(0)
	}
	for seen := 0; seen < events; {
		page, err := engine.Read(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var last core.Event
		for e := range page.Events() {
			if e.Position != next || e.Version != next {
				t.Fatalf("version %d at position %d, want %d", e.Version, e.Position, next)
			}
			next += step
			last = e
		}
		seen += page.Count
		if page.End != (seen == events) {
			t.Fatalf("end = %v after %d events", page.End, seen)
		}
		if page.Count > r.Limit.Events || page.Count > 1 && len(page.Block) > r.Limit.Bytes {
			t.Fatalf("%d events of %d bytes", page.Count, len(page.Block))
		}
		const large = 110_000 // what may come next and not fit
		if !page.End && 2*page.Count < r.Limit.Events && 2*len(page.Block) < r.Limit.Bytes-2*large && len(last.Data) < large {
			t.Fatalf("only %d events of %d bytes before position %d", page.Count, len(page.Block), next)
		}
		r.From = page.Next
	}
}

// TestMuchTooMuch has the server send ten times of what fits: it is stopped, and knows
// better for the next page.
func TestMuchTooMuch(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t), ReadConns: 1})
	uneven(t, engine)
	const small = 1500
	r := core.ReadRequest{Stream: "a", From: small + 1, Limit: core.Limit{Events: 300, Bytes: 1 << 20}}
	for i := range 4 {
		page, err := engine.Read(t.Context(), r)
		if err != nil || page.Count != 10 || page.First != r.From || page.End {
			t.Fatalf("page %d: %d events from position %d, %v", i, page.Count, page.First, err)
		}
		r.From = page.Next
	}
	if made := engine.ReadConnsMade(); made != 2 {
		t.Errorf("%d connections were made, want a second one after the first page", made)
	}
}
