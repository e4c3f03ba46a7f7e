package core

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Store is the Log of this process. It serves one Engine. The committer
// (committer.go) makes groups of Commits; the events that a group wrote go to the tail
// (tail.go), where followers wait (follow.go).
type Store struct {
	engine    Engine
	committer *committer
	tail      *tail
	policies  *policies
	clock     func() time.Time
	watch     *watch // nil unless the log has other writers
	followers atomic.Int64
	blobPuts  chan struct{} // has an entry for each PutBlob under way

	closing   context.Context // ends followers and waits when the Store closes
	close     context.CancelCauseFunc
	closeOnce sync.Once
	closeErr  error
}

var (
	_ Log       = (*Store)(nil)
	_ LogReader = (*Store)(nil)
	_ Blobs     = (*Store)(nil)
)

// StoreConfig has the Store's bounds. Zero fields have defaults.
type StoreConfig struct {
	// QueueBytes bounds the events and records of queued Commits. The default is
	// 32 MiB.
	QueueBytes int
	// TailBytes bounds the newest events kept in memory for followers. The default is
	// 16 MiB.
	TailBytes int
	// Admit says what judges a Commit before it is written. The default is that nothing does.
	Admit Admit
	// Clock says how old events are, for the retention of streams. The default is time.Now.
	Clock func() time.Time
}

// NewStore returns a Store that serves engine. Close ends its goroutines and closes the
// engine.
func NewStore(engine Engine, config StoreConfig) *Store {
	if config.QueueBytes == 0 {
		config.QueueBytes = 32 << 20
	}
	if config.TailBytes == 0 {
		config.TailBytes = 16 << 20
	}
	if config.Clock == nil {
		config.Clock = time.Now
	}
	s := &Store{engine: engine, policies: newPolicies(engine), clock: config.Clock, blobPuts: make(chan struct{}, maxBlobPuts)}
	s.closing, s.close = context.WithCancelCause(context.Background())
	state := engine.State()
	s.tail = newTail(config.TailBytes, state.Log, state.Head)
	s.committer = newCommitter(engine, s.tail, s.policies, &config)
	if log, ok := engine.(HeadWatcher); ok {
		s.watch = newWatch(s, log)
	}
	return s
}

// Append is Log.Append.
func (s *Store) Append(ctx context.Context, c Commit) (Result, error) {
	return AppendWith(ctx, c, s.Submit)
}

// AppendWith makes an Append of a Submit: it waits for the answer, or for the end of ctx.
func AppendWith(ctx context.Context, c Commit, submit func(context.Context, Commit, func(Result, error))) (Result, error) {
	type answer struct {
		result Result
		err    error
	}
	answers := make(chan answer, 1)
	claim := ClaimOf(ctx)
	if claim == nil {
		ctx, claim = WithClaim(ctx)
	}
	submit(ctx, c, func(r Result, err error) { answers <- answer{r, err} })
	select {
	case a := <-answers:
		return a.result, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-answers: // in the meantime
		return a.result, a.err
	default:
		return Result{}, claim.GivenUp(context.Cause(ctx))
	}
}

// Submit has c judged, or queues it, and returns. It blocks only while the queue is full and, if c
// puts a policy of retention, while the policies are read; if too much is judged, the answer is
// overloaded. done is called exactly once with the answer,
// possibly before Submit returns. It must not block or call the Store: it runs on a worker of
// the committer, which calls up to 1,024 of them in a row.
//
// Two Commits of one goroutine are applied in the order of submission if one writes a
// stream or a record that the other writes or checks, whatever they expect. ctx
// withdraws c until a step begins with it; a Claim in ctx tells its owner whether one
// has.
func (s *Store) Submit(ctx context.Context, c Commit, done func(Result, error)) {
	if err := s.validate(ctx, &c); err != nil {
		done(Result{}, err)
		return
	}
	s.committer.submit(ctx, c, done, true)
}

// TrySubmit is Submit unless the queue is full. Then it does nothing and returns false.
func (s *Store) TrySubmit(ctx context.Context, c Commit, done func(Result, error)) bool {
	if err := s.validate(ctx, &c); err != nil {
		done(Result{}, err)
		return true
	}
	return s.committer.submit(ctx, c, done, false)
}

