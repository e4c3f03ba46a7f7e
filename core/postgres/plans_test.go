package postgres_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestPlansOfAnEmptyStore grows a store on connections that have made their plans when
// it was empty, and counts what was read of its indexes: what links name is looked up
// one by one, and not found by going through all there is; the system's streams are looked
// up once for a page of $all.
func TestPlansOfAnEmptyStore(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	server.Exec(t, fmt.Sprintf("ALTER TABLE %s.events SET (autovacuum_enabled = off)", store))
	if _, err := engine.Read(t.Context(), core.ReadRequest{Stream: "l", Limit: core.Limit{Events: 1, Bytes: 1}}); !errors.Is(err, core.CodeStreamNotFound) {
		t.Fatal(err)
	}
	if _, err := engine.ReadLog(t.Context(), 1, core.Limit{Events: 1, Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Read(t.Context(), core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: 1, Bytes: 1}}); err != nil {
		t.Fatal(err)
	}
	const groups, each = 40, 250
	for i := range groups {
		c, ids := eventsFor("a", each)
		system, _ := eventsFor("$s", 1)
		system.System = true
		for _, c := range []*core.Commit{system, c, linkTo("l", ids...)} {
			if o := engine.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
				t.Fatal(o.Err)
			}
		}
		from := uint64(i*each + 1)
		page, err := engine.Read(t.Context(), core.ReadRequest{Stream: "l", From: from, Limit: core.Limit{Events: each, Bytes: core.MaxPageBytes}})
		if err != nil || page.Count != each {
			t.Fatalf("links from %d: %d, %v", from, page.Count, err)
		}
		const positions = 1 + 2*each // of a group
		at := uint64(i*positions + 1)
		page, err = engine.ReadLog(t.Context(), at, core.Limit{Events: positions, Bytes: core.MaxPageBytes})
		if err != nil || page.Count != positions {
			t.Fatalf("the log from %d: %d, %v", at, page.Count, err)
		}
		page, err = engine.Read(t.Context(), core.ReadRequest{Stream: core.All, From: at, Limit: core.Limit{Events: each, Bytes: core.MaxPageBytes}})
		if err != nil || page.Count != each || page.First != at+1 {
			t.Fatalf("$all from %d: %d, %v", at, page.Count, err)
		}
	}
	if err := engine.Close(); err != nil { // connections tell their numbers at their end
		t.Fatal(err)
	}
	const links = groups * each
	for index, least := range map[string]int64{
		"events_id":        links,      // each that is written
		"events_pkey":      5 * links,  // two of the log, one of $all, and in the log and in the stream of links the event
		"streams_name_key": 4 * groups, // of Commits and pages
	} {
		if got := indexReads(t, server, store, index, least); got > 5*least {
			t.Errorf("%d entries of %s were read, %d would do", got, index, least)
		}
	}
}

// indexReads is how many entries of an index were read, once that is at least what it
// must be: the server tells a moment later.
func indexReads(t *testing.T, server *pgtest.Server, store, index string, least int64) (n int64) {
	t.Helper()
	conn := server.Connect(t)
	for by := time.Now().Add(time.Minute); time.Now().Before(by); time.Sleep(20 * time.Millisecond) {
		err := conn.QueryRow(t.Context(), "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE schemaname = $1 AND indexrelname = $2", store, index).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		if n >= least {
			return n
		}
	}
	t.Fatalf("the server says that %d entries of %s were read, %d must have been", n, index, least)
	return 0
}

