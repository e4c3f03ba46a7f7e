package subscriptions

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// checkpointer makes the Commits of the hosts that have something to store. It is one
// goroutine for all those of an Owner: none waits for another's Commit, only for room
// in the Store's queue.
type checkpointer struct {
	work chan struct{} // holds 1: there is somebody in line

	mu   sync.Mutex // protects line, and saving.inLine
	line []*host
}

func makeCheckpointer() checkpointer { return checkpointer{work: make(chan struct{}, 1)} }

// add puts a host in line, unless it is there already.
func (k *checkpointer) add(h *host) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !h.saving.inLine {
		h.saving.inLine = true
		k.line = append(k.line, h)
		wake(k.work)
	}
}

// take moves all in line to into.
func (k *checkpointer) take(into []*host) []*host {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.line {
		h.saving.inLine = false
	}
	into, k.line = k.line, into[:0]
	return into
}

// run keeps until ctx ends.
func (k *checkpointer) run(ctx context.Context) {
	var hosts []*host
	for {
		select {
		case <-k.work:
		case <-ctx.Done():
			return
		}
		hosts = k.take(hosts)
		for _, h := range hosts {
			h.keep()
		}
		clear(hosts)
	}
}

// save is one Commit of a host.
type save struct {
	ops      []core.RecordOp
	progress progress
	store    *delivery.Store // nil if it is the mode only that changes
	// unknown says that it may have been made by an earlier try.
	unknown bool
	// lazy says that it is no more than a checkpoint that nobody waits for.
	lazy    bool
	hurried bool // somebody waits for it by now
}

// saving is what a host has of its saves.
type saving struct {
	answers chan answer // holds 1: of the Commit that is under way
	inLine  bool        // checkpointer.mu protects it
	// submitted says that a Commit is not answered yet. It is the checkpointer's.
	submitted bool

	// host.mu protects the fields below.
	serial uint64
	now    *save // under way, or to be tried again
	spare  *save // was answered, and can be used for the next
	rest   time.Duration
	retry  time.Time // when to try now again; zero while it is under way
}

func makeSaving() saving { return saving{answers: make(chan answer, 1), rest: leastRest} }

// answer is how a Commit went.
type answer struct {
	err error
	// looked says that err is from looking whether an earlier try was made.
	looked bool
}

// keep goes on with what is to be stored. The checkpointer calls it.
func (h *host) keep() {
	select {
	case a := <-h.saving.answers:
		h.saving.submitted = false
		h.answered(a)
	default:
	}
	s, err := h.nextTry(time.Now())
	switch {
	case err != nil:
		h.endFor(err)
	case s != nil:
		h.saving.submitted = true
		// The Store must not be called from where it answers.
		h.owner.store.Submit(h.ctx, core.Commit{Records: s.ops, Lazy: s.lazy}, func(_ core.Result, err error) {
			h.answer(answer{err: err})
			h.running.Done()
		})
	case h.ctx.Err() != nil && !h.saving.submitted:
		h.owner.forget(h)
	}
}

// hurry has a checkpoint that was submitted as lazy stored now, because somebody
// waits for it: a Commit that is not lazy takes those before it along.
func (h *host) hurry() {
	h.mu.Lock()
	s := h.saving.now
	late := s != nil && s.lazy && !s.hurried
	if late {
		s.hurried = true
	}
	h.mu.Unlock()
	if !late {
		return
	}
	any := core.RecordOp{Table: progressTable, Key: h.incarnation.ID, Expect: core.AnyVersion, Action: core.CheckRecord}
	h.owner.store.Submit(h.ctx, core.Commit{Records: []core.RecordOp{any}}, func(core.Result, error) {})
}

// answer brings an answer to the checkpointer.
func (h *host) answer(a answer) {
	h.saving.answers <- a
	h.owner.checkpointer.add(h)
}

// nextTry is what to submit, if anything, which running counts until it is answered.
func (h *host) nextTry(now time.Time) (s *save, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := &h.saving
	switch {
	case h.ended != nil:
		return nil, nil
	case t.now == nil:
		if t.now, err = h.nextSave(); err != nil || t.now == nil {
			return nil, err
		}
	case t.retry.IsZero() || t.retry.After(now):
		return nil, nil
	}
	t.retry = time.Time{}
	h.running.Add(1)
	return t.now, nil
}

// nextSave makes the Commit of what the machine wants to store and of its mode. mu is
// held.
func (h *host) nextSave() (*save, error) {
	state := h.machine.State()
	mode := modeOf(state)
	if state == delivery.Lost || h.due.store == nil && mode == h.saved.Mode && h.machine.Reason() == h.saved.Reason {
		return nil, nil
	}
	s := h.saving.spare
	if s == nil {
		s = &save{}
	}
	h.saving.spare = nil
	*s = save{ops: append(s.ops[:0], core.RecordOp{}), store: h.due.store, progress: h.saved}
	h.due.store = nil
	h.saving.serial++
	p := &s.progress
	p.Mode, p.Reason, p.Writer, p.Serial = mode, h.machine.Reason(), h.owner.id, h.saving.serial
	var err error
	if s.store != nil {
		p.Checkpoint = s.store.Checkpoint
		if s.ops, err = h.parkOps(s.ops, s.store, p); err != nil {
			return nil, err
		}
		if s.ops, err = h.failedOps(s.ops, s.store); err != nil {
			return nil, err
		}
	}
	s.lazy = len(s.ops) == 1 && mode == h.saved.Mode && h.waiting.commit == nil && len(h.waiting.list) == 0
	s.ops[0], err = put(progressTable, h.incarnation.ID, core.Expect(h.revision), p)
	return s, err
}