// validate checks c, and whether there is room for the policies that it puts.
func (s *Store) validate(ctx context.Context, c *Commit) error {
	if err := c.Validate(); err != nil || !c.PutsRetention() {
		return err
	}
	if err := s.policies.fresh(ctx); err != nil {
		return err
	}
	return s.policies.refuses(c)
}

// Read is Log.Read.
func (s *Store) Read(ctx context.Context, r ReadRequest) (Page, error) {
	if err := r.bound(); err != nil {
		return Page{}, err
	}
	if err := s.policies.fresh(ctx); err != nil {
		return Page{}, err
	}
	if !r.FromTime.IsZero() {
		if page, empty, err := s.seek(ctx, &r); empty || err != nil {
			return page, err
		}
	}
	switch {
	case !r.Select.IsZero():
		return s.scan(ctx, r)
	case s.policies.any.Load():
		return s.readKept(ctx, r)
	}
	return s.engine.Read(ctx, r)
}

// ReadLog is LogReader.ReadLog.
func (s *Store) ReadLog(ctx context.Context, from uint64, limit Limit) (Page, error) {
	r := ReadRequest{Stream: All, From: from, Limit: limit}
	if err := r.bound(); err != nil {
		return Page{}, err
	}
	return s.engine.ReadLog(ctx, r.From, r.Limit)
}

// bound checks r and sets the defaults.
func (r *ReadRequest) bound() error {
	if err := ValidateReadable(r.Stream); err != nil {
		return err
	}
	if r.From > MaxNumber || r.Limit.Events < 0 || r.Limit.Bytes < 0 {
		return Errorf(CodeInvalidRequest, "from %d and limit %+v are out of range", r.From, r.Limit)
	}
	if r.Limit.Events == 0 {
		r.Limit.Events = DefaultReadEvents
	}
	if r.Limit.Bytes == 0 {
		r.Limit.Bytes = MaxPageBytes
	}
	r.Limit.Events = min(r.Limit.Events, MaxReadEvents)
	r.Limit.Bytes = min(r.Limit.Bytes, MaxPageBytes)
	return r.Select.Validate()
}

// Event finds an event by its id, or returns event_not_found.
func (s *Store) Event(ctx context.Context, id ID) (Event, error) {
	if err := s.policies.fresh(ctx); err != nil {
		return Event{}, err
	}
	e, err := s.engine.Event(ctx, id)
	if err != nil || !s.policies.any.Load() {
		return e, err
	}
	expired, err := s.isExpired(ctx, &e)
	if err == nil && expired {
		err = NewEventNotFound(id)
	}
	if err != nil {
		return Event{}, err
	}
	return e, nil
}

// Records lists records of a table in the byte order of their keys, with the
// limits of Streams.
func (s *Store) Records(ctx context.Context, r RecordsRequest) ([]Record, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	r.Limit = pageLimit(r.Limit)
	return s.engine.Records(ctx, r)
}

// State returns the engine's State.
func (s *Store) State() State { return s.engine.State() }

// Stats are counters since the Store was opened, and gauges.
type Stats struct {
	Commits    uint64 // answered, with any outcome
	Events     uint64 // written
	Conflicts  uint64 // Commits refused because of the log's state
	Duplicates uint64 // Commits answered with an earlier result
	Failures   uint64 // other failed Commits
	Steps      uint64 // groups given to the engine

	StepTime time.Duration // of the steps together

	Queued    int // Commits waiting for a step
	Followers int
}

// Stats returns the counters and gauges.
func (s *Store) Stats() Stats {
	stats := s.committer.stats()
	stats.Followers = int(s.followers.Load())
	return stats
}

// Close answers queued Commits with store_closed, ends all follows, waits for the steps
// under way, and closes the engine.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.close(Errorf(CodeStoreClosed, "the store is closed"))
		s.committer.stop()
		if s.watch != nil {
			s.watch.wait()
		}
		s.closeErr = s.engine.Close()
	})
	return s.closeErr
}

func pageLimit(n int) int {
	if n <= 0 {
		return DefaultReadEvents
	}
	return min(n, MaxReadEvents)
}

// isNotFound reports whether err is that a stream has no events.
func isNotFound(err error) bool { return errors.Is(err, CodeStreamNotFound) }