// TestPlansOfRecords grows a table of records on connections that have made their plans when
// it was empty. Records are found by key and by prefix in the primary key, and nothing else
// is read.
func TestPlansOfRecords(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	server.Exec(t, fmt.Sprintf("ALTER TABLE %s.records SET (autovacuum_enabled = off)", store))
	const table, groups, each, page = "state/projection/1", 20, 1000, 16
	find := func(r core.RecordsRequest, want int) {
		t.Helper()
		r.Table, r.Limit = table, page
		if found, err := engine.Records(t.Context(), r); err != nil || len(found) != want {
			t.Fatalf("%+v: %d records, %v", r, len(found), err)
		}
	}
	find(core.RecordsRequest{Prefix: "0001/"}, 0)
	find(core.RecordsRequest{Keys: []string{"0001/0001"}}, 0)
	found := int64(0)
	for i := range groups {
		var c core.Commit
		for k := range each {
			c.Records = append(c.Records, core.RecordOp{Table: table, Key: fmt.Sprintf("%04d/%04d", i, k), Expect: core.AnyVersion, Value: []byte("1")})
		}
		if o := engine.Commit(t.Context(), []*core.Commit{&c}).Outcomes[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
		for k := range 20 {
			var keys []string
			for j := range page {
				keys = append(keys, fmt.Sprintf("%04d/%04d", i, 37*k+j))
			}
			find(core.RecordsRequest{Keys: keys}, page)
			find(core.RecordsRequest{Keys: keys[:1]}, 1)
			find(core.RecordsRequest{Prefix: fmt.Sprintf("%04d/", i), After: fmt.Sprintf("%04d/%04d", i, 40*k)}, page)
			found += 2*page + 1
		}
	}
	if err := engine.Close(); err != nil { // connections tell their numbers at their end
		t.Fatal(err)
	}
	// Each put looks for its record three times.
	puts := int64(groups * each)
	if got := indexReads(t, server, store, "records_pkey", found); got > 2*found+4*puts {
		t.Errorf("%d entries of the primary key were read for %d records and %d puts", got, found, puts)
	}
	var all int64
	err := server.Connect(t).QueryRow(t.Context(), "SELECT seq_tup_read FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'records'", store).Scan(&all)
	if err != nil || all > 0 {
		t.Errorf("%d rows were read one after another, %v", all, err)
	}
}

// TestPlansOfListings lists streams of tables that have no statistics. Each page finds its streams
// by name and their events by stream, and sorts no others.
func TestPlansOfListings(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	for _, table := range []string{"streams", "events"} {
		server.Exec(t, fmt.Sprintf("ALTER TABLE %s.%s SET (autovacuum_enabled = off)", store, table))
	}
	const streams, each = 20_000, 1000
	for i := range streams / each {
		var c core.Commit
		for k := range each {
			a, _ := eventsFor(fmt.Sprintf("a-%05d", i*each+k), 1)
			c.Appends = append(c.Appends, a.Appends...)
		}
		must(t, engine, &c)
	}
	listed := 0
	for n := range 6 {
		r := core.StreamsRequest{Prefix: "a-", Descending: n%2 == 1, Details: n/2%2 == 1, Limit: each}
		for {
			page, err := engine.Streams(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			listed += len(page.Streams)
			if r.After = page.Next; page.End {
				break
			}
		}
	}
	if err := engine.Close(); err != nil { // connections tell their numbers at their end
		t.Fatal(err)
	}
	if listed != 6*streams {
		t.Errorf("%d streams are listed, want %d", listed, 6*streams)
	}
	if got := indexReads(t, server, store, "streams_name_key", int64(listed)); got > 2*int64(listed)+5*streams {
		t.Errorf("%d names were read for %d streams that are listed and %d that are made", got, listed, streams)
	}
}

// openIndexed opens an empty store that has an optional index, and whose events get no statistics.
func openIndexed(t *testing.T, index string) (server *pgtest.Server, store string, engine *postgres.Engine) {
	t.Helper()
	server = pgtest.Shared(t)
	store = server.Store(t)
	config := postgres.Config{URL: server.URL, Store: store}
	if err := postgres.Migrate(t.Context(), config, index); err != nil {
		t.Fatal(err)
	}
	engine = openStore(t, config)
	server.Exec(t, "ALTER TABLE "+store+".events SET (autovacuum_enabled = off)")
	return server, store, engine
}

// TestPlansOfRemovals removes streams with many links on connections that have made their
// plans when the store was empty. Rows are found in the indexes, and few are looked at twice.
func TestPlansOfRemovals(t *testing.T) {
	t.Parallel()
	server, store, engine := openIndexed(t, "links")
	const streams, each = 5, 2500
	empty, _ := eventsFor("a-0", 1)
	must(t, engine, empty, change("a-0", core.RemoveStream))
	waitForRemover(t, server, store)
	for i := range streams {
		c, ids := eventsFor(fmt.Sprint("a-", i), each)
		must(t, engine, c, linkTo("l", ids...))
	}
	for i := range streams {
		must(t, engine, change(fmt.Sprint("a-", i), core.RemoveStream))
	}
	waitForRemover(t, server, store)
	if err := engine.Close(); err != nil { // connections tell their numbers at their end
		t.Fatal(err)
	}
	const events = streams * each
	for index, least := range map[string]int64{
		"events_link":           events,     // each link
		"events_pkey":           3 * events, // its event as it is written; it and the event as they are deleted
		"events_stream_version": events,     // each event
	} {
		if got := indexReads(t, server, store, index, least); got > 5*least {
			t.Errorf("%d entries of %s were read, %d would do", got, index, least)
		}
	}
	if all := count(t, server.Connect(t), "SELECT seq_tup_read FROM pg_stat_user_tables WHERE schemaname = '"+store+"' AND relname = 'events'"); all > 0 {
		t.Errorf("%d rows were read one after another", all)
	}
}

// TestPlansBesideRemovals reads pages while what many streams had is not deleted yet. Streams of
// events are looked up among the removed ones, and those are not gone through.
func TestPlansBesideRemovals(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	release := holdRemover(t, server, store)
	defer release()
	const pages, streams, each = 20, 1000, 10
	var removed, changes core.Commit
	for i := range streams {
		name := fmt.Sprint("r-", i)
		c, _ := eventsFor(name, 1)
		removed.Appends = append(removed.Appends, c.Appends...)
		changes.Streams = append(changes.Streams, change(name, core.RemoveStream).Streams...)
	}
	kept, ids := eventsFor("a", each)
	must(t, engine, &removed, &changes, kept, linkTo("l", ids...))
	limit := core.Limit{Events: 2 * each, Bytes: core.MaxPageBytes}
	for range pages {
		for stream, from := range map[string]uint64{core.All: streams + 1, "a": 1, "l": 1} {
			if page, err := engine.Read(t.Context(), core.ReadRequest{Stream: stream, From: from, Limit: limit}); err != nil || page.Count != each {
				t.Fatalf("%s: %d events, %v", stream, page.Count, err)
			}
		}
		if page, err := engine.ReadLog(t.Context(), streams+1, limit); err != nil || page.Count != 2*each {
			t.Fatalf("the log: %d events and links, %v", page.Count, err)
		}
	}
	if err := engine.Close(); err != nil { // connections tell their numbers at their end
		t.Fatal(err)
	}
	const least = 4 * pages // each finds that something is removed
	if got := indexReads(t, server, store, "removed_pkey", least); got > 2*least {
		t.Errorf("%d entries of removed_pkey were read, %d would do", got, least)
	}
}
