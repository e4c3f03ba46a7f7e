package disk

import (
	"github.com/gyre-events/gyre/core"
)

// decision is the scratch space in which one Commit is decided; its slices are
// used again for the next.
type decision struct {
	// Of every event and link, in order. Ids that the client did not give are
	// made here; a link's is its event's.
	ids    []core.ID
	hashes []uint64

	links []linked // of every link, in order

	given  []uint64 // the hashes of those events' that the client gave
	window idWindow // of the same
	seen   idTable  // to find an id that is given twice

	revisions []uint64 // of records, 0 where nothing is expected

	lifecycles []core.Lifecycle // after each StreamOp

	places  []place // one for each stream
	placeOf []int32 // which of them an Append writes
	byName  map[string]int32
}

// place is a stream that the Commit writes.
type place struct {
	name        string
	index       string // its indexName
	incarnation uint32
	stream      *memStream // its entry in the segment's table, if it has one
	before      uint64     // version before the Commit
	last        uint64     // version after the Appends so far
}

// manyStreams is from where a map finds a stream faster than a look at each.
const manyStreams = 8

// decide checks c against the log as it is after everything decided so far. It
// returns the result of an earlier try, a refusal, or nil and nil: c may be
// encoded, with what is in the decision.
func (e *Engine) decide(c *core.Commit) (*core.Result, error) {
	if result, err := e.lookUp(c); result != nil || err != nil {
		return result, core.NoteKnown(err, c, e.has)
	}
	if err := e.placeAppends(c); err != nil {
		return nil, err
	}
	if err := e.checkStreams(c); err != nil {
		return nil, err
	}
	if err := e.checkOps(c); err != nil {
		return nil, err
	}
	d := &e.writer.decision
	var err error
	d.revisions, err = e.records.check(c.Records, len(c.Appends)+len(c.Checks)+len(c.Streams), d.revisions[:0])
	return nil, err
}

// lookUp compares the ids of c with the log's (P5). It returns the result of an
// earlier try, a refusal, or nil and nil.
func (e *Engine) lookUp(c *core.Commit) (*core.Result, error) {
	d := &e.writer.decision
	d.takeIDs(e.key, c)
	if len(d.links) > 0 {
		return e.lookUpLinks(c)
	}
	if len(d.given) > 1 {
		// One of the two could never be written.
		if err := d.findTwice(c); err != nil {
			return nil, err
		}
	}
	if len(d.given) == 0 {
		return nil, nil
	}
	known, err := e.anyKnown(d)
	if err != nil || !known {
		return nil, err
	}
	return e.earlier(c)
}

// takeIDs gathers the ids of c.
func (d *decision) takeIDs(key hashKey, c *core.Commit) {
	d.ids, d.hashes, d.given, d.links = d.ids[:0], d.hashes[:0], d.given[:0], d.links[:0]
	d.window = newIDWindow()
	for i := range c.Appends {
		events := c.Appends[i].Events
		for j := range events {
			id := events[j].ID
			made := id.IsZero()
			if made {
				id = core.NewID()
			}
			hash := key.id(&id)
			d.ids, d.hashes = append(d.ids, id), append(d.hashes, hash)
			if !made {
				d.given = append(d.given, hash)
				d.window.add(&id)
			}
		}
		for j := range c.Appends[i].Links {
			id := &c.Appends[i].Links[j]
			d.ids, d.hashes = append(d.ids, *id), append(d.hashes, key.link(c.Appends[i].Stream, id))
			d.links = append(d.links, linked{})
		}
	}
}

func (d *decision) findTwice(c *core.Commit) error {
	d.seen.clear(len(d.hashes))
	for i, hash := range d.hashes {
		if d.seen.has(hash) {
			for _, j := range d.seen.find(nil, hash) {
				if d.ids[j-1] == d.ids[i] {
					return core.NewDuplicateEvent(streamOfEvent(c, i), d.ids[i])
				}
			}
		}
		d.seen.add(hash, uint32(i)+1)
	}
	return nil
}

// streamOfEvent is the stream that the n-th event of c is for.
func streamOfEvent(c *core.Commit, n int) string {
	for i := range c.Appends {
		if n < len(c.Appends[i].Events) {
			return c.Appends[i].Stream
		}
		n -= len(c.Appends[i].Events)
	}
	return ""
}

