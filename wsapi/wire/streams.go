package wire

import (
	"time"

	"github.com/gyre-events/gyre/core"
)

// StreamsPage is a page of a list of streams.
type StreamsPage struct {
	Streams []Stream `json:"streams"`
	Cursor  string   `json:"cursor,omitzero"` // of the next page
	End     bool     `json:"end"`
	// Looked is how many names or entries of the log the page was chosen from.
	Looked int           `json:"looked,omitzero"`
	Total  *StreamsTotal `json:"total,omitzero"`
}

// StreamsTotal is how many streams there are on all pages.
type StreamsTotal struct {
	Streams uint64 `json:"streams"`
	AtLeast bool   `json:"atLeast,omitzero"` // there may be more
}

// Stream describes a stream.
type Stream struct {
	Name    string       `json:"name"`
	Version uint64       `json:"version"`
	First   uint64       `json:"first"`
	Count   uint64       `json:"count"`
	State   string       `json:"state"`
	Created *StreamPlace `json:"created,omitzero"`
	Changed *StreamPlace `json:"changed,omitzero"`
	// Retention is what holds for the stream; absent if nothing expires.
	Retention *Retention `json:"retention,omitzero"`
}

// StreamPlace is where and when an event was recorded.
type StreamPlace struct {
	Position uint64    `json:"position"`
	Recorded time.Time `json:"recorded"`
}

// NewStream describes a stream.
func NewStream(i *core.StreamInfo) Stream {
	return Stream{
		Name: i.Name, Version: i.Version, First: i.First, Count: i.Count(), State: i.State.String(),
		Created: newStreamPlace(i.Created), Changed: newStreamPlace(i.Changed), Retention: newRetention(i.Retention),
	}
}

func newStreamPlace(p core.StreamPlace) *StreamPlace {
	if p.Position == 0 {
		return nil
	}
	return &StreamPlace{p.Position, p.Recorded.UTC()}
}

// Core is the inverse of NewStream. A state that this version does not know is an error; a node
// before states leaves it out.
func (s *Stream) Core() (core.StreamInfo, error) {
	info := core.StreamInfo{Name: s.Name, Version: s.Version, First: s.First, Created: s.Created.core(), Changed: s.Changed.core()}
	if s.Retention != nil {
		var err error
		if info.Retention, err = s.Retention.Core(); err != nil {
			return info, err
		}
	}
	for ; info.State <= core.StreamTombstoned; info.State++ {
		if info.State.String() == s.State || s.State == "" {
			return info, nil
		}
	}
	return info, core.Errorf(core.CodeProtocolError, "%.40q is not a state of a stream", s.State)
}

func (p *StreamPlace) core() core.StreamPlace {
	if p == nil {
		return core.StreamPlace{}
	}
	return core.StreamPlace{Position: p.Position, Recorded: p.Recorded.UTC()}
}