// parkOps adds the operations on parked events, and counts them.
func (h *host) parkOps(ops []core.RecordOp, store *delivery.Store, p *progress) ([]core.RecordOp, error) {
	drop := func(table string, position uint64) {
		ops = append(ops, core.RecordOp{Table: table, Key: positionKey(h.incarnation.ID, position), Expect: core.AnyVersion, Action: core.DeleteRecord})
	}
	for i := range store.Park {
		e := &store.Park[i]
		value, err := encodeParked(e)
		if err != nil {
			return nil, core.Errorf(core.CodeInternal, "parked event %d: %w", e.Position, err)
		}
		ops = append(ops, core.RecordOp{Table: parkedTable, Key: positionKey(h.incarnation.ID, e.Position), Expect: core.AnyVersion, Value: value})
		if h.replays.known(e.Position) {
			drop(replaysTable, e.Position)
		} else {
			p.Parked++
		}
	}
	for _, ref := range store.Remove {
		drop(parkedTable, ref.Position)
		drop(replaysTable, ref.Position)
		p.Parked = max(0, p.Parked-1)
	}
	return ops, nil
}

// failedOps adds the operations on the records of failed events.
func (h *host) failedOps(ops []core.RecordOp, store *delivery.Store) ([]core.RecordOp, error) {
	for i := range store.Failed {
		e := &store.Failed[i]
		value, err := encodeFailed(e)
		if err != nil {
			return nil, core.Errorf(core.CodeInternal, "failed event %d: %w", e.Position, err)
		}
		ops = append(ops, core.RecordOp{Table: failedTable, Key: positionKey(h.incarnation.ID, e.Position), Expect: core.AnyVersion, Value: value})
	}
	for _, position := range store.Forget {
		ops = append(ops, core.RecordOp{Table: failedTable, Key: positionKey(h.incarnation.ID, position), Expect: core.AnyVersion, Action: core.DeleteRecord})
	}
	return ops, nil
}

// answered goes on after a Commit. Where it cannot be told whether it was made, the
// same one is tried again until it can.
func (h *host) answered(a answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return
	}
	s, err := h.saving.now, a.err
	conflict := errors.Is(err, core.CodeRecordConflict)
	switch {
	case err == nil:
	case errors.Is(err, core.CodeUnknownOutcome), s.unknown && !conflict && (a.looked || core.AsError(err).Info().Retryable):
		s.unknown = true
		h.pause(err)
		return
	case s.unknown && conflict && !a.looked:
		h.run(func() { h.answer(answer{h.look(s, err), true}) })
		return
	}
	h.saving.now = nil
	if err == nil {
		h.saving.rest = leastRest
	}
	h.settle(s, err)
}

// look says whether it was an earlier try of a save that the last one is in conflict
// with: then there is no error.
func (h *host) look(s *save, conflict error) error {
	p, _, err := h.owner.records.progress(h.ctx, h.incarnation.ID)
	switch {
	case errors.Is(err, core.CodeSubscriptionNotFound):
		return conflict
	case err != nil:
		return err
	case p.Writer == s.progress.Writer && p.Serial == s.progress.Serial:
		return nil
	}
	return conflict
}

// pause has the Commit tried again later. mu is held.
func (h *host) pause(err error) {
	h.owner.config.Logger.Warn("storing for a subscription", "subscription", h.incarnation.key.name, "error", err)
	t := &h.saving
	t.retry = time.Now().Add(t.rest)
	t.rest = min(2*t.rest, mostRest)
	h.owner.clock.set(h, t.retry)
}

// settle tells the machine of a Commit whose outcome is known. mu is held.
func (h *host) settle(s *save, err error) {
	now := time.Now()
	if err == nil {
		h.saved = s.progress
		h.revision++
		if s.store != nil {
			h.replays.stored(s.store)
			h.waiting.stored(h.saved.Checkpoint, s.store)
		}
		if h.waiting.commit != nil {
			close(h.waiting.commit)
			h.waiting.commit = nil
		}
	}
	if s.store != nil {
		h.machine.Stored(now, err)
	}
	h.advance(now)
	switch {
	case errors.Is(err, core.CodeRecordConflict):
		h.finish(core.Errorf(core.CodeSubscriptionInterrupted, "subscription %q has another owner now", clip(h.incarnation.key.name)))
	case err != nil && s.store == nil:
		h.saving.now = s // the machine does not try this again
		h.pause(err)
	default:
		clear(s.ops) // which may hold many events
		*s = save{ops: s.ops}
		h.saving.spare = s
	}
}
