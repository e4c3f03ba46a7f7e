package core_test

import (
	"context"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// counting counts the reads of an engine.
type counting struct {
	*memory.Engine
	reads, logReads, lists atomic.Int64
}

func (c *counting) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	c.reads.Add(1)
	return c.Engine.Read(ctx, r)
}

func (c *counting) ReadLog(ctx context.Context, from uint64, limit core.Limit) (core.Page, error) {
	c.logReads.Add(1)
	return c.Engine.ReadLog(ctx, from, limit)
}

func (c *counting) Streams(ctx context.Context, r core.StreamsRequest) (core.StreamsPage, error) {
	c.lists.Add(1)
	return c.Engine.Streams(ctx, r)
}

// since returns how many reads there were, and begins anew.
func (c *counting) since() (reads, logReads, lists int) {
	return int(c.reads.Swap(0)), int(c.logReads.Swap(0)), int(c.lists.Swap(0))
}

// linked is a store in virtual time with many streams, an event in each that is a second older
// than the next one, and a stream of links to all of them.
type linked struct {
	*testing.T
	engine *counting
	store  *core.Store
	ids    []core.ID
	begun  time.Time
}

const linkedEvents = 1000

func newLinked(t *testing.T) *linked {
	l := &linked{T: t, engine: &counting{Engine: memory.New()}, begun: time.Now()}
	l.store = core.NewStore(l.engine, core.StoreConfig{TailBytes: 1})
	for n := range linkedEvents {
		l.append(fmt.Sprintf("%s-%d", []string{"hour", "day"}[n%2], n/2))
		time.Sleep(time.Second)
	}
	l.try(l.store.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "l", Expect: core.NoStream, Links: l.ids}}}))
	for category, age := range map[string]time.Duration{"hour": time.Hour, "day": 24 * time.Hour} {
		p := core.RetentionPut{Target: core.RetentionTarget{Category: category}, Retention: core.Retention{MaxAge: age}, Expect: core.AnyVersion}
		if _, _, err := core.SetRetention(t.Context(), l.store, p); err != nil {
			t.Fatal(err)
		}
	}
	l.read()
	l.engine.since()
	return l
}

func (l *linked) try(_ core.Result, err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// append appends an event to a stream.
func (l *linked) append(stream string) {
	l.Helper()
	id := core.NewID()
	l.try(l.store.Append(l.Context(), core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: id, Type: "T", Data: []byte("1")}}}}}))
	l.ids = append(l.ids, id)
}

// read reads the first page of the stream of links.
func (l *linked) read() core.Page {
	l.Helper()
	page, err := l.store.Read(l.Context(), core.ReadRequest{Stream: "l", Limit: core.Limit{Events: linkedEvents}})
	if err != nil {
		l.Fatal(err)
	}
	return page
}

// left are the events whose links have not expired.
func (l *linked) left() (ids []core.ID) {
	for n, id := range l.ids {
		most := []time.Duration{time.Hour, 24 * time.Hour}[n%2]
		if time.Since(l.begun.Add(time.Duration(n)*time.Second)) <= most {
			ids = append(ids, id)
		}
	}
	return ids
}

// asks checks how often the engine was asked since the last time.
func (l *linked) asks(what string, mostReads, mostLogReads int) {
	l.Helper()
	reads, logReads, lists := l.engine.since()
	if reads > mostReads || logReads > mostLogReads || lists > 0 {
		l.Errorf("%s: %d reads, %d of the log, %d lists, want at most %d, %d and none", what, reads, logReads, lists, mostReads, mostLogReads)
	}
}

// logReadsOf is how many reads a binary search among so many positions takes.
func logReadsOf(positions int) int { return bits.Len(uint(positions)) }

// TestReadsForAges counts what the engine is asked for links whose events age. It does not depend
// on the number of streams that the links are of.
func TestReadsForAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLinked(t)
		defer l.store.Close()
		for _, age := range []time.Duration{0, time.Hour + 200*time.Second, 24*time.Hour + 600*time.Second, 48 * time.Hour} {
			time.Sleep(time.Until(l.begun.Add(age)))
			if got, want := idsOf(l.read().Batch), l.left(); !slices.Equal(got, want) {
				t.Errorf("after %s: %d links, want %d", age, len(got), len(want))
			}
			l.asks("a page", 2, 2*logReadsOf(linkedEvents))
		}
	})
}

// TestReadsForAgesOfAFollower counts the same for a follower at the end of the log: one read for
// each link.
func TestReadsForAgesOfAFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLinked(t)
		defer l.store.Close()
		f, err := l.store.Follow(t.Context(), core.FollowRequest{Stream: "l", From: core.From{Kind: core.FromEnd}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Next(t.Context(), core.Limit{Events: 1, Bytes: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		for n := range 10 {
			l.append("hour-0")
			l.try(l.store.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "l", Expect: core.AnyVersion, Links: l.ids[len(l.ids)-1:]}}}))
			for got := 0; got == 0; {
				d, err := f.Next(t.Context(), core.Limit{Events: 1, Bytes: 1 << 20})
				if err != nil {
					t.Fatal(err)
				}
				got = d.Count
			}
			if n == 0 {
				l.engine.since() // the follower looked for its version
				continue
			}
			l.asks("a link", 2, 1)
		}
	})
}

