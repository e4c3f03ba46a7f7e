package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// hostile are defaults under which statements fail, are cut off, are slow, lose what was
// acknowledged or answer in other words, if nobody sets them.
var hostile = []string{
	"default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on",
	"statement_timeout = '400ms'", "lock_timeout = '50ms'", "idle_in_transaction_session_timeout = '50ms'",
	"idle_session_timeout = '200ms'", "transaction_timeout = '400ms'",
	"search_path = evil, pg_catalog", "client_encoding = 'LATIN1'", "DateStyle = 'SQL, DMY'", "IntervalStyle = 'sql_standard'",
	"TimeZone = 'Asia/Kolkata'", "bytea_output = 'escape'", "extra_float_digits = -15", "standard_conforming_strings = off",
	"synchronous_commit = off", "row_security = off", "session_replication_role = replica", "check_function_bodies = off",
	"enable_indexscan = off", "enable_indexonlyscan = off", "enable_nestloop = off", "enable_sort = off", "enable_material = off",
	"plan_cache_mode = force_custom_plan", "jit = on", "jit_above_cost = 0", "array_nulls = off", "transform_null_equals = on",
	"quote_all_identifiers = on", "backslash_quote = off", "exit_on_error = on", "work_mem = '64kB'", "max_parallel_workers_per_gather = 8",
}

// spoil gives a database hostile defaults, those that its version has.
func spoil(t *testing.T, server *pgtest.Server) {
	t.Helper()
	server.Exec(t, `CREATE SCHEMA evil; CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '-infinity'::timestamptz $$`)
	c := server.Connect(t)
	for _, s := range hostile {
		if _, err := c.Exec(t.Context(), "ALTER DATABASE postgres SET "+s); err != nil && !strings.Contains(err.Error(), "42704") {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// TestHostileDefaults: a node does its work whatever the defaults of its role or database
// are, with a pooler in between too, and a survey names what is overridden.
func TestHostileDefaults(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	spoil(t, server)
	for name, url := range map[string]string{"direct": server.URL, "pooled": server.Pooler(t).URL} {
		t.Run(name, func(t *testing.T) {
			config := postgres.Config{URL: url, Store: "s_" + name, Ring: shared, Node: "näme", Version: "1.0"}
			patiently(t, "migrate", func() error { return postgres.Migrate(t.Context(), config, "type") })
			work(t, openPatiently(t, config), openPatiently(t, config))
			var nodes []postgres.Node
			patiently(t, "nodes", func() (err error) {
				nodes, err = postgres.Nodes(t.Context(), config)
				return err
			})
			if got := namesOf(t, config, nodes); got != "näme 1.0, näme 1.0" {
				t.Errorf("the nodes are %s", got)
			}
			var migrations []postgres.Migration
			var newest int
			patiently(t, "status", func() (err error) {
				migrations, newest, err = postgres.Status(t.Context(), config)
				return err
			})
			if newest != len(migrations) || time.Since(migrations[0].Applied).Abs() > time.Hour {
				t.Errorf("the status is %+v, newest %d", migrations, newest)
			}
			var s postgres.Survey
			patiently(t, "inspect", func() (err error) {
				s, err = postgres.Inspect(t.Context(), config)
				return err
			})
			if s.Settings["synchronous_commit"] != "on" {
				t.Errorf("the survey is %+v", s)
			}
			for _, want := range []string{"default_transaction_isolation = serializable (database)", "synchronous_commit = off (database)", "bytea_output = escape (database)", "client_encoding = LATIN1 (database)"} {
				if !slices.Contains(s.Overridden, want) {
					t.Errorf("%q is not among what is overridden: %q", want, s.Overridden)
				}
			}
		})
	}
}

// openPatiently is openStore on a server with hostile defaults.
func openPatiently(t *testing.T, config postgres.Config) (engine *postgres.Engine) {
	t.Helper()
	patiently(t, "open", func() (err error) {
		engine, err = postgres.Open(t.Context(), config)
		return err
	})
	closeAtEnd(t, engine)
	return engine
}

// patiently tries again what connects to a server with hostile defaults. Until a connection has
// set its own timeouts it has those of the server, and on a machine under load it may be idle for
// longer than they are. Of settings that are never set, each try fails.
func patiently(t *testing.T, what string, do func() error) {
	t.Helper()
	const tries = 20
	for range tries - 1 {
		if do() == nil {
			return
		}
	}
	if err := do(); err != nil {
		t.Fatalf("%s: tried %d times: %v", what, tries, err)
	}
}

// work appends, reads and lists at two engines at once, slower than the timeouts are.
func work(t *testing.T, engines ...*postgres.Engine) {
	t.Helper()
	const each = 30
	begin := time.Now()
	var running sync.WaitGroup
	for n, engine := range engines {
		for w := range 2 {
			running.Go(func() {
				for i := range each {
					c := &core.Commit{
						Appends: []core.Append{{Stream: "ströme", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "Tüp", Data: []byte(`"€\\"`)}}}},
						Records: []core.RecordOp{{Table: "t", Key: fmt.Sprintf("k\\%d%d", n, w), Expect: core.Expect(i), Value: []byte{0, '\\', 255}}},
					}
					if o := engine.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
						t.Errorf("append: %v", o.Err)
						return
					}
				}
			})
		}
	}
	running.Wait()
	for _, e := range engines {
		page, err := e.Read(t.Context(), core.ReadRequest{Stream: core.All, From: 1, Limit: core.Limit{Events: 1000, Bytes: 1 << 20}})
		if err != nil || page.Count != 4*each {
			t.Fatalf("%d events, %v", page.Count, err)
		}
		first := page.Slice()[0]
		if first.Stream != "ströme" || first.Type != "Tüp" || string(first.Data) != `"€\\"` || first.Recorded.Before(begin.Add(-time.Minute)) {
			t.Errorf("the first event is %+v", first)
		}
		records, err := e.Records(t.Context(), core.RecordsRequest{Table: "t", Limit: 10})
		if err != nil || len(records) != 4 || records[0].Key != "k\\00" || string(records[0].Value) != "\x00\\\xff" || records[0].Revision != each {
			t.Errorf("records: %+v, %v", records, err)
		}
		streams, err := e.Streams(t.Context(), core.StreamsRequest{Prefix: "str", Limit: 10})
		if err != nil || len(streams.Streams) != 1 || streams.Streams[0].Name != "ströme" {
			t.Errorf("streams: %+v, %v", streams, err)
		}
		awaitWritable(t, e)
	}
	for _, e := range engines {
		c := &core.Commit{Appends: []core.Append{{Stream: "b", Expect: core.AnyVersion, Events: benchEvents(1)}}}
		if o := e.CommitUnderLocks([]*core.Commit{c}).Outcomes[0]; o.Err != nil {
			t.Errorf("under locks: %v", o.Err)
		}
	}
}

