package core

import "math"

// StreamState says whether a stream can be read and appended to.
type StreamState uint8

// The states of a stream.
const (
	StreamLive       StreamState = iota
	StreamDeleted                // it cannot be read or appended to, until that is undone
	StreamTombstoned             // it has no events, and nothing is ever appended to it again
)

// String is the state as the API writes it.
func (s StreamState) String() string {
	switch s {
	case StreamDeleted:
		return "deleted"
	case StreamTombstoned:
		return "tombstoned"
	}
	return "live"
}

// ParseStreamState is the inverse of String.
func ParseStreamState(s string) (state StreamState, ok bool) {
	for state = StreamLive; state <= StreamTombstoned; state++ {
		if state.String() == s {
			return state, true
		}
	}
	return 0, false
}

// StreamOp changes the state of a whole stream. The stream has no Append in the Commit, and
// no event that the Commit links.
type StreamOp struct {
	Stream string
	// Expect is compared with the stream's version before the Commit.
	Expect Expect
	// Incarnation is the stream's incarnation that the StreamOp expects; 0 expects any.
	Incarnation uint32
	Action      StreamAction
}

// StreamAction is what a StreamOp does to its stream.
type StreamAction uint8

// The actions. The zero action can be undone.
const (
	// DeleteStream hides the stream: it can neither be read by its name nor appended to.
	// $all and links have its events as before.
	DeleteStream StreamAction = iota
	// UndeleteStream ends what DeleteStream began.
	UndeleteStream
	// RemoveStream removes the stream's events from the log, and every link to them. The
	// next append begins a new incarnation of the stream, at version 1.
	RemoveStream
	// TombstoneStream is RemoveStream, and no incarnation follows. The stream need not
	// exist.
	TombstoneStream
)

// String is the action's name in events and messages.
func (a StreamAction) String() string {
	switch a {
	case DeleteStream:
		return "delete"
	case UndeleteStream:
		return "undelete"
	case RemoveStream:
		return "remove"
	case TombstoneStream:
		return "tombstone"
	}
	return "unknown"
}

// ParseStreamAction is the inverse of String. It is not ok if there is no such action.
func ParseStreamAction(s string) (a StreamAction, ok bool) {
	for a = DeleteStream; a <= TombstoneStream; a++ {
		if a.String() == s {
			return a, true
		}
	}
	return 0, false
}

// Removes reports whether the action removes the stream's events.
func (a StreamAction) Removes() bool { return a == RemoveStream || a == TombstoneStream }

// Lifecycle is what StreamOps have made of a stream. The zero Lifecycle is that of a stream
// that none was about.
type Lifecycle struct {
	State StreamState
	// Removals counts the removals of the stream's events.
	Removals uint32
	// Removed is the position up to which the stream's events are removed.
	Removed uint64
}

// Incarnation is that of the stream's events, or of the next one.
func (l Lifecycle) Incarnation() uint32 { return l.Removals + 1 }

// LaterIncarnation is Incarnation where that is not 1, and 0 where it is.
func (l Lifecycle) LaterIncarnation() uint32 { return LaterIncarnation(l.Incarnation()) }

// LaterIncarnation is an incarnation where that is not the first, and 0 where it is.
func LaterIncarnation(incarnation uint32) uint32 {
	if incarnation == 1 {
		return 0
	}
	return incarnation
}

// Refusal is why the stream can be neither read nor appended to, or nil.
func (l Lifecycle) Refusal(stream string) *Error {
	switch l.State {
	case StreamDeleted:
		e := Errorf(CodeStreamDeleted, "stream %q is deleted", Clip(stream))
		e.Stream = stream
		return e
	case StreamTombstoned:
		e := Errorf(CodeStreamTombstoned, "stream %q is tombstoned", Clip(stream))
		e.Stream = stream
		return e
	}
	return nil
}

// After returns the state after op, or why op is refused. version is that of the stream
// before the Commit, and head the log's last position then.
func (l Lifecycle) After(op *StreamOp, version, head uint64) (Lifecycle, *Error) {
	refusal := l.Refusal(op.Stream)
	switch {
	case l.State == StreamDeleted && op.Action == UndeleteStream:
	case refusal != nil:
		return l, refusal
	case version == 0 && op.Action != TombstoneStream:
		return l, NewStreamNotFound(op.Stream)
	case op.Action == UndeleteStream:
		e := Errorf(CodeStreamNotDeleted, "stream %q is not deleted", Clip(op.Stream))
		e.Stream = op.Stream
		return l, e
	case op.Action.Removes() && l.Removals == math.MaxUint32-1:
		e := Errorf(CodeInvalidRequest, "the events of stream %q were removed %d times, which is the most", Clip(op.Stream), l.Removals)
		e.Stream = op.Stream
		return l, e
	}
	if err := mismatch(op.Stream, op.Incarnation, l.Incarnation(), op.Expect, version); err != nil {
		return l, err
	}
	switch op.Action {
	case DeleteStream:
		l.State = StreamDeleted
	case UndeleteStream:
		l.State = StreamLive
	case TombstoneStream:
		l.State = StreamTombstoned
	}
	if op.Action.Removes() {
		l.Removals, l.Removed = l.Removals+1, head
	}
	return l, nil
}

// Repeatable reports whether c is recognized when it is sent again, by ids of events or of a
// move. StreamOps have none: sent again, one could be done to the stream's next incarnation.
func (c *Commit) Repeatable() bool {
	return len(c.Streams) == 0 || len(c.Appends) > 0 || c.Progress != nil
}

// Changes reports whether a StreamOp of c is about a stream.
func (c *Commit) Changes(stream string) bool {
	for i := range c.Streams {
		if c.Streams[i].Stream == stream {
			return true
		}
	}
	return false
}

// NewLinkToChanged makes the error of a link to an event whose stream a StreamOp of the
// Commit is about, for engines.
func NewLinkToChanged(stream, home string, id ID) *Error {
	e := Errorf(CodeInvalidRequest, "event %s, to be linked into stream %q, is of stream %q, which the same commit changes as a whole",
		id, Clip(stream), Clip(home))
	e.Stream, e.EventID = stream, id
	return e
}

// validateStreams checks the StreamOps of c. Their elements follow the Checks.
func (c *Commit) validateStreams() error {
	if len(c.Streams) == 0 {
		return nil
	}
	if len(c.Streams) > MaxCommitStreams {
		e := Errorf(CodeCommitTooLarge, "%d changes of streams, the limit is %d", len(c.Streams), MaxCommitStreams)
		e.Limit = MaxCommitStreams
		return e
	}
	named := make(map[string]bool, len(c.Appends)+len(c.Streams))
	for i := range c.Appends {
		named[c.Appends[i].Stream] = true
	}
	for i := range c.Streams {
		op := &c.Streams[i]
		err := validateTarget(op.Stream, op.Expect, false)
		switch {
		case err != nil:
		case op.Action > TombstoneStream:
			err = Errorf(CodeInvalidRequest, "%d is not an action on a stream", op.Action)
		case named[op.Stream]:
			err = Errorf(CodeInvalidRequest, "stream %q is written or changed by another element of the commit", Clip(op.Stream))
			err.Stream = op.Stream
		}
		if err != nil {
			return atElement(err, len(c.Appends)+len(c.Checks)+i)
		}
		named[op.Stream] = true
	}
	return nil
}
