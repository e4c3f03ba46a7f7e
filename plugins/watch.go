package plugins

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"time"

	"github.com/gyre-events/gyre/core"
)

// WatchRequest asks for a part of a binding's state, and for what changes in it.
type WatchRequest struct {
	Lane   int    // or OnlyLane, which stands for all lanes here
	Prefix string // only keys that begin with it
	// Cursor is that of the last message that one had, to go on behind it. Empty begins anew.
	Cursor string
}

// WatchKind is what a message of a watch is.
type WatchKind string

// The kinds. A watch begins with WatchState messages up to WatchLive, and goes on with WatchChange.
// Where one generation takes the place of another it sends WatchDifference messages up to WatchLive.
const (
	// WatchState has entries of the state as it is. With Reset it is the first of all, and what one
	// has of the state so far is not true any more.
	WatchState WatchKind = "state"
	// WatchDifference has entries in which the state of the generation that is live now differs from
	// that of the one before. They are to be seen together, at WatchLive.
	WatchDifference WatchKind = "difference"
	// WatchLive says that the entries so far are the state of a generation as of Positions.
	WatchLive WatchKind = "live"
	// WatchChange has what one Commit of a lane has changed. Without entries it only says how far
	// the lane is.
	WatchChange WatchKind = "change"
)

// WatchMessage is a message of a watch. Whoever applies their entries in order has the state: a key
// gets the value, or is deleted.
type WatchMessage struct {
	Kind       WatchKind `json:"kind"`
	Reset      bool      `json:"reset,omitzero"`
	Generation uint64    `json:"generation"`
	// Lane and Position are those of a change: the lane has handled everything up to there.
	Lane     int    `json:"lane,omitzero"`
	Position uint64 `json:"position,omitzero"`
	// Positions are those of all lanes, of WatchLive.
	Positions []uint64 `json:"positions,omitempty"`
	Entries   []Entry  `json:"entries,omitempty"`
	// Cursor is where one can go on behind this message; empty where one cannot.
	Cursor string `json:"cursor,omitzero"`
}

// Watch is a watch that was begun. It has one user at a time.
type Watch interface {
	// Next returns the next message, which is not to be changed; or nil if there is none for as long
	// as wait. After an error there is nothing more.
	Next(ctx context.Context, wait time.Duration) (*WatchMessage, error)
	// Close ends the watch. It is called once.
	Close()
}

// WatchPlace is what a cursor says: how many Commits of each lane of a generation were seen.
type WatchPlace struct {
	Generation uint64
	Revisions  []uint64 // by lane
}

// Cursor is the cursor of a place in a watch of what r asks for.
func (p *WatchPlace) Cursor(r *WatchRequest) string {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 16+len(p.Revisions)), r.sum())
	b = binary.AppendUvarint(b, p.Generation)
	for _, n := range p.Revisions {
		b = binary.AppendUvarint(b, n)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// Place reads the cursor of a request. The error is invalid_cursor; so is that of a cursor of
// another prefix or lane.
func (r *WatchRequest) Place() (p WatchPlace, err error) {
	b, err := base64.RawURLEncoding.DecodeString(r.Cursor)
	switch {
	case err != nil || len(b) < 4:
		return p, core.Errorf(core.CodeInvalidCursor, "the cursor is not one of a watch")
	case binary.BigEndian.Uint32(b) != r.sum():
		return p, core.Errorf(core.CodeInvalidCursor, "the cursor is not one of a watch of this prefix and lane")
	}
	var numbers []uint64
	for b = b[4:]; len(b) > 0; {
		n, size := binary.Uvarint(b)
		if size <= 0 || len(numbers) > MaxLanes {
			return p, core.Errorf(core.CodeInvalidCursor, "the cursor is not one of a watch")
		}
		numbers, b = append(numbers, n), b[size:]
	}
	if len(numbers) < 2 {
		return p, core.Errorf(core.CodeInvalidCursor, "the cursor is not one of a watch")
	}
	return WatchPlace{numbers[0], numbers[1:]}, nil
}

// sum tells one request from another.
func (r *WatchRequest) sum() uint32 {
	h := fnv.New32a()
	_, _ = h.Write(binary.BigEndian.AppendUint32([]byte(r.Prefix), uint32(r.Lane))) // it never fails
	return h.Sum32()
}
