package core

import "context"

// Store is the Log of this process: it serves one Engine.
type Store struct{ engine Engine }

// StoreConfig has the Store's bounds. The zero value has good defaults.
type StoreConfig struct{}

// NewStore serves engine, which it closes in Close.
func NewStore(engine Engine, config StoreConfig) *Store { return &Store{engine: engine} }

// Append is Log.Append.
func (s *Store) Append(ctx context.Context, c Commit) (Result, error) { panic("soon") }

// Submit takes c in and returns; done is called once, from another goroutine,
// with the answer. Commits submitted by one goroutine that touch the same
// stream are applied in the order they were submitted in. Submit waits only
// for room in the queue. done must not block.
func (s *Store) Submit(ctx context.Context, c Commit, done func(Result, error)) { panic("soon") }

// Read is Log.Read.
func (s *Store) Read(ctx context.Context, r ReadRequest) (Page, error) { panic("soon") }

// Follow is Log.Follow.
func (s *Store) Follow(ctx context.Context, f FollowRequest) (Follower, error) { panic("soon") }

// Event finds an event by its id.
func (s *Store) Event(ctx context.Context, id ID) (Event, error) { panic("soon") }

// Streams lists streams by name.
func (s *Store) Streams(ctx context.Context, r StreamsRequest) (StreamsPage, error) { panic("soon") }

// Records lists records.
func (s *Store) Records(ctx context.Context, r RecordsRequest) ([]Record, error) { panic("soon") }

// State tells what the log is and how it is.
func (s *Store) State() State { return s.engine.State() }

// Stats counts what the Store has done since it was opened.
func (s *Store) Stats() Stats { return Stats{} }

// Stats are counters and gauges of a Store.
type Stats struct {
	Commits, Events, Conflicts, Duplicates, Failures uint64 // Commits answered, events written, …
	Steps                                            uint64 // groups made durable
	Queued, Followers                                int
}

// Close ends all follows, answers what is queued, and closes the engine.
func (s *Store) Close() error { return s.engine.Close() }
