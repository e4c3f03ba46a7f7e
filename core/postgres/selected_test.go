package postgres_test

import (
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestSelectedRanges has selections read in ranges of few positions, without the index of types
// and with it.
func TestSelectedRanges(t *testing.T) {
	t.Parallel()
	for name, indexes := range map[string][]string{"plain": nil, "indexed": {"type"}} {
		t.Run(name, func(t *testing.T) {
			logtest.RunSelect(t, func(t testing.TB) (core.Log, *core.Store) {
				server := pgtest.Shared(t)
				config := postgres.Config{URL: server.URL, Store: server.Store(t)}
				if err := postgres.Migrate(t.Context(), config, indexes...); err != nil {
					t.Fatal(err)
				}
				engine := openStore(t, config)
				engine.Measure()
				engine.SelectWithin(7)
				store := core.NewStore(engine, core.StoreConfig{})
				t.Cleanup(func() { store.Close() })
				return store, store
			})
		})
	}
}

// TestSelectedCategory reads a category of many streams, on connections that made their plans when
// the store was empty, where only events have statistics. The streams of the events that are looked
// at are looked up, and no others.
func TestSelectedCategory(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	for _, table := range []string{"streams", "events"} {
		server.Exec(t, fmt.Sprintf("ALTER TABLE %s.%s SET (autovacuum_enabled = off)", store, table))
	}
	const streams, each, looked, reads = 500, 100, 50, 20
	engine.SelectWithin(looked)
	read := func(from uint64) int {
		t.Helper()
		r := core.ReadRequest{Stream: core.All, From: from, Limit: core.Limit{Events: 1000, Bytes: core.MaxPageBytes}}
		r.Select.Category = "a"
		page, ok, err := engine.ReadSelected(t.Context(), r)
		if err != nil || !ok {
			t.Fatalf("%t, %v", ok, err)
		}
		return page.Count
	}
	read(1)
	all := &core.Commit{}
	for i := range streams {
		c, _ := eventsFor(fmt.Sprintf("%c-%d", 'a'+i%2, i), each)
		if all.Appends = append(all.Appends, c.Appends...); len(all.Appends) == 20 {
			must(t, engine, all)
			all = &core.Commit{}
		}
	}
	server.Exec(t, "ANALYZE "+store+".events")
	for i := range reads {
		if got := read(uint64(2*i*each + 1)); got != looked {
			t.Fatalf("%d events, want %d", got, looked)
		}
	}
	if err := engine.Close(); err != nil { // connections tell their numbers at their end
		t.Fatal(err)
	}
	const least = reads * looked
	if got := indexReads(t, server, store, "streams_pkey", least); got > 2*least+2*streams {
		t.Errorf("%d streams were looked up, %d would do", got, least)
	}
}

// TestSelectedByIndex reads events of a type, of which there are few in many others, on
// connections that made their plans when the store was empty. The index finds them, and nothing
// else is looked at.
func TestSelectedByIndex(t *testing.T) {
	t.Parallel()
	server, store, engine := openIndexed(t, "type")
	engine.Measure()
	read := func(backward bool) int {
		t.Helper()
		r := core.ReadRequest{Stream: core.All, From: 1, Backward: backward, Limit: core.Limit{Events: 1000, Bytes: core.MaxPageBytes}}
		if backward {
			r.From = engine.State().Head
		}
		r.Select.Filter.Types = []string{"Rare"}
		page, ok, err := engine.ReadSelected(t.Context(), r)
		if err != nil || !ok || !page.End {
			t.Fatalf("%+v, %t, %v", page, ok, err)
		}
		return page.Count
	}
	read(false)
	const groups, each, reads = 10, 1000, 20
	for range groups {
		c, _ := eventsFor("a", each)
		c.Appends[0].Events[each/2].Type = "Rare"
		must(t, engine, c)
	}
	for i := range reads {
		if got := read(i%2 == 1); got != groups {
			t.Fatalf("%d events, want %d", got, groups)
		}
	}
	if err := engine.Close(); err != nil { // connections tell their numbers at their end
		t.Fatal(err)
	}
	const least = reads * groups
	if got := indexReads(t, server, store, "events_type", least); got > 2*least {
		t.Errorf("%d entries of the index were read, %d would do", got, least)
	}
}
