package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/enginetest"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// change is a Commit of one StreamOp.
func change(stream string, action core.StreamAction) *core.Commit {
	return &core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: core.AnyVersion, Action: action}}}
}

// must commits one by one.
func must(t *testing.T, engine core.Engine, commits ...*core.Commit) (results []core.Result) {
	t.Helper()
	for i, c := range commits {
		o := engine.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]
		if o.Err != nil {
			t.Fatalf("commit %d: %v", i, o.Err)
		}
		results = append(results, o.Result)
	}
	return results
}

// checkRows checks how many rows of events there are.
func checkRows(t *testing.T, c *pgx.Conn, store string, want int) {
	t.Helper()
	if got := count(t, c, "SELECT count(*) FROM "+store+".events"); got != want {
		t.Errorf("%d rows are left, want %d", got, want)
	}
}

// disconnect ends all connections of the nodes of a store.
func disconnect(t *testing.T, server *pgtest.Server, store string) {
	t.Helper()
	server.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(application_name, 'gyre/"+store+"/')")
}

// openTwo opens a store of its own by two nodes.
func openTwo(t *testing.T) (server *pgtest.Server, store string, a, b *postgres.Engine) {
	t.Helper()
	server = pgtest.Shared(t)
	store = server.Store(t)
	config := postgres.Config{URL: server.URL, Store: store, Node: "a"}
	a = openStore(t, config)
	config.Node = "b"
	return server, store, a, openStore(t, config)
}

// holdRemover keeps nodes from deleting what is removed, until the caller calls release:
// what they need for it, an index, cannot be made.
func holdRemover(t *testing.T, server *pgtest.Server, store string) (release func()) {
	t.Helper()
	tx, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "LOCK TABLE "+store+".events IN SHARE UPDATE EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := tx.Rollback(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func waitForRemover(t *testing.T, server *pgtest.Server, store string) {
	t.Helper()
	waitFor(t, server, "SELECT NOT EXISTS (SELECT FROM "+store+".removed)")
}

func count(t *testing.T, c *pgx.Conn, sql string) (n int) {
	t.Helper()
	if err := c.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRemovedIsGoneAtOnce: what is removed is gone for all readers with the Commit, though
// its rows are there, and its ids are free. Then the rows go, too, and leave the versions and
// the positions behind that were given.
func TestRemovedIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	config := postgres.Config{URL: server.URL, Store: store}
	engine := openStore(t, config)
	release := holdRemover(t, server, store)
	a, ids := eventsFor("a", 2500)
	b, kept := eventsFor("b", 1)
	own, _ := eventsFor("l", 1)
	must(t, engine, a, b, own, linkTo("l", ids[:1500]...), linkTo("m", kept[0], ids[0]), linkTo("a", kept...))
	must(t, engine, change("a", core.RemoveStream))
	c := server.Connect(t)
	checkRemoved(t, engine)
	again := &core.Commit{Appends: []core.Append{{Stream: "c", Expect: core.NoStream}}}
	for _, id := range []core.ID{ids[0], ids[2000]} {
		again.Appends[0].Events = append(again.Appends[0].Events, core.NewEvent{ID: id, Type: "T", Data: []byte("2")})
	}
	checkRows(t, c, store, 2500+1+1+1500+2+1) // nothing was deleted already
	r := must(t, engine, again, linkTo("l", ids[0]), linkTo("a", kept...), change("c", core.RemoveStream), change("a", core.RemoveStream))
	if v := r[1].Appends[0].FirstVersion; v != 1502 {
		t.Errorf("the next link has version %d, want 1502", v)
	}
	release()
	waitForRemover(t, server, store)
	checkRows(t, c, store, 3) // b's, the first of l, the first of m
	checkRemoved(t, engine)
	own, _ = eventsFor("l", 1)
	r = must(t, engine, own, linkTo("m", kept[0]), a)
	if v, p := r[0].Appends[0].FirstVersion, r[0].Position; v != 1503 || p != 4010 {
		t.Errorf("the next event is version %d at position %d, want 1503 at 4010", v, p)
	}
	if !r[1].Duplicate || r[2].Appends[0].FirstVersion != 1 {
		t.Errorf("%+v", r[1:])
	}
}

