package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

const (
	// maxTries is how often a group is sent in the hope that it fits; then it is
	// decided under its locks.
	maxTries = 3

	// lookFirstGroups is for how many groups ids are looked up first after one of
	// them was known: retries come in numbers.
	lookFirstGroups = 100
)

// Commit is core.Engine's. COMMIT.md says how it works.
//
// A Commit whose events turn out to have been written by a try of its own that
// was cut off is answered as a duplicate: what it wrote is not in the step.
func (e *Engine) Commit(ctx context.Context, group []*core.Commit) core.Step {
	if err := e.enter(ctx); err != nil {
		return core.FailStep(group, err)
	}
	defer e.calls.RUnlock()
	if e.config.OnlyReads {
		return core.FailStep(group, core.Errorf(core.CodeStoreReadOnly, "the store was opened to be read"))
	}
	until := time.Now().Add(e.config.RetryFor)
	return inParts(group, func(part []*core.Commit) core.Step {
		s := e.newStep(part, until)
		s.run(ctx, 0)
		return core.Step{Outcomes: s.outcomes, Written: s.written}
	})
}

// inParts makes a step of a group in parts: a Commit that changes streams as a whole is
// alone, since what comes after it in the group is about streams that it has changed.
func inParts(group []*core.Commit, do func(part []*core.Commit) core.Step) (step core.Step) {
	for len(group) > 0 {
		n := slices.IndexFunc(group, func(c *core.Commit) bool { return len(c.Streams) > 0 })
		switch n {
		case -1:
			n = len(group)
		case 0:
			n = 1
		}
		part := do(group[:n])
		if n == len(group) && step.Outcomes == nil {
			return part // as almost always
		}
		step.Outcomes = append(step.Outcomes, part.Outcomes...)
		step.Written = joined(step.Written, part.Written)
		group = group[n:]
	}
	return step
}

// joined is b behind a. If others have written between them, it has the positions and no
// event: a Batch has no gap, and readers find them all in storage.
func joined(a, b core.Batch) core.Batch {
	switch {
	case b.Last == 0:
		return a
	case a.Last == 0:
		return b
	case a.Count == 0 || a.Last+1 != b.First:
		return core.Batch{First: a.First, Last: b.Last}
	}
	return core.Batch{
		Block: append(a.Block, b.Block...), Count: a.Count + b.Count, First: a.First, Last: b.Last, Hidden: a.Hidden || b.Hidden,
	}
}

// newStep returns a step, which is retried until then.
func (e *Engine) newStep(group []*core.Commit, until time.Time) *step {
	p := newPlan(group)
	return &step{
		engine: e, plan: p, epoch: e.epochOf(group), outcomes: make([]core.Outcome, len(group)),
		look:  p.links, // a link's id may well be there
		retry: retry{until: until, pause: firstPause},
	}
}

// epochOf is the epoch that all Commits of a group name: the committer makes groups
// of one epoch.
func (e *Engine) epochOf(group []*core.Commit) uint64 {
	if epoch := group[0].Epoch; epoch != 0 {
		return epoch
	}
	return e.epoch
}

// step is one call of Commit.
type step struct {
	engine   *Engine
	plan     *plan
	epoch    uint64 // of its Commits
	outcomes []core.Outcome
	written  core.Batch

	stale   bool   // the epoch was found to be over: only facts are asked for
	look    bool   // ids first: some were known, or a try may have been written
	doubt   bool   // a try was cut off, and nothing is known of it
	backend uint32 // that the last try was sent to
	retry   retry
}

