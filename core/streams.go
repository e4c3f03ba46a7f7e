package core

import (
	"strconv"
	"strings"
	"time"
)

// StreamsRequest asks for a page of a list of streams.
type StreamsRequest struct {
	// Names are the streams that are listed, in this order, at most MaxReadEvents of them.
	// One that does not exist is left out. All may be one of them. Only Details and Within
	// have a meaning beside Names.
	Names []string

	// A stream is listed if its name has Prefix, Suffix and matches Pattern, which is as
	// those of a Filter. Empty ones select everything.
	Prefix, Suffix, Pattern string
	// Within is that of a Filter: streams that match none of its patterns are not listed,
	// counted or told apart from ones that do not exist.
	Within []string
	// State selects the streams of a state; nil selects live and deleted ones. Tombstoned streams
	// are listed in the order of their tombstones, with their places as Changed.
	State *StreamState
	// System lists the streams of the system, too.
	System bool

	Sort       StreamsSort
	Descending bool
	After      string // where the page before ended: its Next
	Limit      int    // 1 … MaxReadEvents

	// Details asks for Created and Changed of every stream.
	Details bool
	// Totals asks how many streams there are on all pages.
	Totals bool
}

// StreamsSort is the order of a list of streams.
type StreamsSort uint8

// The orders. A stream without places is listed by name only.
const (
	ByName    StreamsSort = iota // the byte order of the names
	ByCreated                    // of the positions of the first events
	ByChanged                    // of the positions of the last events
)

// Lists reports whether a stream is on a page of r, or on one that follows it, as far as its
// prefix, the system and, by name, the page before decide.
func (r *StreamsRequest) Lists(stream string) bool {
	follows := r.Sort != ByName || r.After == "" || (stream > r.After) != r.Descending && stream != r.After
	return follows && strings.HasPrefix(stream, r.Prefix) && (r.System || !IsSystem(stream))
}

// selects reports whether r selects by more than Lists does.
func (r *StreamsRequest) selects() bool {
	return r.Suffix != "" || r.Pattern != "" || r.Within != nil || r.State != nil
}

// isTombstoned reports whether r lists the tombstoned streams.
func (r *StreamsRequest) isTombstoned() bool { return r.State != nil && *r.State == StreamTombstoned }

// matches reports whether a stream that Lists has is selected.
func (r *StreamsRequest) matches(i *StreamInfo) bool {
	return strings.HasSuffix(i.Name, r.Suffix) && (r.Pattern == "" || matchGlob(r.Pattern, i.Name)) && r.shows(i.Name) &&
		(r.State == nil || *r.State == i.State)
}

// shows reports whether whoever asks may know that a stream exists.
func (r *StreamsRequest) shows(stream string) bool {
	return r.Within == nil || !IsSystem(stream) && MatchAny(r.Within, stream)
}

// AfterPosition is the position after which a page by created or changed begins, before
// which if Descending; 0 at the beginning.
func (r *StreamsRequest) AfterPosition() uint64 {
	position, _ := strconv.ParseUint(r.After, 10, 64)
	return position
}

// StreamsAfter is the After of what follows a position.
func StreamsAfter(position uint64) string { return strconv.FormatUint(position, 10) }

// StreamsPage is the answer to a StreamsRequest. It may have fewer streams than the limit,
// or none, though it is not the last one.
type StreamsPage struct {
	Streams []StreamInfo
	Next    string // After of the next page; "" if this is the last one
	End     bool
	// Looked is how many names or, by created and changed, entries of the log were looked at.
	Looked int
	Total  *StreamsTotal // if it was asked for
}

// StreamsTotal is how many streams there are on all pages of a list.
type StreamsTotal struct {
	Streams uint64
	// AtLeast reports that there may be more: not all names were looked at.
	AtLeast bool
}

// StreamInfo describes a stream, or $all. The version of $all is the head; positions of links
// and of the system's streams count there.
type StreamInfo struct {
	Name    string
	Version uint64
	First   uint64 // no version before it can be read; with Details, the first that is left
	State   StreamState
	// Retention is the policy of the stream, with the defaults of its category. First is what it
	// leaves; of a list, its MaxAge counts there only if details were asked for.
	Retention Retention
	// Created is where the first event is in the log, and Changed where the last one is. They
	// are zero if no details were asked for, but the one that the list is sorted by. Links whose
	// event was removed do not count: a stream that has nothing else has no places.
	Created, Changed StreamPlace
}

// Count is how many events the stream has, without regard to links whose event was removed.
func (i *StreamInfo) Count() uint64 {
	if i.First == 0 {
		return 0
	}
	return i.Version - i.First + 1
}

// place is the place that a list in an order goes by.
func (i *StreamInfo) place(sort StreamsSort) uint64 {
	if sort == ByCreated {
		return i.Created.Position
	}
	return i.Changed.Position
}

// StreamPlace is where and when an event was recorded.
type StreamPlace struct {
	Position uint64
	Recorded time.Time
}
