package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/logtest"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

func TestStoreIsALog(t *testing.T) {
	t.Parallel()
	logtest.Run(t, func(t testing.TB) (core.Log, *core.Store) {
		server := pgtest.Shared(t)
		store := core.NewStore(openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)}), core.StoreConfig{})
		t.Cleanup(func() { store.Close() })
		return store, store
	})
}

func TestRetentionSoak(t *testing.T) {
	t.Parallel()
	logtest.RunRetention(t, func(t testing.TB, clock *logtest.Clock) (core.Log, *core.Store) {
		server := pgtest.Shared(t)
		store := core.NewStore(openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)}), core.StoreConfig{Clock: clock.Now})
		t.Cleanup(func() { store.Close() })
		return store, store
	})
}

// TestOpenAtOnce has several nodes find a schema that is not there yet. It is
// made once, and Status tells.
func TestOpenAtOnce(t *testing.T) {
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t)}
	known, newest, err := postgres.Status(t.Context(), config)
	if err != nil || newest != 0 || len(known) == 0 || !known[0].Applied.IsZero() {
		t.Errorf("before: %v, %d, %v", known, newest, err)
	}
	logs := make([]string, 4)
	var running sync.WaitGroup
	for i := range logs {
		running.Go(func() {
			engine, err := postgres.Open(t.Context(), config)
			if err != nil {
				t.Error(err)
				return
			}
			logs[i] = engine.State().Log
			engine.Close()
		})
	}
	running.Wait()
	for _, log := range logs {
		if log != logs[0] || log == "" {
			t.Errorf("the nodes found the logs %v", logs)
		}
	}
	known, newest, err = postgres.Status(t.Context(), config)
	if err != nil || newest != len(known) || known[newest-1].Applied.IsZero() {
		t.Errorf("after: %v, %d, %v", known, newest, err)
	}
	config.NoMigrate = true
	openStore(t, config)
}

// TestView asks the queries of the package's documentation.
func TestView(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	for i, e := range []core.NewEvent{
		{Type: "A", Data: []byte(`{"total":1.10}`), Metadata: []byte(`{"correlation_id":"c-17","causation_id":"d"}`)},
		{Type: "A", Data: []byte(`{"total":"\u0000"}`), Metadata: []byte(`{"correlation_id":"c-17"}`)},
		{Type: "B", Format: core.Bytes, Data: []byte{0xff}},
		{Type: "C", Data: []byte(`1E400000`)},
	} {
		c := &core.Commit{Appends: []core.Append{{Stream: fmt.Sprint("order-", i%2), Expect: core.AnyVersion, Events: []core.NewEvent{e}}}}
		if o := engine.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	c := server.Connect(t)
	for sql, want := range map[string]string{
		`SELECT string_agg(type || n, ' ' ORDER BY type) FROM (SELECT type, count(*) AS n FROM %s.events_json GROUP BY type) x`: "A2 B1 C1",
		`SELECT string_agg(version || ' ' || coalesce(data ->> 'total', '-'), ', ' ORDER BY version)
			FROM %s.events_json WHERE stream = 'order-0'`: "1 1.10, 2 -",
		`SELECT string_agg(position || stream || type, ' ' ORDER BY position)
			FROM %s.events_json WHERE correlation_id = 'c-17'`: "1order-0A 2order-1A",
		`SELECT string_agg(position::text, ' ') FROM %s.events_json WHERE data IS NULL AND position > 1`: "2 3 4",
		`SELECT causation_id FROM %s.events_json WHERE position = 1`:                                     "d",
	} {
		var got string
		if err := c.QueryRow(context.Background(), fmt.Sprintf(sql, store)).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", sql, got, err, want)
		}
	}
}

// TestChecksOfMissingStreams: a Commit that was refused leaves nothing behind, and one
// that was written the row that it locked, which nobody takes for a stream.
func TestChecksOfMissingStreams(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	c := server.Connect(t)
	for _, x := range []struct {
		missing core.Expect
		err     error
		rows    string
	}{
		{5, core.CodeWrongExpectedVersion, ""},
		{core.NoStream, nil, "a missing"},
		{core.NoStream, nil, "a missing"},
		{core.StreamExists, core.CodeWrongExpectedVersion, "a missing"},
	} {
		commit := &core.Commit{
			Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: benchEvents(1)}},
			Checks:  []core.Check{{Stream: "missing", Expect: x.missing}},
		}
		if o := engine.Commit(t.Context(), []*core.Commit{commit}).Outcomes[0]; !errors.Is(o.Err, x.err) {
			t.Errorf("check of %s: %v, want %v", x.missing, o.Err, x.err)
		}
		if rows := streamRows(t, c, store); rows != x.rows {
			t.Errorf("after a check of %s there are the rows %q, want %q", x.missing, rows, x.rows)
		}
	}
	page, err := engine.Streams(t.Context(), core.StreamsRequest{Limit: 10})
	if err != nil || len(page.Streams) != 1 {
		t.Errorf("the streams are %v, %v", page.Streams, err)
	}
	if _, err := engine.Read(t.Context(), core.ReadRequest{Stream: "missing", Limit: core.Limit{Events: 1, Bytes: 1}}); !errors.Is(err, core.CodeStreamNotFound) {
		t.Errorf("a read of it: %v", err)
	}
	if o := appendTo(engine, "missing", core.NoStream, 1); o.Err != nil || o.Result.Appends[0].FirstVersion != 1 {
		t.Errorf("the first append to it: %+v", o)
	}
}

// streamRows are the names that the table of streams has.
func streamRows(t *testing.T, c *pgx.Conn, store string) (rows string) {
	t.Helper()
	err := c.QueryRow(t.Context(), "SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM "+store+".streams").Scan(&rows)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestRefusedUnderLocks: where a group is decided under its locks, what is refused
// leaves nothing behind, as anywhere else (P12), and neither does a group that is all
// refused.
func TestRefusedUnderLocks(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	c := server.Connect(t)
	to := func(stream string, expect core.Expect) *core.Commit {
		return &core.Commit{Appends: []core.Append{{Stream: stream, Expect: expect, Events: benchEvents(1)}}}
	}
	record := to("refused-3", core.AnyVersion)
	record.Records = []core.RecordOp{{Table: "t", Key: "k", Expect: 7, Value: []byte("v")}}
	refused := []*core.Commit{to("refused-1", 5), to("refused-2", core.StreamExists), record}
	for _, x := range []struct {
		group   []*core.Commit
		written int
		rows    string
	}{
		{refused, 0, ""},
		{append([]*core.Commit{to("new", core.NoStream)}, refused...), 1, "new"},
		{append([]*core.Commit{to("refused-1", core.NoStream)}, refused...), 1, "new refused-1"},
	} {
		step := engine.CommitUnderLocks(x.group)
		if step.Written.Count != x.written {
			t.Errorf("%d events were written, want %d: %+v", step.Written.Count, x.written, step.Outcomes)
		}
		for i, o := range step.Outcomes {
			if (o.Err != nil) != (i >= x.written) {
				t.Errorf("commit %d: %+v", i, o)
			}
		}
		if rows := streamRows(t, c, store); rows != x.rows {
			t.Errorf("there are the rows %q, want %q", rows, x.rows)
		}
	}
	if records, err := engine.Records(t.Context(), core.RecordsRequest{Table: "t", Limit: 1}); err != nil || len(records) > 0 {
		t.Errorf("records %v, %v", records, err)
	}
	if o := appendTo(engine, "refused-2", core.NoStream, 1); o.Err != nil {
		t.Errorf("what was not there is made: %v", o.Err)
	}
}
