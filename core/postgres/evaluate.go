package postgres

import "github.com/gyre-events/gyre/core"

// evaluation answers the entries of a plan one by one, in order, by what
// storage has answered, as if each had come alone after the ones before it.
type evaluation struct {
	plan  *plan
	found *found

	head      uint64   // position of the last event so far
	added     []uint64 // events written so far, by stream
	revisions []uint64 // so far, by record
	// places are those of the events written so far, kept where an entry may
	// ask for them.
	places map[core.ID]place
}

// evaluate begins with the state that f describes and a log that ends at head.
func (p *plan) evaluate(f *found, head uint64) *evaluation {
	s := &evaluation{plan: p, found: f, head: head}
	s.added = make([]uint64, len(p.streams))
	s.revisions = append(s.revisions, f.revisions...)
	keep := p.links
	for i := range p.entries {
		keep = keep || !p.entries[i].write
	}
	if keep {
		s.places = make(map[core.ID]place)
	}
	return s
}

// sink gets what was written, in order.
type sink interface {
	event(p core.Placement, e *core.NewEvent)
	// link gets a link, the id of its row, and where the event p.ID is.
	link(p core.Placement, row core.ID, home place)
}

// written applies an entry that was written.
func (s *evaluation) written(e *entry, to sink) core.Result {
	c := e.commit
	result := core.Result{Appends: make([]core.Appended, len(c.Appends))}
	ids := e.ids
	for i := range c.Appends {
		at := e.streams[i]
		lifecycle := s.found.lifecycles[at]
		p := core.Placement{
			Stream: c.Appends[i].Stream, Version: s.found.versions[at] + s.added[at],
			Position: s.head, Incarnation: lifecycle.Incarnation(),
		}
		placed := core.Appended{FirstVersion: p.Version + 1, FirstPosition: p.Position + 1, Incarnation: lifecycle.LaterIncarnation()}
		for j := range c.Appends[i].Events {
			p.Version++
			p.Position++
			p.ID, ids = ids[0], ids[1:]
			to.event(p, &c.Appends[i].Events[j])
			s.remember(p, p.ID, c.Appends[i].Events[j].Type, false)
		}
		for _, id := range c.Appends[i].Links {
			var row core.ID
			row, ids = ids[0], ids[1:]
			p.Version++
			p.Position++
			p.ID = id
			home, _ := s.placeOf(id)
			to.link(p, row, home)
			s.remember(p, row, home.typ, true)
		}
		placed.LastVersion, placed.LastPosition = p.Version, p.Position
		s.head = p.Position
		s.added[at] += uint64(placed.Count())
		result.Appends[i], result.Position = placed, p.Position
	}
	for i, op := range c.Records {
		switch op.Action {
		case core.DeleteRecord:
			s.revisions[e.records[i]] = 0
		case core.PutRecord:
			s.revisions[e.records[i]]++
		}
	}
	return result
}

// remember notes where the row with an id is, if anybody may ask.
func (s *evaluation) remember(p core.Placement, row core.ID, typ string, link bool) {
	if s.places != nil {
		s.places[row] = place{p.Stream, p.Version, p.Position, typ, link}
	}
}

// refusal says why an entry was not written: it was before, and this is the
// result, or an error. Neither means that it might be written now.
func (s *evaluation) refusal(e *entry) (first *core.Result, err error) {
	if first, err := s.lookUp(e); first != nil || err != nil {
		return first, err
	}
	return nil, s.verify(e)
}

func (s *evaluation) placeOf(id core.ID) (place, bool) {
	if p, ok := s.places[id]; ok {
		return p, true
	}
	p, ok := s.found.ids[id]
	return p, ok
}

