package core

import "time"

// Limits of what may be written. They are told to clients by GET /v1/server.
const (
	MaxEventBytes        = 1 << 20 // data and metadata of one event
	MaxCommitBytes       = 4 << 20 // data and metadata of one Commit
	MaxCommitEvents      = 10_000
	MaxCommitChecks      = 1_000
	MaxCommitStreams     = 1_000
	MaxCommitRecords     = 10_000
	MaxStreamNameBytes   = 512
	MaxEventTypeBytes    = 256
	MaxContentTypeBytes  = 256
	MaxRecordKeyBytes    = 1 << 10 // table and key of a record
	MaxRecordValueBytes  = 1 << 20
	MaxProgressNameBytes = 256
	MaxCorrelationBytes  = 128 // of correlation_id and causation_id
	MaxCommitSnapshots   = 100
	MaxSnapshotKindBytes = 64
	MaxRetentions        = 100_000                                   // policies of a store
	MaxSnapshotBytes     = MaxRecordValueBytes - snapshotHeaderBytes // data and metadata of one snapshot
	MaxBlobBytes         = 64 << 20                                  // content of one blob
	MaxReadEvents        = 1_000                                     // of one page
	DefaultReadEvents    = 100
	MaxPageBytes         = 4 << 20 // of one page; one event may pass it
	MaxFilterPatterns    = 64

	// What is looked at for one page of a list of streams: entries of the log, by created
	// and by changed, and names where they have to match.
	MaxStreamsWalk  = 10_000
	MaxStreamsNames = 20_000

	// What readers in other languages refuse, and with it the page it is in: lists and
	// objects nested deeper in data or metadata, and numbers of more bytes.
	MaxJSONDepth       = 512
	MaxJSONNumberBytes = 1_000
)

// MaxLazyWait is how long the Store may hold back a lazy Commit.
const MaxLazyWait = 50 * time.Millisecond

// All is the name that reads every event in commit order. Names that begin with '$' are
// those of the system's streams: clients cannot write them.
const All = "$all"
