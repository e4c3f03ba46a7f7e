package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

const (
	pgStore = "bench"
	// pgAppenders is how many callers append large Commits, each with one in
	// flight: enough to keep both lanes busy.
	pgAppenders = 4
	pgBatch     = 1000
	pgStreams   = 100 // of a batch
	pgClients   = 64
)

// pgFloorTable is the events table again, with its indexes, for floors to write
// to.
const pgFloorTable = pgStore + ".floor"

// pgBench measures the PostgreSQL engine against what the same server does for a
// client that writes rows into the same table without anything around it.
type pgBench struct {
	*bench
	server *pgtest.Server
	pool   *pgxpool.Pool
	store  *core.Store
	locked locks
	rows   atomic.Int64 // in the floor's table
}

// locks are the times that steps held the log row.
type locks struct {
	mu    sync.Mutex // protects the fields below
	times []time.Duration
}

func (l *locks) add(d time.Duration) {
	l.mu.Lock()
	l.times = append(l.times, d)
	l.mu.Unlock()
}

func (l *locks) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	times := l.times
	l.times = nil
	return times
}

// startPostgres starts a server of its own. The caller closes it.
func (b *bench) startPostgres() (*pgtest.Server, error) {
	// The server runs as another user, who has to reach its folder.
	if err := os.Chmod(b.dir, 0o711); err != nil {
		return nil, err
	}
	return pgtest.New(b.dir)
}

func benchPostgres(b *bench) (err error) {
	p := &pgBench{bench: b}
	if p.server, err = b.startPostgres(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.server.Close()) }()
	if p.store, err = p.open(p.locked.add); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.store.Close()) }()
	if p.pool, err = pgxpool.New(b.ctx, p.server.URL+"&pool_max_conns=64"); err != nil {
		return err
	}
	defer p.pool.Close()
	if _, err = p.pool.Exec(b.ctx, "CREATE TABLE "+pgFloorTable+" (LIKE "+pgStore+".events INCLUDING ALL)"); err != nil {
		return err
	}
	for _, measure := range []func() error{p.batches, p.concurrent, p.single, p.stores, p.reads} {
		// What is measured begins with a disk that owes nothing for what was before. A
		// measure and its floor take turns after it, on the same server.
		if _, err := p.pool.Exec(b.ctx, "CHECKPOINT"); err != nil {
			return err
		}
		if err := measure(); err != nil {
			return err
		}
	}
	return nil
}

func (p *pgBench) open(locked func(time.Duration)) (*core.Store, error) {
	engine, err := postgres.Open(p.ctx, postgres.Config{URL: p.server.URL, Store: pgStore, Ring: "bench", Locked: locked})
	if err != nil {
		return nil, err
	}
	return core.NewStore(engine, core.StoreConfig{}), nil
}

// batches measures Commits of a thousand events against COPY of a thousand
// rows.
func (p *pgBench) batches() error {
	p.progress("postgres/append/batch1000: %d rounds", rounds)
	load := &pgLoad{logs: []core.Log{p.store}, appenders: pgAppenders, commit: batchCommit}
	p.locked.take()
	m, err := pair(rounds,
		func() (sample, error) { return load.run(p.ctx, window) },
		func() (sample, error) { return p.copyRows(window) })
	if err != nil {
		return err
	}
	p.add(m.result("postgres/append/batch1000", "events/s", atLeast(ofRatio, 0.5)))
	p.lockTimes("batch1000")
	return nil
}

// concurrent measures single events from many callers against single rows from
// as many connections.
func (p *pgBench) concurrent() error {
	p.progress("postgres/append/concurrent64: %d rounds", rounds)
	load := &pgLoad{logs: []core.Log{p.store}, appenders: pgClients, commit: singleCommit}
	p.locked.take()
	m, err := pair(rounds,
		func() (sample, error) { return load.run(p.ctx, window) },
		func() (sample, error) {
			begin := time.Now()
			latencies, err := p.insertRows(pgClients, window)
			return rate(len(latencies), begin), err
		})
	if err != nil {
		return err
	}
	p.add(m.result("postgres/append/concurrent64", "events/s", atLeast(ofRatio, 1.3)))
	p.lockTimes("concurrent64")
	return nil
}

