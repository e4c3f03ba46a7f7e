package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/postgres"
)

const (
	fewKeys  = 1000
	manyKeys = 1_000_000

	stateBytes  = 128 // of a record's value
	statePuts   = 16  // of a Commit
	stateEvents = 4
	stateLanes  = 4

	// stateWindow is how long one run takes: several flushes of the records.
	stateWindow = 10 * time.Second
)

// benchRecords measures records as the state of handlers: many keys against few, Commits
// with and without events, and how long the log takes to open.
func benchRecords(b *bench) error {
	few, err := openState(b, "records-few", fewKeys)
	if err != nil {
		return err
	}
	defer func() { _ = few.store.Close() }()
	if err := benchWithoutEvents(b, few); err != nil {
		return err
	}
	many, err := openState(b, "records-many", b.n(manyKeys))
	if err != nil {
		return err
	}
	defer func() { _ = many.store.Close() }()
	if err := benchMany(b, "records/many", many, few); err != nil {
		return err
	}
	if err := benchOpenState(b); err != nil {
		return err
	}
	return benchPostgresState(b)
}

// benchMany measures many keys against few.
func benchMany(b *bench, name string, many, few *state) error {
	p, err := pair(rounds,
		func() (sample, error) { return many.run(b.ctx, stateLanes, stateEvents, stateWindow) },
		func() (sample, error) { return few.run(b.ctx, stateLanes, stateEvents, stateWindow) })
	if err != nil {
		return err
	}
	p.note = fmt.Sprintf("%d keys against %d", many.keys, few.keys)
	b.add(p.result(name, "commits/s", atLeast(ofRatio, 0.5)))
	return nil
}

// benchPostgresState measures many keys against few in PostgreSQL, each in a store of their
// own.
func benchPostgresState(b *bench) (err error) {
	server, err := b.startPostgres()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	var states [2]*state
	for i, keys := range []int{fewKeys, b.n(manyKeys)} {
		b.progress("records: %d keys in PostgreSQL", keys)
		engine, err := postgres.Open(b.ctx, postgres.Config{URL: server.URL, Store: fmt.Sprint("records", i), Ring: "bench"})
		if err != nil {
			return err
		}
		states[i] = &state{core.NewStore(engine, core.StoreConfig{}), keys}
		defer func() { _ = states[i].store.Close() }()
		if err := states[i].fill(b.ctx); err != nil {
			return err
		}
	}
	return benchMany(b, "records/postgres/many", states[1], states[0])
}

// benchWithoutEvents measures Commits that only write state.
func benchWithoutEvents(b *bench, s *state) error {
	for _, writers := range []int{1, 8, 64} {
		p, err := pair(rounds,
			func() (sample, error) { return s.run(b.ctx, writers, 0, window) },
			func() (sample, error) { return s.run(b.ctx, writers, stateEvents, window) })
		if err != nil {
			return err
		}
		p.note = fmt.Sprintf("against Commits with %d events", stateEvents)
		b.add(p.result(fmt.Sprint("records/without_events", writers), "commits/s", atLeast(ofRatio, 0.9)))
	}
	return nil
}

// state is a store with many records, and the load on it.
type state struct {
	store *core.Store
	keys  int
}

func openState(b *bench, name string, keys int) (*state, error) {
	b.progress("records: %d keys", keys)
	return fillState(b.ctx, filepath.Join(b.dir, name), keys)
}

func fillState(ctx context.Context, dir string, keys int) (*state, error) {
	engine, err := disk.Open(ctx, disk.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	s := &state{core.NewStore(engine, core.StoreConfig{}), keys}
	return s, s.fill(ctx)
}

// fill puts each key once.
func (s *state) fill(ctx context.Context) error {
	const perCommit = 1000
	for first := 0; first < s.keys; first += perCommit {
		var c core.Commit
		for i := first; i < min(first+perCommit, s.keys); i++ {
			c.Records = append(c.Records, statePut(i))
		}
		if _, err := s.store.Append(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

var stateValue = make([]byte, stateBytes)

func statePut(i int) core.RecordOp {
	return core.RecordOp{Table: "state/bench/1", Key: fmt.Sprintf("customer-%09d", i), Expect: core.AnyVersion, Value: stateValue}
}

// run has lanes commit for d, each one Commit at a time: a record of its own that it
// expects as it left it, puts of keys at random, and events.
func (s *state) run(ctx context.Context, lanes, events int, d time.Duration) (sample, error) {
	var running sync.WaitGroup
	var commits atomic.Int64
	var failure atomic.Pointer[error]
	begin := time.Now()
	for lane := range lanes {
		running.Go(func() {
			if err := s.lane(ctx, lane, events, &commits, func() bool { return time.Since(begin) < d }); err != nil {
				failure.Store(&err)
			}
		})
	}
	running.Wait()
	if err := failure.Load(); err != nil {
		return sample{}, *err
	}
	return rate(int(commits.Load()), begin), nil
}

func (s *state) lane(ctx context.Context, lane, events int, commits *atomic.Int64, more func() bool) error {
	key := fmt.Sprint("lane-", lane)
	found, err := s.store.Records(ctx, core.RecordsRequest{Table: "lanes", Keys: []string{key}})
	if err != nil {
		return err
	}
	revision := uint64(0)
	if len(found) > 0 {
		revision = found[0].Revision
	}
	for more() {
		c := core.Commit{Records: []core.RecordOp{{Table: "lanes", Key: key, Expect: core.Expect(revision), Value: stateValue}}}
		for range statePuts {
			c.Records = append(c.Records, statePut(rand.IntN(s.keys)))
		}
		if events > 0 {
			c.Appends = []core.Append{{Stream: key, Expect: core.AnyVersion, Events: newEvents(events)}}
		}
		if _, err := s.store.Append(ctx, c); err != nil {
			return err
		}
		revision++
		commits.Add(1)
	}
	return nil
}

// benchOpenState measures how long a log with many records takes to open whose process
// was killed, and without its database, each time with nothing in the system's cache.
func benchOpenState(b *bench) error {
	dir, keys := filepath.Join(b.dir, "records-killed"), b.n(manyKeys)
	b.progress("records: %d keys, to be killed", keys)
	c, err := startChild(b.ctx, "state", dir, strconv.Itoa(keys))
	if err != nil {
		return err
	}
	defer c.kill()
	var filled int
	if err := c.read(&filled); err != nil {
		return err
	}
	time.Sleep(stateWindow) // in which it commits
	c.kill()
	note := fmt.Sprintf("%d keys, a cold cache", keys)
	for _, name := range []string{"records/open_after_kill", "records/open_rebuilt"} {
		if name == "records/open_rebuilt" {
			if err := os.RemoveAll(filepath.Join(dir, "records")); err != nil {
				return err
			}
		}
		if err := dropCache(dir); err != nil {
			return err
		}
		begin := time.Now()
		engine, err := disk.Open(b.ctx, disk.Config{Dir: dir})
		if err != nil {
			return err
		}
		b.add(alone(name, "s", once(time.Since(begin).Seconds()), atMost(ofValue, 10), note))
		if err := engine.Close(); err != nil {
			return err
		}
	}
	return nil
}

// dropCache takes the files below dir out of the system's cache.
func dropCache(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// childState fills a log with records, tells how many, and commits until it is killed.
func childState(ctx context.Context, args []string) error {
	keys, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	s, err := fillState(ctx, args[0], keys)
	if err != nil {
		return err
	}
	fmt.Println(keys)
	_, err = s.run(ctx, stateLanes, stateEvents, time.Hour)
	return err
}
