package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

func recordsCommit(ops ...core.RecordOp) []*core.Commit { return []*core.Commit{{Records: ops}} }

func recordOp(key string, x core.Expect, action core.RecordAction) core.RecordOp {
	return core.RecordOp{Table: "t", Key: key, Expect: x, Action: action}
}

// TestChecksOfRecordsShareTheirLock: a Commit that checks a record goes on beside one
// that checks it too, and is waited for by one that writes it.
func TestChecksOfRecordsShareTheirLock(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	commit := func(ops ...core.RecordOp) error {
		return engine.Commit(t.Context(), recordsCommit(ops...)).Outcomes[0].Err
	}
	if err := commit(recordOp("k", 0, core.PutRecord)); err != nil {
		t.Fatal(err)
	}
	tx, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), fmt.Sprintf(`SELECT %s.commit_group(1, false, true, NULL, NULL, NULL, NULL, '{t}', '{k}', '{false}', '{0,1}',
			'{1}', '{1}', '{false}', '{0}', '{NULL}', false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`, store))
	}
	if err != nil {
		t.Fatal(err)
	}
	// If it waited for the transaction, which is open, it would time out.
	if err := commit(recordOp("j", core.AnyVersion, core.PutRecord), recordOp("k", 1, core.CheckRecord), recordOp("l", 0, core.PutRecord)); err != nil {
		t.Errorf("a second check: %v", err)
	}
	written := make(chan error, 1)
	go func() { written <- commit(recordOp("k", 1, core.PutRecord)) }()
	waitFor(t, server, `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE starts_with(application_name, 'gyre/`+store+`/') AND wait_event_type = 'Lock')`)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Errorf("the put: %v", err)
	}
}

// TestChecksOfRecordsWriteNothing: no row is made, and none gets a new version.
func TestChecksOfRecordsWriteNothing(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	c := server.Connect(t)
	rows := func() (rows string) {
		err := c.QueryRow(t.Context(), "SELECT coalesce(string_agg(convert_from(key, 'UTF8') || ctid::text || xmin::text, ' ' ORDER BY key), '') FROM "+store+".records").Scan(&rows)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	if o := engine.Commit(t.Context(), recordsCommit(recordOp("k", 0, core.PutRecord))).Outcomes[0]; o.Err != nil {
		t.Fatal(o.Err)
	}
	before := rows()
	for _, x := range []struct {
		key    string
		expect core.Expect
		holds  bool
	}{
		{"k", 1, true}, {"k", core.StreamExists, true}, {"k", core.AnyVersion, true}, {"k", 2, false}, {"k", core.NoStream, false},
		{"a", core.AnyVersion, true}, {"a", core.NoStream, true}, {"a", 0, true}, {"a", core.StreamExists, false}, {"z", 3, false},
	} {
		for _, under := range []bool{false, true} {
			group := recordsCommit(recordOp(x.key, x.expect, core.CheckRecord))
			step := engine.CommitUnderLocks(group)
			if !under {
				step = engine.Commit(t.Context(), group)
			}
			if err := step.Outcomes[0].Err; (err == nil) != x.holds {
				t.Errorf("check of %q at %s: %v", x.key, x.expect, err)
			}
			if now := rows(); now != before {
				t.Errorf("after a check of %q at %s there are the rows %s, before there were %s", x.key, x.expect, now, before)
			}
		}
	}
}

// TestRecordLocksHaveOneOrder has groups of four Stores check, put and
// delete a few records in every order, most of them with no expectation: they may meet
// anywhere, and never wait for each other in a circle.
func TestRecordLocksHaveOneOrder(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	deadlocks := func() (n int) {
		if err := server.Connect(t).QueryRow(t.Context(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := deadlocks()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var running sync.WaitGroup
	puts := [4]int{}
	for n := range 4 {
		engine := openStore(t, postgres.Config{URL: server.URL + "&deadlock_timeout=20", Store: store, Node: fmt.Sprint(n)})
		running.Go(func() {
			for ctx.Err() == nil || puts[n] == 0 {
				var group []*core.Commit
				for range 4 {
					c := &core.Commit{Records: []core.RecordOp{recordOp(fmt.Sprint("own-", n), core.AnyVersion, core.PutRecord)}}
					for _, k := range rand.Perm(6)[:3] {
						c.Records = append(c.Records, recordOp(fmt.Sprint(k), core.AnyVersion, core.RecordAction(rand.IntN(3))))
					}
					group = append(group, c)
				}
				for _, o := range engine.Commit(context.Background(), group).Outcomes {
					if o.Err != nil {
						t.Error(o.Err)
						return
					}
					puts[n]++
				}
			}
		})
	}
	running.Wait()
	if n := deadlocks() - before; n > 0 {
		t.Errorf("there were %d deadlocks", n)
	}
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	records, err := engine.Records(t.Context(), core.RecordsRequest{Table: "t", Prefix: "own-", Limit: 10})
	if err != nil || len(records) != 4 {
		t.Fatalf("records %v, %v", records, err)
	}
	for i, r := range records {
		if r.Revision != uint64(puts[i]) || !strings.HasSuffix(r.Key, fmt.Sprint(i)) {
			t.Errorf("record %+v, it was put %d times", r, puts[i])
		}
	}
}
