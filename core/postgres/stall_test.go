package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// takeOver is how long others may have to wait for a writer that has stopped.
const takeOver = 2 * time.Second

// TestTortureStall stops a process at random moments of its commits. A second
// Store appends to the same streams within two seconds; woken again, the process
// goes on, and nothing it was told is missing.
func TestTortureStall(t *testing.T) {
	rounds := 6
	if soaking() {
		rounds = 200
	}
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	const streams = 4
	n := startNode(t, nodeConfig{URL: server.URL, Store: store, Node: "n0", Writers: 8, Streams: streams, RetryFor: 10 * time.Second})
	longest := time.Duration(0)
	for range rounds {
		time.Sleep(time.Duration(rand.IntN(100_000)) * time.Microsecond)
		if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for i := range streams {
			longest = max(longest, appendSoon(t, engine, fmt.Sprintf("s-%d", i)))
		}
		if err := n.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("longest append while the other was stopped: %s", longest)
	head := stopWriters(t, []*node{n}, engine)
	checkReports(t, engine, []*node{n}, head)
}

// appendSoon appends one event, which has to be written in time.
func appendSoon(t *testing.T, engine *postgres.Engine, stream string) time.Duration {
	t.Helper()
	begin := time.Now()
	o := appendTo(engine, stream, core.AnyVersion, 1)
	took := time.Since(begin)
	if o.Err != nil || took > takeOver {
		t.Errorf("append to %s: %v after %s", stream, o.Err, took)
	}
	return took
}

func appendTo(engine *postgres.Engine, stream string, expect core.Expect, events int) core.Outcome {
	c := &core.Commit{Appends: []core.Append{{Stream: stream, Expect: expect, Events: benchEvents(events)}}}
	return engine.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]
}

// TestHalfSentCommit leaves a call without its Sync: the backend has the log row
// and waits for its client. Others append within two seconds, and what was
// half-sent is not there.
func TestHalfSentCommit(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	appendSoon(t, engine, "a")

	halfSend(t, server, store)

	// One to the same stream, one that meets it at the log row only.
	var running sync.WaitGroup
	for _, stream := range []string{"a", "b"} {
		running.Go(func() { t.Logf("%s: %s", stream, appendSoon(t, engine, stream)) })
	}
	running.Wait()
	if log := readLog(t, engine); len(log) != 3 {
		t.Errorf("%d events, want 3", len(log))
	}
}

// halfSend sends all of a commit but its end, on the connection of a node that stops then.
func halfSend(t *testing.T, server *pgtest.Server, store string) {
	t.Helper()
	c := server.Connect(t)
	if _, err := c.Exec(t.Context(), "SET application_name = 'gyre/"+store+"/paused'"); err != nil {
		t.Fatal(err)
	}
	f := c.PgConn().Frontend()
	f.Send(&pgproto3.Parse{Query: fmt.Sprintf(`SELECT %s.commit_group(1, false, true, '{a}', NULL, NULL, NULL,
		NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, '{1}', '{1}', ARRAY[gen_random_uuid()],
		NULL, '{0}', '{T}', NULL, NULL, NULL, '{"1"}', NULL, NULL)`, store)})
	f.Send(&pgproto3.Bind{})
	f.Send(&pgproto3.Execute{})
	f.Send(&pgproto3.Flush{})
	if err := errors.Join(f.Flush(), receive[*pgproto3.CommandComplete](f)); err != nil {
		t.Fatal(err)
	}
}

// TestRetryAtTwoStores sends the same Commit to two Stores at once, again and
// again: it is written once, and both tell where.
func TestRetryAtTwoStores(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	a := openStore(t, postgres.Config{URL: server.URL, Store: store, Node: "a"})
	b := openStore(t, postgres.Config{URL: server.URL, Store: store, Node: "b"})
	for i := range 30 {
		c := &core.Commit{Appends: []core.Append{
			{Stream: fmt.Sprintf("s-%d", i%3), Expect: core.AnyVersion, Events: benchEvents(3)},
			{Stream: fmt.Sprintf("t-%d", i), Expect: core.AnyVersion, Events: benchEvents(1)},
		}}
		var outcomes [2]core.Outcome
		var running sync.WaitGroup
		for n, engine := range []*postgres.Engine{a, b} {
			running.Go(func() { outcomes[n] = engine.Commit(t.Context(), []*core.Commit{c}).Outcomes[0] })
		}
		running.Wait()
		if outcomes[0].Err != nil || outcomes[1].Err != nil {
			t.Fatal(outcomes)
		}
		first, second := outcomes[0].Result, outcomes[1].Result
		if first.Duplicate == second.Duplicate || !slices.Equal(first.Appends, second.Appends) {
			t.Fatalf("one answered %+v, the other %+v", first, second)
		}
	}
	if log := readLog(t, a); len(log) != 120 {
		t.Errorf("%d events, want 120", len(log))
	}
}

