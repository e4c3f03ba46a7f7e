package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestTortureNeverSkips has 16 writers in three processes append to shared
// streams while backends are killed, transactions are rolled back, and a
// session elsewhere keeps a transaction open. Every follower sees every position
// once and in order, nothing that was acknowledged is missing, and nothing waits
// for the open transaction.
func TestTortureNeverSkips(t *testing.T) {
	t.Parallel()
	runs, length := 1, 5*time.Second
	if soaking() {
		runs, length = 20, 30*time.Second
	}
	for run := range runs {
		t.Run(fmt.Sprint(run), func(t *testing.T) { torture(t, length) })
	}
}

func torture(t *testing.T, length time.Duration) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	var nodes []*node
	for i, writers := range []int{6, 5, 5} {
		nodes = append(nodes, startNode(t, nodeConfig{
			URL: server.URL, Store: store, Node: fmt.Sprint("n", i), Writers: writers, Streams: 12, RetryFor: 10 * time.Second,
		}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var trouble sync.WaitGroup
	trouble.Go(func() { killBackends(t, ctx, server, store) })
	trouble.Go(func() { idleInTransaction(t, ctx, server) })
	trouble.Go(func() { rollBack(t, ctx, server, store) })
	trouble.Wait()

	head := stopWriters(t, nodes, engine)
	checkReports(t, engine, nodes, head)
}

// stopWriters ends the writers of all nodes and tells the nodes the head.
func stopWriters(t *testing.T, nodes []*node, engine *postgres.Engine) (head uint64) {
	t.Helper()
	for _, n := range nodes {
		n.tell(t, "stop")
	}
	for _, n := range nodes {
		var done bool
		n.receive(t, &done)
	}
	page, err := engine.Read(t.Context(), core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 1, Bytes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.tell(t, "%d", page.Head)
	}
	return page.Head
}

// checkReports compares what the nodes tell with the log.
func checkReports(t *testing.T, engine *postgres.Engine, nodes []*node, head uint64) {
	t.Helper()
	log := readLog(t, engine)
	if uint64(len(log)) != head {
		t.Errorf("the log has %d events, its head is %d", len(log), head)
	}
	total := 0
	for i, n := range nodes {
		var r nodeReport
		n.receive(t, &r)
		if r.Seen != head {
			t.Errorf("node %d saw the log up to %d, it ends at %d", i, r.Seen, head)
		}
		if r.Late > time.Minute {
			t.Errorf("node %d saw an event %s after it was recorded", i, r.Late)
		}
		for _, a := range r.Acked {
			if got, ok := log[a.ID]; !ok || got.Stream != a.Stream || got.Version != a.Version {
				t.Fatalf("node %d was told %+v, the log has %+v", i, a, got)
			}
		}
		total += len(r.Acked)
		t.Logf("node %d: %d events acknowledged, at most %s late", i, len(r.Acked), r.Late)
	}
	if total == 0 {
		t.Error("nothing was written")
	}
}

// readLog reads all of the log by id, and checks that positions and versions
// have no gap.
func readLog(t *testing.T, engine *postgres.Engine) map[string]acked {
	t.Helper()
	log := make(map[string]acked)
	versions := make(map[string]uint64)
	var last core.Event
	for r := (core.ReadRequest{Stream: core.All, From: 1, Limit: core.Limit{Events: 1000, Bytes: 4 << 20}}); ; {
		page, err := engine.Read(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for e := range page.Events() {
			versions[e.Stream]++
			if e.Position != last.Position+1 || e.Version != versions[e.Stream] || e.Recorded.Before(last.Recorded) {
				t.Fatalf("%q version %d at position %d, recorded %s, after position %d, recorded %s",
					e.Stream, e.Version, e.Position, e.Recorded, last.Position, last.Recorded)
			}
			log[e.ID.String()] = acked{e.ID.String(), e.Stream, e.Version, e.Position}
			last = e
		}
		if page.End {
			if uint64(len(log)) != last.Position {
				t.Errorf("P5: %d ids for %d events", len(log), last.Position)
			}
			return log
		}
		r.From = page.Next
	}
}

// every calls do at each interval until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if ctx.Err() == nil { // both may be there
				do()
			}
		case <-ctx.Done():
			return
		}
	}
}

// killBackends terminates a backend of the store's nodes every second.
func killBackends(t *testing.T, ctx context.Context, server *pgtest.Server, store string) {
	c := server.Connect(t)
	killed := 0
	every(ctx, time.Second, func() {
		var n int
		err := c.QueryRow(context.Background(), `SELECT count(pg_terminate_backend(pid)) FROM (
			SELECT pid FROM pg_stat_activity WHERE starts_with(application_name, $1)
			ORDER BY state = 'active' DESC, random() LIMIT 1) a`, "gyre/"+store+"/n").Scan(&n)
		if err != nil {
			t.Error(err)
		}
		killed += n
	})
	if killed == 0 {
		t.Error("no backend was killed")
	}
}

// idleInTransaction keeps a transaction with a number and a snapshot open.
func idleInTransaction(t *testing.T, ctx context.Context, server *pgtest.Server) {
	c := server.Connect(t)
	tx, err := c.BeginTx(context.Background(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err == nil {
		_, err = tx.Exec(context.Background(), "SELECT pg_current_xact_id()")
	}
	if err != nil {
		t.Error(err)
		return
	}
	<-ctx.Done()
	if err := tx.Rollback(context.Background()); err != nil {
		t.Error(err)
	}
}

// rollBack writes groups that are rolled back, as those of a server that fails.
func rollBack(t *testing.T, ctx context.Context, server *pgtest.Server, store string) {
	c := server.Connect(t)
	every(ctx, 20*time.Millisecond, func() {
		tx, err := c.Begin(context.Background())
		if err == nil {
			_, err = tx.Exec(context.Background(), fmt.Sprintf(`SELECT %s.commit_group(1, false, true, '{s-1,s-2}', '{s-1,s-2}', NULL, NULL,
				NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, '{1,2}', '{1,1}',
				ARRAY[gen_random_uuid(), gen_random_uuid()], NULL, '{0,0}', '{T,T}', NULL, NULL, NULL, '{"1","1"}', NULL, NULL)`, store))
		}
		if err != nil && !isLockTimeout(err) {
			t.Error(err)
		}
		if tx != nil {
			if err := tx.Rollback(context.Background()); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
				t.Error(err)
			}
		}
	})
}

func isLockTimeout(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "55P03"
}