// run tries until every Commit has its answer, from a number of tries on. ctx ends what
// waits between two tries.
func (s *step) run(ctx context.Context, try int) {
	var known *found
	for len(s.plan.entries) > 0 {
		s.plan.choose(known)
		if known != nil && !s.plan.writes() {
			s.answer(&answer{found: *known}, known)
			return
		}
		a, err := s.send(try >= maxTries)
		if err != nil {
			known = nil
			if !s.again(ctx, err) {
				return
			}
			continue
		}
		s.doubt = false
		try++
		switch over := a.epoch != s.epoch; {
		case a.written:
			s.answer(a, known)
			return
		case over && s.stale:
			s.refuseStale(a)
			return
		case over:
			s.stale, known = true, nil
		default:
			s.stale, known = false, &a.found
		}
	}
}

// refuseStale answers every Commit that is left where the epoch is over: one that was
// written before is a duplicate (P5), the others are stale. No try under the old epoch
// can be written any more, so what the facts lack is not in the log.
func (s *step) refuseStale(a *answer) {
	st := s.plan.evaluate(&a.found, 0)
	for i := range s.plan.entries {
		en := &s.plan.entries[i]
		o := &s.outcomes[en.index]
		if first, _ := st.lookUp(en); first != nil {
			o.Result = *first
			continue
		}
		o.Err = core.NewStaleEpoch(s.epoch, a.epoch)
	}
	s.plan.entries = nil
	if e := s.engine; e.isAlone() && s.epoch == e.epoch {
		e.beatNow() // another process may have the store
	}
}

// answer answers every Commit that is left. before has the facts of when
// some were left out, if that was not now.
func (s *step) answer(a *answer, before *found) {
	st := s.plan.evaluate(&a.found, a.head)
	s.written.Block = make([]byte, 0, s.plan.maxEncodedBytes())
	encode := &encoder{batch: &s.written, recorded: a.recorded, changes: a.changes}
	for i := range s.plan.entries {
		en := &s.plan.entries[i]
		if en.write {
			s.outcomes[en.index].Result = st.written(en, encode)
			continue
		}
		first, err := st.refusal(en)
		if first == nil && err == nil && before != nil {
			// What refused it has changed since, and nothing that was written now
			// depends on it: it was refused first.
			first, err = s.plan.evaluate(before, 0).refusal(en)
		}
		switch {
		case first != nil:
			s.outcomes[en.index].Result = *first
		case err != nil:
			s.outcomes[en.index].Err = err
		default:
			s.outcomes[en.index].Err = core.Errorf(core.CodeInternal, "a commit was left out for no reason")
		}
	}
	s.plan.entries = nil
	s.engine.log.append(encode.last)
	if s.plan.changes() {
		s.engine.log.noteChanges(a.changes)
		s.engine.removeSoon()
	}
}

// encoder makes the batch of what a step has written.
type encoder struct {
	batch    *core.Batch
	recorded int64
	changes  uint64
	last     mark
}

func (w *encoder) event(p core.Placement, e *core.NewEvent) {
	p.Recorded = w.recorded
	w.batch.Block = core.EncodeEvent(w.batch.Block, p, e)
	w.batch.Hidden = w.batch.Hidden || core.IsSystem(p.Stream)
	w.added(p.Position, p.ID)
}

func (w *encoder) link(p core.Placement, row core.ID, home place) {
	p.Recorded = w.recorded
	w.batch.Block = core.EncodeLink(w.batch.Block, p, home.origin(), home.typ)
	w.batch.Hidden = true
	w.added(p.Position, row)
}

func (w *encoder) added(position uint64, row core.ID) {
	if w.batch.Count == 0 {
		w.batch.First = position
	}
	w.batch.Count++
	w.batch.Last = position
	w.last = mark{position, row, w.changes}
}

