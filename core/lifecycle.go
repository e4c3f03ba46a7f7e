package core

// StreamState says whether a stream can be read and appended to.
type StreamState uint8

// The states of a stream.
const (
	StreamLive       StreamState = iota
	StreamDeleted                // it cannot be read or appended to, until that is undone
	StreamTombstoned             // nothing is ever appended to it again
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
