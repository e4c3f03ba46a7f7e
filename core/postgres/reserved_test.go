package postgres_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestReservedStoreNames: a store may be called like a word of SQL. Everything that names
// its schema is asked for once.
func TestReservedStoreNames(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	for _, name := range []string{"order", "user"} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { server.Exec(t, `DROP SCHEMA "`+name+`" CASCADE`) })
			config := postgres.Config{URL: server.URL, Store: name}
			if name == "user" { // by hand
				script, err := postgres.Script(name, 0)
				if err != nil {
					t.Fatal(err)
				}
				server.Exec(t, script)
			}
			if err := postgres.Migrate(t.Context(), config, "type"); err != nil {
				t.Fatal(err)
			}
			engine := openStore(t, config)
			usesLog(t, engine)
			usesRing(t, engine)
			describes(t, config)
			content := []byte("content")
			putBlob(t, engine, content)
			sweepBlobs(t, engine, 0)
			hasBlob(t, engine, content, false)
			if err := engine.Close(); err != nil {
				t.Fatal(err)
			}
			config.Ring = ""
			usesLog(t, openAlone(t, config))
		})
	}
}

// usesLog writes and reads all that a log has, past and under locks.
func usesLog(t *testing.T, engine *postgres.Engine) {
	t.Helper()
	before := engine.State().Head
	event := core.NewEvent{ID: core.NewID(), Type: "t", Data: []byte("1")}
	commit := &core.Commit{
		Epoch:   engine.State().Epoch,
		Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: []core.NewEvent{event}}, {Stream: "l", Expect: core.AnyVersion, Links: []core.ID{event.ID}}},
		Records: []core.RecordOp{{Table: "t", Key: "k", Expect: core.AnyVersion, Value: []byte("v")}},
	}
	refused := &core.Commit{Epoch: commit.Epoch, Appends: []core.Append{{Stream: core.NewID().String(), Expect: 7, Events: []core.NewEvent{{ID: core.NewID(), Type: "t", Data: []byte("1")}}}}}
	step := engine.CommitUnderLocks([]*core.Commit{commit, refused})
	if step.Outcomes[0].Err != nil || !errors.Is(step.Outcomes[1].Err, core.CodeWrongExpectedVersion) {
		t.Fatalf("the outcomes are %+v", step.Outcomes)
	}
	if again := engine.Commit(t.Context(), []*core.Commit{commit}).Outcomes[0]; again.Err != nil || !again.Result.Duplicate {
		t.Errorf("the retry: %+v", again)
	}
	limit := core.Limit{Events: 10, Bytes: 1 << 20}
	if page, err := engine.ReadLog(t.Context(), 1, limit); err != nil || page.Last != before+2 {
		t.Errorf("the log ends at %d, it ended at %d: %v", page.Last, before, err)
	}
	for _, stream := range []string{"a", "l", core.All} {
		for _, backward := range []bool{false, true} {
			if page, err := engine.Read(t.Context(), core.ReadRequest{Stream: stream, Backward: backward, Limit: limit}); err != nil || page.Count == 0 {
				t.Errorf("read %s: %d events, %v", stream, page.Count, err)
			}
		}
	}
	if _, err := engine.Event(t.Context(), event.ID); err != nil {
		t.Errorf("event: %v", err)
	}
	if page, err := engine.Streams(t.Context(), core.StreamsRequest{Limit: 10}); err != nil || len(page.Streams) != 2 {
		t.Errorf("streams: %+v, %v", page, err)
	}
	for _, r := range []core.RecordsRequest{{}, {Keys: []string{"k"}}, {Ranges: []core.KeyRange{{After: "j", Before: "l"}}}} {
		r.Table, r.Limit = "t", 10
		if records, err := engine.Records(t.Context(), r); err != nil || len(records) != 1 {
			t.Errorf("records %+v: %+v, %v", r, records, err)
		}
	}
}

// usesRing has a ring of one node and its view.
func usesRing(t *testing.T, engine *postgres.Engine) {
	t.Helper()
	m := ring.Member{Node: "n"}
	var err error
	if m.Session, err = engine.Register(t.Context(), shared, m, [32]byte{}); err != nil {
		t.Fatal(err)
	}
	standing, err := engine.Beat(t.Context(), m.Session, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	view := ring.View{Epoch: standing.Epoch + 1, Members: []ring.Member{m}, Quorum: 1, Proposer: m.Session}
	if err := engine.Propose(t.Context(), standing.Epoch, view, nil); err != nil {
		t.Error(err)
	}
	if views, err := engine.Views(t.Context(), 0, 10); err != nil || len(views) != 1 {
		t.Errorf("views: %+v, %v", views, err)
	}
	if err := engine.Leave(t.Context(), m.Session); err != nil {
		t.Error(err)
	}
}

// describes asks what commands ask about a store that a node has open.
func describes(t *testing.T, config postgres.Config) {
	t.Helper()
	if s, err := postgres.Inspect(t.Context(), config); err != nil || len(s.Missing) > 0 {
		t.Errorf("the survey misses %v, %v", s.Missing, err)
	}
	if err := postgres.CheckSchema(t.Context(), config); err != nil {
		t.Error(err)
	}
	known, newest, err := postgres.Status(t.Context(), config)
	if err != nil || newest != len(known) {
		t.Errorf("the status is %d of %d, %v", newest, len(known), err)
	}
	list, err := postgres.Indexes(t.Context(), config)
	if err != nil || !slices.ContainsFunc(list, func(x postgres.Index) bool { return x.State == postgres.IndexReady }) {
		t.Errorf("the indexes are %+v, %v", list, err)
	}
	if nodes, err := postgres.Nodes(t.Context(), config); err != nil || len(nodes) != 1 {
		t.Errorf("the nodes are %+v, %v", nodes, err)
	}
}
