package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// refused opens a store that others have, which is refused with these words.
func refused(t *testing.T, config postgres.Config, code core.Code, words ...string) {
	t.Helper()
	engine, err := postgres.Open(t.Context(), config)
	if err == nil {
		err = engine.Close()
		t.Errorf("node %q was let in, %v", config.Node, err)
		return
	}
	for _, word := range words {
		if !errors.Is(err, code) || !strings.Contains(err.Error(), word) {
			t.Errorf("node %q: %v; want %s with %q", config.Node, err, code, word)
		}
	}
}

// L07: nobody shares the store with a node that has it alone, and with a ring only its
// nodes. Who only reads comes and goes.
func TestStoreBelongsToOneNodeOrOneRing(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	as := func(node, ring string) postgres.Config {
		return postgres.Config{URL: server.URL, Store: "own", Node: node, Version: "1.2", Ring: ring}
	}
	config := as("n1", "")
	config.Store = server.Store(t)
	as = func(node, ring string) postgres.Config {
		c := config
		c.Node, c.Ring = node, ring
		return c
	}
	reader := as("copy", "")
	reader.OnlyReads = true
	first := openAlone(t, reader)
	alone := openAlone(t, as("n1", ""))
	openAlone(t, reader)
	appendSoon(t, alone, "a")
	if log := readLog(t, first); len(log) != 1 {
		t.Errorf("the reader sees %d events", len(log))
	}
	if err := appendTo(first, "a", core.AnyVersion, 1).Err; !errors.Is(err, core.CodeStoreReadOnly) {
		t.Errorf("the reader appends: %v", err)
	}
	refused(t, as("n2", ""), core.CodeStoreInUse, "n1 (gyre 1.2) has store", "alone since", "--cluster")
	refused(t, as("n2", shared), core.CodeStoreInUse, "n1 (gyre 1.2)", "start it with --cluster, too")
	if err := postgres.Migrate(t.Context(), as("n2", "")); err != nil {
		t.Errorf("migrate: %v", err)
	}
	appendSoon(t, alone, "a")
	if err := alone.Close(); err != nil {
		t.Fatal(err)
	}
	a, b := openAlone(t, as("n2", shared)), openAlone(t, as("n3", shared))
	refused(t, as("n1", ""), core.CodeStoreInUse, "n2 (gyre 1.2), n3 (gyre 1.2) has store", "as ring ring since", "--cluster")
	refused(t, as("n2", ""), core.CodeStoreInUse, "as ring ring since")
	refused(t, as("n1", "other"), core.CodeClusterMismatch, `in ring "ring"`, `in ring "other"`)
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	appendSoon(t, openAlone(t, as("n1", "")), "a")
}

// L07: a process with the id of one that has the store alone gets it at once. The older
// one writes nothing more, learns why, and does not take it back.
func TestSameNodeSupersedes(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t), Node: "n1"}
	older := openAlone(t, config)
	appendSoon(t, older, "a")
	newer := openAlone(t, config)
	if err := appendTo(older, "a", core.AnyVersion, 1).Err; !errors.Is(err, core.CodeStaleEpoch) && !errors.Is(err, core.CodeNodeSuperseded) {
		t.Errorf("the older process appends: %v", err)
	}
	if err := <-older.Failed(); !errors.Is(err, core.CodeNodeSuperseded) {
		t.Errorf("the older process failed with %v", err)
	}
	if err := appendTo(older, "a", core.AnyVersion, 1).Err; !errors.Is(err, core.CodeNodeSuperseded) {
		t.Errorf("the older process appends: %v", err)
	}
	appendSoon(t, newer, "a")
	if got := nodesOf(t, config); got != "n1 " {
		t.Errorf("the nodes are %s", got)
	}
}

// TestTakeOver: a node takes the store over from one whose session has ended. That one,
// which was only stopped, writes nothing when it goes on, and learns why.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t), Node: "n1"}
	for _, ring := range []string{"", shared} {
		old := openAlone(t, config)
		appendSoon(t, old, "a")
		config.Node += "x"
		taking := config
		taking.Ring = ring
		// The session ends between two beats, as it does when a process is stopped.
		var taker *postgres.Engine
		deadline := time.Now().Add(20 * time.Second)
		for taker == nil && time.Now().Before(deadline) {
			server.Exec(t, "UPDATE "+config.Store+".sessions SET until = '-infinity'")
			if e, err := postgres.Open(t.Context(), taking); err == nil {
				taker = e
			} else if !errors.Is(err, core.CodeStoreInUse) {
				t.Fatal(err)
			}
		}
		if taker == nil {
			t.Fatal("the store was not taken over")
		}
		if ring != "" {
			n := &ringNode{Engine: taker}
			n.register(t, config.Node)
			if err := n.propose(t, taker.State().Epoch, nil, n.self); err != nil {
				t.Error(err)
			}
		}
		if o := appendTo(old, "a", core.AnyVersion, 1); o.Err == nil {
			t.Errorf("the old node appended %+v", o)
		}
		answersSoon(t, old, core.CodeStoreInUse)
		if err := taker.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-old.Failed(); !errors.Is(err, core.CodeNodeSuperseded) {
			t.Errorf("the old node failed with %v", err)
		}
	}
}

// TestStoreOfBeforeRings opens a store that an older version made. While one of its nodes
// has it open, it stays as it is: that node knows nothing of whose the store is.
func TestStoreOfBeforeRings(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t), Node: "n2"}
	script, err := postgres.Script(config.Store, 0)
	if err != nil {
		t.Fatal(err)
	}
	older, _, ok := strings.Cut(script, "\n-- Migration 0002_ring.")
	if !ok {
		t.Fatal("the script has no migration 0002_ring")
	}
	server.Exec(t, older+"COMMIT")
	server.Exec(t, "INSERT INTO "+config.Store+`.sessions (id, name, version, knows, until, place)
		SELECT gen_random_uuid(), 'n1', '0.9', 1, clock_timestamp() + interval '1 hour',
		d.oid || '/' || '`+config.Store+`.sessions'::regclass::oid FROM pg_database d WHERE d.datname = current_database()`)
	refused(t, config, core.CodeNodesOutdated, "n1 (gyre 0.9, knows 1)")
	server.Exec(t, "DELETE FROM "+config.Store+".sessions")
	appendSoon(t, openAlone(t, config), "a")
}