// awaitWritable waits until the engine has no problem: a connection that a server with hostile
// defaults ended before it was set up is one, until the next look.
func awaitWritable(t *testing.T, e *postgres.Engine) {
	t.Helper()
	var err error
	for late := time.Now().Add(20 * time.Second); time.Now().Before(late); {
		if err = e.State().ReadOnly; err == nil {
			return
		}
		_, _ = e.Read(t.Context(), core.ReadRequest{Stream: core.All, From: 1, Limit: core.Limit{Events: 1, Bytes: 1}})
	}
	t.Errorf("the state is %v", err)
}

// TestUnreadableAnswerIsNotAway: a value that cannot be decoded does not mean that the
// server is away.
func TestUnreadableAnswerIsNotAway(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	server.Exec(t, "ALTER TABLE "+store+".records RENAME TO kept; CREATE VIEW "+store+".records AS SELECT tbl, key, 'many'::text AS revision, value FROM "+store+
		".kept; INSERT INTO "+store+".kept (tbl, key) VALUES ('t', 'k')")
	begin := time.Now()
	_, err := engine.Records(t.Context(), core.RecordsRequest{Table: "t", Limit: 1})
	if !errors.Is(err, core.CodeInternal) || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
	if err := engine.State().ReadOnly; err != nil {
		t.Errorf("the state is %v", err)
	}
}
