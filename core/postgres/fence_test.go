package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// deposed is what becomes of the Commits of a node whose epoch is over.
type deposed struct {
	outcomes []core.Outcome // of a group that waits for the new epoch, then of more
	events   int            // in the log
	records  int
	changes  int // of streams as a whole
}

// depose changes the epoch of a store under a node: its first group waits for
// the change to be committed, the others come after it.
func depose(t *testing.T, server *pgtest.Server, store string, engine *postgres.Engine) (d deposed) {
	t.Helper()
	tx, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "UPDATE "+store+".log SET epoch = 2")
	}
	if err != nil {
		t.Fatal(err)
	}
	record := &core.Commit{Records: []core.RecordOp{{Table: "t", Key: "k", Expect: core.AnyVersion, Value: []byte("v")}}}
	event := func() *core.Commit {
		return &core.Commit{Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: benchEvents(1)}}}
	}
	var first core.Step
	var waiting sync.WaitGroup
	waiting.Go(func() { first = engine.Commit(context.Background(), []*core.Commit{event()}) })
	waitFor(t, server, `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE starts_with(application_name, 'gyre/`+store+`/') AND wait_event_type = 'Lock')`)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	d.outcomes = first.Outcomes
	for _, group := range [][]*core.Commit{{event()}, {record}, {record, event()}, {change("b", core.TombstoneStream)}} {
		d.outcomes = append(d.outcomes, engine.Commit(t.Context(), group).Outcomes...)
	}
	records, err := engine.Records(t.Context(), core.RecordsRequest{Table: "t", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	d.events, d.records = len(readLog(t, engine)), len(records)
	d.changes = count(t, server.Connect(t), "SELECT count(*) FROM "+store+".changes")
	return d
}

// P09: a node of an old epoch writes nothing any more (P7), also where it has to wait for
// the new one to be committed.
func TestFence(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	d := depose(t, server, store, openStore(t, postgres.Config{URL: server.URL, Store: store}))
	for i, o := range d.outcomes {
		if !errors.Is(o.Err, core.CodeStaleEpoch) {
			t.Errorf("P7: commit %d: %+v, want stale_epoch", i, o)
		}
	}
	if d.events > 0 || d.records > 0 || d.changes > 0 {
		t.Errorf("P7: %d events, %d records and %d changes of streams", d.events, d.records, d.changes)
	}
}

// TestFenceIsThePredicate takes the epoch out of the statements that lock the log
// row: all that TestFence sees refused is then written. So nothing else refuses it.
func TestFenceIsThePredicate(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	var function string
	err := server.Connect(t).QueryRow(t.Context(), `SELECT pg_get_functiondef(oid) FROM pg_proc
		WHERE proname = 'commit_group' AND pronamespace = '`+store+`'::regnamespace `).Scan(&function)
	if err != nil {
		t.Fatal(err)
	}
	const predicate = "WHERE l.epoch = p_epoch FOR"
	if n := strings.Count(function, predicate); n != 2 {
		t.Fatalf("the epoch is looked at in %d places, want 2", n)
	}
	server.Exec(t, strings.ReplaceAll(function, predicate, "FOR"))
	d := depose(t, server, store, engine)
	for i, o := range d.outcomes {
		if o.Err != nil {
			t.Errorf("commit %d: %v, want it to be written", i, o.Err)
		}
	}
	if d.events != 3 || d.records != 1 || d.changes != 1 {
		t.Errorf("%d events, %d records and %d changes of streams, want 3, 1 and 1", d.events, d.records, d.changes)
	}
}

// TestEpochWaitsForCommits: whoever changes the epoch waits for what is being
// written under the old one, events, records or changes of streams.
func TestEpochWaitsForCommits(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	for name, call := range map[string]string{
		"event": `SELECT %s.commit_group(1, false, true, '{a}', '{a}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
			false, NULL, '{1}', '{1}', ARRAY[gen_random_uuid()], NULL, '{0}', '{T}', NULL, NULL, NULL, '{"1"}', NULL, NULL)`,
		"record": `SELECT %s.commit_group(1, false, true, NULL, NULL, NULL, NULL, '{t}', '{k}', '{true}', '{1}', '{0}', '{9}', '{false}', '{1}', '{v}',
			false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
		"stream": `SELECT %s.commit_group(1, false, true, '{a}', '{a}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
			false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, p_actions => '{3}')`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := server.Store(t)
			openStore(t, postgres.Config{URL: server.URL, Store: store})
			tx, err := server.Connect(t).Begin(t.Context())
			if err == nil {
				_, err = tx.Exec(t.Context(), fmt.Sprintf(call, store))
			}
			if err != nil {
				t.Fatal(err)
			}
			change := "SET lock_timeout = 100; UPDATE " + store + ".log SET epoch = 2"
			view := server.Connect(t)
			if _, err := view.PgConn().Exec(t.Context(), change).ReadAll(); !isLockTimeout(err) {
				t.Errorf("the epoch changed beside a commit: %v", err)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := view.PgConn().Exec(t.Context(), change).ReadAll(); err != nil {
				t.Errorf("after the commit: %v", err)
			}
		})
	}
}
