package postgres

import (
	"slices"

	"github.com/gyre-events/gyre/core"
)

// plan turns a group of Commits into what storage is asked for, and what
// storage answers into what becomes of each Commit. It does no I/O. COMMIT.md
// says how the two go together.
type plan struct {
	entries []entry
	streams []stream // in the order of their names
	records []record // in the order of their tables and keys

	used map[core.ID]int // ids of the events and links to write, and their streams
	undo undo

	links bool // some entry has links
	// unlive says that some stream may have to be in another state than live.
	unlive bool
	// incarnations says that some entry expects an incarnation.
	incarnations bool
	// own are the events that are to be written, by id, if there are links.
	own map[core.ID]ownEvent
}

// entry is one Commit of the group that is not answered yet.
type entry struct {
	index  int // in the group
	commit *core.Commit
	// ids are those of its rows, in order: of events, made where they were not given,
	// and of links (linkID).
	ids []core.ID
	// Where in plan.streams are the streams of the Appends, then the Checks, then the
	// StreamOps; in plan.records, the records.
	streams []int
	records []int

	write   bool // it is to be written, as far as is known
	refused bool // not, because of what it expects
}

// stream is one that the group names.
type stream struct {
	name string
	streamNeed
	added  uint64 // events and links of the group, so far
	needed bool   // something that is to be written rests on it

	// op is what is done to the whole stream, or nil. It is the only element of the group
	// that writes the stream: see parts.
	op *core.StreamOp
}

// streamNeed is what a stream has to be before the group.
type streamNeed struct {
	bounds      bounds // of its version
	state       stateNeed
	incarnation uint32 // 0 = any
}

// narrowIncarnation takes in what else the incarnation has to be. It reports whether both can be
// met.
func (n *streamNeed) narrowIncarnation(what uint32) bool {
	if n.incarnation == 0 {
		n.incarnation = what
	}
	return what == 0 || n.incarnation == what
}

// stateNeed is what the state of a stream has to be; the zero stateNeed is that it does
// not matter.
type stateNeed struct {
	has  bool
	what core.StreamState
}

// narrow takes in another need. It reports whether both can be met.
func (n *stateNeed) narrow(what core.StreamState) bool {
	if n.has {
		return n.what == what
	}
	*n = stateNeed{true, what}
	return true
}

// record is one that the group names.
type record struct {
	key recordKey
	// shared says that the group only checks it, so that the lock may be shared.
	shared bool
	// needed says that its row has to be there to be locked: it is written, deleted or
	// expected to be missing.
	needed bool

	bounds bounds // what its revision has to be before the group
	reset  bool   // deleted by the group, so far
	add    uint64 // puts since
	value  []byte // of the last put
}

type recordKey struct{ table, key string }

// found has the facts about a plan's streams, records and ids, as of one moment.
type found struct {
	versions   []uint64 // by number in plan.streams
	lifecycles []core.Lifecycle
	revisions  []uint64 // by number in plan.records
	ids        map[core.ID]place
}

// place is where an event or a link is.
type place struct {
	stream            string
	version, position uint64
	typ               string
	link              bool
}

// undo is how things were before an entry that turned out not to fit.
type undo struct {
	streams []savedStream
	records []savedRecord
}

type savedStream struct {
	at     int
	before stream
}

type savedRecord struct {
	at     int
	before record
}

func newPlan(group []*core.Commit) *plan {
	p := &plan{entries: make([]entry, len(group))}
	streams := make(map[string]int)
	records := make(map[recordKey]int)
	for i, c := range group {
		p.entries[i] = newEntry(i, c)
		p.links = p.links || c.HasLinks()
		p.unlive = p.unlive || len(c.Streams) > 0
		p.incarnations = p.incarnations || c.ExpectsIncarnation()
		for _, name := range names(c) {
			streams[name] = 0
		}
		for _, op := range c.Records {
			records[recordKey{op.Table, op.Key}] = 0
		}
	}
	for name := range streams {
		p.streams = append(p.streams, stream{name: name})
	}
	slices.SortFunc(p.streams, func(a, b stream) int { return compare(a.name, b.name) })
	for i := range p.streams {
		streams[p.streams[i].name] = i
	}
	for key := range records {
		p.records = append(p.records, record{key: key, shared: true})
	}
	slices.SortFunc(p.records, func(a, b record) int {
		if n := compare(a.key.table, b.key.table); n != 0 {
			return n
		}
		return compare(a.key.key, b.key.key)
	})
	for i := range p.records {
		records[p.records[i].key] = i
	}
	for i := range p.entries {
		e := &p.entries[i]
		for _, name := range names(e.commit) {
			e.streams = append(e.streams, streams[name])
		}
		for _, op := range e.commit.Records {
			k := records[recordKey{op.Table, op.Key}]
			e.records = append(e.records, k)
			r, checks := &p.records[k], op.Action == core.CheckRecord
			r.shared = r.shared && checks
			r.needed = r.needed || !checks || op.Expect == core.NoStream || op.Expect == 0
		}
	}
	return p
}

