package core

import "context"

// Engine is the storage seam: batch in, one Outcome per Commit out, one
// conflict does not fail its neighbours. Implementations verify under their
// own lock: whatever the Store above believes is a hint. All methods are safe
// for concurrent use. The suite core/enginetest is the contract in full.
type Engine interface {
	LogReader

	// Commit decides and makes durable a group, in order, as one step. When
	// it returns, what succeeded is on disk and can be read. The Commits have
	// been validated. ctx bounds waiting, not the step: the outcome of what
	// was begun is always told.
	//
	// Several calls may be under way at once. The Store sees to it that none writes
	// a stream or a record that another writes or checks (conflicts.go), so their
	// order among each other is free. All Commits of a group are of one Epoch. Lazy
	// ones have waited: engines do not look at Lazy.
	Commit(ctx context.Context, group []*Commit) Step

	// Read answers a page as Log.Read does. The request's Limit is set, as ReadLog's is.
	Read(ctx context.Context, r ReadRequest) (Page, error)

	// Event finds an event by its id, or answers event_not_found.
	Event(ctx context.Context, id ID) (Event, error)

	// Streams lists streams in the byte order of their names.
	Streams(ctx context.Context, r StreamsRequest) (StreamsPage, error)

	// Records lists the records of a table in the byte order of their keys.
	Records(ctx context.Context, r RecordsRequest) ([]Record, error)

	// State tells what the log is and how it is.
	State() State

	// Close releases everything. What was acknowledged stays; calls made
	// later, or still waiting, answer store_closed.
	Close() error
}

// HeadWatcher is what an Engine is, too, whose log others write to: nodes that
// share a database. The Store learns of their events through it.
type HeadWatcher interface {
	// WaitHead waits until the log's head is greater than after, or the log's
	// identity another than log, and answers the head. It is prompt while somebody
	// waits, and free while nobody does.
	WaitHead(ctx context.Context, log string, after uint64) (head uint64, err error)
}

// Step is the outcome of a group.
type Step struct {
	// Outcomes has one entry for each Commit of the group.
	Outcomes []Outcome
	// Written is every event the step wrote, and every link (EncodeLink), in
	// position order.
	Written Batch
}

// Outcome is the answer to one Commit: Result, or Err: wrong_expected_version,
// duplicate_event, event_not_found (of a link) or record_conflict where storage says so, store_full or
// store_read_only where nothing was written, unknown_outcome where that cannot
// be told.
type Outcome struct {
	Result Result
	Err    error
}

// FailStep answers every Commit of a group with the same error.
func FailStep(group []*Commit, err error) Step {
	outcomes := make([]Outcome, len(group))
	for i := range outcomes {
		outcomes[i].Err = err
	}
	return Step{Outcomes: outcomes}
}

// State is what an engine tells about itself.
type State struct {
	// Log is the log's identity: a short word of letters and digits, made when the
	// log was created.
	Log string
	// Timelines are those of the log, oldest first. Storage whose log cannot lose
	// its tail unnoticed has none. The slice does not change.
	Timelines []Timeline
	// Epoch is the epoch that the log is at, as far as this engine knows: it rises
	// with each view of the cluster and never goes back. 0 where storage has none.
	Epoch uint64
	// Head is the position of the last readable event; 0 in an empty log.
	Head uint64
	// ReadOnly says why the log takes no Commits at the moment; nil if it
	// does.
	ReadOnly error
	// Bytes is the size of the log in storage, as far as it is known.
	Bytes int64
}

// StreamsRequest asks for a page of stream names.
type StreamsRequest struct {
	Prefix string
	After  string // the last name of the page before
	Limit  int    // 1 … MaxReadEvents
}

// StreamsPage is the answer to a StreamsRequest.
type StreamsPage struct {
	Streams []StreamInfo
	End     bool
}

// StreamInfo is what a listing tells of a stream.
type StreamInfo struct {
	Name    string
	Version uint64
}

// RecordsRequest asks for records of a table: those whose keys are in Keys, or,
// without Keys, those whose keys begin with Prefix.
type RecordsRequest struct {
	Table  string
	Keys   []string // exact, in any order; nil = all with Prefix
	Prefix string
	After  string // the last key of the page before
	Limit  int    // 1 … MaxReadEvents
}

// Record is a stored record.
type Record struct {
	Key      string
	Revision uint64
	Value    []byte
}
