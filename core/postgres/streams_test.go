package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestListBesideAppends: a stream that changes while a page of a list is made is on the page once.
func TestListBesideAppends(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	const streams = 100
	each := &core.Commit{}
	for i := range streams {
		c, _ := eventsFor(fmt.Sprint("s-", i), 1)
		each.Appends = append(each.Appends, c.Appends...)
	}
	others, _ := eventsFor("others", 8000)
	must(t, engine, each, others)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		for i := range streams {
			c, _ := eventsFor(fmt.Sprint("s-", i), 1)
			if o := engine.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
				t.Error(o.Err)
			}
		}
	})
	for range 3 {
		page, err := engine.Streams(t.Context(), core.StreamsRequest{Sort: core.ByChanged, Limit: 2 * streams})
		if err != nil {
			t.Fatal(err)
		}
		places := make(map[string]core.StreamPlace)
		for _, info := range page.Streams {
			if before, twice := places[info.Name]; twice {
				t.Fatalf("%s is at %v and at %v", info.Name, before, info.Changed)
			}
			places[info.Name] = info.Changed
		}
	}
}