// lookUp compares the ids of e with the log's (P5).
func (s *evaluation) lookUp(e *entry) (*core.Result, error) {
	c := e.commit
	first := core.Result{Duplicate: true, Appends: make([]core.Appended, len(c.Appends))}
	sent := make(map[core.ID]string, len(e.ids)) // streams
	isRetry := len(c.Appends) > 0
	var wrong *core.Error
	rest := e.ids
	for i := range c.Appends {
		a := &c.Appends[i]
		ids := rest[:a.Count()]
		rest = rest[a.Count():]
		for j, id := range ids {
			p, isKnown := s.placeOf(id)
			_, isSent := sent[id]
			if isLink := len(a.Links) > 0; wrong == nil {
				switch {
				case (isKnown || isSent) && isLink:
					wrong = atElement(core.NewDuplicateLink(a.Stream, a.Links[j]), i)
				case isKnown || isSent:
					wrong = atElement(core.NewDuplicateEvent(a.Stream, id), i)
				case isLink:
					wrong = s.cannotLink(c, a.Links[j], sent, i)
				}
			}
			sent[id] = a.Stream
			placed := &first.Appends[i]
			if j == 0 {
				placed.FirstVersion, placed.FirstPosition = p.version, p.position
				placed.Incarnation = s.found.lifecycles[e.streams[i]].LaterIncarnation()
			}
			isRetry = isRetry && isKnown && p.stream == a.Stream && p.link == (len(a.Links) > 0) &&
				p.version == placed.FirstVersion+uint64(j) && p.position > first.Position
			placed.LastVersion, placed.LastPosition = p.version, p.position
			first.Position = p.position
		}
	}
	switch {
	case isRetry:
		return &first, nil
	case wrong != nil:
		return nil, core.NoteKnown(wrong, c, func(n int, a *core.Append, _ core.ID) (bool, error) {
			p, isKnown := s.placeOf(e.ids[n])
			return isKnown && p.stream == a.Stream && p.link == (len(a.Links) > 0), nil
		})
	}
	return nil, nil
}

// cannotLink says why an event cannot be linked by Append i of c, if so.
func (s *evaluation) cannotLink(c *core.Commit, id core.ID, sent map[core.ID]string, i int) *core.Error {
	a := &c.Appends[i]
	home, ok := s.placeOf(id)
	ok = ok && !home.link
	if !ok {
		home.stream, ok = sent[id]
	}
	switch {
	case !ok:
		return atElement(core.NewLinkNotFound(a.Stream, id), i)
	case home.stream == a.Stream:
		return atElement(core.NewDuplicateLink(a.Stream, id), i)
	case c.Changes(home.stream):
		return atElement(core.NewLinkToChanged(a.Stream, home.stream, id), i)
	}
	return nil
}

// verify evaluates what e expects.
func (s *evaluation) verify(e *entry) error {
	c := e.commit
	var added map[int]uint64 // by the Appends of e so far
	for i := range c.Appends {
		a, at := &c.Appends[i], e.streams[i]
		lifecycle := s.found.lifecycles[at]
		if err := lifecycle.Refusal(a.Stream); err != nil {
			return atElement(err, i)
		}
		if err := a.Mismatch(lifecycle.Incarnation(), s.found.versions[at]+s.added[at]+added[at]); err != nil {
			return atElement(err, i)
		}
		if added == nil {
			added = make(map[int]uint64, len(c.Appends))
		}
		added[at] += uint64(a.Count())
	}
	if err := s.verifyChecks(e); err != nil {
		return err
	}
	for i := range c.Records {
		op, revision := &c.Records[i], s.revisions[e.records[i]]
		if !op.Expect.Holds(revision) {
			err := core.Errorf(core.CodeRecordConflict, "record %q of table %q is at revision %d, expected %s",
				op.Key, op.Table, revision, op.Expect)
			err.Expected, err.Actual = &op.Expect, &revision
			return atElement(err, len(c.Appends)+len(c.Checks)+len(c.Streams)+i)
		}
	}
	return nil
}

// verifyChecks evaluates what the Checks and the StreamOps of e expect.
func (s *evaluation) verifyChecks(e *entry) error {
	c := e.commit
	for i := range c.Checks {
		x, at := &c.Checks[i], e.streams[len(c.Appends)+i]
		if err := s.found.lifecycles[at].Refusal(x.Stream); err != nil && x.Expect != core.AnyVersion {
			return atElement(err, len(c.Appends)+i)
		}
		if version := s.found.versions[at] + s.added[at]; !x.Expect.Holds(version) {
			return atElement(core.NewWrongVersion(x.Stream, x.Expect, version), len(c.Appends)+i)
		}
	}
	for i := range c.Streams {
		op, at := &c.Streams[i], e.streams[len(c.Appends)+len(c.Checks)+i]
		if _, err := s.found.lifecycles[at].After(op, s.found.versions[at], s.head); err != nil {
			return atElement(err, len(c.Appends)+len(c.Checks)+i)
		}
	}
	return nil
}

func atElement(err *core.Error, i int) *core.Error {
	err.Element = &i
	return err
}
