package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// advance moves a log to the next epoch.
func advance(t *testing.T, engine *postgres.Engine) {
	t.Helper()
	if changed, err := engine.AdvanceEpoch(t.Context()); !changed || err != nil {
		t.Fatalf("advance the epoch: %t, %v", changed, err)
	}
}

// TestRefusalsUnderAnOldEpoch: ids come first, then the epoch, then expectations. Of two
// appends across a change of the epoch neither is told an expectation that the other was
// to make true, and a retry is told where it was written.
func TestRefusalsUnderAnOldEpoch(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	to := func(stream string, x core.Expect, epoch uint64) *core.Commit {
		return &core.Commit{Appends: []core.Append{{Stream: stream, Expect: x, Events: benchEvents(1)}}, Epoch: epoch}
	}
	written := to("a", core.NoStream, 0)
	if o := engine.Commit(t.Context(), []*core.Commit{written}).Outcomes[0]; o.Err != nil {
		t.Fatal(o.Err)
	}
	if epoch := engine.State().Epoch; epoch != 1 {
		t.Errorf("the epoch is %d, want 1", epoch)
	}
	advance(t, engine)
	record := &core.Commit{Records: []core.RecordOp{{Table: "t", Key: "k", Expect: 7}}}
	later := &core.Commit{Appends: []core.Append{{Stream: "b", Expect: 1, Events: benchEvents(1)}}}
	known := &core.Commit{Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: written.Appends[0].Events}, later.Appends[0]}}
	for name, group := range map[string][]*core.Commit{
		"first":          {to("b", 0, 0)},
		"second":         {later},
		"both":           {to("b", 0, 1), to("b", 1, 1)},
		"record":         {record},
		"known id":       {known},
		"of the future":  {to("b", 0, 9), to("b", 1, 9)},
		"with duplicate": {to("b", 1, 0), written},
	} {
		for i, o := range engine.Commit(t.Context(), group).Outcomes {
			if group[i] == written {
				if o.Err != nil || !o.Result.Duplicate || o.Result.Position != 1 {
					t.Errorf("%s: the retry was answered %+v", name, o)
				}
			} else if !errors.Is(o.Err, core.CodeStaleEpoch) {
				t.Errorf("%s: commit %d: %+v, want stale_epoch", name, i, o)
			}
		}
	}
	if o := engine.CommitUnderLocks([]*core.Commit{later}).Outcomes[0]; !errors.Is(o.Err, core.CodeStaleEpoch) {
		t.Errorf("under locks: %+v", o)
	}
	if s := engine.State(); s.ReadOnly != nil || s.Epoch != 2 || s.Head != 1 {
		t.Errorf("the state is %+v", s)
	}
	if rows := streamRows(t, server.Connect(t), engine.StoreName()); rows != "a" {
		t.Errorf("there are the rows %q", rows)
	}
	for i, o := range engine.Commit(t.Context(), []*core.Commit{to("b", 5, 2), to("b", 0, 2), to("b", 1, 2)}).Outcomes {
		if (o.Err == nil) != (i > 0) || i == 0 && !errors.Is(o.Err, core.CodeWrongExpectedVersion) {
			t.Errorf("under the new epoch, commit %d: %+v", i, o)
		}
	}
}

// TestStaleEpochIsNoProblem: it is an answer to a Commit. A Store goes on under the epoch
// that its next Commits name.
func TestStaleEpochIsNoProblem(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	store := core.NewStore(engine, core.StoreConfig{})
	advance(t, engine)
	c := core.Commit{Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: benchEvents(1)}}}
	if _, err := store.Append(t.Context(), c); !errors.Is(err, core.CodeStaleEpoch) {
		t.Errorf("append: %v", err)
	}
	if s := store.State(); s.ReadOnly != nil || s.Epoch != 2 {
		t.Errorf("the state is %+v", s)
	}
	c.Epoch = 2
	if _, err := store.Append(t.Context(), c); err != nil {
		t.Errorf("append under the new epoch: %v", err)
	}
}

