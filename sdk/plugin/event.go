package plugin

import (
	"time"
	"unsafe"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

// ID is the id of an event: a UUID.
type ID [16]byte

// String returns the id as a UUID is written.
func (id ID) String() string {
	const digits = "0123456789abcdef"
	text := make([]byte, 0, 36)
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text = append(text, '-')
		}
		text = append(text, digits[b>>4], digits[b&15])
	}
	return string(text)
}

// Event is an event to handle. Its strings and bytes share the memory of their batch and must not
// be changed. They stay valid, but what is kept for long should be cloned, so that the batch
// can be freed.
type Event struct {
	Position uint64 // in the log
	Version  uint64 // in its stream
	ID       ID
	Stream   string
	Type     string
	Data     []byte
	Metadata []byte // a JSON object, or empty
	Attempt  int    // 1 for the first
	Replay   bool   // it was parked, and is handled again

	timeMicros int64
	isJSON     bool
}

// Time returns when the event was recorded, in UTC.
func (e *Event) Time() time.Time { return time.UnixMicro(e.timeMicros).UTC() }

// JSON returns the data, if it is JSON, and else a value that is missing.
func (e *Event) JSON() json.Value {
	if !e.isJSON {
		return json.Value{}
	}
	return json.Trusted(e.Data)
}

// set makes e the event that was decoded.
func (e *Event) set(from *abi.Event) {
	e.Position, e.Version, e.ID = from.Position, from.Version, ID(from.ID)
	e.Stream, e.Type = text(from.Stream), text(from.Type)
	e.Data, e.Metadata = from.Data, from.Metadata
	e.Attempt, e.Replay = int(from.Attempt), from.Flags&abi.Replay != 0
	e.timeMicros, e.isJSON = from.TimeMicros, from.Flags&abi.JSON != 0 && from.Flags&abi.Truncated == 0
}

// text is b as a string that shares its bytes, which never change.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf is s as bytes that share its memory, and are only read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
