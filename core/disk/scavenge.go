package disk

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// scavengedSegment is what a scavenge did with a segment, or would do.
type scavengedSegment struct {
	bytes     int64  // of the file before, as far as it was written
	won       int64  // by which it gets shorter; 0 if the map takes more
	events    uint64 // that go, links included
	changes   uint64 // of records, that go
	rewritten bool   // or would be, in a dry run
	deferred  bool   // to the next scavenge
}

// worthShare is the part of a file, one in so many, that has to be won for it to be rewritten.
const worthShare = 8

// Scavenge rewrites the segments of the log without what goes: the events that Fate says, and
// the changes of records that later ones have replaced. It goes segment by segment, by whose
// numbers it counts. Without All a segment is rewritten if it gets shorter by an eighth. With All
// it includes the database of the records, and the segment that is written if something goes of
// it. Nobody waits for it longer than for the renaming of a file.
func (e *Engine) Scavenge(ctx context.Context, s core.Scavenging) (core.Scavenged, error) {
	if err := e.enter(ctx); err != nil {
		return core.Scavenged{}, err
	}
	defer e.inUse.RUnlock()
	ctx, end, err := e.scavenger.begin(ctx)
	if err != nil {
		return core.Scavenged{}, err
	}
	defer end()
	if s.Fate == nil {
		s.Fate = func(context.Context, *core.Event) (core.Fate, error) { return core.Stays, nil }
	}
	r := scavenge{Scavenging: s, engine: e, ctx: ctx, pace: s.Pace()}
	r.result.Next = max(s.From, 1)
	err = r.run()
	if err != nil && ctx.Err() != nil && e.closing.Load() {
		err = core.Errorf(core.CodeStoreClosed, "the store is closed")
	}
	return r.result, diskError(err)
}

// scavenger lets one scavenge run at a time.
type scavenger struct {
	turn chan struct{} // capacity 1: one runs
	puts policyPuts

	mu     sync.Mutex
	stop   context.CancelFunc // ends the one that runs; mu protects it and the field below
	closed bool
}

func newScavenger() *scavenger {
	return &scavenger{turn: make(chan struct{}, 1), stop: func() {}}
}

// begin waits for its turn. The caller calls end.
func (s *scavenger) begin(ctx context.Context) (running context.Context, end func(), err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, core.AsError(ctx.Err())
	}
	running, stop := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop = stop; s.closed {
		stop()
	}
	return running, func() { stop(); <-s.turn }, nil
}

// close ends the one that runs, and those that wait.
func (s *scavenger) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.stop()
}

// policyPuts orders Commits that put a policy of retention with what a scavenge takes out.
type policyPuts struct {
	mu    sync.Mutex // held while a rewritten segment takes the place of another
	count uint64     // of such Commits; Engine.mu and mu protect writing it, each of them reading
}

// add counts one that was decided and that nobody can read yet. The owner of Engine.mu calls it.
func (p *policyPuts) add() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
}

// basis is what a scavenge decides by.
type basis struct {
	puts     uint64 // policyPuts.count
	policies uint64 // the number of Scavenging.AsOf
}

var (
	// errPolicyPut says that a policy was put since something was decided.
	errPolicyPut = errors.New("a policy of retention was put")
	// errLoosened says that what was decided does not hold any more.
	errLoosened = errors.New("a policy of retention was loosened")
)

// scavenge is one that runs.
type scavenge struct {
	core.Scavenging
	engine *Engine
	ctx    context.Context // of the call
	result core.Scavenged
	pace   *core.Pace
}

func (r *scavenge) run() error {
	e := r.engine
	if r.All {
		if err := r.sealWritten(); err != nil {
			return err
		}
	}
	if r.All && !r.DryRun {
		if err := e.records.compact(r.ctx); err != nil {
			return err
		}
	}
	r.result.Last = uint64(e.lastIndexed())
	if !r.All {
		r.result.LeftOut = max(e.appender.durable.Load().end.byte()-headerBytes, 0)
	}
	for r.result.Next <= r.result.Last {
		n := uint32(r.result.Next)
		done, err := r.segment(n)
		if err != nil {
			return err
		}
		r.add(&done)
		if done.rewritten && !r.DryRun && e.endsRun(n) {
			if err := r.renewRuns(); err != nil {
				return err
			}
		}
		r.result.Next++
		if r.Report != nil {
			r.Report(r.result)
		}
	}
	if !r.DryRun {
		if err := r.renewRuns(); err != nil {
			return err
		}
	}
	r.result.Next = 0
	return nil
}

func (r *scavenge) add(s *scavengedSegment) {
	t := &r.result
	t.Bytes += s.bytes
	if s.deferred {
		t.Deferred += s.bytes
	}
	if s.rewritten {
		t.Won += s.won
		t.Events += s.events
		t.Changes += s.changes
	}
}

