package scavenge

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
)

const (
	// saveEvery is how often a scavenge says how far it is. A log keeps all that its records
	// ever were, until a scavenge.
	saveEvery = 2 * time.Second
	// saveWithin bounds one Commit of the record.
	saveWithin = 5 * time.Second
	// aliveFor is for how long a scavenge counts as running without a word.
	aliveFor = 20 * time.Second
	// maxBytesPerSecond is more than any disk has.
	maxBytesPerSecond = 1 << 40
)

// The record of the latest scavenge.
const (
	table = "scavenge"
	key   = "latest"
)

// Store is what is scavenged.
type Store interface {
	core.SnapshotReader
	Scavenge(ctx context.Context, s core.Scavenging) (core.Scavenged, error)
}

// Commits makes Commits: the node's store, or in a ring what makes them under the epoch of the
// view.
type Commits interface {
	Append(ctx context.Context, c core.Commit) (core.Result, error)
}

// Config is what a Job needs.
type Config struct {
	Store   Store
	Commits Commits
	Node    string
	// Shared says that other nodes have the store open, too.
	Shared bool
	Logger *slog.Logger
}

// Job runs scavenges, one at a time. It is safe for concurrent use.
type Job struct {
	config  Config
	process string // this process, in the record
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup
	current atomic.Pointer[part] // nil: none runs here

	starting sync.Mutex // held while one is started
	totals   totals
}

// totals are counters since the Job was made, without dry runs.
type totals struct {
	won    atomic.Int64
	events atomic.Uint64
	ended  atomic.Int64 // when the last one ended, Unix seconds
}

// New returns a Job. Close ends it.
func New(config Config) *Job {
	j := &Job{config: config, process: rand.Text()}
	j.closing, j.close = context.WithCancel(context.Background())
	return j
}

// Close interrupts the scavenge that runs here, and waits for its end.
func (j *Job) Close() {
	j.close()
	j.starting.Lock() // nobody is about to start one
	defer j.starting.Unlock()
	j.running.Wait()
}

// Stats are counters since the Job was made, and gauges.
type Stats struct {
	Running bool
	Won     int64  // bytes that were given back
	Events  uint64 // that went
	Ended   int64  // when the last scavenge ended, Unix seconds; 0: none has
}

// Stats returns the counters and gauges of this node.
func (j *Job) Stats() Stats {
	return Stats{Running: j.current.Load() != nil, Won: j.totals.won.Load(), Events: j.totals.events.Load(), Ended: j.totals.ended.Load()}
}

// Status returns what is known of the latest scavenge.
func (j *Job) Status(ctx context.Context) (Status, error) {
	_, e, err := j.load(ctx)
	if p := j.current.Load(); err == nil && p != nil && p.isOf(&e) {
		e = p.now(e)
	}
	return e.Status, err
}

// Start starts a scavenge, or has the last one go on if that was ended before its end. The error
// is scavenge_running if one runs.
func (j *Job) Start(ctx context.Context, r Request) (Status, error) {
	if r.BytesPerSecond < 0 || r.BytesPerSecond > maxBytesPerSecond {
		return Status{}, core.Errorf(core.CodeInvalidRequest, "%d bytes per second are not within 0 to %d", r.BytesPerSecond, int64(maxBytesPerSecond))
	}
	j.starting.Lock()
	defer j.starting.Unlock()
	if j.closing.Err() != nil {
		return Status{}, core.Errorf(core.CodeShuttingDown, "the node is shutting down")
	}
	ctx, cancel := context.WithTimeout(ctx, saveWithin)
	defer cancel()
	revision, e, err := j.load(ctx)
	if err != nil {
		return Status{}, err
	}
	if !e.State.Ended() {
		return Status{}, isRunning(&e)
	}
	e = e.next(r, j.config.Node, j.process, time.Now().UTC())
	p := &part{job: j, begun: e, moved: time.Now()}
	run, end := context.WithCancelCause(j.closing)
	p.end = end
	j.current.Store(p) // before others find the record
	if p.revision, err = j.save(ctx, revision, &e); err != nil {
		end(nil)
		j.current.Store(nil)
		if errors.Is(err, core.CodeRecordConflict) {
			err = core.Errorf(core.CodeScavengeRunning, "another scavenge was started at the same time")
		}
		return Status{}, err
	}
	j.running.Go(func() { p.run(run) })
	return e.Status, nil
}

func isRunning(e *entry) error {
	return core.Errorf(core.CodeScavengeRunning, "a scavenge runs at node %s since %s", core.Clip(e.Node), e.Started.Format(time.RFC3339))
}

// Stop asks the scavenge that runs, at any node, to end. It does not wait for that. ok is false
// if none runs.
func (j *Job) Stop(ctx context.Context) (s Status, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, saveWithin)
	defer cancel()
	for {
		revision, e, err := j.load(ctx)
		if err != nil || e.State.Ended() {
			return e.Status, false, err
		}
		p := j.current.Load()
		if p != nil && p.isOf(&e) {
			e = p.now(e)
			p.end(errStopped)
		}
		e.State = Stopping
		if p == nil || !p.isOf(&e) {
			_, err = j.save(ctx, revision, &e)
		}
		if !errors.Is(err, core.CodeRecordConflict) {
			return e.Status, err == nil, err
		}
	}
}

// load reads the record, and sees whether what it says to be running is.
func (j *Job) load(ctx context.Context) (revision uint64, e entry, err error) {
	revision, e, err = j.read(ctx)
	if err == nil && !e.State.Ended() && !j.isAlive(&e) {
		revision, e, err = j.read(ctx) // a part writes that it has ended, and is gone then
	}
	if err == nil && !e.State.Ended() && !j.isAlive(&e) {
		e.State = Interrupted
	}
	return revision, e, err
}

// read reads the record.
func (j *Job) read(ctx context.Context) (revision uint64, e entry, err error) {
	e.State = None
	records, err := j.config.Store.Records(ctx, core.RecordsRequest{Table: table, Keys: []string{key}, Limit: 1})
	if err != nil || len(records) == 0 {
		return 0, e, err
	}
	if err := json.Unmarshal(records[0].Value, &e); err != nil {
		return 0, e, core.Errorf(core.CodeStoreCorrupt, "the record %s/%s: %w", table, key, err)
	}
	return records[0].Revision, e, nil
}

// isAlive reports whether the scavenge of a record may be running.
func (j *Job) isAlive(e *entry) bool {
	if p := j.current.Load(); p != nil && p.isOf(e) {
		return true
	}
	return j.config.Shared && e.Node != j.config.Node && time.Since(e.Changed) < aliveFor
}

// save writes the record, whose revision has to be the one given, and returns its next one.
func (j *Job) save(ctx context.Context, revision uint64, e *entry) (uint64, error) {
	value, err := json.Marshal(e)
	if err != nil {
		return 0, core.Errorf(core.CodeInternal, "the record %s/%s: %w", table, key, err)
	}
	expect := core.NoStream
	if revision > 0 {
		expect = core.Expect(revision)
	}
	op := core.RecordOp{Table: table, Key: key, Expect: expect, Value: value}
	_, err = j.config.Commits.Append(ctx, core.Commit{System: true, Records: []core.RecordOp{op}})
	return revision + 1, err
}