// send runs the plan on the server, in one flush, or, to hold it, in a
// conversation under locks.
func (s *step) send(hold bool) (*answer, error) {
	e := s.engine
	ctx, cancel := context.WithTimeout(e.stepCtx, e.config.CallTimeout)
	defer cancel()
	var a *answer
	err := on(ctx, e.steps, func(ctx context.Context, c *pgx.Conn) (err error) {
		if err := e.endBackends(ctx, c); err != nil {
			return &acquireError{err}
		}
		s.backend = c.PgConn().PID()
		switch {
		case s.stale:
			a, err = s.call(ctx, c, &call{probe: true})
		case hold:
			a, err = s.hold(ctx, c)
		default:
			a, err = s.call(ctx, c, &call{fresh: e.names.missing(s.plan, true), make: true, look: s.lookFirst()})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	e.mended()
	return a, nil
}

func (s *step) lookFirst() bool {
	e := s.engine
	if s.look {
		return true
	}
	if e.lookFirst.Load() > 0 {
		e.lookFirst.Add(-1)
		return true
	}
	return false
}

// buffers for the parameters of a call are used again.
var paramsPool = sync.Pool{New: func() any { return new(params) }}

// maxPooledParams keeps a rare huge buffer from staying in memory.
const maxPooledParams = 8 << 20

// call calls commit_group.
func (s *step) call(ctx context.Context, c *pgx.Conn, what *call) (*answer, error) {
	e := s.engine
	what.epoch = s.epoch
	p := paramsPool.Get().(*params)
	defer func() {
		if cap(p.buf) <= maxPooledParams {
			paramsPool.Put(p)
		}
	}()
	what.encode(p, s.plan)
	begun := time.Now()
	results, err := e.flush(ctx, c, send{e.sql.commit, p.values()})
	if err != nil {
		return nil, &acquireError{err}
	}
	a, malformed := new(answer), errMalformed
	for results.NextResult() {
		for r := results.ResultReader(); r.NextRow(); {
			malformed = a.decode(r.Values(), s.plan)
		}
	}
	if err := results.Close(); err != nil {
		return nil, err
	}
	if malformed != nil {
		return nil, malformed
	}
	if a.written && a.recorded != 0 && e.config.Locked != nil {
		e.config.Locked(time.Since(begun) - time.Duration(a.waited)*time.Microsecond)
	}
	if !a.written || what.probe {
		for _, i := range what.fresh {
			a.there[i] = false // what was made was taken away again, or may be
		}
	}
	e.names.note(s.plan, a.there, what.fresh)
	e.log.passed(a.epoch)
	if s.plan.knows(&a.found) {
		e.lookFirst.Store(lookFirstGroups)
	}
	return a, nil
}

// hold asks for the facts, keeps the locks while the group is decided, and
// writes what holds: no other can be faster.
func (s *step) hold(ctx context.Context, c *pgx.Conn) (*answer, error) {
	if err := begin(ctx, c); err != nil {
		return nil, &acquireError{err}
	}
	made := s.engine.names.missing(s.plan, false)
	a, err := s.call(ctx, c, &call{fresh: made, make: true, probe: true})
	if err != nil {
		return nil, &acquireError{err} // nothing but locks so far
	}
	facts := a.found
	s.plan.choose(&facts)
	// A row that could not be locked would be locked out of order now.
	if a.epoch == s.epoch && !a.gone && s.plan.writes() {
		if a, err = s.call(ctx, c, &call{}); err != nil {
			return nil, &acquireError{err}
		}
	}
	if !a.written {
		return a, rollBack(ctx, c)
	}
	return a, s.release(ctx, c, a, made)
}

// release commits a conversation. The rows of streams that it made, and that only
// Commits name which were refused, go before, in the same flush.
func (s *step) release(ctx context.Context, c *pgx.Conn, a *answer, made []int) error {
	var unused []string
	for _, i := range made {
		if !s.plan.streams[i].needed {
			unused = append(unused, s.plan.streams[i].name)
			a.there[i] = false
		}
	}
	s.engine.names.note(s.plan, a.there, made)
	var batch pgx.Batch
	if len(unused) > 0 {
		batch.Queue(`DELETE FROM `+s.engine.config.schema()+`.streams s WHERE s.name = ANY ($1) AND s.version = 0
			AND s.incarnation = 1 AND s.state = 0 AND NOT EXISTS (SELECT FROM `+s.engine.config.schema()+`.events e WHERE e.stream = s.id)`, unused)
	}
	batch.Queue("COMMIT")
	return c.SendBatch(ctx, &batch).Close()
}

// again prepares the next try after err, or answers everything that is left
// and is false.
func (s *step) again(ctx context.Context, err error) bool {
	e := s.engine
	if fateOf(err) == unknownFate && !errors.Is(err, errMalformed) {
		s.doubt = true
		s.look = true
		s.giveUpRecords(err)
		e.cutOff.add(s.backend)
		e.endCutOff()
		s.retry.until = time.Now().Add(e.config.RetryFor)
	}
	switch state := stateOf(err); {
	case e.lostStatement(err):
		return true
	case state == stateEpochOver:
		s.stale = true
		return true
	case state == stateChanged:
		return true
	case isKnownID(err):
		s.look = true
		e.lookFirst.Store(lookFirstGroups)
		return true
	case state == stateDeadlock, state == stateSerialization:
		return s.wait(ctx, err)
	case state == stateLockTimeout:
		e.freeLocks()
		return s.wait(ctx, err)
	case state == stateReadOnly:
		e.steps.Reset() // to look for the server that takes writes
		return s.wait(ctx, err)
	case isPassing(err), state == "" && asError(err).Code != core.CodeInternal:
		return s.wait(ctx, err)
	}
	s.fail(err)
	return false
}

// isPassing reports whether the same call may succeed in a moment.
func isPassing(err error) bool {
	code := asError(err).Code
	return code == core.CodeStoreUnavailable || code == core.CodeTimeout
}

// wait pauses before the next try, unless RetryFor is over.
func (s *step) wait(ctx context.Context, err error) bool {
	e := s.engine
	var known *core.Error
	if errors.As(err, &known) && known.Code != core.CodeStoreReadOnly || errors.Is(err, errMalformed) {
		s.fail(err)
		return false
	}
	if answer := asError(err); answer.Info().Class == core.ClassUnavailable {
		e.noteProblem(answer)
	}
	switch {
	case s.retry.wait(ctx, e.closing):
		return true
	case e.closing.Err() != nil:
		err = errClosed()
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	s.fail(err)
	return false
}

// fail answers everything that is left.
func (s *step) fail(err error) {
	answer := asError(err)
	if s.doubt {
		answer = unknownOutcome(err)
	} else if answer.Info().Class == core.ClassUnavailable {
		s.engine.noteProblem(answer)
	}
	for i := range s.plan.entries {
		s.outcomes[s.plan.entries[i].index] = core.Outcome{Err: answer}
	}
	s.plan.entries = nil
}

// unknownOutcome says why, and has no code but its own.
func unknownOutcome(err error) *core.Error {
	return core.Errorf(core.CodeUnknownOutcome, "the connection to PostgreSQL broke before it answered (%s)", asError(err).Detail)
}

// giveUpRecords answers the Commits of a try that was cut off that have no
// event to find them by. Sent again they might be applied twice.
func (s *step) giveUpRecords(err error) {
	answer := unknownOutcome(err)
	s.plan.drop(func(en *entry) bool {
		if !en.write || len(en.ids) > 0 {
			return false
		}
		s.outcomes[en.index] = core.Outcome{Err: answer}
		return true
	})
}

// noteProblem remembers, and logs once, why the log takes no Commits.
func (e *Engine) noteProblem(err *core.Error) {
	if before := e.log.fail(err); before == nil || before.Code != err.Code {
		e.config.Logger.Warn("the store takes no appends at the moment", "error", err)
	}
}

// mended notes that the log takes Commits again.
func (e *Engine) mended() {
	if e.session.shutOut.Load() == nil && e.log.fail(nil) != nil {
		e.config.Logger.Info("the store takes appends again")
	}
}