// TestIDAtTwoStores uses one id for different streams at two Stores at once: one
// of them is refused.
func TestIDAtTwoStores(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	engines := []*postgres.Engine{
		openStore(t, postgres.Config{URL: server.URL, Store: store, Node: "a"}),
		openStore(t, postgres.Config{URL: server.URL, Store: store, Node: "b"}),
	}
	for i := range 30 {
		event := benchEvents(1)
		var outcomes [2]core.Outcome
		var running sync.WaitGroup
		for n, engine := range engines {
			c := &core.Commit{Appends: []core.Append{{Stream: fmt.Sprint("s-", n), Expect: core.AnyVersion, Events: event}}}
			running.Go(func() { outcomes[n] = engine.Commit(t.Context(), []*core.Commit{c}).Outcomes[0] })
		}
		running.Wait()
		if (outcomes[0].Err == nil) == (outcomes[1].Err == nil) {
			t.Fatalf("round %d: %+v", i, outcomes)
		}
		for _, o := range outcomes {
			if o.Err != nil && core.AsError(o.Err).Code != core.CodeDuplicateEvent {
				t.Errorf("round %d: %v", i, o.Err)
			}
		}
	}
	if log := readLog(t, engines[0]); len(log) != 30 {
		t.Errorf("%d events, want 30", len(log))
	}
}

// TestExactAtThreeStores has three Stores append to one stream at the version
// they think it has, and others with any. Each version is given once, and every
// refusal tells a version that the stream had.
func TestExactAtThreeStores(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	var running sync.WaitGroup
	var mu sync.Mutex
	written := 0
	var engine *postgres.Engine
	for n := range 3 {
		engine = openStore(t, postgres.Config{URL: server.URL, Store: store, Node: fmt.Sprint(n)})
		e := engine
		for _, exact := range []bool{true, false} {
			running.Go(func() {
				at := core.Expect(0)
				for range 40 {
					x := core.AnyVersion
					if exact {
						x = at
					}
					o := appendTo(e, "s", x, 2)
					err := core.AsError(o.Err)
					switch {
					case err == nil:
						at = core.Expect(o.Result.Appends[0].LastVersion)
						mu.Lock()
						written += 2
						mu.Unlock()
					case err.Code != core.CodeWrongExpectedVersion || *err.Actual == uint64(at) || *err.Actual%2 != 0:
						t.Errorf("expected %s: %v", x, err)
						return
					default:
						at = core.Expect(*err.Actual)
					}
				}
			})
		}
	}
	running.Wait()
	if log := readLog(t, engine); len(log) != written {
		t.Errorf("%d events, %d were acknowledged", len(log), written)
	}
}

// TestGroupsUnderContention has groups with conflicts and retries in them meet
// at several Stores, so that they are refused again and again.
func TestGroupsUnderContention(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	var running sync.WaitGroup
	var engine *postgres.Engine
	var mu sync.Mutex
	written := 0
	for n := range 3 {
		engine = openStore(t, postgres.Config{URL: server.URL, Store: store, Node: fmt.Sprint(n)})
		e := engine
		running.Go(func() {
			version := uint64(0)
			for i := range 40 {
				retry := &core.Commit{Appends: []core.Append{{Stream: "any", Expect: core.AnyVersion, Events: benchEvents(1)}}}
				group := []*core.Commit{
					{Appends: []core.Append{{Stream: "exact", Expect: core.Expect(version), Events: benchEvents(1)}}},
					{Appends: []core.Append{{Stream: "exact", Expect: core.Expect(version + 1), Events: benchEvents(1)}}},
					retry, retry,
					{Appends: []core.Append{{Stream: fmt.Sprint("own-", n), Expect: core.Expect(i), Events: benchEvents(1)}}},
					{Records: []core.RecordOp{{Table: "t", Key: "k", Expect: core.AnyVersion, Value: []byte("v")}}},
				}
				step := e.Commit(context.Background(), group)
				for j, o := range step.Outcomes {
					err := core.AsError(o.Err)
					if j >= 2 && err != nil || err != nil && err.Code != core.CodeWrongExpectedVersion {
						t.Errorf("commit %d: %v", j, err)
						return
					}
					if j < 2 && err != nil {
						version = *err.Actual
					}
				}
				if !step.Outcomes[3].Result.Duplicate {
					t.Errorf("the retry was answered %+v", step.Outcomes[3])
				}
				if step.Outcomes[1].Err == nil {
					version = step.Outcomes[1].Result.Appends[0].LastVersion
				}
				mu.Lock()
				written += step.Written.Count
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if log := readLog(t, engine); len(log) != written {
		t.Errorf("%d events, the steps wrote %d", len(log), written)
	}
	records, err := engine.Records(t.Context(), core.RecordsRequest{Table: "t", Limit: 10})
	if err != nil || len(records) != 1 || records[0].Revision != 120 {
		t.Errorf("records %v, %v", records, err)
	}
}

// TestLongTransactionCostsNothing appends to one stream while a transaction with
// a snapshot stays open, which keeps every row version that was there when it
// began: appends do not become slower.
func TestLongTransactionCostsNothing(t *testing.T) {
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { idleInTransaction(t, ctx, server) })
	defer running.Wait()
	defer cancel()
	// The fastest tenth: what slows all appends slows it, and a busy machine does not.
	measure := func() time.Duration {
		took := make([]time.Duration, 200)
		for i := range took {
			begin := time.Now()
			if o := appendTo(engine, "s", core.AnyVersion, 1); o.Err != nil {
				t.Fatal(o.Err)
			}
			took[i] = time.Since(begin)
		}
		slices.Sort(took)
		return took[len(took)/10]
	}
	measure()
	first, last := measure(), time.Duration(0)
	for range 6 {
		last = measure()
	}
	t.Logf("an append took %s, later %s", first, last)
	if last > 4*first {
		t.Errorf("an append took %s at first, %s after 1,200 more", first, last)
	}
}