// names are the streams of c's Appends, then of its Checks and of its StreamOps.
func names(c *core.Commit) []string {
	out := make([]string, 0, len(c.Appends)+len(c.Checks)+len(c.Streams))
	for i := range c.Appends {
		out = append(out, c.Appends[i].Stream)
	}
	for i := range c.Checks {
		out = append(out, c.Checks[i].Stream)
	}
	for i := range c.Streams {
		out = append(out, c.Streams[i].Stream)
	}
	return out
}

func newEntry(index int, c *core.Commit) entry {
	n := 0
	for i := range c.Appends {
		n += c.Appends[i].Count()
	}
	e := entry{index: index, commit: c, ids: make([]core.ID, 0, n)}
	for i := range c.Appends {
		for j := range c.Appends[i].Events {
			id := c.Appends[i].Events[j].ID
			if id.IsZero() {
				id = core.NewID()
			}
			e.ids = append(e.ids, id)
		}
		for _, id := range c.Appends[i].Links {
			e.ids = append(e.ids, linkID(c.Appends[i].Stream, id))
		}
	}
	return e
}

// choose decides what to write. Without f that is everything that can hold
// whatever storage has; with f, what holds there. Of what is not written
// because of what it expects, the bounds keep the reasons true.
func (p *plan) choose(f *found) {
	p.begin(f.stream, func(i int) bounds { return f.revision(i) })
	p.unlive = p.unlive || f.hasUnlive()
	for i := range p.entries {
		e := &p.entries[i]
		e.write, e.refused = false, false
		if p.repeats(e, f) || p.links && !p.canLink(e, f) {
			continue
		}
		e.write = p.admit(e)
		e.refused = !e.write
		if e.write {
			p.use(e)
		}
	}
	if p.links {
		p.noteOwn()
	}
	if f != nil {
		p.loosen(f)
	}
}

// loosen makes the bounds as wide as they can be: what is written may find
// streams at other versions than f's, unless a refusal rests on them.
func (p *plan) loosen(f *found) {
	bindStreams, bindRecords := make([]bool, len(p.streams)), make([]bool, len(p.records))
	for i := range p.entries {
		if e := &p.entries[i]; e.refused {
			for _, k := range e.streams {
				bindStreams[k] = true
			}
			for _, k := range e.records {
				bindRecords[k] = true
			}
		}
	}
	p.begin(func(i int) streamNeed {
		if bindStreams[i] {
			return f.stream(i)
		}
		return streamNeed{bounds: anything}
	}, func(i int) bounds {
		if bindRecords[i] {
			return f.revision(i)
		}
		return anything
	})
	for i := range p.entries {
		if e := &p.entries[i]; e.write {
			p.admit(e)
		}
	}
}

// begin is the state before the first entry.
func (p *plan) begin(need func(i int) streamNeed, revision func(i int) bounds) {
	for i := range p.streams {
		s := &p.streams[i]
		s.streamNeed = need(i)
		s.added, s.needed, s.op = 0, false, nil
	}
	for i := range p.records {
		r := &p.records[i]
		r.bounds, r.reset, r.add, r.value = revision(i), false, 0, nil
	}
	if p.used == nil {
		p.used = make(map[core.ID]int)
	}
	clear(p.used)
}

// repeats reports whether e uses an id that f knows, that an entry before it
// writes, or that it has twice itself.
func (p *plan) repeats(e *entry, f *found) bool {
	for i, id := range e.ids {
		if _, ok := p.used[id]; ok {
			return true
		}
		if f != nil {
			if _, ok := f.ids[id]; ok {
				return true
			}
		}
		if len(e.ids) <= few && slices.Contains(e.ids[:i], id) {
			return true
		}
	}
	return len(e.ids) > few && hasTwice(e.ids)
}

// use notes the ids of an entry that is to be written.
func (p *plan) use(e *entry) {
	ids := e.ids
	for i := range e.commit.Appends {
		for range e.commit.Appends[i].Count() {
			p.used[ids[0]] = e.streams[i]
			ids = ids[1:]
		}
	}
}

// few is up to where comparing all with all is faster than a map.
const few = 16

func hasTwice(ids []core.ID) bool {
	seen := make(map[core.ID]struct{}, len(ids))
	for _, id := range ids {
		seen[id] = struct{}{}
	}
	return len(seen) < len(ids)
}

