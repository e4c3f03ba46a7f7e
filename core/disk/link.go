package disk

import (
	"errors"

	"github.com/gyre-events/gyre/core"
)

// A link is an event in the log that has no payload of its own (core.EncodeLink).
// It is indexed as an event of its stream, and under a hash of stream and id
// instead of the id's.

// linked is what a link of the Commit that is decided is to.
type linked struct {
	origin core.Origin // not known yet of an event of the same Commit
	typ    string
	sent   *sentEvent // that event
}

// linkLookUp is the look-up of the ids of one Commit that has links.
type linkLookUp struct {
	engine *Engine
	commit *core.Commit
	result core.Result
	same   bool  // all so far are where an earlier try would have put them
	wrong  error // what cannot be written, first in order

	sent   map[core.ID]*sentEvent
	linked map[linkKey]bool
	items  int // events and links so far
	links  int
}

// sentEvent is event j of Append i.
type sentEvent struct{ i, j int }

type linkKey struct {
	stream string
	id     core.ID
}

// lookUpLinks is lookUp for a Commit with links. It takes the events and links in
// order, looks each up, and notes what the links are to.
func (e *Engine) lookUpLinks(c *core.Commit) (*core.Result, error) {
	l := &linkLookUp{
		engine: e, commit: c, same: true,
		result: core.Result{Duplicate: true, Appends: make([]core.Appended, len(c.Appends))},
		sent:   make(map[core.ID]*sentEvent), linked: make(map[linkKey]bool),
	}
	for i := range c.Appends {
		for j := range c.Appends[i].Events {
			if err := l.event(i, j); err != nil {
				return nil, err
			}
		}
		for j := range c.Appends[i].Links {
			if err := l.link(i, j); err != nil {
				return nil, err
			}
		}
	}
	if l.same {
		return &l.result, nil
	}
	return nil, l.wrong
}

// event looks an event of Append i up.
func (l *linkLookUp) event(i, j int) error {
	a := &l.commit.Appends[i]
	id, hash := &a.Events[j].ID, l.engine.writer.decision.hashes[l.items]
	l.items++
	if id.IsZero() {
		l.same = false
		return nil
	}
	ev, known, err := l.engine.eventForWriter(id, hash)
	if err != nil {
		return err
	}
	if _, twice := l.sent[*id]; known || twice {
		l.refuse(core.NewDuplicateEvent(a.Stream, *id), i)
	}
	l.sent[*id] = &sentEvent{i, j}
	l.found(i, j, &ev, known)
	return nil
}

// link looks a link of Append i up, and the event that it is to.
func (l *linkLookUp) link(i, j int) error {
	e, a := l.engine, &l.commit.Appends[i]
	d := &e.writer.decision
	id, hash, to := &a.Links[j], d.hashes[l.items], &d.links[l.links]
	l.items++
	l.links++
	there, known, err := e.find(id, hash, func(ev *core.Event) bool {
		return !isEvent(ev) && ev.Stream == a.Stream
	}, e.allDecided())
	if err != nil {
		return err
	}
	l.found(i, j, &there, known)
	key := linkKey{a.Stream, *id}
	if known || l.linked[key] {
		l.refuse(core.NewDuplicateLink(a.Stream, *id), i)
		return nil
	}
	l.linked[key] = true
	home, known, err := e.eventForWriter(id, e.key.id(id))
	if err != nil {
		return err
	}
	switch sent := l.sent[*id]; {
	case known:
		*to = linked{origin: home.Home(), typ: home.Type}
	case sent != nil:
		from := &l.commit.Appends[sent.i]
		*to = linked{origin: core.Origin{Stream: from.Stream}, typ: from.Events[sent.j].Type, sent: sent}
	default:
		l.refuse(core.NewLinkNotFound(a.Stream, *id), i)
	}
	if to.origin.Stream == a.Stream {
		l.refuse(core.NewDuplicateLink(a.Stream, *id), i)
	}
	if l.commit.Changes(to.origin.Stream) {
		l.refuse(core.NewLinkToChanged(a.Stream, to.origin.Stream, *id), i)
	}
	return nil
}

// refuse notes the first error.
func (l *linkLookUp) refuse(err *core.Error, element int) {
	if l.wrong == nil {
		err.Element = &element
		l.wrong = err
	}
}

// found takes in where number j of Append i is, if it is known.
func (l *linkLookUp) found(i, j int, ev *core.Event, known bool) {
	placed := &l.result.Appends[i]
	l.same = l.same && known && ev.Stream == l.commit.Appends[i].Stream &&
		(j == 0 || ev.Version == placed.LastVersion+1) && ev.Position > l.result.Position
	if j == 0 {
		placed.FirstVersion, placed.FirstPosition, placed.Incarnation = ev.Version, ev.Position, core.LaterIncarnation(ev.Incarnation)
	}
	placed.LastVersion, placed.LastPosition = ev.Version, ev.Position
	l.result.Position = ev.Position
}

// encodeLinks adds the links of a behind p to the frame, and returns how many.
// placed has the places of the Appends before it.
func (d *decision) encodeLinks(b *frameBuilder, p *core.Placement, a *core.Append, placed []core.Appended) int {
	for j := range a.Links {
		p.Position++
		p.Version++
		p.ID = a.Links[j]
		to := &d.links[j]
		if to.sent != nil {
			from := &placed[to.sent.i]
			to.origin.Version, to.origin.Position = from.FirstVersion+uint64(to.sent.j), from.FirstPosition+uint64(to.sent.j)
		}
		b.link(*p, to.origin, to.typ)
	}
	d.links = d.links[len(a.Links):]
	return len(a.Links)
}

// resolve is the link at o as it is read, or nil if the event is removed.
func (e *Engine) resolve(v *view, link *core.Event, o offset) ([]byte, error) {
	event, err := e.linkedEvent(v, link, o, e.lifecycle)
	if err != nil || event == nil {
		return nil, err
	}
	return link.Resolve(nil, event), nil
}

// linkedEvent is the event that the link at o names, or nil if that is removed.
func (e *Engine) linkedEvent(v *view, link *core.Event, o offset, of lifecycles) (*core.Event, error) {
	l, err := of(link.Link.Stream)
	if err != nil || link.Link.Position <= l.Removed {
		return nil, err
	}
	var place [1]offset
	err = v.postings(e.index, indexName(link.Link.Stream, l.Incarnation()), link.Link.Version, place[:])
	if err == nil && place[0] == 0 && v.gaps {
		return nil, nil
	}
	if errors.Is(err, core.CodeInternal) || err == nil && place[0] == 0 {
		return nil, corrupt(o, "a link names version %d of stream %q, which is not there", link.Link.Version, link.Link.Stream)
	}
	if err != nil {
		return nil, err
	}
	encoded, err := e.encodedAt(v, place[0], allWritten)
	if errors.Is(err, errRemoved) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	event := new(core.Event)
	if !decode(encoded, event) {
		return nil, corrupt(place[0], "an event is malformed")
	}
	if event.ID != link.ID || event.Home() != link.Link {
		return nil, corrupt(o, "a link names event %s at version %d of stream %q, where %s is", link.ID, link.Link.Version, link.Link.Stream, event.ID)
	}
	return event, nil
}