// checkRemoved checks what is left of TestRemovedIsGoneAtOnce.
func checkRemoved(t *testing.T, engine *postgres.Engine) {
	t.Helper()
	everything := core.Limit{Events: 10_000, Bytes: core.MaxPageBytes}
	for stream, want := range map[string]int{core.All: 2, "b": 1, "l": 1, "m": 1} {
		for _, backward := range []bool{false, true} {
			page, err := engine.Read(t.Context(), core.ReadRequest{Stream: stream, Backward: backward, Limit: everything})
			if err != nil || page.Count != want || !page.End {
				t.Errorf("%s, backward %t: %d events, end %t, %v, want %d", stream, backward, page.Count, page.End, err, want)
			}
		}
	}
	if page, err := engine.ReadLog(t.Context(), 1, everything); err != nil || page.Count != 3 || !page.End {
		t.Errorf("the log has %d events and links, %v, want 3", page.Count, err)
	}
	if _, err := engine.Read(t.Context(), core.ReadRequest{Stream: "a", Limit: everything}); !errors.Is(err, core.CodeStreamNotFound) {
		t.Errorf("a: %v", err)
	}
}

// TestOtherNodesDelete: what a node has removed, and not deleted when it ends, another one
// deletes.
func TestOtherNodesDelete(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	config := postgres.Config{URL: server.URL, Store: store, Node: "a"}
	engine := openStore(t, config)
	release := holdRemover(t, server, store)
	a, _ := eventsFor("a", 10)
	must(t, engine, a, change("a", core.RemoveStream))
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	release()
	config.Node = "b"
	openStore(t, config)
	waitForRemover(t, server, store)
	checkRows(t, server.Connect(t), store, 0)
}

// TestRemoverTakesOverWhatWasCommitted: where a transaction that deletes events fails at its
// COMMIT, after it has told its place, these events are deleted later.
func TestRemoverTakesOverWhatWasCommitted(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	server.Exec(t, fmt.Sprintf(`CREATE SEQUENCE %[1]s.refusals;
		CREATE FUNCTION %[1]s.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			RAISE EXCEPTION 'refused the %%. time', nextval('%[1]s.refusals');
		END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER DELETE ON %[1]s.events DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION %[1]s.refuse()`, store))
	a, _ := eventsFor("a", 1001)
	must(t, engine, a, change("a", core.RemoveStream))
	waitFor(t, server, "SELECT is_called FROM "+store+".refusals")
	server.Exec(t, "DROP TRIGGER refuse ON "+store+".events")
	waitForRemover(t, server, store)
	checkRows(t, server.Connect(t), store, 0)
}

// TestRemoveSome: a place is kept while another node deletes, and a stream has nothing left
// only if there is nothing before the place either.
func TestRemoveSome(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	release := holdRemover(t, server, store)
	a, _ := eventsFor("a", 10)
	must(t, engine, a, change("a", core.RemoveStream))
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	release()
	c := server.Connect(t)
	stream := count(t, c, "SELECT stream FROM "+store+".removed")
	type place struct{ stream, after *int }
	at := func(after int) place { return place{&stream, &after} }
	next := func(from place) (to place) {
		t.Helper()
		if err := c.QueryRow(t.Context(), "SELECT * FROM "+store+".remove_some($1, $2, 4)", from.stream, from.after).Scan(&to.stream, &to.after); err != nil {
			t.Fatal(err)
		}
		return to
	}
	other, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = other.Exec(t.Context(), "SELECT FROM "+store+".removed FOR UPDATE")
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := next(at(7)); !reflect.DeepEqual(got, at(7)) {
		t.Errorf("after 7, beside another node, it goes on after %d", *got.after)
	}
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := at(7)
	for i, want := range []place{at(0), at(4), at(0), {}} {
		if p = next(p); !reflect.DeepEqual(p, want) {
			t.Fatalf("call %d: it goes on elsewhere than expected", i+1)
		}
	}
	checkRows(t, c, store, 0)
}

