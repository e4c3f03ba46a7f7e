package census

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Name is what the node owns that folds, in a ring.
const Name = "$census"

// MaxNames bounds the types that are counted by their names, and the categories.
const MaxNames = 10_000

// Count is what the log has of a type or a category.
type Count struct {
	Events  uint64
	Streams uint64 // of a category: those with at least one event or link
	Links   uint64 // of a category
	// Position and Time are those of the last event or link; Time is when it was recorded.
	Position uint64
	Time     time.Time
}

// add counts an event or a link. Only a category counts streams and links.
func (c *Count) add(e *core.Event, category bool) {
	if link := !e.Link.IsZero(); link {
		c.Links++
	} else {
		c.Events++
	}
	if category && e.Version == 1 {
		c.Streams++
	}
	c.Position, c.Time = e.Position, e.Recorded
}

// The tables of records. Those of counts are by name; stateTable has the fold's own record.
const (
	stateTable      = "census"
	stateKey        = "state"
	typesTable      = "census_types"
	categoriesTable = "census_categories"
)

// countFormat is the first byte of a Count in its record.
const countFormat = 1

// encode returns the record of a Count: countFormat, and then Events, Streams, Links, Position and
// the microseconds of Time as uvarints.
func (c *Count) encode() []byte {
	b := append(make([]byte, 0, 32), countFormat)
	for _, n := range []uint64{c.Events, c.Streams, c.Links, c.Position, uint64(c.Time.UnixMicro())} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// decodeCount is the inverse of encode.
func decodeCount(b []byte) (c Count, err error) {
	bad := core.Errorf(core.CodeInternal, "%x is not a count", b)
	if len(b) == 0 || b[0] != countFormat {
		return c, bad
	}
	b = b[1:]
	var micros uint64
	for _, n := range []*uint64{&c.Events, &c.Streams, &c.Links, &c.Position, &micros} {
		value, size := binary.Uvarint(b)
		if size <= 0 || value > 1<<63-1 {
			return Count{}, bad
		}
		*n, b = value, b[size:]
	}
	if len(b) > 0 {
		return Count{}, bad
	}
	c.Time = time.UnixMicro(int64(micros)).UTC()
	return c, nil
}

// state is the fold's own record.
type state struct {
	Position        uint64 `json:"position"` // everything up to it is counted
	OtherTypes      Count  `json:"otherTypes"`
	OtherCategories Count  `json:"otherCategories"`
}

func decodeState(b []byte) (s state, err error) {
	if err := json.Unmarshal(b, &s); err != nil {
		return state{}, core.Errorf(core.CodeInternal, "the record %s/%s: %w", stateTable, stateKey, err)
	}
	return s, nil
}