// admit narrows the bounds to those in which e holds after the entries before
// it. It changes nothing, and is false, if there are none.
func (p *plan) admit(e *entry) bool {
	p.undo.streams, p.undo.records = p.undo.streams[:0], p.undo.records[:0]
	if p.admitStreams(e) && p.admitRecords(e) {
		return true
	}
	for _, s := range slices.Backward(p.undo.streams) {
		p.streams[s.at] = s.before
	}
	for _, r := range slices.Backward(p.undo.records) {
		p.records[r.at] = r.before
	}
	return false
}

// admitStreams takes Checks and StreamOps first: they are about the state before the
// Commit.
func (p *plan) admitStreams(e *entry) bool {
	c := e.commit
	for i := range c.Checks {
		if !p.admitStream(e.streams[len(c.Appends)+i], c.Checks[i].Expect, 0, 0) {
			return false
		}
	}
	for i := range c.Streams {
		if !p.admitOp(e.streams[len(c.Appends)+len(c.Checks)+i], &c.Streams[i]) {
			return false
		}
	}
	for i := range c.Appends {
		a := &c.Appends[i]
		if !p.admitStream(e.streams[i], a.Expect, a.Incarnation, a.Count()) {
			return false
		}
	}
	return true
}

// admitOp is admitStream for a change of the whole stream.
func (p *plan) admitOp(at int, op *core.StreamOp) bool {
	s := &p.streams[at]
	p.undo.streams = append(p.undo.streams, savedStream{at, *s})
	s.bounds = s.bounds.narrow(op.Expect, 0)
	state := core.StreamLive
	switch op.Action {
	case core.UndeleteStream:
		state = core.StreamDeleted
	case core.TombstoneStream: // also of a stream that is not there
	default:
		s.bounds = s.bounds.narrow(core.StreamExists, 0)
	}
	s.needed, s.op = true, op
	return s.state.narrow(state) && s.narrowIncarnation(op.Incarnation) && !s.bounds.empty()
}

func (p *plan) admitStream(at int, x core.Expect, incarnation uint32, events int) bool {
	s := &p.streams[at]
	p.undo.streams = append(p.undo.streams, savedStream{at, *s})
	s.bounds = s.bounds.narrow(x, s.added)
	s.added += uint64(events)
	s.needed = true
	if events == 0 && x == core.AnyVersion {
		return true // a Check that everything passes
	}
	return s.state.narrow(core.StreamLive) && s.narrowIncarnation(incarnation) && !s.bounds.empty()
}

// admitRecords tests all expectations, which are about the state before the
// Commit, and then applies the operations in order.
func (p *plan) admitRecords(e *entry) bool {
	for i, op := range e.commit.Records {
		r := &p.records[e.records[i]]
		p.undo.records = append(p.undo.records, savedRecord{e.records[i], *r})
		if r.reset {
			if !op.Expect.Holds(r.add) {
				return false
			}
			continue
		}
		if r.bounds = r.bounds.narrow(op.Expect, r.add); r.bounds.empty() {
			return false
		}
	}
	for i, op := range e.commit.Records {
		r := &p.records[e.records[i]]
		switch op.Action {
		case core.DeleteRecord:
			r.reset, r.add, r.value = true, 0, nil
		case core.PutRecord:
			r.add++
			r.value = op.Value
		}
	}
	return true
}

// writes reports whether anything is to be written.
func (p *plan) writes() bool {
	return slices.ContainsFunc(p.entries, func(e entry) bool { return e.write })
}

// maxEncodedBytes bounds the size of the events to write, encoded.
func (p *plan) maxEncodedBytes() (n int) {
	p.eachAppend(func(e *entry, i int) {
		a := &e.commit.Appends[i]
		for j := range a.Events {
			n += core.MaxEncodedBytes(a.Stream, &a.Events[j])
		}
		n += len(a.Links) * core.MaxLinkBytes
	})
	return n
}

// drop takes entries out that have been answered.
func (p *plan) drop(answered func(e *entry) bool) {
	kept := p.entries[:0]
	for i := range p.entries {
		if e := p.entries[i]; !answered(&e) {
			kept = append(kept, e)
		}
	}
	p.entries = kept
}

func (f *found) stream(i int) streamNeed {
	if f == nil {
		return streamNeed{bounds: anything}
	}
	l := f.lifecycles[i]
	return streamNeed{exactly(f.versions[i]), stateNeed{true, l.State}, l.Incarnation()}
}

// hasUnlive reports whether some stream is not live.
func (f *found) hasUnlive() bool {
	return f != nil && slices.ContainsFunc(f.lifecycles, func(l core.Lifecycle) bool { return l.State != core.StreamLive })
}

func (f *found) revision(i int) bounds {
	if f == nil {
		return anything
	}
	return exactly(f.revisions[i])
}

// compare is the byte order of names, which is PostgreSQL's collation "C".
func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
