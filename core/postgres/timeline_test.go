package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// follows reports whether a follow may begin at a cursor.
func follows(t *testing.T, engine *postgres.Engine, c core.Cursor) error {
	t.Helper()
	store := core.NewStore(engine, core.StoreConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	f, err := store.Follow(ctx, core.FollowRequest{Stream: core.All, From: c.From()})
	if err == nil {
		_, err = f.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20})
		_ = f.Close()
	}
	return err
}

// TestRestoredLog restores a store from a copy that lacks its newest events, and appends
// others: a place of those that were lost is log_changed, one from before them is right,
// and the log is the same.
func TestRestoredLog(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	var dump []byte
	for name, way := range map[string]struct{ save, restore func() error }{
		"dump": {
			func() (err error) { dump, err = server.Dump("s_dump"); return err },
			func() error { return server.Restore("s_dump", dump) },
		},
		"files": {server.Save, server.Rewind},
	} {
		t.Run(name, func(t *testing.T) {
			config := postgres.Config{URL: server.URL, Store: "s_" + name}
			engine := openStore(t, config)
			add := func(engine *postgres.Engine, n int) {
				t.Helper()
				appendWithin(t, engine, 10*time.Second)
				if o := appendTo(engine, "a", core.AnyVersion, n-1); o.Err != nil {
					t.Fatal(o.Err)
				}
			}
			add(engine, 5)
			if err := way.save(); err != nil {
				t.Fatal(err)
			}
			add(engine, 5)
			before := engine.State()
			if err := errors.Join(engine.Close(), way.restore()); err != nil {
				t.Fatal(err)
			}
			engine = openStore(t, config)
			add(engine, 7)
			now := engine.State()
			if now.Log != before.Log || now.Timeline() == before.Timeline() {
				t.Errorf("the log was %+v, it is %+v", before, now)
			}
			for position, want := range map[uint64]error{3: nil, 5: nil, 6: core.CodeLogChanged, 10: core.CodeLogChanged} {
				if err := follows(t, engine, before.Cursor(position)); !errors.Is(err, want) {
					t.Errorf("a cursor of position %d: %v, want %v", position, err, want)
				}
			}
			if err := follows(t, engine, now.Cursor(10)); err != nil {
				t.Errorf("a new cursor: %v", err)
			}
		})
	}
}

// TestTimelinesGoOn: nodes that have a store open together share a timeline, and it goes
// on after a kill of any of them and a crash of the server. Nothing was lost, so every
// cursor is right at every node.
func TestTimelinesGoOn(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	config := postgres.Config{URL: server.URL, Store: "gyre", RetryFor: 30 * time.Second}
	first := openStore(t, config)
	killed := startNode(t, nodeConfig{URL: server.URL, Store: "gyre", Node: "n2", Writers: 2, Streams: 2})
	awaitHead(t, first, 100)
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var cursors []core.Cursor
	engines := []*postgres.Engine{first}
	for i, trouble := range []func() error{
		func() error { return nil },
		func() error { return errors.Join(server.Kill(), server.Start()) },
		func() error { return first.Close() },
	} {
		if err := trouble(); err != nil {
			t.Fatal(err)
		}
		engines = append(engines, openStore(t, postgres.Config{URL: server.URL, Store: "gyre", Node: fmt.Sprint(i), RetryFor: 30 * time.Second}))
		for _, e := range engines {
			if e == first && i == 2 {
				continue
			}
			appendWithin(t, e, 20*time.Second)
			s := e.State()
			cursors = append(cursors, s.Cursor(s.Head))
			if s.Timeline() != first.State().Timeline() {
				t.Errorf("round %d: the timeline is %q, want %q", i, s.Timeline(), first.State().Timeline())
			}
		}
	}
	last := engines[len(engines)-1]
	appendWithin(t, last, 20*time.Second)
	for _, c := range cursors {
		if err := follows(t, last, c); err != nil {
			t.Errorf("cursor %s: %v", c, err)
		}
	}
}
