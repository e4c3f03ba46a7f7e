package postgres

import (
	"encoding/binary"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// callParams is how many parameters commit_group has.
const callParams = 33

// stateParams are the last of them.
const stateParams = 3

// call is what commit_group is asked for, beside the plan.
type call struct {
	epoch uint64
	// fresh are the streams that may not be there yet, by number. They and the records
	// are made where make says so; it does only where the transaction has no lock yet.
	fresh []int
	make  bool
	// look has the ids of the events looked up before anything is written.
	look bool
	// probe asks for the facts that the plan needs, and writes nothing but what it makes.
	probe bool
}

// encode puts the parameters of commit_group for p.
func (c *call) encode(out *params, p *plan) {
	out.reset()
	out.int8(c.epoch)
	out.bool(c.probe)
	out.bool(c.make)
	c.encodeStreams(out, p)
	c.encodeRecords(out, p)
	out.bool(c.look)
	encodeOthers(out, p, c.probe)
	events := 0
	if !c.probe {
		events = p.count(true)
	}
	if events > 0 {
		encodePlaces(out, p, events)
		encodeContents(out, p, events)
		encodeLinks(out, p, events)
	}
	for len(out.ends) < callParams-stateParams {
		out.null()
	}
	c.encodeStates(out, p)
	c.encodeIncarnations(out, p)
}

func (c *call) encodeStreams(out *params, p *plan) {
	if len(p.streams) == 0 {
		for range 4 {
			out.null()
		}
		return
	}
	out.array(oidText, len(p.streams))
	for i := range p.streams {
		elementBytes(out, p.streams[i].name)
	}
	out.end(false)
	if len(c.fresh) == 0 {
		out.null()
	} else {
		out.array(oidText, len(c.fresh))
		for _, i := range c.fresh {
			elementBytes(out, p.streams[i].name)
		}
		out.end(false)
	}
	if c.probe || p.unbound() {
		out.null()
		out.null()
		return
	}
	for _, low := range []bool{true, false} {
		out.array(oidInt8, len(p.streams))
		for i := range p.streams {
			switch s := &p.streams[i]; {
			case !s.needed:
				out.elementNull()
			case low:
				out.elementInt8(s.bounds.low)
			default:
				out.elementInt8(s.bounds.high)
			}
		}
		out.end(false)
	}
}

// encodeStates puts what the state of each stream has to be, and what is done to it.
func (c *call) encodeStates(out *params, p *plan) {
	if c.probe || !p.unlive {
		out.null()
		out.null()
		return
	}
	out.array(oidInt2, len(p.streams))
	for i := range p.streams {
		if s := &p.streams[i]; s.needed && s.state.has {
			out.elementInt2(uint16(s.state.what))
		} else {
			out.elementNull()
		}
	}
	out.end(false)
	if !p.changes() {
		out.null()
		return
	}
	out.array(oidInt2, len(p.streams))
	for i := range p.streams {
		if op := p.streams[i].op; op != nil {
			out.elementInt2(uint16(op.Action))
		} else {
			out.elementNull()
		}
	}
	out.end(false)
}

// encodeIncarnations puts what the incarnation of each stream has to be.
func (c *call) encodeIncarnations(out *params, p *plan) {
	if c.probe || !p.incarnations {
		out.null()
		return
	}
	out.array(oidInt4, len(p.streams))
	for i := range p.streams {
		if s := &p.streams[i]; s.needed && s.incarnation != 0 {
			out.elementInt4(s.incarnation)
		} else {
			out.elementNull()
		}
	}
	out.end(false)
}

// changes reports whether a stream is changed as a whole.
func (p *plan) changes() bool {
	return slices.ContainsFunc(p.streams, func(s stream) bool { return s.op != nil })
}

// unbound reports whether all streams are to be written, whatever their
// versions.
func (p *plan) unbound() bool {
	for i := range p.streams {
		if !p.streams[i].needed || p.streams[i].bounds != anything {
			return false
		}
	}
	return true
}

func (c *call) encodeRecords(out *params, p *plan) {
	if len(p.records) == 0 {
		for range 9 {
			out.null()
		}
		return
	}
	each := func(oid uint32, element func(r *record)) {
		out.array(oid, len(p.records))
		for i := range p.records {
			element(&p.records[i])
		}
		out.end(false)
	}
	each(oidText, func(r *record) { elementBytes(out, r.key.table) })
	each(oidBytea, func(r *record) { elementBytes(out, r.key.key) })
	each(oidBool, func(r *record) { out.elementBool(r.needed || c.probe) })
	runs := p.lockRuns()
	out.array(oidInt4, len(runs))
	for _, end := range runs {
		out.elementInt4(uint32(end))
	}
	out.end(false)
	if c.probe {
		for range 5 {
			out.null()
		}
		return
	}
	each(oidInt8, func(r *record) { out.elementInt8(r.bounds.low) })
	each(oidInt8, func(r *record) { out.elementInt8(r.bounds.high) })
	each(oidBool, func(r *record) { out.elementBool(r.reset) })
	each(oidInt8, func(r *record) { out.elementInt8(r.add) })
	each(oidBytea, func(r *record) { elementBytes(out, r.value) })
}

// lockRuns are the ends of runs of records that get the same lock: exclusive, then
// shared, and so on. The first may be empty.
func (p *plan) lockRuns() (ends []int) {
	shared := false
	for i := range p.records {
		if p.records[i].shared != shared {
			ends = append(ends, i)
			shared = !shared
		}
	}
	return append(ends, len(p.records))
}

// count is the number of events of the entries that are to be written, or of
// the others.
func (p *plan) count(write bool) (n int) {
	for i := range p.entries {
		if p.entries[i].write == write {
			n += len(p.entries[i].ids)
		}
	}
	return n
}

// encodeOthers puts the ids of events that are not to be written, or all ids, and
// those of events that are linked.
func encodeOthers(out *params, p *plan, all bool) {
	linked := p.linkedIDs()
	n := p.count(false) + len(linked)
	if all {
		n += p.count(true)
	}
	if n == 0 {
		out.null()
		return
	}
	out.array(oidUUID, n)
	for i := range linked {
		elementBytes(out, linked[i][:])
	}
	for i := range p.entries {
		if e := &p.entries[i]; all || !e.write {
			for j := range e.ids {
				elementBytes(out, e.ids[j][:])
			}
		}
	}
	out.end(false)
}

// encodePlaces puts the stream, offset and id of each event.
func encodePlaces(out *params, p *plan, n int) {
	out.array(oidInt4, n)
	p.eachAppend(func(e *entry, i int) {
		for range e.commit.Appends[i].Count() {
			out.elementInt4(uint32(e.streams[i] + 1))
		}
	})
	out.end(false)
	added := make([]uint32, len(p.streams))
	out.array(oidInt4, n)
	p.eachAppend(func(e *entry, i int) {
		for range e.commit.Appends[i].Count() {
			added[e.streams[i]]++
			out.elementInt4(added[e.streams[i]])
		}
	})
	out.end(false)
	out.array(oidUUID, n)
	for i := range p.entries {
		if e := &p.entries[i]; e.write {
			for j := range e.ids {
				elementBytes(out, e.ids[j][:])
			}
		}
	}
	out.end(false)
}

// encodeContents puts what was sent of each event. A column that no event has
// is one NULL.
func encodeContents(out *params, p *plan, n int) {
	var hasTime, hasType, hasMetadata bool
	p.eachEvent(func(e *core.NewEvent) {
		hasTime = hasTime || !e.Time.IsZero()
		hasType = hasType || e.ContentType != ""
		hasMetadata = hasMetadata || len(e.Metadata) > 0
	})
	column := func(has bool, oid uint32, element func(e *core.NewEvent)) {
		if !has {
			out.null()
			return
		}
		out.array(oid, n)
		p.eachEvent(element)
		out.end(false)
	}
	column(hasTime, oidTimestamptz, func(e *core.NewEvent) {
		if e.Time.IsZero() {
			out.elementNull()
			return
		}
		out.elementInt8(timestamp(e.Time))
	})
	column(true, oidInt2, func(e *core.NewEvent) { out.elementInt2(uint16(e.Format)) })
	column(true, oidText, func(e *core.NewEvent) { elementBytes(out, e.Type) })
	column(hasType, oidText, func(e *core.NewEvent) {
		if e.ContentType == "" {
			out.elementNull()
			return
		}
		elementBytes(out, e.ContentType)
	})
	column(hasMetadata, oidBytea, func(e *core.NewEvent) {
		if len(e.Metadata) == 0 {
			out.elementNull()
			return
		}
		elementBytes(out, e.Metadata)
	})
	correlations := p.correlations(n)
	column(correlations != nil, oidText, func(*core.NewEvent) {
		id := correlations[0]
		correlations = correlations[1:]
		if id == "" {
			out.elementNull()
			return
		}
		elementBytes(out, id)
	})
	column(true, oidBytea, func(e *core.NewEvent) { elementBytes(out, e.Data) })
}

// eachAppend visits the Appends that are to be written, in order.
func (p *plan) eachAppend(visit func(e *entry, i int)) {
	for i := range p.entries {
		if e := &p.entries[i]; e.write {
			for j := range e.commit.Appends {
				visit(e, j)
			}
		}
	}
}

// eachEvent visits the events that are to be written, in order. A link is an event
// that says nothing.
func (p *plan) eachEvent(visit func(e *core.NewEvent)) {
	p.eachAppend(func(e *entry, i int) {
		a := &e.commit.Appends[i]
		for j := range a.Events {
			visit(&a.Events[j])
		}
		for _, id := range a.Links {
			visit(&core.NewEvent{Type: p.own[id].typ})
		}
	})
}

// answer is what commit_group returns.
type answer struct {
	written  bool
	head     uint64 // before the first event
	recorded int64  // Unix µs
	waited   uint32 // until the log row was locked, µs
	found    found
	// there says which streams there are.
	there []bool
	// gone says that the row of a record was deleted before it could be locked.
	gone bool
	// epoch is the log's after the facts were read, where nothing was written.
	epoch uint64
	// changes is how many Commits have changed streams as a whole, where events were
	// written or streams changed.
	changes uint64
}

// answerColumns is how many columns commit_group's row has.
const answerColumns = 16

// decode reads the row that commit_group answered for p.
func (a *answer) decode(row [][]byte, p *plan) error {
	if len(row) != answerColumns || len(row[0]) != 1 {
		return errMalformed
	}
	*a = answer{written: row[0][0] != 0, epoch: uint64Of(row[14]), changes: uint64Of(row[15])}
	if row[1] != nil && row[2] != nil && row[3] != nil {
		if len(row[1]) != 8 || len(row[2]) != 8 || len(row[3]) != 4 {
			return errMalformed
		}
		a.head = binary.BigEndian.Uint64(row[1])
		a.recorded = int64(binary.BigEndian.Uint64(row[2])) + epoch2000
		a.waited = binary.BigEndian.Uint32(row[3])
	}
	list, err := elements(row[4])
	if err != nil {
		return err
	}
	a.there = make([]bool, len(list))
	for i := range list {
		a.there[i] = list[i] != nil
	}
	if a.found.versions, err = numbers(row[4]); err != nil {
		return err
	}
	if a.found.lifecycles, err = lifecycles(row[5], row[6], len(list)); err != nil {
		return err
	}
	revisions, err := elements(row[7])
	if err != nil {
		return err
	}
	a.gone = slices.ContainsFunc(revisions, func(r []byte) bool { return r == nil })
	if a.found.revisions, err = numbers(row[7]); err != nil {
		return err
	}
	if len(list) != len(p.streams) || len(a.found.revisions) != len(p.records) {
		return errMalformed
	}
	return a.decodeIDs(row[8:14])
}

// lifecycles reads the states and the incarnations of n streams. NULL is that of a stream that
// is not there; no states are those of streams that nothing was done to as a whole.
func lifecycles(states, incarnations []byte, n int) ([]core.Lifecycle, error) {
	out := make([]core.Lifecycle, n)
	if states == nil {
		return out, nil
	}
	list, err := elements(states)
	if err != nil {
		return nil, err
	}
	numbers, err := elements(incarnations)
	if err != nil {
		return nil, err
	}
	if len(list) != n || len(numbers) != n {
		return nil, errMalformed
	}
	for i := range out {
		switch {
		case list[i] == nil && numbers[i] == nil:
		case len(list[i]) == 2 && len(numbers[i]) == 4:
			out[i] = lifecycleOf(list[i], numbers[i])
		default:
			return nil, errMalformed
		}
	}
	return out, nil
}

// lifecycleOf reads the state and the incarnation of a stream, in binary.
func lifecycleOf(state, incarnation []byte) core.Lifecycle {
	return core.Lifecycle{
		State:    core.StreamState(binary.BigEndian.Uint16(state)),
		Removals: binary.BigEndian.Uint32(incarnation) - 1,
	}
}

func (a *answer) decodeIDs(columns [][]byte) error {
	ids, err := elements(columns[0])
	if err != nil || len(ids) == 0 {
		return err
	}
	streams, err := elements(columns[1])
	if err != nil {
		return err
	}
	versions, err := numbers(columns[2])
	if err != nil {
		return err
	}
	positions, err := numbers(columns[3])
	if err != nil {
		return err
	}
	types, err := elements(columns[4])
	if err != nil {
		return err
	}
	links, err := numbers(columns[5])
	if err != nil {
		return err
	}
	n := len(ids)
	if len(streams) != n || len(versions) != n || len(positions) != n || len(types) != n || len(links) != n {
		return errMalformed
	}
	a.found.ids = make(map[core.ID]place, len(ids))
	for i := range ids {
		if len(ids[i]) != len(core.ID{}) {
			return errMalformed
		}
		a.found.ids[core.ID(ids[i])] = place{string(streams[i]), versions[i], positions[i], string(types[i]), links[i] > 0}
	}
	return nil
}
