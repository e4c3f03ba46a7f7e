package memory

import (
	"strings"

	"github.com/gyre-events/gyre/core"
)

// change applies a StreamOp that was verified.
func (e *Engine) change(op *core.StreamOp) {
	state, err := e.states[op.Stream].After(op, e.version(op.Stream), uint64(len(e.events)))
	if err != nil {
		panic("memory: what was verified is refused")
	}
	e.states[strings.Clone(op.Stream)] = state
	if op.Action.Removes() {
		e.remove(op.Stream)
	}
}

// remove removes a stream's events and links, and the links to its events.
func (e *Engine) remove(stream string) {
	removed := make(map[core.ID]bool)
	for _, p := range e.streams[stream] {
		if p == 0 {
			continue
		}
		if event := e.event(p); event.Link.IsZero() {
			removed[event.ID] = true
			delete(e.ids, event.ID)
		} else {
			delete(e.links, linkKey{stream, event.ID})
		}
		e.forget(p)
	}
	delete(e.streams, stream)
	e.removeLinks(removed)
}

// removeLinks removes the links to removed events, and returns how many there were.
func (e *Engine) removeLinks(removed map[core.ID]bool) (links uint64) {
	if len(removed) == 0 {
		return 0
	}
	for key, link := range e.links {
		if removed[key.id] {
			e.streams[link.stream][link.version-1] = 0
			delete(e.links, key)
			e.forget(link.position)
			links++
		}
	}
	return links
}

// forget lets go of what is at a position.
func (e *Engine) forget(position uint64) {
	e.bytes -= int64(len(e.events[position-1]))
	e.events[position-1] = nil
}
