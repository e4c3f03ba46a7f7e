package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// enough is the patience of tests: a server may take its time on a busy machine.
const enough = 30 * time.Second

// readers are all that the engine reads for others, each with what it answers.
var readers = map[string]func(ctx context.Context, e *postgres.Engine) (any, error){
	"$all": func(ctx context.Context, e *postgres.Engine) (any, error) {
		return e.Read(ctx, core.ReadRequest{Stream: core.All, Limit: someEvents})
	},
	"$all backward": func(ctx context.Context, e *postgres.Engine) (any, error) {
		return e.Read(ctx, core.ReadRequest{Stream: core.All, Backward: true, Limit: someEvents})
	},
	"stream": func(ctx context.Context, e *postgres.Engine) (any, error) {
		return e.Read(ctx, core.ReadRequest{Stream: "a", Limit: someEvents})
	},
	"stream backward": func(ctx context.Context, e *postgres.Engine) (any, error) {
		return e.Read(ctx, core.ReadRequest{Stream: "a", Backward: true, Limit: someEvents})
	},
	"log": func(ctx context.Context, e *postgres.Engine) (any, error) { return e.ReadLog(ctx, 1, someEvents) },
	"event": func(ctx context.Context, e *postgres.Engine) (any, error) {
		page, err := e.Read(ctx, core.ReadRequest{Stream: "a", Limit: core.Limit{Events: 1, Bytes: 1}})
		if err != nil {
			return nil, err
		}
		for first := range page.Events() {
			return e.Event(ctx, first.ID)
		}
		return nil, errors.New("no event")
	},
	"streams": func(ctx context.Context, e *postgres.Engine) (any, error) {
		return e.Streams(ctx, core.StreamsRequest{Limit: 10})
	},
	"records": func(ctx context.Context, e *postgres.Engine) (any, error) {
		return e.Records(ctx, core.RecordsRequest{Table: "t", Limit: 10})
	},
}

var someEvents = core.Limit{Events: 100, Bytes: 1 << 20}

// fill writes what the readers read.
func fill(t *testing.T, engine *postgres.Engine) {
	t.Helper()
	c := &core.Commit{
		Appends: []core.Append{
			{Stream: "a", Expect: core.AnyVersion, Events: benchEvents(20)},
			{Stream: "b", Expect: core.AnyVersion, Events: benchEvents(20)},
		},
		Records: []core.RecordOp{{Table: "t", Key: "k", Expect: core.AnyVersion, Value: []byte("v")}},
	}
	if o := engine.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
		t.Fatal(o.Err)
	}
}

// holdReads has a number of reads of $all wait in the server, each on a connection of
// its own, until release is called. Then all of them have to have the same answer.
func holdReads(t *testing.T, server *pgtest.Server, engine *postgres.Engine, store string, n int) (release func()) {
	t.Helper()
	want, err := readers["$all"](t.Context(), engine)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "LOCK TABLE "+store+".events IN ACCESS EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	for range n {
		reading.Go(func() {
			if got, err := readers["$all"](t.Context(), engine); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("a read that was held: %v", err)
			}
		})
	}
	waitFor(t, server, fmt.Sprintf("SELECT count(*) >= %d FROM (%s) x", n, heldReads(store)))
	return func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
		reading.Wait()
	}
}

// heldReads selects the backends of reads that wait for a lock, and those that connect
// for one: there may be more of both than there are reads, since the pool goes on to
// connect for a read that has got another connection. The watch over the head is not a read.
func heldReads(store string) string {
	return `SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%"` + store + `".events%' AND query NOT LIKE '/* watch%'`
}

