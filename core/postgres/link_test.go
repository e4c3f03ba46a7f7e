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

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

func linkTo(stream string, ids ...core.ID) *core.Commit {
	return &core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Links: ids}}}
}

func eventsFor(stream string, n int) (*core.Commit, []core.ID) {
	c := &core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion}}}
	var ids []core.ID
	for range n {
		ids = append(ids, core.NewID())
		c.Appends[0].Events = append(c.Appends[0].Events, core.NewEvent{ID: ids[len(ids)-1], Type: "T", Data: []byte(`{"n":1}`)})
	}
	return c, ids
}

// TestFollowersSeeLinksOfOtherNodes: links that another node writes reach who follows
// their stream, and pass by who follows everything.
func TestFollowersSeeLinksOfOtherNodes(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t)}
	var nodes []*core.Store
	for range 2 {
		s := core.NewStore(openStore(t, config), core.StoreConfig{})
		t.Cleanup(func() { _ = s.Close() })
		nodes = append(nodes, s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const writers, each = 2, 25
	follow := func(stream string) (ids []core.ID) {
		for e, err := range core.FollowEvents(ctx, nodes[1], core.FollowRequest{Stream: stream}) {
			if err != nil {
				t.Error(err)
				return ids
			}
			if ids = append(ids, e.ID); len(ids) == 2*writers*each {
				return ids
			}
		}
		return ids
	}
	var seen [2][]core.ID
	var done sync.WaitGroup
	for i, stream := range []string{core.All, "l"} {
		done.Go(func() { seen[i] = follow(stream) })
	}
	for n := range writers {
		done.Go(func() {
			for range each {
				c, ids := eventsFor(fmt.Sprint("a-", n), 2)
				if _, err := nodes[n].Append(ctx, *c); err != nil {
					t.Error(err)
				}
				if _, err := nodes[0].Append(ctx, *linkTo("l", ids...)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	for i, stream := range []string{core.All, "l"} {
		var want []core.ID
		for e, err := range core.ReadAll(ctx, nodes[0], core.ReadRequest{Stream: stream}) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, e.ID)
		}
		if !slices.Equal(seen[i], want) {
			t.Errorf("%s: followed %d, read %d, or another order", stream, len(seen[i]), len(want))
		}
	}
}

// TestLinksInSQL: who queries the view sees an event once.
func TestLinksInSQL(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	c, ids := eventsFor("a", 3)
	for _, c := range []*core.Commit{c, linkTo("l", ids...), linkTo("m", ids[1])} {
		if o := engine.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	var seen, links int
	if err := server.Connect(t).QueryRow(t.Context(), fmt.Sprintf(`SELECT (SELECT count(*) FROM %s.events_json),
		(SELECT count(*) FROM %[1]s.events e JOIN %[1]s.events h ON h.position = e.link WHERE h.type = e.type)`, store)).Scan(&seen, &links); err != nil {
		t.Fatal(err)
	}
	if seen != 3 || links != 4 {
		t.Errorf("the view has %d events and the table %d links, want 3 and 4", seen, links)
	}
}

// TestAppendOfALinksID: an event with the id that a link would have is no such link.
func TestAppendOfALinksID(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	c, ids := eventsFor("a", 1)
	squatter, _ := eventsFor("l", 1)
	squatter.Appends[0].Events[0].ID = postgres.LinkID("l", ids[0])
	for _, c := range []*core.Commit{c, squatter} {
		if o := engine.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	o := engine.Commit(t.Context(), []*core.Commit{linkTo("l", ids...)}).Outcomes[0]
	if !errors.Is(o.Err, core.CodeDuplicateEvent) {
		t.Errorf("the link: %+v, want duplicate_event", o)
	}
}

// TestLinksUnderLocks decides links as it is done when others were faster three times.
func TestLinksUnderLocks(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	before, known := eventsFor("a", 2)
	if o := engine.Commit(t.Context(), []*core.Commit{before, linkTo("k", known[0])}).Outcomes[0]; o.Err != nil {
		t.Fatal(o.Err)
	}
	own, ids := eventsFor("b", 1)
	step := engine.CommitUnderLocks([]*core.Commit{
		linkTo("l", core.NewID()), own, linkTo("l", ids[0], known[1]), linkTo("k", known[0]), linkTo("k", known[0], known[1]),
	})
	o := step.Outcomes
	if !errors.Is(o[0].Err, core.CodeEventNotFound) || o[1].Err != nil || o[2].Err != nil || !o[3].Result.Duplicate || !errors.Is(o[4].Err, core.CodeDuplicateEvent) {
		t.Errorf("%+v", o)
	}
	if step.Written.Count != 3 || !step.Written.Hidden {
		t.Errorf("written are %d, hidden = %v", step.Written.Count, step.Written.Hidden)
	}
	page, err := engine.Read(t.Context(), core.ReadRequest{Stream: "l", Limit: core.Limit{Events: 10, Bytes: 1 << 20}})
	if err != nil || page.Count != 2 || page.Slice()[0].ID != ids[0] {
		t.Errorf("%d links, %v", page.Count, err)
	}
}

// TestPagesAreReadWithoutWorkers: a page is read by the connection's own process, and
// by a plan that is not compiled first. The
// join that finds what links name looks as if it were worth some more, where the
// server has no statistics yet, and to start them takes longer than a page.
func TestPagesAreReadWithoutWorkers(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	defer engine.Close()
	c, ids := eventsFor("a", 1000)
	for _, o := range engine.Commit(t.Context(), []*core.Commit{c, linkTo("l", ids...)}).Outcomes {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	before, pages := engine.PageStatements()
	conn := server.Connect(t)
	explain := func(settings, page string) (plan string) {
		parameters := "1, 1000"
		if strings.Contains(page, "$3") {
			parameters += ", 'l'"
		}
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(t.Context()) }()
		for _, sql := range []string{
			"SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0",
			"SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL min_parallel_index_scan_size = 0; SET LOCAL jit_above_cost = 0",
			settings, "PREPARE page AS " + page,
		} {
			if _, err := tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatal(err)
			}
		}
		rows, err := tx.Query(t.Context(), "EXPLAIN EXECUTE page("+parameters+")", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "DEALLOCATE page"); err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	for _, page := range pages {
		if plan := explain(before, page); strings.Contains(plan, "Workers") || strings.Contains(plan, "JIT") {
			t.Errorf("%s\nis planned as\n%s", page, plan)
		}
	}
	var compiles bool
	if err := conn.QueryRow(t.Context(), "SELECT pg_jit_available()").Scan(&compiles); err != nil {
		t.Fatal(err)
	}
	plan := explain("SET LOCAL plan_cache_mode = force_generic_plan", pages[len(pages)-1])
	if !strings.Contains(plan, "Workers") || strings.Contains(plan, "JIT") != compiles {
		t.Errorf("without the settings the plan is no other, so this tests nothing:\n%s", plan)
	}
}
