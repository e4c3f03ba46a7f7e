package core

import (
	"time"
)

// Event is one recorded event, or a link to one. Its strings and slices point into the
// Batch it was read from and must not be modified. They keep the whole Batch in memory,
// so clone what is kept for long.
type Event struct {
	Stream   string
	Version  uint64 // in Stream: 1, 2, 3, …
	Position uint64 // in the log
	ID       ID
	Type     string

	// Time is the event's own time: the client's, else Recorded.
	Time time.Time
	// Recorded is the server's time. It never decreases with Position.
	Recorded time.Time

	// Incarnation is the stream's when the event was written.
	Incarnation uint32

	Format      Format
	ContentType string // "" if Format says it
	Data        []byte
	Metadata    []byte // a JSON object, or empty

	// Link is where the event was written if it is read through a link, else zero.
	// Stream, Version, Position, Recorded and Incarnation are then the link's, and
	// everything else is the event's.
	Link Origin

	// Raw is the event's record in the log's own encoding (codec.go).
	Raw []byte
}

// Origin is the place of the event that a link names.
type Origin struct {
	Stream   string
	Version  uint64
	Position uint64
}

// IsZero reports whether there is no link.
func (o Origin) IsZero() bool { return o.Version == 0 }

// Home returns where the event was written.
func (e *Event) Home() Origin {
	if e.Link.IsZero() {
		return Origin{Stream: e.Stream, Version: e.Version, Position: e.Position}
	}
	return e.Link
}

// Format says how Data is encoded.
type Format uint8

// The data formats. The values are part of the wire and file formats.
const (
	JSON  Format = 0 // one JSON value, number literals kept as written
	Bytes Format = 1 // anything else
)

// NewEvent is an event to append.
type NewEvent struct {
	// ID identifies the event for idempotent retries (P5). With the zero ID the
	// server chooses one, and the append cannot be retried safely.
	ID   ID
	Type string
	// Time is the event's own time, for imports. The zero Time is none: the event gets
	// the time at which it is recorded. A client that sends 0001-01-01 is refused.
	Time        time.Time
	Format      Format
	ContentType string
	// Data is stored as it is. The API checks that the Data of a JSON event is JSON
	// and that Metadata is a JSON object or empty.
	Data     []byte
	Metadata []byte
}

// size is how much an event counts against MaxEventBytes and MaxCommitBytes.
func (e *NewEvent) size() int { return len(e.Data) + len(e.Metadata) }

// micros converts a time to the resolution that is stored.
func micros(t time.Time) int64 { return t.UnixMicro() }

// fromMicros is the inverse of micros, in UTC.
func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
