package core

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Store is the Log of this process: it serves one Engine. Commits go through
// the committer (committer.go), which makes groups of them; what a group wrote
// goes to the tail (tail.go), where followers wait (follow.go).
type Store struct {
	engine    Engine
	committer *committer
	tail      *tail
	watch     *watch // nil unless others write to the log, too
	followers atomic.Int64

	closing   context.Context // ends followers and waits when the Store closes
	close     context.CancelCauseFunc
	closeOnce sync.Once
	closeErr  error
}

var (
	_ Log       = (*Store)(nil)
	_ LogReader = (*Store)(nil)
)

// StoreConfig has the Store's bounds. The zero value has good defaults.
type StoreConfig struct {
	// QueueBytes bounds the data and metadata of Commits that wait for a step;
	// 32 MiB if 0.
	QueueBytes int
	// TailBytes bounds the newest events kept in memory for followers; 16 MiB
	// if 0.
	TailBytes int
}

// NewStore serves engine, which it closes in Close. Its goroutines end there.
func NewStore(engine Engine, config StoreConfig) *Store {
	if config.QueueBytes == 0 {
		config.QueueBytes = 32 << 20
	}
	if config.TailBytes == 0 {
		config.TailBytes = 16 << 20
	}
	s := &Store{engine: engine}
	s.closing, s.close = context.WithCancelCause(context.Background())
	state := engine.State()
	s.tail = newTail(config.TailBytes, state.Log, state.Head)
	s.committer = newCommitter(engine, s.tail, config.QueueBytes)
	if log, ok := engine.(HeadWatcher); ok {
		s.watch = newWatch(s, log)
	}
	return s
}

// Append is Log.Append.
func (s *Store) Append(ctx context.Context, c Commit) (Result, error) {
	type answer struct {
		result Result
		err    error
	}
	answers := make(chan answer, 1)
	claim := claimOf(ctx)
	if claim == nil {
		ctx, claim = WithClaim(ctx)
	}
	s.Submit(ctx, c, func(r Result, err error) { answers <- answer{r, err} })
	select {
	case a := <-answers:
		return a.result, a.err
	case <-ctx.Done():
		return Result{}, claim.GivenUp(context.Cause(ctx))
	}
}

// Submit takes c in and returns; done is called exactly once with the answer,
// possibly before Submit returns. Commits of one goroutine are applied in the order
// they were submitted in if one writes a stream or a record that the other writes
// or checks, whatever they expect. Submit waits only for room in the queue. ctx
// withdraws the Commit until a step begins with it; with a Claim in ctx its owner
// knows whether one has. done must not block, nor call the Store.
func (s *Store) Submit(ctx context.Context, c Commit, done func(Result, error)) {
	if err := c.Validate(); err != nil {
		done(Result{}, err)
		return
	}
	s.committer.submit(ctx, c, done)
}

// Read is Log.Read.
func (s *Store) Read(ctx context.Context, r ReadRequest) (Page, error) {
	if err := r.bound(); err != nil {
		return Page{}, err
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

// bound checks r, and sets what it leaves to the defaults.
func (r *ReadRequest) bound() error {
	if err := validateReadable(r.Stream); err != nil {
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
	return nil
}

// Event finds an event by its id, or answers event_not_found.
func (s *Store) Event(ctx context.Context, id ID) (Event, error) { return s.engine.Event(ctx, id) }

// Streams lists streams in the byte order of their names. Limit defaults to
// DefaultReadEvents and is capped at MaxReadEvents. What cannot be part of a name is
// refused: not every engine can compare it.
func (s *Store) Streams(ctx context.Context, r StreamsRequest) (StreamsPage, error) {
	if err := ValidateListing(r.Prefix, r.After); err != nil {
		return StreamsPage{}, err
	}
	r.Limit = pageLimit(r.Limit)
	return s.engine.Streams(ctx, r)
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

// State tells what the log is and how it is.
func (s *Store) State() State { return s.engine.State() }

// Stats are counters since the Store was opened, and gauges.
type Stats struct {
	Commits    uint64 // answered, of any outcome
	Events     uint64 // written
	Conflicts  uint64 // Commits refused by what storage has
	Duplicates uint64 // Commits answered with an earlier result
	Failures   uint64 // Commits that failed otherwise
	Steps      uint64 // groups taken to the engine

	Queued    int // Commits waiting for a step
	Followers int
}

// Stats counts what the Store has done.
func (s *Store) Stats() Stats {
	stats := s.committer.stats()
	stats.Followers = int(s.followers.Load())
	return stats
}

// Close answers what is queued with store_closed, ends all follows, waits for
// the step under way, and closes the engine.
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

func validateReadable(stream string) error {
	if stream == All {
		return nil
	}
	return ValidateStream(stream)
}

// isNotFound reports whether err says that a stream has no events.
func isNotFound(err error) bool { return errors.Is(err, CodeStreamNotFound) }