// single measures how long one caller waits for one event, against one row.
func (p *pgBench) single() error {
	p.progress("postgres/append/single: %d rounds", rounds)
	load := &pgLoad{logs: []core.Log{p.store}, appenders: 1, commit: singleCommit}
	p.locked.take()
	m, err := pair(rounds,
		func() (sample, error) {
			load.latencies = nil
			_, err := load.run(p.ctx, window)
			return medianMicros(load.latencies), err
		},
		func() (sample, error) {
			latencies, err := p.insertRows(1, window)
			return medianMicros(latencies), err
		})
	if err != nil {
		return err
	}
	p.add(m.result("postgres/append/single p50", "µs", atMost(ofRatio, 2)))
	p.lockTimes("single")
	return nil
}

// stores measures three Stores on one log against one, each with the same number
// of callers.
func (p *pgBench) stores() error {
	p.progress("postgres/append/stores3: %d rounds", rounds)
	logs := []core.Log{p.store}
	for range 2 {
		store, err := p.open(p.locked.add)
		if err != nil {
			return err
		}
		defer func() { _ = store.Close() }()
		logs = append(logs, store)
	}
	three := &pgLoad{logs: logs, appenders: len(logs) * pgClients, commit: singleCommit}
	one := &pgLoad{logs: logs[:1], appenders: pgClients, commit: singleCommit}
	p.locked.take()
	m, err := pair(rounds,
		func() (sample, error) { return three.run(p.ctx, window) },
		func() (sample, error) { return one.run(p.ctx, window) })
	if err != nil {
		return err
	}
	p.add(m.result("postgres/append/stores3", "events/s", atLeast(ofRatio, 0.8)))
	p.lockTimes("stores3")
	return nil
}

// reads measures reading $all against one query over the same rows.
func (p *pgBench) reads() error {
	p.progress("postgres/read/all: %d rounds", rounds)
	m, err := pair(rounds,
		func() (sample, error) { return p.readLog(window) },
		func() (sample, error) { return p.readRows(window) })
	if err != nil {
		return err
	}
	p.add(m.result("postgres/read/all", "events/s", atLeast(ofRatio, 0.7)))
	return nil
}

func (p *pgBench) lockTimes(of string) {
	times := p.locked.take()
	if len(times) == 0 {
		return
	}
	for _, q := range []float64{0.5, 0.99} {
		name := fmt.Sprintf("postgres/lock/%s p%g", of, q*100)
		p.add(alone(name, "µs", once(inMicros(quantile(times, q))), nil, fmt.Sprintf("of %d steps", len(times))))
	}
}

func medianMicros(latencies []time.Duration) sample {
	return sample{value: inMicros(quantile(latencies, 0.5)), ops: len(latencies)}
}

func inMicros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// pgLoad appends from a number of callers, spread over logs, each with one
// Commit in flight.
type pgLoad struct {
	logs      []core.Log
	appenders int
	commit    func(caller int) core.Commit

	mu        sync.Mutex // protects the fields below
	latencies []time.Duration
}

func singleCommit(caller int) core.Commit {
	return core.Commit{Appends: []core.Append{{
		Stream: fmt.Sprintf("order-%07d", caller), Expect: core.AnyVersion, Events: newEvents(1),
	}}}
}

// batchCommit has streams of its own for each caller.
func batchCommit(caller int) core.Commit {
	var c core.Commit
	for n := range pgStreams {
		c.Appends = append(c.Appends, core.Append{
			Stream: fmt.Sprintf("batch-%07d", caller*pgStreams+n), Expect: core.AnyVersion, Events: newEvents(pgBatch / pgStreams),
		})
	}
	return c
}

// run appends for d and returns events a second.
func (l *pgLoad) run(ctx context.Context, d time.Duration) (sample, error) {
	var running sync.WaitGroup
	var written atomic.Int64
	errs := make([]error, l.appenders)
	begin := time.Now()
	for i := range l.appenders {
		log := l.logs[i%len(l.logs)]
		running.Go(func() {
			var latencies []time.Duration
			for time.Since(begin) < d && errs[i] == nil {
				c := l.commit(i)
				sent := time.Now()
				_, errs[i] = log.Append(ctx, c)
				latencies = append(latencies, time.Since(sent))
				for _, a := range c.Appends {
					written.Add(int64(len(a.Events)))
				}
			}
			l.mu.Lock()
			l.latencies = append(l.latencies, latencies...)
			l.mu.Unlock()
		})
	}
	running.Wait()
	return rate(int(written.Load()), begin), errors.Join(errs...)
}

