package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// searches are of the kinds that docs/postgres.md has, with the index that serves each.
var searches = map[string]string{
	"SELECT e.stream FROM %[1]s.events_json first JOIN %[1]s.events_json e ON e.correlation_id = first.correlation_id WHERE first.position = 2": "events_correlation",
	"SELECT stream, type FROM %s.events_json WHERE correlation_id = 'c-17' ORDER BY position":                                                   "events_correlation",
	"SELECT stream, data FROM %s.events_json WHERE type = 'Rare' ORDER BY position DESC LIMIT 10":                                               "events_type",
	"SELECT count(*) FROM %s.events_json WHERE type = 'Rare'":                                                                                   "events_type",
	"SELECT count(*) FROM %s.events_json WHERE time >= '2001-01-01 00:01Z' AND time < '2001-01-01 00:02Z'":                                      "events_time",
	"SELECT stream, type FROM %s.events_json WHERE type = 'Rare' AND time >= '2001-01-01 00:01Z' AND time < '2001-01-01 00:02Z' LIMIT 10":       "events_type",
}

// searchable are n events, a second apart, one in a thousand of them rare.
func searchable(first, n int) *core.Commit {
	events := make([]core.NewEvent, n)
	for i := range events {
		at := first + i
		events[i] = core.NewEvent{
			Type: "Common", Time: time.Date(2001, 1, 1, 0, 0, at, 0, time.UTC), Data: []byte(`"` + strings.Repeat("x", 400) + `"`),
			Metadata: fmt.Appendf(nil, `{"correlation_id":"c-%d"}`, at/4),
		}
		if at%1000 == 0 {
			events[i].Type = "Rare"
		}
	}
	return &core.Commit{Appends: []core.Append{{Stream: fmt.Sprint("s-", first%7), Expect: core.AnyVersion, Events: events}}}
}

// TestIndexes makes all indexes of a large log while it is written to, one of
// which somebody had begun, and has them serve the searches.
func TestIndexes(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t) // nobody's transactions to wait for
	config := postgres.Config{URL: server.URL, Store: "searched"}
	engine := openStore(t, config)
	const events, batch = 24_000, 1000
	for first := 0; first < events; first += batch {
		if o := engine.Commit(t.Context(), []*core.Commit{searchable(first, batch)}).Outcomes[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	c := server.Connect(t)
	for sql, index := range searches {
		if plan := explain(t, c, sql, config.Store); strings.Contains(plan, index) {
			t.Errorf("%s is used before it is made:\n%s", index, plan)
		}
	}
	checkIndexes(t, config, postgres.IndexMissing)
	server.Exec(t, "CREATE INDEX events_type ON searched.events (type, position)")
	server.Exec(t, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'searched.events_type'::regclass")
	var made atomic.Bool
	var writing sync.WaitGroup
	writing.Go(func() {
		for first := events; !made.Load(); first++ {
			if o := engine.Commit(context.Background(), []*core.Commit{searchable(first, 1)}).Outcomes[0]; o.Err != nil {
				t.Errorf("append beside the making of an index: %v", o.Err)
				return
			}
		}
	})
	if err := postgres.Migrate(t.Context(), config, "correlation", "type", "time", "links"); err != nil {
		t.Error(err)
	}
	made.Store(true)
	writing.Wait()
	checkIndexes(t, config, postgres.IndexReady)
	server.Exec(t, "ANALYZE searched.events")
	for sql, index := range searches {
		if plan := explain(t, c, sql, config.Store); !strings.Contains(plan, index) {
			t.Errorf("%s is not used:\n%s", index, plan)
		}
	}
	var found int
	if err := c.QueryRow(t.Context(), "SELECT count(*) FROM searched.events_json WHERE correlation_id = 'c-17'").Scan(&found); err != nil || found != 4 {
		t.Errorf("%d events of c-17, %v; want 4", found, err)
	}
	if err := postgres.Migrate(t.Context(), config, "correlation", "type", "time", "links"); err != nil {
		t.Errorf("once more: %v", err)
	}
	if err := postgres.Migrate(t.Context(), config, "data"); !errors.Is(err, core.CodeInvalidRequest) {
		t.Errorf("an index that there is not: %v", err)
	}
}

func checkIndexes(t *testing.T, config postgres.Config, want postgres.IndexState) {
	t.Helper()
	list, err := postgres.Indexes(t.Context(), config)
	if err != nil || len(list) != 4 {
		t.Fatalf("the indexes are %v, %v", list, err)
	}
	for _, x := range list {
		if x.State != want || (x.Bytes > 0) != (want == postgres.IndexReady) {
			t.Errorf("%s is %s and has %d bytes, want %s", x.Name, x.State, x.Bytes, want)
		}
	}
}

func explain(t *testing.T, c *pgx.Conn, sql, store string) string {
	t.Helper()
	rows, err := c.Query(t.Context(), "EXPLAIN "+fmt.Sprintf(sql, store))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// TestCorrelations: the correlation_id of metadata is found by, however it is
// written, if it is one that the API takes.
func TestCorrelations(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	forms := []struct{ metadata, want string }{
		{`{"correlation_id":"a"}`, "a"},
		{`{ "x": {"correlation_id": "no"}, "correlation_id" : "b\u0062" }`, "bb"},
		{`{"correlation\u005fid":"c"}`, "c"},
		{`{"correlation_id":"d","correlation_id":"e"}`, "e"},
		{`{"correlation_id":"` + strings.Repeat("f", 128) + `"}`, strings.Repeat("f", 128)},
		{`{"correlation_id":"` + strings.Repeat("f", 129) + `"}`, "-"},
		{`{"Correlation_ID":"g"}`, "-"},
		{`{"x":{"correlation_id":"h"}}`, "-"},
		{`{"correlation_id":17}`, "-"},
		{`{"correlation_id":null}`, "-"},
		{`{"correlation_id":"\u0000"}`, "-"},
		{`{}`, "-"},
		{``, "-"},
	}
	events := make([]core.NewEvent, len(forms))
	for i, f := range forms {
		events[i] = core.NewEvent{Type: "T", Data: []byte("1"), Metadata: []byte(f.metadata)}
	}
	c := &core.Commit{Appends: []core.Append{{Stream: "s", Events: events}}}
	if o := engine.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
		t.Fatal(o.Err)
	}
	rows, err := server.Connect(t).Query(t.Context(), "SELECT coalesce(correlation_id, '-') FROM "+store+".events_json ORDER BY position")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(got) != len(forms) {
		t.Fatal(got, err)
	}
	for i, f := range forms {
		if got[i] != f.want {
			t.Errorf("%s is found by %q, want %q", f.metadata, got[i], f.want)
		}
	}
}
