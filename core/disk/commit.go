package disk

import (
	"time"

	"github.com/gyre-events/gyre/core"
)

// writer is what the one goroutine that writes, the owner of Engine.mu, keeps
// from step to step.
type writer struct {
	table    *memtable // of the segment that is written
	header   segmentHeader
	capacity int64 // of the segment, as far as it is prepared
	last     mark  // after everything decided so far, written or not
	builder  frameBuilder
	decision decision
	now      int64 // the recorded time of this step
}

// spareBytes at the end of a segment are kept for the frames of opening and closing the
// log: both have to be possible while the disk is full.
const spareBytes = 4 << 10

// ticketed is what a step waits for, if it has to wait.
type ticketed struct {
	ticket
	wait bool
}

// write decides a group and hands its frames to the system; what is left is
// the sync. Commits with records get the refusal, if there is one. An error means
// that the outcome of all of it is unknown.
func (e *Engine) write(group []*core.Commit, refusal error) (core.Step, ticketed, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := &e.writer
	if e.appender.failure() != nil {
		if err := e.resume(); err != nil {
			return core.FailStep(group, err), ticketed{}, nil
		}
	}
	step := core.Step{Outcomes: make([]core.Outcome, len(group))}
	w.now = max(time.Now().UnixMicro(), w.last.recorded)
	slab := make([]core.Appended, countAppends(group))
	for i, c := range group {
		n := len(c.Appends)
		step.Outcomes[i] = e.commit(c, refusal, slab[:n:n], &step.Written)
		slab = slab[n:]
		if err := e.appender.failure(); err != nil {
			return step, ticketed{}, err
		}
	}
	if err := e.flush(&step.Written); err != nil {
		return step, ticketed{}, err
	}
	t := ticketed{ticket: e.appender.now()}
	// A refusal or a duplicate may rest on what another step has written but
	// not synced, so it waits, too.
	t.wait = e.appender.durable.Load().end < t.end
	return step, t, nil
}

func countAppends(group []*core.Commit) (n int) {
	for _, c := range group {
		n += len(c.Appends)
	}
	return n
}

// commit decides one Commit and, unless it is refused, adds its frame. refusal is
// what it is answered if it has records and is no retry. placed has room for its Appends.
func (e *Engine) commit(c *core.Commit, refusal error, placed []core.Appended, written *core.Batch) core.Outcome {
	duplicate, err := e.decide(c)
	if err != nil {
		return core.Outcome{Err: err}
	}
	if duplicate != nil {
		return core.Outcome{Result: *duplicate}
	}
	if refusal != nil && len(c.Records)+len(c.Streams) > 0 {
		return core.Outcome{Err: refusal}
	}
	number := e.writer.header.number
	if err := e.makeRoom(maxFrameBytes(c), written); err != nil {
		return core.Outcome{Err: err}
	}
	if e.writer.header.number != number {
		e.writer.decision.unplace() // the streams have no entries in the new table yet
	}
	e.encode(c, e.writer.changes(c, e.index.view.Load()), placed)
	position := uint64(0)
	if len(placed) > 0 {
		position = placed[len(placed)-1].LastPosition
	}
	return core.Outcome{Result: core.Result{Appends: placed, Position: position}}
}

// changes are what c does to records in the frame that comes next.
func (w *writer) changes(c *core.Commit, v *view) []recordChange {
	ops := w.decision.recordOps(c)
	return changes(ops, w.decision.revisions, v.bytesBefore(at(w.header.number, w.builder.end())))
}

// maxFrameBytes bounds the frame of c.
func maxFrameBytes(c *core.Commit) int64 {
	n := frameHeaderBytes + frameAlign
	for i := range c.Appends {
		a := &c.Appends[i]
		for j := range a.Events {
			n += eventPrefixBytes + core.MaxEncodedBytes(a.Stream, &a.Events[j])
		}
		n += len(a.Links) * (eventPrefixBytes + core.MaxLinkBytes)
	}
	for i := range c.Records {
		r := &c.Records[i]
		n += maxChangeOverhead + len(r.Table) + len(r.Key) + len(r.Value)
	}
	for i := range c.Streams {
		n += maxChangeOverhead + len(lifecycleTable) + len(c.Streams[i].Stream) + maxLifecycleBytes
	}
	return int64(n)
}

// encode adds c's frame to the builder and its events to the index. They can
// be found there by the next Commit at once, and by readers when they are
// durable.
func (e *Engine) encode(c *core.Commit, changes []recordChange, placed []core.Appended) {
	w := &e.writer
	b, d := &w.builder, &w.decision
	b.begin(frameHeader{
		first: w.last.head + 1, durable: e.appender.durable.Load().end, recorded: w.now,
	})
	b.records(changes)
	p := core.Placement{Position: w.last.head, Recorded: w.now}
	n := 0
	for i := range c.Appends {
		a, place := &c.Appends[i], &d.places[d.placeOf[i]]
		placed[i] = core.Appended{FirstVersion: place.last + 1, FirstPosition: p.Position + 1, Incarnation: core.LaterIncarnation(place.incarnation)}
		p.Stream, p.Version, p.Incarnation = a.Stream, place.last, place.incarnation
		for j := range a.Events {
			p.Position++
			p.Version++
			p.ID = d.ids[n]
			b.event(p, &a.Events[j])
			n++
		}
		if len(a.Links) > 0 {
			n += d.encodeLinks(b, &p, a, placed)
		}
		b.hidden = b.hidden || len(a.Links) > 0 || core.IsSystem(a.Stream)
		place.last = p.Version
		placed[i].LastVersion, placed[i].LastPosition = p.Version, p.Position
	}
	end := b.finish()
	frame := at(w.header.number, b.base+int64(b.start))
	for i := range c.Streams {
		e.changed.add(e.key.name(c.Streams[i].Stream), c.Streams[i].Action.Removes())
	}
	if c.PutsRetention() {
		e.scavenger.puts.add()
	}
	w.enter(c, frame)
	w.last = mark{end: at(w.header.number, end), frame: frame, head: p.Position, recorded: w.now}
	e.records.stage(w.last.end, changes)
}