// TestEpochChangesBesideCommits has six lanes of Commits without events, each of which
// keeps the log row for up to 8 ms, and share it, so that it is never free: the epoch
// changes soon all the same, by a view, too. Without its lock of the table it takes seconds.
func TestEpochChangesBesideCommits(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	n := openRingNode(t, server.URL, store, "a")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for lane := range 6 {
		c := server.Connect(t)
		running.Go(func() {
			for ctx.Err() == nil {
				var batch pgx.Batch
				batch.Queue(fmt.Sprintf(`SELECT %s.commit_group((SELECT epoch FROM %[1]s.log), false, true, NULL, NULL, NULL, NULL, '{t}', '{%d}',
					'{true}', '{1}', '{0}', '{99999}', '{false}', '{1}', '{v}', false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`, store, lane))
				batch.Queue(`SELECT pg_sleep(random() * 0.008)`)
				if err := c.SendBatch(ctx, &batch).Close(); err != nil && ctx.Err() == nil && !isLockTimeout(err) && !isStale(err) {
					t.Error(err)
					return
				}
			}
		})
	}
	took := make([]time.Duration, 9)
	for i := range took {
		begin := time.Now()
		if i%2 == 0 {
			advance(t, n.Engine)
		} else if err := n.propose(t, uint64(i)+1, nil, n.self); err != nil {
			t.Fatal(err)
		}
		took[i] = time.Since(begin)
	}
	cancel()
	running.Wait()
	slices.Sort(took)
	t.Logf("changes of the epoch took %s", took)
	if median := took[len(took)/2]; median > time.Second {
		t.Errorf("half of the changes took more than %s, want 1 s at most", median)
	}
}

// TestEpochChangesBesideAStuckWriter: a writer that has stopped with the log row locked is
// ended.
func TestEpochChangesBesideAStuckWriter(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	appendSoon(t, engine, "a")
	halfSend(t, server, store)
	begin := time.Now()
	advance(t, engine)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("the change took %s", took)
	}
	if log := readLog(t, engine); len(log) != 1 {
		t.Errorf("%d events, want 1", len(log))
	}
}

func isStale(err error) bool {
	var e interface{ SQLState() string }
	return errors.As(err, &e) && e.SQLState() == "GY001"
}

// TestEpochNeverGoesBack promotes a standby that lacks the newest epochs: they are
// written again, with a new identity where events are lost too, before anything else is.
func TestEpochNeverGoesBack(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]int{"epochs lost": 0, "events and epochs lost": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := pgtest.Private(t)
			standby, err := primary.Standby(false)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { standby.Close() })
			engine := openStore(t, postgres.Config{URL: pgtest.URLs(primary, standby), Store: "gyre"})
			if o := appendTo(engine, "a", core.AnyVersion, 3); o.Err != nil {
				t.Fatal(o.Err)
			}
			advance(t, engine)
			waitForReplay(t, primary, standby)
			standby.Exec(t, "ALTER SYSTEM SET primary_conninfo = ''") // it gets no more
			standby.Exec(t, "SELECT pg_reload_conf()")
			waitForNoReceiver(t, primary)
			for range 3 {
				advance(t, engine)
			}
			commit := func(epoch uint64, n int) error {
				c := &core.Commit{Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: benchEvents(n)}}, Epoch: epoch}
				return engine.Commit(context.Background(), []*core.Commit{c}).Outcomes[0].Err
			}
			// The engine learns of the epoch by an answer, or from its watch.
			if err := commit(4, 1); !errors.Is(err, core.CodeStaleEpoch) {
				t.Fatal(err)
			}
			if events > 0 {
				if err := commit(5, events); err != nil {
					t.Fatal(err)
				}
			}
			before := engine.State()
			if err := errors.Join(primary.Kill(), standby.Promote()); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(20 * time.Second)
			for err = commit(5, 1); err != nil && core.AsError(err).Info().Retryable && time.Now().Before(deadline); {
				err = commit(5, 1)
			}
			if err != nil {
				t.Errorf("under the known epoch: %v", err)
			}
			if err := commit(2, 1); !errors.Is(err, core.CodeStaleEpoch) {
				t.Errorf("under the epoch that the standby had: %v", err)
			}
			var epoch uint64
			if err := standby.Connect(t).QueryRow(t.Context(), "SELECT epoch FROM gyre.log").Scan(&epoch); err != nil || epoch != 5 {
				t.Errorf("the new primary is at epoch %d, %v; want 5", epoch, err)
			}
			after := engine.State()
			if after.Epoch != 5 || before.Epoch != 5 || after.Head != 4 || (after.Log == before.Log) != (events == 0) {
				t.Errorf("the log was %+v, it is %+v", before, after)
			}
		})
	}
}
