package disk

import (
	"github.com/gyre-events/gyre/core"
)

// checkLinks goes through the log once more, if it has links, and looks at the event
// that each names; whole is the index of the whole log.
func (v *verifier) checkLinks(whole *run, last *segmentHeader) error {
	if v.links == 0 {
		return nil
	}
	e := v.engine
	before := e.index.view.Load()
	defer e.index.view.Store(before)
	view := *before
	view.runs = []*run{whole}
	e.index.view.Store(&view)
	for i := range v.sealed {
		if err := v.ctx.Err(); err != nil {
			return core.AsError(err)
		}
		s := &v.sealed[i]
		if err := e.replay(s, visitor{event: v.linkVisitor(&view, s.header.number)}); err != nil {
			return err
		}
	}
	file, err := e.files.acquire(last.number)
	if err != nil {
		return openError(err)
	}
	defer e.files.release(file)
	_, err = scanTail(file, *last, visitor{event: v.linkVisitor(&view, last.number)})
	return err
}

// linkVisitor compares each link of a segment with the event that it names.
func (v *verifier) linkVisitor(view *view, segment uint32) func(int64, []byte) error {
	return func(o int64, encoded []byte) error {
		if !core.IsLink(encoded) {
			return nil
		}
		var link core.Event
		if !decode(encoded, &link) {
			return corrupt(at(segment, o), "an event is malformed")
		}
		event, err := v.engine.linkedEvent(view, &link, at(segment, o), v.lifecycle)
		if event != nil && (event.Position >= link.Position || event.Type != link.Type) {
			err = corrupt(at(segment, o), "a link says otherwise than the event that it names")
		}
		return err
	}
}