// finish completes a frame without events.
func (w *writer) finish() {
	b, t := &w.builder, w.table
	end := b.finish()
	w.last.end, w.last.frame = at(w.header.number, end), at(w.header.number, b.base+int64(b.start))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.samples.frame(w.last.head+1, w.last.frame)
}

// enter adds the events of the frame that was just built, at o, to the index.
func (w *writer) enter(c *core.Commit, o offset) {
	d, t := &w.decision, w.table
	offs := w.builder.frameOffs()
	t.mu.Lock()
	defer t.mu.Unlock()
	position := w.last.head + 1
	t.samples.frame(position, o)
	n := 0
	for i := range c.Appends {
		place := &d.places[d.placeOf[i]]
		if place.stream == nil {
			place.stream = t.stream(place.index, place.before)
		}
		for range c.Appends[i].Count() {
			off := offs[n]
			t.add(place.stream, off, moment{position, w.now})
			t.addID(&d.ids[n], d.hashes[n], off)
			t.samples.event(position, at(w.header.number, int64(off)), uint32(len(offs)-n))
			position++
			n++
		}
	}
}

// makeRoom sees to it that a frame of n bytes fits the segment. A frame that
// is larger than a whole segment gets one of its own, which grows with it.
func (e *Engine) makeRoom(n int64, written *core.Batch) error {
	w := &e.writer
	if w.builder.end()+n <= w.capacity || w.last.end.byte() == headerBytes {
		return nil
	}
	if err := e.recovery.blocked(); err != nil && !e.recovery.due() {
		return cannotWrite(err)
	}
	if err := e.flush(written); err != nil {
		return err
	}
	if err := e.appender.syncWritten(); err != nil {
		return err
	}
	if err := e.begin(w.last); err != nil {
		e.recovery.block(err)
		return cannotWrite(err)
	}
	return nil
}

// flush writes the frames that were built, and adds their events to written.
func (e *Engine) flush(written *core.Batch) error {
	w := &e.writer
	b := &w.builder
	if len(b.buf) == 0 {
		return nil
	}
	b.batch(written)
	if err := e.appender.write(b.buf, w.last); err != nil {
		return err
	}
	b.reset(w.last.end.byte(), w.header.salt)
	e.prepare.pace.written(w.last.end.byte())
	return nil
}

// begin goes on in a new segment, whose header says that the one before
// validly ends at m.
func (e *Engine) begin(m mark) error {
	w := &e.writer
	number := m.end.segment() + 1
	file, err := e.prepare.take(number)
	if err != nil {
		return err
	}
	h := segmentHeader{
		version: formatVersion, number: number, salt: uint32(randomUint64()), log: e.id, key: e.key,
		prevEnd: m.end.byte(), first: m.head + 1, recorded: m.recorded,
	}
	if err := beginSegment(file, &h); err != nil {
		// The header may be on the disk all the same. What it says of the
		// segment before has to stay true, so nothing is added there.
		e.appender.giveUp(err)
		_ = file.Close()
		return err
	}
	table := newMemtable(&h, w.table.ids.used)
	e.index.seal(m.end, table, h.salt)
	e.use(file, h, table, mark{at(number, headerBytes), at(number, 0), m.head, m.recorded})
	e.recovery.clear()
	return nil
}

// use makes file the segment that is written; it is durable up to m.
func (e *Engine) use(file File, h segmentHeader, table *memtable, m mark) {
	w := &e.writer
	e.appender.start(file, h, m)
	w.table, w.header, w.last = table, h, m
	w.capacity = max(e.config.SegmentBytes-spareBytes, m.end.byte())
	w.builder.reset(m.end.byte(), h.salt)
	e.prepare.ask(h.number + 1)
	e.prepare.pace.written(m.end.byte())
}

// resume goes on after a write or a sync has failed: what was not durable is
// forgotten, and a new segment begun. It must be called with mu held.
func (e *Engine) resume() error {
	failed := e.appender.failure()
	if failed == nil {
		return nil
	}
	if e.recovery.blocked() != nil && !e.recovery.due() {
		return cannotWrite(failed)
	}
	m := *e.appender.durable.Load()
	w := &e.writer
	w.table.cut(m.end.byte())
	e.records.rollback()
	w.last = m
	w.builder.reset(m.end.byte(), w.header.salt)
	if err := e.begin(m); err != nil {
		e.recovery.block(err)
		return cannotWrite(err)
	}
	e.config.Logger.Warn("the log goes on in a new segment after an error",
		"error", failed, "segment", segmentName(w.header.number))
	return nil
}

// end closes the log with an empty frame, if it can still be written.
func (w *writer) end(a *appender) {
	if a.failure() != nil || w.last.end.byte() == headerBytes {
		return
	}
	b := &w.builder
	b.reset(w.last.end.byte(), w.header.salt)
	b.begin(frameHeader{first: w.last.head + 1, durable: a.durable.Load().end, recorded: w.last.recorded})
	w.finish()
	if a.write(b.buf, w.last) == nil {
		// Whatever comes of it, all that was acknowledged is before it.
		_ = a.syncWritten()
	}
}