// TestRemoveSomeOfManyStreams: one call deletes what several streams have, and no more than its
// limit.
func TestRemoveSomeOfManyStreams(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	release := holdRemover(t, server, store)
	for i := range 10 {
		c, _ := eventsFor(fmt.Sprint("s-", i), 4)
		must(t, engine, c, change(fmt.Sprint("s-", i), core.RemoveStream))
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	release()
	c := server.Connect(t)
	for i, want := range []int{24, 8, 0} { // a stream counts, too
		server.Exec(t, "SELECT "+store+".remove_some(NULL, NULL, 20)")
		if got := count(t, c, "SELECT count(*) FROM "+store+".events"); got != want {
			t.Errorf("after call %d %d rows are left, want %d", i+1, got, want)
		}
	}
	if got := count(t, c, "SELECT count(*) FROM "+store+".removed"); got != 0 {
		t.Errorf("%d streams are left", got)
	}
}

// TestRemovedComesBack: what was deleted, and is there again after a fail-over to a server that
// lacks the deletion, is deleted again.
func TestRemovedComesBack(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	a, _ := eventsFor("a", 10)
	b, _ := eventsFor("b", 1)
	must(t, engine, a, b)
	server.Exec(t, fmt.Sprintf("CREATE TABLE %[1]s.lost AS SELECT * FROM %[1]s.events WHERE position <= 10", store))
	must(t, engine, change("a", core.RemoveStream))
	waitForRemover(t, server, store)
	server.Exec(t, fmt.Sprintf(`BEGIN; INSERT INTO %[1]s.events SELECT * FROM %[1]s.lost;
		INSERT INTO %[1]s.removed SELECT DISTINCT stream FROM %[1]s.lost; COMMIT;
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(application_name, 'gyre/%[1]s/')`, store))
	waitForRemover(t, server, store)
	checkRows(t, server.Connect(t), store, 1)
}

// TestRemovedEventIsNotLost: a log whose last event, as far as a node knows, was removed has
// lost nothing. One that lacks a removal has.
func TestRemovedEventIsNotLost(t *testing.T) {
	t.Parallel()
	server, store, a, b := openTwo(t)
	log := a.State().Log
	for i, engine := range []*postgres.Engine{a, b, a} {
		c, _ := eventsFor("a", 3)
		must(t, engine, c)
		must(t, b, change("a", core.RemoveStream))
		waitForRemover(t, server, store)
		if i == 2 {
			disconnect(t, server, store)
		}
		if _, err := a.WaitHead(t.Context(), log, uint64(3*i+2)); err != nil {
			t.Fatal(err)
		}
		for _, engine := range []*postgres.Engine{a, b} {
			appendSoon(t, engine, "b")
			appendSoon(t, engine, "a")
			if now := engine.State().Log; now != log {
				t.Errorf("round %d: the log was %s, it is %s", i, log, now)
			}
		}
		must(t, a, change("b", core.RemoveStream), change("a", core.RemoveStream))
	}
	server.Exec(t, "DELETE FROM "+store+".changes WHERE number = (SELECT max(number) FROM "+store+".changes)")
	disconnect(t, server, store)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := a.WaitHead(ctx, log, core.MaxNumber); err != nil {
		t.Errorf("a removal is missing: %v", err)
	}
}

// TestLinkOfWhatIsJustRemoved: a Commit that links an event, and waits for the log row while
// the event is removed, links nothing.
func TestLinkOfWhatIsJustRemoved(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	a, ids := eventsFor("a", 1)
	must(t, engine, a)
	tx, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), fmt.Sprintf(`SELECT %s.commit_group(1, false, true, '{a}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
			NULL, NULL, NULL, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, p_actions => '{2}')`, store))
	}
	if err != nil {
		t.Fatal(err)
	}
	var o core.Outcome
	var running sync.WaitGroup
	running.Go(func() { o = engine.Commit(t.Context(), []*core.Commit{linkTo("l", ids...)}).Outcomes[0] })
	waitFor(t, server, `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE starts_with(application_name, 'gyre/`+store+`/') AND wait_event_type = 'Lock')`)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	running.Wait()
	if !errors.Is(o.Err, core.CodeEventNotFound) {
		t.Errorf("%+v, want event_not_found", o)
	}
	if page, err := engine.ReadLog(t.Context(), 1, core.Limit{Events: 10, Bytes: 1 << 20}); err != nil || page.Count > 0 {
		t.Errorf("the log has %d events and links, %v", page.Count, err)
	}
}