// terminate ends backends, and waits until they are gone.
func terminate(t *testing.T, server *pgtest.Server, pids string) {
	t.Helper()
	var ended []int32
	c := server.Connect(t)
	err := c.QueryRow(t.Context(), `SELECT array_agg(pid) FROM (`+pids+` OFFSET 0) x WHERE pg_terminate_backend(pid)`).Scan(&ended)
	if err != nil || len(ended) == 0 {
		t.Fatalf("the backends %v were ended, %v", ended, err)
	}
	for left := true; left; {
		if err := c.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY ($1))`, ended).Scan(&left); err != nil {
			t.Fatal(err)
		}
	}
}

func backendsOf(store string) string {
	return "SELECT pid FROM pg_stat_activity WHERE starts_with(application_name, 'gyre/" + store + "/')"
}

// TestReadsOnBrokenConnections breaks every connection that there is before each kind of
// read, and all of those that reads use at the moment.
func TestReadsOnBrokenConnections(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store, ReadConns: 7}) // one for the watch
	fill(t, engine)
	for name, read := range readers {
		want, err := read(t.Context(), engine)
		if err != nil {
			t.Fatal(err)
		}
		holdReads(t, server, engine, store, 6)() // so that there are six connections
		terminate(t, server, backendsOf(store))
		if got, err := read(t.Context(), engine); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	holdReads(t, server, engine, store, 6)()
	release := holdReads(t, server, engine, store, 6)
	terminate(t, server, heldReads(store))
	release()
}

// TestReadThatBreaksItsServer: a read whose connection breaks each time has an end.
func TestReadThatBreaksItsServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store, ReadConns: 1, ReadRetryFor: enough})
	fill(t, engine)
	server.Exec(t, "ALTER TABLE "+store+".streams RENAME TO kept; CREATE VIEW "+store+`.streams AS
		SELECT * FROM `+store+`.kept WHERE pg_terminate_backend(pg_backend_pid())`)
	begin := time.Now()
	_, err := engine.Streams(t.Context(), core.StreamsRequest{Limit: 10})
	if !errors.Is(err, core.CodeStoreUnavailable) || time.Since(begin) > enough/2 {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
	if _, err := readers["$all"](t.Context(), engine); err != nil {
		t.Errorf("another read: %v", err)
	}
}

// TestReadsSurviveRestarts restarts the server under readers that go through the log
// again and again: none is told, and each has every event once, in order.
func TestReadsSurviveRestarts(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: "restarted", ReadRetryFor: enough})
	readThrough(t, engine, func() {
		for _, end := range []func() error{server.Stop, server.Kill} {
			if err := errors.Join(end(), server.Start()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestReadsSurviveRestartsBehindPooler ends the pooler's connections and restarts its
// server under readers.
func TestReadsSurviveRestartsBehindPooler(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	pooler := server.Pooler(t)
	engine := openStore(t, postgres.Config{URL: pooler.URL, Store: "restarted", ReadRetryFor: enough})
	readThrough(t, engine, func() {
		terminate(t, server, backendsOf("restarted"))
		if err := errors.Join(server.Stop(), server.Start()); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(pooler.Stop(), pooler.Start()); err != nil {
			t.Fatal(err)
		}
	})
}

// readThrough has readers go through a log in small pages while something happens.
func readThrough(t *testing.T, engine *postgres.Engine, happens func()) {
	t.Helper()
	const streams = 5
	for range streams {
		fill(t, engine)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	defer reading.Wait() // each goes through the log to its end
	defer cancel()
	for range 8 {
		reading.Go(func() {
			for ctx.Err() == nil && readOnce(t, engine, streams*40) {
			}
		})
	}
	happens()
}

// readOnce reads a log of a number of events from its beginning to its end, and reports
// whether all is well.
func readOnce(t *testing.T, engine *postgres.Engine, events uint64) bool {
	r := core.ReadRequest{Stream: core.All, From: 1, Limit: core.Limit{Events: 7, Bytes: 1 << 20}}
	for seen := uint64(0); seen < events; {
		page, err := engine.Read(t.Context(), r)
		if err != nil {
			t.Errorf("after position %d: %v", seen, err)
			return false
		}
		for e := range page.Events() {
			if seen++; e.Position != seen {
				t.Errorf("position %d, want %d", e.Position, seen)
				return false
			}
		}
		r.From = page.Next
	}
	return true
}

// TestReadsWithoutServer: the first read waits as long as it was told to, one that has
// less time for no longer than it has, and those after them are told at once.
func TestReadsWithoutServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	const retryFor = 2 * time.Second
	engine := openStore(t, postgres.Config{URL: server.URL, Store: "gone", ReadRetryFor: retryFor})
	fill(t, engine)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ has, most time.Duration }{
		{retryFor / 4, retryFor / 2},
		{time.Minute, 2 * retryFor},
		{time.Minute, retryFor / 2},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), x.has)
		begin := time.Now()
		_, err := readers["$all"](ctx, engine)
		cancel()
		if took := time.Since(begin); !errors.Is(err, core.CodeStoreUnavailable) || took > x.most {
			t.Errorf("a read that has %s: %v after %s", x.has, err, took)
		}
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	answersSoon(t, engine, nil)
}

// TestTableChangedByHand: what cannot be a log's row is told as that.
func TestTableChangedByHand(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	fill(t, engine)
	server.Exec(t, "DROP VIEW "+store+".events_json; ALTER TABLE "+store+".events ALTER format TYPE integer")
	if _, err := readers["$all"](t.Context(), engine); !errors.Is(err, core.CodeInternal) {
		t.Errorf("a read: %v", err)
	}
}