var pgColumns = []string{"position", "stream", "version", "recorded", "id", "format", "type", "data"}

// pgRow is a row of the floor's table like those that the engine writes.
func (p *pgBench) pgRow(stream int) []any {
	n := p.rows.Add(1)
	return []any{n, int64(stream), n, time.Now(), [16]byte(core.NewID()), int16(0), "OrderPlaced", payload}
}

// copyRows copies a thousand rows at a time for d, on one connection.
func (p *pgBench) copyRows(d time.Duration) (sample, error) {
	c, err := p.pool.Acquire(p.ctx)
	if err != nil {
		return sample{}, err
	}
	defer c.Release()
	total := 0
	begin := time.Now()
	for time.Since(begin) < d {
		left := pgBatch
		source := pgx.CopyFromFunc(func() ([]any, error) {
			if left == 0 {
				return nil, nil
			}
			left--
			return p.pgRow(left % pgStreams), nil
		})
		if _, err := c.CopyFrom(p.ctx, pgx.Identifier{pgStore, "floor"}, pgColumns, source); err != nil {
			return sample{}, err
		}
		total += pgBatch
	}
	return rate(total, begin), nil
}

// insertRows inserts and commits single rows for d, on n connections.
func (p *pgBench) insertRows(n int, d time.Duration) ([]time.Duration, error) {
	const insert = "INSERT INTO " + pgFloorTable +
		" (position, stream, version, recorded, id, format, type, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
	var running sync.WaitGroup
	errs, latencies := make([]error, n), make([][]time.Duration, n)
	conns := make([]*pgxpool.Conn, n)
	for i := range n {
		c, err := p.pool.Acquire(p.ctx)
		if err != nil {
			return nil, err
		}
		defer c.Release()
		conns[i] = c
	}
	begin := time.Now()
	for i := range n {
		running.Go(func() {
			for time.Since(begin) < d && errs[i] == nil {
				row := p.pgRow(i)
				sent := time.Now()
				_, errs[i] = conns[i].Exec(p.ctx, insert, row...)
				latencies[i] = append(latencies[i], time.Since(sent))
			}
		})
	}
	running.Wait()
	return slices.Concat(latencies...), errors.Join(errs...)
}

// readLog reads $all from the start for d, page by page.
func (p *pgBench) readLog(d time.Duration) (sample, error) {
	begin := time.Now()
	total := 0
	for from := uint64(1); time.Since(begin) < d; {
		page, err := p.store.Read(p.ctx, core.ReadRequest{Stream: core.All, From: from, Limit: core.Limit{Events: core.MaxReadEvents}})
		if err != nil {
			return sample{}, err
		}
		total += page.Count
		from = page.Next
		if page.End {
			from = 1
		}
	}
	return rate(total, begin), nil
}

// readRows reads the same rows with one query for d.
func (p *pgBench) readRows(d time.Duration) (sample, error) {
	begin := time.Now()
	total := 0
	for time.Since(begin) < d {
		rows, err := p.pool.Query(p.ctx, `SELECT position, stream, version, recorded, time, id, format, type, content_type, metadata, data
			FROM `+pgStore+`.events WHERE position >= 1 ORDER BY position`)
		if err != nil {
			return sample{}, err
		}
		for rows.Next() && time.Since(begin) < d {
			var position, stream, version int64
			var recorded time.Time
			var at *time.Time
			var id [16]byte
			var format int16
			var typ string
			var contentType *string
			var metadata, data []byte
			if err := rows.Scan(&position, &stream, &version, &recorded, &at, &id, &format, &typ, &contentType, &metadata, &data); err != nil {
				return sample{}, err
			}
			total++
		}
		if time.Since(begin) >= d {
			// What is left of the result is not read: its connection is given up.
			ctx, cancel := context.WithCancel(p.ctx)
			cancel()
			_ = rows.Conn().Close(ctx)
		}
		rows.Close()
	}
	return rate(total, begin), nil
}