// pay waits until so many bytes more may be read or written.
func (r *scavenge) pay(bytes int) error { return r.pace.Pay(r.ctx, int64(bytes)) }

// decideBy has Fate decide by the policies that are durable, and returns which these are.
func (r *scavenge) decideBy() (by basis, err error) {
	if r.AsOf == nil {
		return by, nil
	}
	e := r.engine
	e.mu.Lock()
	by.puts = e.scavenger.puts.count
	written := e.appender.now()
	e.mu.Unlock()
	if err := e.appender.wait(written, &e.mu); err != nil {
		return by, err
	}
	by.policies, err = r.AsOf(r.ctx)
	return by, err
}

// segment goes through a segment and rewrites it if that is worth it. It leaves the segment as it
// is if policies are loosened again and again meanwhile.
func (r *scavenge) segment(number uint32) (done scavengedSegment, err error) {
	for range core.MaxDecisions {
		if done, err = r.trySegment(number); !errors.Is(err, errLoosened) {
			return done, err
		}
	}
	return scavengedSegment{bytes: done.bytes, deferred: true}, nil
}

// trySegment is segment, once. The error may be errLoosened.
func (r *scavenge) trySegment(number uint32) (done scavengedSegment, err error) {
	e := r.engine
	s, err := e.sealedSegment(number)
	if err != nil {
		return done, err
	}
	source, err := e.files.acquire(number)
	if err != nil {
		return done, err
	}
	defer e.files.release(source)
	if done.bytes, err = source.File.Size(); err != nil {
		return done, err
	}
	done.bytes = min(done.bytes, s.end) // without the room that was prepared and not used
	by, err := r.decideBy()
	if err != nil {
		return done, err
	}
	removal, err := r.decide(source, s)
	if err != nil || removal == nil {
		return done, err
	}
	removal.by = by
	done.events, done.changes = removal.events, removal.changes
	layout := r.rewriter(source, s, removal, nil)
	if err := layout.layOut(); err != nil {
		return done, err
	}
	done.won = max(done.bytes-layout.size(), 0)
	done.rewritten = r.All || done.won >= done.bytes/worthShare
	if r.DryRun || !done.rewritten {
		return done, nil
	}
	return done, r.rewrite(source, s, removal)
}

func (r *scavenge) rewriter(source *segmentFile, s *sealedSegment, removal *removal, file File) *rewriter {
	w := newRewriter(source, s, removal, file)
	w.pay, w.witnesses = r.pay, map[offset]bool{}
	for _, run := range r.engine.records.db.all() {
		w.witnesses[run.reach.frame] = true
	}
	return w
}

// rewrite puts another file in the place of a segment's.
func (r *scavenge) rewrite(source *segmentFile, s *sealedSegment, removal *removal) error {
	e := r.engine
	name := filepath.Join(e.logDir(), segmentName(s.header.number))
	temporary := name + ".tmp"
	file, err := e.fs.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	w := r.rewriter(source, s, removal, file)
	var header segmentHeader
	if err = w.layOut(); err == nil {
		header, err = w.finish()
	}
	written, openErr := newSegmentFile(file, s.header.number)
	err = errors.Join(err, openErr)
	if err == nil {
		err = w.check(written, &header)
	}
	if openErr == nil {
		err = errors.Join(err, file.Close())
	}
	if err == nil {
		err = r.replace(temporary, name, &header, removal.by)
	}
	if err != nil {
		_ = e.fs.Remove(temporary) // the next open does it otherwise
	}
	return err
}

// replace gives a rewritten segment its name, unless what was decided does not hold any more: the
// error is errLoosened then.
func (r *scavenge) replace(temporary, name string, h *segmentHeader, by basis) error {
	for range core.MaxDecisions {
		if err := r.replaceSegment(temporary, name, h, by.puts); !errors.Is(err, errPolicyPut) {
			return err
		}
		now, err := r.decideBy()
		if err != nil {
			return err
		}
		if now.policies != by.policies {
			return errLoosened
		}
		by = now
	}
	return errLoosened
}

// replaceSegment gives a rewritten segment its name, if no policy was put after so many. Readers
// that have the old file go on with it. Either file is right, so it does not matter which one is
// found after a loss of power.
func (r *scavenge) replaceSegment(temporary, name string, h *segmentHeader, puts uint64) error {
	e := r.engine
	e.index.working.Lock() // nobody makes a run, or lists, of half of each
	defer e.index.working.Unlock()
	if err := r.swapSegment(temporary, name, h, puts); err != nil {
		return err
	}
	return e.fs.SyncDir(e.logDir())
}