// TestStoreBeforeRemovals: a store of the version before is migrated with what it has.
func TestStoreBeforeRemovals(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	config := postgres.Config{URL: server.URL, Store: store}
	if err := postgres.MigrateTo(t.Context(), config, 3); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, fmt.Sprintf(`SELECT %s.commit_group(1, false, true, '{a,l}', '{a,l}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
		NULL, NULL, false, NULL, '{1,1,2}', '{1,2,1}', ARRAY[gen_random_uuid(), gen_random_uuid(), gen_random_uuid()], NULL, '{0,0,0}',
		'{T,T,T}', NULL, NULL, NULL, '{"1","1",""}', ARRAY[NULL, NULL, gen_random_uuid()], '{NULL,NULL,1}')`, store))
	engine := openStore(t, config)
	for stream, want := range map[string]int{core.All: 2, "a": 2, "l": 1} {
		page, err := engine.Read(t.Context(), core.ReadRequest{Stream: stream, Limit: core.Limit{Events: 10, Bytes: 1 << 20}})
		if err != nil || page.Count != want {
			t.Errorf("%s: %d events, %v, want %d", stream, page.Count, err, want)
		}
	}
	must(t, engine, change("a", core.RemoveStream))
	waitForRemover(t, server, store)
	checkRows(t, server.Connect(t), store, 0)
}

