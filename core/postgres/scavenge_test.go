package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// goes has the events of a stream go, and the links to them.
func goes(stream string) func(context.Context, *core.Event) (core.Fate, error) {
	return func(_ context.Context, e *core.Event) (core.Fate, error) {
		if e.Stream == stream || e.Link.Stream == stream {
			return core.Goes, nil
		}
		return core.Stays, nil
	}
}

func scavengeAll(t *testing.T, engine *postgres.Engine, fate func(context.Context, *core.Event) (core.Fate, error)) core.Scavenged {
	t.Helper()
	done, err := engine.Scavenge(t.Context(), core.Scavenging{All: true, Fate: fate})
	if err != nil || done.Next != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	return done
}

// TestScavengedEventIsNotLost: the last event that nodes know goes in a scavenge, and the log
// keeps its identity, its head and its time.
func TestScavengedEventIsNotLost(t *testing.T) {
	t.Parallel()
	server, store, a, b := openTwo(t)
	kept, _ := eventsFor("kept", 1)
	last, _ := eventsFor("last", 2)
	must(t, a, kept, last)
	if _, err := b.ReadLog(t.Context(), 1, core.Limit{Events: 10, Bytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	before := a.State()
	if done := scavengeAll(t, b, goes("last")); done.Events != 2 {
		t.Errorf("%+v, want 2 events", done)
	}
	disconnect(t, server, store)
	for _, engine := range []*postgres.Engine{a, b} {
		page, err := engine.Read(t.Context(), core.ReadRequest{Stream: "last", Limit: core.Limit{Events: 10, Bytes: 1 << 20}})
		if err != nil || page.Count != 0 || page.Version != 2 {
			t.Errorf("the stream has %d events, version %d, %v", page.Count, page.Version, err)
		}
		if now := engine.State(); now.Log != before.Log || now.Head != 3 {
			t.Errorf("the log is %s up to %d, before %s", now.Log, now.Head, before.Log)
		}
	}
	next, _ := eventsFor("last", 1)
	next.Appends[0].Expect = 2
	if r := must(t, a, next)[0]; r.Position != 4 || r.Appends[0].FirstVersion != 3 {
		t.Errorf("%+v, want version 3 at position 4", r)
	}
}

// TestScavengeUnderAnotherEpoch decides again about what it has decided about under an epoch that
// is over, and has deleted nothing of that.
func TestScavengeUnderAnotherEpoch(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	c, _ := eventsFor("a", 3)
	must(t, engine, c)
	decided := 0
	done := scavengeAll(t, engine, func(ctx context.Context, e *core.Event) (core.Fate, error) {
		if decided++; decided == 2 {
			advance(t, engine)
		}
		if decided <= 3 {
			return core.Goes, nil
		}
		return core.Stays, nil
	})
	if decided != 6 || done.Events != 0 {
		t.Errorf("%d decisions, %+v", decided, done)
	}
	if page, err := engine.ReadLog(t.Context(), 1, core.Limit{Events: 10, Bytes: 1 << 20}); err != nil || page.Count != 3 {
		t.Errorf("%d events are left, %v", page.Count, err)
	}
}

// TestScavengeOfManyLinks: links that nothing was decided about go before their event, in parts.
func TestScavengeOfManyLinks(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	a, ids := eventsFor("a", 1)
	must(t, engine, a)
	const links = 2300
	c := &core.Commit{}
	for i := range links {
		c.Appends = append(c.Appends, core.Append{Stream: fmt.Sprint("l-", i), Expect: 0, Links: ids})
	}
	must(t, engine, c)
	done := scavengeAll(t, engine, func(_ context.Context, e *core.Event) (core.Fate, error) {
		if e.Stream == "a" {
			return core.Goes, nil
		}
		return core.Stays, nil
	})
	if done.Events != 1+links {
		t.Errorf("%+v, want %d", done, 1+links)
	}
	checkRows(t, server.Connect(t), store, 0)
	again := &core.Commit{Appends: []core.Append{{Stream: "l-7", Expect: 1, Events: benchEvents(1)}}}
	if r := must(t, engine, again)[0]; r.Position != links+2 {
		t.Errorf("%+v, want position %d", r, links+2)
	}
}

// TestScavengePreparesPages: the Store knows of a page of events before it is asked for their fates.
func TestScavengePreparesPages(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t)})
	const events = 1500
	a, ids := eventsFor("a", events)
	b, _ := eventsFor("b", 1)
	must(t, engine, a, b, &core.Commit{Appends: []core.Append{{Stream: "l", Links: ids}}})
	var prepared []core.Event
	pages, fates := 0, 0
	_, err := engine.Scavenge(t.Context(), core.Scavenging{
		Prepare: func(_ context.Context, events []core.Event) error {
			pages++
			prepared = append(prepared, events...)
			return nil
		},
		Fate: func(_ context.Context, e *core.Event) (core.Fate, error) {
			if fates++; fates > len(prepared) || !reflect.DeepEqual(*e, prepared[fates-1]) {
				return core.Stays, fmt.Errorf("%+v was not prepared", e)
			}
			return core.Stays, nil
		},
	})
	if err != nil || fates != 2*events+1 || len(prepared) != fates || pages != 4 {
		t.Errorf("%d events prepared in %d pages, %d fates, %v", len(prepared), pages, fates, err)
	}
}

// TestScavengeBesideAppends: nothing is given twice, nothing that stays goes, and no link leads to
// nothing.
func TestScavengeBesideAppendsSoak(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	versions := make([]uint64, 4)
	for w := range versions {
		running.Go(func() {
			for stream := fmt.Sprint("s-", w); ctx.Err() == nil; {
				c, ids := eventsFor(stream, 5)
				c.Appends[0].Expect = core.Expect(versions[w])
				group := []*core.Commit{c, linkTo(fmt.Sprint("links-", w), ids...)}
				for i, o := range engine.Commit(context.Background(), group).Outcomes {
					// The event of a link may have gone meanwhile.
					if o.Err != nil && (i == 0 || !errors.Is(o.Err, core.CodeEventNotFound)) {
						t.Errorf("stream %s at version %d: %v", stream, versions[w], o.Err)
						cancel()
					}
				}
				versions[w] += 5
			}
		})
	}
	old := func(_ context.Context, e *core.Event) (core.Fate, error) {
		if home := e.Home(); home.Version%3 != 0 {
			return core.Goes, nil
		}
		return core.Stays, nil
	}
	for range 10 {
		scavengeAll(t, engine, old)
	}
	cancel()
	running.Wait()
	scavengeAll(t, engine, old)
	c := server.Connect(t)
	for w, version := range versions {
		page, err := engine.Read(t.Context(), core.ReadRequest{Stream: fmt.Sprint("s-", w), Limit: core.Limit{Events: 1 << 20, Bytes: 1 << 30}})
		if err != nil || page.Version != version || page.Count != int(version/3) {
			t.Errorf("stream %d is at version %d with %d events, want %d: %v", w, page.Version, page.Count, version, err)
		}
	}
	if n := count(t, c, fmt.Sprintf("SELECT count(*) FROM %[1]s.events e WHERE e.link IS NOT NULL AND NOT EXISTS (SELECT FROM %[1]s.events h WHERE h.position = e.link)", store)); n != 0 {
		t.Errorf("%d links lead to nothing", n)
	}
}