func (r *scavenge) swapSegment(temporary, name string, h *segmentHeader, puts uint64) error {
	e, ix := r.engine, r.engine.index
	ix.kinds.replacing.Lock()
	defer ix.kinds.replacing.Unlock()
	p := &e.scavenger.puts
	p.mu.Lock() // no policy is put before readers have the new file
	defer p.mu.Unlock()
	if r.AsOf != nil && p.count != puts {
		return errPolicyPut
	}
	held, err := e.holdInstead(temporary, name)
	if err != nil {
		return err
	}
	_ = e.fs.Remove(e.kindsName(h.number)) // it has names that may go
	err = e.fs.Rename(temporary, name)
	held(err == nil)
	if err != nil {
		return err
	}
	e.files.renew(h.number)
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.change(func(v *view) {
		v.segments = slices.Clone(v.segments)
		v.rewrite(h)
	})
	return nil
}

// sealWritten has the segment that is written be looked at with the others, if something goes of
// it. So scavenges that follow one another leave no row of empty segments.
func (r *scavenge) sealWritten() error {
	written := *r.engine.appender.durable.Load()
	if written.end.byte() > headerBytes {
		goes, err := r.goesBefore(written.end)
		if err != nil {
			return err
		}
		if !goes {
			return r.engine.index.flushed(r.ctx)
		}
	}
	return r.engine.sealWritten(r.ctx)
}

// goesBefore reports whether something goes of the segment that is written, before end. What the
// caller's own records have replaced does not count.
func (r *scavenge) goesBefore(end offset) (bool, error) {
	source, err := r.engine.files.acquire(end.segment())
	if err != nil {
		return false, err
	}
	defer r.engine.files.release(source)
	header, err := source.header()
	if err != nil {
		return false, err
	}
	if _, err := r.decideBy(); err != nil {
		return false, err
	}
	removal, err := r.decide(source, &sealedSegment{header: header, end: end.byte()})
	return removal != nil && (removal.events > 0 || removal.changes > removal.callers), err
}

// sealWritten begins a new segment if the one that is written has frames, and waits until that
// one has its run.
func (e *Engine) sealWritten(ctx context.Context) error {
	if err := e.beginAnew(); err != nil {
		return err
	}
	return e.index.flushed(ctx)
}

func (e *Engine) beginAnew() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var none core.Batch
	if err := e.makeRoom(math.MaxInt32, &none); err != nil {
		return err
	}
	e.records.publish(e.writer.last) // it is durable
	return nil
}

// lastIndexed is the last segment that may be rewritten: it has a run, and the records have gone
// beyond it.
func (e *Engine) lastIndexed() uint32 {
	v := e.index.view.Load()
	if len(v.runs) == 0 {
		return 0
	}
	return min(v.runs[len(v.runs)-1].last, e.records.applied().segment()-1)
}

// endsRun reports whether a segment is the last of a run.
func (e *Engine) endsRun(number uint32) bool {
	return slices.ContainsFunc(e.index.view.Load().runs, func(r *run) bool { return r.last == number })
}

// renewRuns makes the runs anew whose segments were rewritten since.
func (r *scavenge) renewRuns() error {
	for {
		old := r.engine.index.view.Load().staleRun()
		if old == nil {
			return nil
		}
		if err := r.renewRun(old); err != nil {
			return err
		}
	}
}

// staleRun is a run whose segments were rewritten since it was made, or nil.
func (v *view) staleRun() *run {
	i := slices.IndexFunc(v.runs, func(r *run) bool { return r.rewritten != v.rewritten(r.first, r.last) })
	if i < 0 {
		return nil
	}
	return v.runs[i]
}

// renewRun makes a run anew, at the pace of the scavenge. Others may merge and mend runs between
// two segments; it does nothing if the run itself is gone by then.
func (r *scavenge) renewRun(old *run) error {
	ix := r.engine.index
	var made []*run
	for number := old.first; number <= old.last; number++ {
		err := r.paySegment(number)
		ix.working.Lock()
		if err != nil || !slices.Contains(ix.view.Load().runs, old) {
			ix.discard(made)
			ix.working.Unlock()
			return err
		}
		one, err := r.engine.rebuildRuns(number, number)
		made = append(made, one...)
		switch {
		case err != nil:
			ix.discard(made[:len(made)-len(one)]) // the others are
			err = openError(err)
		case number == old.last:
			err = ix.replaceBy(old, made)
		}
		ix.working.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// paySegment waits until a segment may be read.
func (r *scavenge) paySegment(number uint32) error {
	file, err := r.engine.files.acquire(number)
	if err != nil {
		return openError(err)
	}
	defer r.engine.files.release(file)
	size, err := file.File.Size()
	if err != nil {
		return err
	}
	return r.pay(int(size))
}

// replaceBy puts what some runs are together in the place of one. working is held.
func (ix *index) replaceBy(old *run, made []*run) error {
	one, err := ix.joinRuns(made)
	if err == nil {
		ix.replace([]*run{old}, []*run{one})
	}
	return err
}

// rewritten is what a run of some segments should have in its header.
func (v *view) rewritten(first, last uint32) (mark uint64) {
	for number := first; number <= last; number++ {
		mark ^= v.segment(number).rewritten
	}
	return mark
}
