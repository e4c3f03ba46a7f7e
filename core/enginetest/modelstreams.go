package enginetest

import (
	"slices"

	"github.com/gyre-events/gyre/core"
)

// closed is why a stream can be neither read nor appended to, or "".
func (m *model) closed(stream string) core.Code {
	switch m.states[stream].State {
	case core.StreamDeleted:
		return core.CodeStreamDeleted
	case core.StreamTombstoned:
		return core.CodeStreamTombstoned
	}
	return ""
}

// later is a stream's incarnation where that is not 1, and 0 where it is.
func (m *model) later(stream string) uint32 {
	if n := m.states[stream].Removals; n > 0 {
		return n + 1
	}
	return 0
}

// isOther reports whether an incarnation is expected that a stream is not in.
func (m *model) isOther(stream string, expected uint32) bool {
	return expected != 0 && expected != m.states[stream].Removals+1
}

// judgeOp is what a StreamOp is refused with, or "".
func (m *model) judgeOp(op core.StreamOp) core.Code {
	isDeleted := m.states[op.Stream].State == core.StreamDeleted
	if isDeleted != (op.Action == core.UndeleteStream) || m.states[op.Stream].State == core.StreamTombstoned {
		if code := m.closed(op.Stream); code != "" {
			return code
		}
	}
	switch version := m.versions[op.Stream]; {
	case version == 0 && op.Action != core.TombstoneStream:
		return core.CodeStreamNotFound
	case op.Action == core.UndeleteStream && !isDeleted:
		return core.CodeStreamNotDeleted
	case !op.Expect.Holds(version), m.isOther(op.Stream, op.Incarnation):
		return core.CodeWrongExpectedVersion
	}
	return ""
}

// changeStream applies a StreamOp that was written.
func (m *model) changeStream(op core.StreamOp) {
	state := m.states[op.Stream]
	switch op.Action {
	case core.DeleteStream:
		state.State = core.StreamDeleted
	case core.UndeleteStream:
		state.State = core.StreamLive
	case core.TombstoneStream:
		state.State = core.StreamTombstoned
	}
	if op.Action.Removes() {
		state.Removals++
		m.remove(op.Stream)
	}
	m.states[op.Stream] = state
}

// remove removes a stream's events and links, and the links to its events.
func (m *model) remove(stream string) {
	gone := func(e core.Event) bool { return e.Stream == stream || e.Link.Stream == stream }
	for _, e := range m.events {
		if gone(e) {
			m.removed = append(m.removed, e)
			delete(m.known, e.ID)
		}
	}
	m.events = slices.DeleteFunc(m.events, gone)
	m.written = slices.DeleteFunc(m.written, gone)
	for name, events := range m.streams {
		m.streams[name] = slices.DeleteFunc(events, gone)
	}
	delete(m.streams, stream)
	delete(m.versions, stream)
}