// TestRemovalOnAnotherNode: what one node removes is gone from the tail of another once that
// follows what came after, and the stream's followers there go on with its next incarnation.
func TestRemovalOnAnotherNode(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t)}
	var stores []*core.Store
	for _, node := range []string{"a", "b"} {
		config.Node = node
		s := core.NewStore(openStore(t, config), core.StoreConfig{})
		t.Cleanup(func() { _ = s.Close() })
		stores = append(stores, s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	take := func(stream string, n int) (next func() []core.ID) {
		f, err := stores[1].Follow(ctx, core.FollowRequest{Stream: stream})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return func() (ids []core.ID) {
			for len(ids) < n {
				d, err := f.Next(ctx, core.Limit{Events: n - len(ids), Bytes: 1 << 20})
				if err != nil {
					t.Fatal(err)
				}
				for e := range d.Events() {
					ids = append(ids, e.ID)
				}
			}
			return ids
		}
	}
	all, own := take(core.All, 4), take("a", 3)
	first, _ := eventsFor("a", 3)
	kept, keptIDs := eventsFor("b", 1)
	again, againIDs := eventsFor("a", 3)
	last, lastIDs := eventsFor("b", 1)
	write := func(commits ...*core.Commit) {
		for _, c := range commits {
			if _, err := stores[0].Append(ctx, *c); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(first, kept)
	all()
	own()
	write(change("a", core.RemoveStream), again, last)
	if got := all(); !slices.Equal(got, slices.Concat(againIDs, lastIDs)) {
		t.Errorf("$all goes on with %v", got)
	}
	if got := own(); !slices.Equal(got, againIDs) {
		t.Errorf("the stream goes on with %v, want %v", got, againIDs)
	}
	if got, want := take(core.All, 5)(), slices.Concat(keptIDs, againIDs, lastIDs); !slices.Equal(got, want) {
		t.Errorf("a follow from the start gets %v, want %v", got, want)
	}
}

// TestRemovedBytesAreGone: after a scavenge, ANALYZE and VACUUM FULL no file of the database has
// anything of what was removed, whatever indexes the store has.
func TestRemovedBytesAreGone(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	config := postgres.Config{URL: server.URL, Store: "gyre"}
	if err := postgres.Migrate(t.Context(), config, "correlation", "type", "time", "links"); err != nil {
		t.Fatal(err)
	}
	engine := openStore(t, config)
	for i := range 100 {
		c, _ := eventsFor([]string{"secret", "expired"}[i%2], 20)
		keep, _ := eventsFor("kept", 1)
		var ids []core.ID
		for j := range c.Appends[0].Events {
			e := &c.Appends[0].Events[j]
			*e = core.NewEvent{
				ID: e.ID, Type: "Secret-Type", Format: core.Bytes, ContentType: "text/secret-content",
				Data:     fmt.Appendf(nil, "secret-data %d %s", i, bytes.Repeat([]byte{byte('a' + j)}, 100*j)),
				Metadata: fmt.Appendf(nil, `{"correlation_id":"secret-correlation-%d"}`, i%3),
			}
			ids = append(ids, e.ID)
		}
		must(t, engine, c, keep, linkTo("l", ids...))
	}
	server.Exec(t, "ANALYZE")
	words := []string{"secret-data", "Secret-Type", "secret-content", "secret-correlation"}
	if found := searchFiles(t, server, words); len(found) != len(words) {
		t.Fatalf("only %v are found before, so this tests nothing", found)
	}
	must(t, engine, change("secret", core.RemoveStream))
	scavengeAll(t, engine, goes("expired"))
	server.Exec(t, "ANALYZE")
	server.Exec(t, "VACUUM FULL")
	if found := searchFiles(t, server, words); len(found) > 0 {
		t.Errorf("%v are found", found)
	}
}

// searchFiles returns the words that are in the files of the server's databases.
func searchFiles(t *testing.T, server *pgtest.Server, words []string) (found []string) {
	t.Helper()
	server.Exec(t, "CHECKPOINT")
	var dir string
	if err := server.Connect(t).QueryRow(t.Context(), "SHOW data_directory").Scan(&dir); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(filepath.Join(dir, "base"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		for _, word := range words {
			if bytes.Contains(content, []byte(word)) && !slices.Contains(found, word) {
				found = append(found, word)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestPartsOfAStep: what parts of a step have written is joined unless something is between.
func TestPartsOfAStep(t *testing.T) {
	batch := func(first uint64, n int) (b core.Batch) {
		for i := range n {
			b.Add([]byte("e"), first+uint64(i))
		}
		return b
	}
	empty := func(first, last uint64) core.Batch { return core.Batch{First: first, Last: last} }
	for _, x := range []struct{ a, b, want core.Batch }{
		{core.Batch{}, batch(5, 2), batch(5, 2)},
		{batch(5, 2), core.Batch{}, batch(5, 2)},
		{batch(5, 2), batch(7, 1), batch(5, 3)},
		{batch(5, 2), batch(8, 1), empty(5, 8)},
		{empty(5, 8), batch(9, 1), empty(5, 9)},
	} {
		if got := postgres.Joined(x.a, x.b); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%+v and %+v are %+v", x.a, x.b, got)
		}
	}
}

// TestUnderLocksSoak has the walk of the suite decide as it is done when others were faster
// three times.
func TestUnderLocksSoak(t *testing.T) {
	server := pgtest.Shared(t)
	enginetest.Soak(t, func(t testing.TB) core.Engine {
		return underLocks{openAlone(t, postgres.Config{URL: server.URL, Store: server.Store(t)})}
	})
}

type underLocks struct{ *postgres.Engine }

func (e underLocks) Commit(_ context.Context, group []*core.Commit) core.Step {
	return e.CommitUnderLocks(group)
}

// TestRemovalsBesideAppendsSoak: two nodes append to streams and link their events, and remove
// them, at once, while others read. What is left is what was written after the last removal of
// each stream. Each removal writes an event elsewhere, whose position says when it was.
func TestRemovalsBesideAppendsSoak(t *testing.T) {
	t.Parallel()
	length := 2 * time.Second
	if soaking() {
		length = time.Minute
	}
	server := pgtest.Shared(t)
	store := server.Store(t)
	h := history{t: t, alive: make(map[core.ID]place), removed: make(map[string]uint64)}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var running sync.WaitGroup
	var engines []*postgres.Engine
	for n := range 2 {
		engine := openStore(t, postgres.Config{URL: server.URL, Store: store, Node: fmt.Sprint("n", n)})
		engines = append(engines, engine)
		for range 2 {
			running.Go(func() { h.write(ctx, engine) })
		}
		running.Go(func() { h.read(ctx, engine) })
	}
	running.Wait()
	for _, engine := range engines {
		h.compare(engine)
	}
	waitForRemover(t, server, store)
	h.compare(engines[0])
}

// place is where an event was written.
type place struct {
	stream   string
	position uint64
}

// history is what several writers have done.
type history struct {
	t *testing.T

	mu      sync.Mutex // protects the fields below
	alive   map[core.ID]place
	removed map[string]uint64 // when a stream was last removed
}

func (h *history) write(ctx context.Context, engine *postgres.Engine) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for ctx.Err() == nil {
		stream := fmt.Sprint("s-", r.IntN(3))
		c, ids := eventsFor(stream, 1+r.IntN(20))
		if r.IntN(4) == 0 {
			c = change(stream, core.RemoveStream)
			mark, _ := eventsFor("removals", 1)
			c.Appends = mark.Appends
			ids = nil
		}
		o := engine.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]
		switch {
		case errors.Is(o.Err, core.CodeStreamNotFound):
			continue
		case o.Err != nil:
			h.t.Error(o.Err)
			return
		}
		h.note(stream, ids, o.Result)
		for _, id := range ids[:min(len(ids), 2)] {
			o := engine.Commit(context.Background(), []*core.Commit{linkTo("links", id)}).Outcomes[0]
			if o.Err != nil && !errors.Is(o.Err, core.CodeEventNotFound) {
				h.t.Error(o.Err)
				return
			}
		}
	}
}

func (h *history) note(stream string, ids []core.ID, r core.Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ids == nil {
		h.removed[stream] = max(h.removed[stream], r.Position)
	}
	for i, id := range ids {
		h.alive[id] = place{stream, r.Appends[0].FirstPosition + uint64(i)}
	}
}

// read reads all there is again and again: a page may lack what is removed meanwhile, and
// fails for no other reason.
func (h *history) read(ctx context.Context, engine *postgres.Engine) {
	for ctx.Err() == nil {
		for _, stream := range []string{core.All, "links", "s-0"} {
			for e, err := range core.ReadAll(context.Background(), engineLog{engine}, core.ReadRequest{Stream: stream, Limit: core.Limit{Events: 100, Bytes: 1 << 20}}) {
				if err != nil && !errors.Is(err, core.CodeStreamNotFound) {
					h.t.Errorf("read %s: %v", stream, err)
					return
				}
				if err == nil && stream == "links" && len(e.Data) == 0 {
					h.t.Errorf("the link at %d has no content", e.Position)
				}
			}
		}
	}
}

// engineLog is a Log of an engine, to be read.
type engineLog struct{ *postgres.Engine }

func (engineLog) Append(context.Context, core.Commit) (core.Result, error) { panic("not called") }

func (engineLog) Follow(context.Context, core.FollowRequest) (core.Follower, error) {
	panic("not called")
}

// compare compares what is left with what an engine reads.
func (h *history) compare(engine *postgres.Engine) {
	h.t.Helper()
	want := maps.Clone(h.alive)
	maps.DeleteFunc(want, func(_ core.ID, p place) bool { return p.position < h.removed[p.stream] })
	versions := make(map[string]uint64)
	got := make(map[core.ID]place)
	for e, err := range core.ReadAll(h.t.Context(), engineLog{engine}, core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: 1000, Bytes: 1 << 20}}) {
		if err != nil {
			h.t.Fatal(err)
		}
		if e.Stream == "removals" {
			continue
		}
		if versions[e.Stream]++; e.Version != versions[e.Stream] {
			h.t.Errorf("%s has version %d after %d", e.Stream, e.Version, versions[e.Stream]-1)
		}
		got[e.ID] = place{e.Stream, e.Position}
	}
	if !maps.Equal(got, want) {
		h.t.Errorf("%d events are left, want %d, or others", len(got), len(want))
	}
	var links []core.ID
	for e, err := range core.ReadAll(h.t.Context(), engineLog{engine}, core.ReadRequest{Stream: "links", Limit: core.Limit{Events: 1000, Bytes: 1 << 20}}) {
		if err != nil {
			h.t.Fatal(err)
		}
		if p, ok := want[e.ID]; !ok || p.position != e.Link.Position {
			h.t.Errorf("the link at %d is to %+v, of which there is %+v", e.Position, e.Link, p)
		}
		links = append(links, e.ID)
	}
	if slices.SortFunc(links, func(a, b core.ID) int { return bytes.Compare(a[:], b[:]) }); len(slices.Compact(slices.Clone(links))) != len(links) {
		h.t.Error("an event is linked twice")
	}
	h.t.Logf("%d events and %d links are left of %d", len(got), len(links), len(h.alive))
}