// TestReadsForAgesOfAScavenge counts the same for a scavenge, which decides about each link by
// itself, and reads the notices of policies for each thousand positions.
func TestReadsForAgesOfAScavenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLinked(t)
		defer l.store.Close()
		time.Sleep(time.Until(l.begun.Add(time.Hour + 500*time.Second)))
		left := l.left()
		done, err := l.store.Scavenge(t.Context(), core.Scavenging{All: true})
		if err != nil || done.Events != uint64(2*(linkedEvents-len(left))) {
			t.Errorf("%+v, %v, want the events and links gone of which %d are left", done, err, len(left))
		}
		l.asks("a scavenge", 3, 2*(1+logReadsOf(2*linkedEvents)))
		if got := idsOf(l.read().Batch); !slices.Equal(got, left) {
			t.Errorf("%d links, want %d", len(got), len(left))
		}
	})
}

// TestLinksToWhatAScavengeTook has readers keep links whose events a scavenge removes. They are
// gone, though the next event of the log is young.
func TestLinksToWhatAScavengeTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLinked(t)
		defer l.store.Close()
		time.Sleep(time.Until(l.begun.Add(time.Hour)))
		kept := slices.Collect(l.read().Events())
		time.Sleep(time.Hour)
		l.append("other")
		if _, err := l.store.Scavenge(t.Context(), core.Scavenging{All: true}); err != nil {
			t.Fatal(err)
		}
		count := l.store.Removals()
		for n, e := range kept {
			gone, err := l.store.Gone(t.Context(), count, [][]byte{e.Raw})
			if err != nil || gone[0] != (n%2 == 0) {
				t.Fatalf("link %d: gone %v, %v", n, gone, err)
			}
		}
	})
}

// TestAges asks about positions of logs with gaps in any order.
func TestAges(t *testing.T) {
	for seed := range uint64(1000) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			l := &linked{T: t, engine: &counting{Engine: memory.New()}, begun: time.Now()}
			l.store = core.NewStore(l.engine, core.StoreConfig{})
			defer l.store.Close()
			const events = 12
			var recorded [events + 1]time.Time
			for n := 1; n <= events; n++ {
				l.append("s")
				recorded[n] = time.Now()
				time.Sleep(time.Duration(random.IntN(3)) * time.Second)
			}
			gone := make(map[uint64]bool)
			for begin := random.IntN(6); begin < events; begin += 1 + random.IntN(10) {
				for n := range random.IntN(5) {
					gone[uint64(begin+n)] = true
				}
			}
			_, err := l.engine.Scavenge(t.Context(), core.Scavenging{All: true, Fate: func(_ context.Context, e *core.Event) (core.Fate, error) {
				if gone[e.Position] {
					return core.Goes, nil
				}
				return core.Stays, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			most := time.Duration(random.IntN(events)) * time.Second
			cutoff := time.Now().Add(-most)
			tooOld := l.store.TooOld(most, seed%2 == 0)
			for range 5 {
				var positions []uint64
				for range 1 + random.IntN(5) {
					positions = append(positions, 1+uint64(random.IntN(events)))
				}
				got, err := tooOld(t.Context(), positions)
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range positions {
					if want := recorded[p].Before(cutoff); got[i] != want && !(gone[p] && got[i]) {
						t.Errorf("seed %d: event %d, gone %v, is too old: %v, want %v", seed, p, gone[p], got[i], want)
					}
				}
			}
		})
	}
}

func idsOf(b core.Batch) (ids []core.ID) {
	for e := range b.Events() {
		ids = append(ids, e.ID)
	}
	return ids
}

// TestReadsForCountsOfAScavenge counts what the engine is asked for the last versions of more streams
// than a scavenge remembers, whose events alternate: one list for each thousand events.
func TestReadsForCountsOfAScavenge(t *testing.T) {
	const streams, rounds, together = 11_000, 2, 1000
	engine := &counting{Engine: memory.New()}
	store := core.NewStore(engine, core.StoreConfig{})
	defer store.Close()
	for n := 0; n < rounds*streams; n += together {
		var c core.Commit
		for k := range together {
			name := fmt.Sprintf("a-%d", (n+k)%streams)
			c.Appends = append(c.Appends, core.Append{Stream: name, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte("1")}}})
		}
		if _, err := store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	p := core.RetentionPut{Target: core.RetentionTarget{Category: "a"}, Retention: core.Retention{MaxCount: 1}}
	if _, _, err := core.SetRetention(t.Context(), store, p); err != nil {
		t.Fatal(err)
	}
	engine.since()
	done, err := store.Scavenge(t.Context(), core.Scavenging{All: true})
	if err != nil || done.Events != streams {
		t.Errorf("%+v, %v, want %d events gone", done, err, streams)
	}
	if _, _, lists := engine.since(); lists > rounds*streams/together {
		t.Errorf("%d lists for %d events", lists, rounds*streams)
	}
}
