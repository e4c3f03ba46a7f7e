package core

import (
	"context"
	"iter"
	"time"
)

// Log is a log that can be read and written: the Store of this process, or a node at
// the other end of a connection. All methods are safe for concurrent use. Every error
// is an *Error or wraps the context's.
type Log interface {
	// Append makes c durable, all of it or nothing (P4, P6). If ctx ends first, the
	// error is timeout or canceled when c has not been written and never will be.
	// Otherwise it is unknown_outcome, which is safe to retry if the events have
	// ids (P5).
	Append(ctx context.Context, c Commit) (Result, error)

	// Read returns one page of a stream or of $all. A stream at version 0 is
	// stream_not_found, a deleted one stream_deleted, a tombstoned one stream_tombstoned; a
	// range without events is an empty page. A link in a stream
	// is read as the event that it names (Event.Link). $all passes over links and, unless
	// the request has System, over events of the system's streams, so its positions have
	// gaps there, as where events were removed. It passes over events that do not match the
	// request's Select, too. Such a page may have few events or none and not be the end: one
	// call looks at a bounded part of the log (Page.Scanned).
	Read(ctx context.Context, r ReadRequest) (Page, error)

	// Follow starts a reader that keeps its own place. It delivers what is stored,
	// then what is appended, in order and without a gap (P8). The stream need not
	// exist yet.
	Follow(ctx context.Context, f FollowRequest) (Follower, error)
}

// LogReader reads a log as it was written, in order to copy it. Its errors are those
// of a Log.
type LogReader interface {
	// ReadLog returns one page of everything from a position on, inclusive: events,
	// and links without the events that they name (EncodeLink). No position is
	// missing but those of what was removed; what has expired is there until a scavenge.
	// The limit is that of a ReadRequest.
	ReadLog(ctx context.Context, from uint64, limit Limit) (Page, error)
}

// ReadRequest asks for a page.
type ReadRequest struct {
	// Stream is a name, or All.
	Stream string
	// From is the first version, or position of $all, to return. 0 means the first;
	// when Backward, 0 means the last.
	From     uint64
	Backward bool
	// FromTime, unless it is zero, takes the place of From: the first event that was recorded
	// at or after it; when Backward, the last one that was recorded at or before it.
	FromTime time.Time
	// Select is what events of the page must match.
	Select Selection
	// System asks $all for the events of the system's streams, too. A stream is read the
	// same with and without it.
	System bool
	// Limit defaults to DefaultReadEvents and MaxPageBytes and is capped at
	// MaxReadEvents and MaxPageBytes.
	Limit Limit
	// Buffer is room for the events of the page, which an engine may use. Whoever gives one is
	// done with the page before it uses the buffer again.
	Buffer []byte
}

// Page is the answer to a ReadRequest.
type Page struct {
	Batch
	// Next is the From of the next page in the same direction. It is 0 if there is
	// none: a backward page has reached the first event.
	Next uint64
	// End reports that nothing follows in this direction for now. If it is false,
	// more events follow or only what is passed over.
	End bool
	// Version is the stream's version, or the head position of $all, when the page
	// was read.
	Version uint64
	// Incarnation is the stream's when the page was read; 0 of $all. A Store's error
	// stream_not_found comes with a page that has that of the next event alone.
	Incarnation uint32
	// Scanned is how many versions, or positions of $all, the page reaches over, with what
	// is passed over. It is 0 unless the request has a Select.
	Scanned uint64
	// Expired reports that events are left out that retention has expired. Only a Store sets
	// it.
	Expired bool
	// Head is the position up to which the page is complete. Every event of the
	// stream from From to Head is in this page or, if not End, in later ones.
	Head uint64
}

// FollowRequest names what to follow, and from where.
type FollowRequest struct {
	// Stream is a name, or All.
	Stream string
	From   From
	Filter Filter
	// System is that of a ReadRequest.
	System bool
}

// From is the place after which a follow begins. The zero From is the start.
type From struct {
	Kind FromKind
	N    uint64    // of AfterPosition and AfterVersion
	Log  string    // of AfterPosition: the timeline of a cursor, or the log's identity, or ""
	Time time.Time // of FromTime: begin at the first event recorded at or after it, else at the end

	Progress string // of AfterProgress: its name
}

// FromKind is a way to name a place.
type FromKind uint8

// The kinds of From.
const (
	FromStart FromKind = iota
	FromEnd
	AfterPosition
	AfterVersion // only where Stream is a name
	FromTime
	AfterProgress // at the stored place with a name (Progress), or the start if there is none
)

// Follower is one reader's place. It is used by one goroutine at a time, apart
// from Close.
type Follower interface {
	// Next blocks until there is something to deliver: up to max events, a state
	// change, or progress without events. It returns an error when ctx ends, the log
	// closes or Close is called.
	Next(ctx context.Context, max Limit) (Delivery, error)
	// Close ends the follow and a Next that is waiting. It is safe to call
	// more than once.
	Close() error
}

// Delivery is what Follower.Next returns.
type Delivery struct {
	Batch
	// Cursor is the position up to which every matching event has been delivered. A
	// follow resumed after it misses and repeats nothing.
	Cursor uint64
	// Head is the log's last position when the Delivery was made.
	Head uint64
	// Removals is what RemovalWatcher.Removals returned before the events were read. Only a
	// Store sets it.
	Removals uint64
	// Live reports that the reader has seen everything up to Head and gets new
	// events as they are appended.
	Live bool
	// NoQuorum is why the node delivers nothing for now, if it does not: "" else. The
	// follow goes on by itself. Live is false then.
	NoQuorum string
}

// Lag is how many positions the reader is behind.
func (d Delivery) Lag() uint64 { return d.Head - min(d.Cursor, d.Head) }

// ReadAll reads from any Log page by page until the end.
func ReadAll(ctx context.Context, log Log, r ReadRequest) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			page, err := log.Read(ctx, r)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for e := range page.Events() {
				if !yield(e, nil) {
					return
				}
			}
			if page.End {
				return
			}
			r.From, r.FromTime = page.Next, time.Time{}
		}
	}
}

// followLimit is what FollowEvents asks for at a time.
var followLimit = Limit{Events: MaxReadEvents, Bytes: 256 << 10}

// FollowEvents follows any Log event by event until ctx ends, the caller stops, or the
// log closes.
func FollowEvents(ctx context.Context, log Log, f FollowRequest) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		follower, err := log.Follow(ctx, f)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer func() { _ = follower.Close() }()
		for {
			d, err := follower.Next(ctx, followLimit)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for e := range d.Events() {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}