// earlier looks every given id up in earnest. If the log has none, c is new
// and the answer is nil and nil. If it has all of them as one earlier Commit
// could have written them, the answer is that Commit's result. Else it is
// duplicate_event.
func (e *Engine) earlier(c *core.Commit) (*core.Result, error) {
	result := core.Result{Duplicate: true, Appends: make([]core.Appended, len(c.Appends))}
	var found *core.ID // some id that is known
	same, n := true, 0
	for i := range c.Appends {
		a, placed := &c.Appends[i], &result.Appends[i]
		for j := range a.Events {
			id := &a.Events[j].ID
			var ev core.Event
			known := false
			if !id.IsZero() {
				var err error
				if ev, known, err = e.eventForWriter(id, e.writer.decision.hashes[n]); err != nil {
					return nil, err
				}
			}
			n++
			if !known {
				same = false
				continue
			}
			found = id
			if !same || ev.Stream != a.Stream || j > 0 && ev.Version != placed.LastVersion+1 || ev.Position <= result.Position {
				return nil, core.NewDuplicateEvent(a.Stream, *id)
			}
			if j == 0 {
				placed.FirstVersion, placed.FirstPosition, placed.Incarnation = ev.Version, ev.Position, core.LaterIncarnation(ev.Incarnation)
			}
			placed.LastVersion, placed.LastPosition = ev.Version, ev.Position
			result.Position = ev.Position
		}
	}
	switch {
	case found == nil:
		return nil, nil
	case !same:
		return nil, core.NewDuplicateEvent(streamOfID(c, *found), *found)
	}
	return &result, nil
}

// has reports whether the stream of a has the n-th event or link of the Commit that is decided.
func (e *Engine) has(n int, a *core.Append, id core.ID) (bool, error) {
	_, known, err := e.find(&id, e.writer.decision.hashes[n], func(ev *core.Event) bool {
		return ev.Stream == a.Stream && isEvent(ev) == (len(a.Links) == 0)
	}, e.allDecided())
	return known, err
}

func streamOfID(c *core.Commit, id core.ID) string {
	for i := range c.Appends {
		for j := range c.Appends[i].Events {
			if c.Appends[i].Events[j].ID == id {
				return c.Appends[i].Stream
			}
		}
	}
	return ""
}

// placeAppends finds the streams of c and checks what its Appends expect, each
// after the ones before it.
func (e *Engine) placeAppends(c *core.Commit) error {
	d := &e.writer.decision
	d.places, d.placeOf = d.places[:0], d.placeOf[:0]
	if len(c.Appends) > manyStreams {
		if d.byName == nil {
			d.byName = make(map[string]int32)
		}
		clear(d.byName)
	}
	for i := range c.Appends {
		a := &c.Appends[i]
		k := d.find(a.Stream, len(c.Appends))
		if k < 0 {
			p, err := e.placeOf(a.Stream, i)
			if err != nil {
				return err
			}
			k = int32(len(d.places))
			d.places = append(d.places, p)
			if len(c.Appends) > manyStreams {
				d.byName[a.Stream] = k
			}
		}
		d.placeOf = append(d.placeOf, k)
		p := &d.places[k]
		if mismatch := a.Mismatch(p.incarnation, p.last); mismatch != nil {
			return refused(mismatch, i)
		}
		p.last += uint64(a.Count())
	}
	for i := range d.places {
		d.places[i].last = d.places[i].before
	}
	return nil
}

// placeOf is the place of the stream of Append i.
func (e *Engine) placeOf(name string, i int) (place, error) {
	l, err := e.lifecycleForWriter(name)
	if err != nil {
		return place{}, err
	}
	if refusal := l.Refusal(name); refusal != nil {
		return place{}, refused(refusal, i)
	}
	p := place{name: name, index: indexName(name, l.Incarnation()), incarnation: l.Incarnation()}
	p.stream, p.before, err = e.versionForWriter(p.index)
	p.last = p.before
	return p, err
}

// find is the place of a stream, or -1.
func (d *decision) find(name string, appends int) int32 {
	if appends > manyStreams {
		if k, ok := d.byName[name]; ok {
			return k
		}
		return -1
	}
	for k := range d.places {
		if d.places[k].name == name {
			return int32(k)
		}
	}
	return -1
}

// unplace forgets the entries that the streams have in the table.
func (d *decision) unplace() {
	for i := range d.places {
		d.places[i].stream = nil
	}
}

// checkStreams checks c's Checks, which are about the log before c.
func (e *Engine) checkStreams(c *core.Commit) error {
	for i := range c.Checks {
		x := &c.Checks[i]
		if x.Expect == core.AnyVersion {
			continue
		}
		p, err := e.placeOf(x.Stream, len(c.Appends)+i)
		if err != nil {
			return err
		}
		if version := p.before; !x.Expect.Holds(version) {
			return refused(core.NewWrongVersion(x.Stream, x.Expect, version), len(c.Appends)+i)
		}
	}
	return nil
}
