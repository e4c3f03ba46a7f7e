package core

import "context"

// Engine stores a log. It takes Commits in groups and returns one Outcome for each; a
// refused Commit does not fail its neighbors. Implementations verify under their own
// lock, and trust nothing that the Store believes. All methods are safe for concurrent
// use. The full contract is the suite core/enginetest.
type Engine interface {
	LogReader
	Blobs

	// Commit verifies a group and makes it durable, in order, as one step. When it
	// returns, the successful Commits are on disk and can be read. They have been
	// validated. ctx bounds waiting before the step; a step that has begun always
	// returns its outcomes.
	//
	// Several calls may run at once. The Store ensures that none writes a stream or a
	// record that another writes or checks (conflicts.go), so their relative order
	// is free. All Commits of a group have one Epoch. Ids go before the epoch, and the
	// epoch before expectations: a retry gets its result under any epoch, and every
	// refusal under another epoch than the log's is stale_epoch. Engines ignore Lazy.
	Commit(ctx context.Context, group []*Commit) Step

	// Read returns a page as Log.Read does. Its Limit is set, as ReadLog's is. It has neither a
	// Select nor a FromTime: the Store does those.
	Read(ctx context.Context, r ReadRequest) (Page, error)

	// Event finds an event by its id, or returns event_not_found.
	Event(ctx context.Context, id ID) (Event, error)

	// Streams lists streams: those of Names or, in the order of Sort, those that
	// StreamsRequest.Lists has. It leaves Suffix, Pattern, Within and Totals to the Store. By
	// name a page is full unless it is the last one. By created and by changed an engine goes
	// through its log, at most MaxStreamsWalk entries for a page.
	Streams(ctx context.Context, r StreamsRequest) (StreamsPage, error)

	// Records lists the records of a table in the byte order of their keys.
	Records(ctx context.Context, r RecordsRequest) ([]Record, error)

	// State returns the log's identity, epoch, head and health.
	State() State

	// Close releases everything. Acknowledged events stay. Calls that are waiting, and
	// later ones, return store_closed.
	Close() error
}

// HeadWatcher is implemented by engines whose log has other writers, such as nodes that
// share a database. The Store learns of their events through it.
type HeadWatcher interface {
	// WaitHead blocks until the log's head is greater than after or its identity is
	// not log, and returns the head. Its error is the end of ctx or of the engine: it
	// waits while the log cannot be reached. It costs nothing while nobody waits.
	WaitHead(ctx context.Context, log string, after uint64) (head uint64, err error)
}

// Selector is implemented by engines that have indexes to find the events of a Selection
// with. The Store scans where an engine is no Selector or has no such index, and for a reader
// that may not read everything (Filter.Within).
type Selector interface {
	// ReadSelected returns a page as Read does, which may leave out events that do not match
	// r.Select and need not do so: the Store selects again. It may stop anywhere, with Next
	// behind what it has found out about, but no call returns the same Next as r.From. Scanned
	// is what it had to look at beside the page's events, as a number of events: what it does to
	// make or to read an index counts, too. ok is false, and nothing was read, if Read is as
	// quick.
	ReadSelected(ctx context.Context, r ReadRequest) (page Page, ok bool, err error)
}

// Step is the outcome of a group.
type Step struct {
	// Outcomes has one entry for each Commit of the group.
	Outcomes []Outcome
	// Written is every event the step wrote, and every link (EncodeLink), in
	// position order. If another writer has written between them, it has the first and the
	// last position and no event.
	Written Batch
}

// Outcome is the answer to one Commit: Result, or Err. Refusals are
// wrong_expected_version, duplicate_event, event_not_found (of a link), stream_not_found,
// stream_deleted, stream_not_deleted, stream_tombstoned, record_conflict and stale_epoch. store_full, store_read_only and store_unavailable say that nothing
// was written; unknown_outcome, that it may have been.
type Outcome struct {
	Result Result
	Err    error
}

// FailStep returns the same error for every Commit of a group.
func FailStep(group []*Commit, err error) Step {
	outcomes := make([]Outcome, len(group))
	for i := range outcomes {
		outcomes[i].Err = err
	}
	return Step{Outcomes: outcomes}
}

// State describes an engine's log.
type State struct {
	// Log is the log's identity: a short word of letters and digits, made when the
	// log was created.
	Log string
	// Timelines are those of the log, oldest first. Storage whose log cannot lose
	// its tail unnoticed has none. The slice does not change.
	Timelines []Timeline
	// Epoch is the log's epoch, as far as this engine knows. It rises with each view
	// of the cluster and never goes back. It is 0 if the storage has no epochs.
	Epoch uint64
	// Head is the position of the last readable event, which may be removed by now; 0 in
	// an empty log.
	Head uint64
	// ReadOnly is why the log takes no Commits at the moment, or nil. It is never
	// stale_epoch, which is an answer to one Commit.
	ReadOnly error
	// Bytes is the size of the log in storage, as far as it is known.
	Bytes int64
}

// RecordsRequest asks for the records of a table whose keys are in Keys or in Ranges, or,
// if both are nil, whose keys begin with Prefix.
type RecordsRequest struct {
	Table  string
	Keys   []string   // exact, in any order
	Ranges []KeyRange // in order, without overlap
	Prefix string
	After  string // the last key of the page before
	Limit  int    // 1 … MaxReadEvents
}

// KeyRange is the keys between two others.
type KeyRange struct{ After, Before string }

// Record is a stored record.
type Record struct {
	Key      string
	Revision uint64
	Value    []byte
}
