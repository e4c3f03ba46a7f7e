package subscriptions

import (
	"bytes"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// saver stores what the machine of one host wants stored, and its mode: one Commit at a
// time, each with everything that was finished meanwhile. The checkpointer calls step when
// there is something to do.
type saver struct {
	host    *host
	answers chan answer // holds 1: of the Commit that is under way
	inLine  bool        // checkpointer.mu protects it
	// submitted says that a Commit is not answered yet. It is the checkpointer's.
	submitted bool

	// host.mu protects the fields below.
	saved    progress // what is stored
	revision uint64   // of saved
	wanted   *delivery.Store
	serial   uint64
	current  *save // under way, or to be tried again
	spare    *save // was answered, and can be used for the next
	backoff  time.Duration
	retryAt  time.Time // when to try current again; zero while it is under way
}

func makeSaver(h *host, saved progress, revision uint64) saver {
	return saver{host: h, saved: saved, revision: revision, answers: make(chan answer, 1), backoff: leastBackoff}
}

// save is one Commit of a saver.
type save struct {
	ops      []core.RecordOp
	progress progress
	store    *delivery.Store // nil if only the mode changes
	// unknown says that it may have been made by an earlier try.
	unknown bool
	// lazy says that it is no more than a checkpoint that nobody waits for.
	lazy      bool
	expedited bool // somebody waits for it by now
}

// answer is how a Commit went.
type answer struct {
	err error
	// looked says that err is from looking whether an earlier try was made.
	looked bool
}

// want has a Store made, if it is not nil, and a changed mode stored. host.mu is held.
func (k *saver) want(store *delivery.Store) {
	if store != nil {
		k.wanted = store
	}
	if store != nil || !k.modeStored() {
		k.host.owner.checkpointer.add(k)
	}
}

// modeStored reports whether the machine's mode is stored, and no Commit is under way that
// stores another. host.mu is held.
func (k *saver) modeStored() bool {
	m := k.host.machine
	return k.saved.hasModeOf(m) && (k.current == nil || k.current.progress.hasModeOf(m))
}

// aheadStored reports whether what is finished beyond the checkpoint is stored, if the host
// is draining. host.mu is held.
func (k *saver) aheadStored() bool { return bytes.Equal(k.saved.Ahead, k.host.ahead(&k.saved)) }

// step takes the answer of the last Commit, if it is there, and submits the next one.
func (k *saver) step() {
	select {
	case a := <-k.answers:
		k.submitted = false
		k.answered(a)
	default:
	}
	h := k.host
	s, err := k.next(time.Now())
	switch {
	case err != nil:
		h.endFor(err)
	case s != nil:
		k.submitted = true
		// The Store must not be called from where it answers.
		h.owner.store.Submit(h.ctx, core.Commit{Records: s.ops, Lazy: s.lazy}, func(_ core.Result, err error) {
			k.answer(answer{err: err})
			h.running.Done()
		})
	case h.ctx.Err() != nil && !k.submitted:
		h.owner.forget(h)
	}
}

// expedite has a checkpoint that was submitted as lazy stored now, because somebody waits
// for it: a Commit that is not lazy takes those before it along.
func (k *saver) expedite() {
	h := k.host
	h.mu.Lock()
	s := k.current
	late := s != nil && s.lazy && !s.expedited
	if late {
		s.expedited = true
	}
	h.mu.Unlock()
	if !late {
		return
	}
	any := core.RecordOp{Table: progressTable, Key: h.incarnation.ID, Expect: core.AnyVersion, Action: core.CheckRecord}
	h.owner.store.Submit(h.ctx, core.Commit{Records: []core.RecordOp{any}}, func(core.Result, error) {})
}

// answer brings an answer to the checkpointer.
func (k *saver) answer(a answer) {
	k.answers <- a
	k.host.owner.checkpointer.add(k)
}

// onTimer tries again what is due. host.mu is held.
func (k *saver) onTimer(now time.Time) {
	switch {
	case k.retryAt.IsZero():
	case k.retryAt.After(now):
		k.host.owner.clock.set(k.host, k.retryAt)
	default:
		k.host.owner.checkpointer.add(k)
	}
}

// next returns what to submit, if anything, which host.running counts until it is answered.
func (k *saver) next(now time.Time) (s *save, err error) {
	h := k.host
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended != nil:
		return nil, nil
	case k.current == nil:
		if k.current, err = k.compose(); err != nil || k.current == nil {
			h.waiting.settle(k) // the mode may be again what is stored
			return nil, err
		}
	case k.retryAt.IsZero() || k.retryAt.After(now):
		return nil, nil
	}
	k.retryAt = time.Time{}
	h.running.Add(1)
	return k.current, nil
}

// compose makes the Commit of what is wanted and of the machine's mode; nil if there is
// nothing to store. host.mu is held.
func (k *saver) compose() (*save, error) {
	h := k.host
	state, same := h.machine.State(), k.saved.hasModeOf(h.machine)
	if state == delivery.Lost || k.wanted == nil && same && k.aheadStored() {
		return nil, nil
	}
	s := k.spare
	if s == nil {
		s = &save{}
	}
	k.spare = nil
	*s = save{ops: append(s.ops[:0], core.RecordOp{}), store: k.wanted, progress: k.saved}
	k.wanted = nil
	k.serial++
	p := &s.progress
	p.Mode, p.Reason, p.Writer, p.Serial = modeOf(state), h.machine.Reason(), h.owner.id, k.serial
	var err error
	if s.store != nil {
		p.Checkpoint = s.store.Checkpoint
		if s.ops, err = k.parkOps(s.ops, s.store, p); err != nil {
			return nil, err
		}
		if s.ops, err = k.failedOps(s.ops, s.store); err != nil {
			return nil, err
		}
	}
	p.Ahead = h.ahead(p)
	s.lazy = len(s.ops) == 1 && same && h.waiting.commit == nil && len(h.waiting.list) == 0
	s.ops[0], err = put(progressTable, h.incarnation.ID, core.Expect(k.revision), p)
	return s, err
}

// parkOps adds the operations on parked events, and counts them.
func (k *saver) parkOps(ops []core.RecordOp, store *delivery.Store, p *progress) ([]core.RecordOp, error) {
	for i := range store.Park {
		e := &store.Park[i]
		record, err := parkedRecord(e)
		if err != nil {
			return nil, core.Errorf(core.CodeInternal, "parked event %d: %w", e.Position, err)
		}
		value, err := record.encode()
		if err != nil {
			return nil, core.Errorf(core.CodeInternal, "parked event %d: %w", e.Position, err)
		}
		k.host.owner.parkedStreams.add(k.host.incarnation.ID, record)
		ops = append(ops, k.put(parkedTable, e.Position, value))
		if k.host.replayer.known(e.Position) {
			ops = append(ops, k.remove(replaysTable, e.Position))
		} else {
			p.Parked++
		}
	}
	for _, ref := range store.Remove {
		ops = append(ops, k.remove(parkedTable, ref.Position), k.remove(replaysTable, ref.Position))
		if k.host.incarnation.Bound {
			ops = append(ops, k.remove(tracesTable, ref.Position))
		}
		p.Parked = max(0, p.Parked-1)
	}
	return ops, nil
}

// noteParking has the Owner note what is being parked as if it were parked.
func (k *saver) noteParking() error {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if k.current == nil || k.current.store == nil {
		return nil
	}
	for i := range k.current.store.Park {
		record, err := parkedRecord(&k.current.store.Park[i])
		if err != nil {
			return err
		}
		k.host.owner.parkedStreams.add(k.host.incarnation.ID, record)
	}
	return nil
}

// failedOps adds the operations on the records of failed events.
func (k *saver) failedOps(ops []core.RecordOp, store *delivery.Store) ([]core.RecordOp, error) {
	for i := range store.Failed {
		e := &store.Failed[i]
		value, err := encodeFailed(e)
		if err != nil {
			return nil, core.Errorf(core.CodeInternal, "failed event %d: %w", e.Position, err)
		}
		ops = append(ops, k.put(failedTable, e.Position, value))
	}
	for _, position := range store.Forget {
		ops = append(ops, k.remove(failedTable, position))
	}
	return ops, nil
}

// put writes the record of an event.
func (k *saver) put(table string, position uint64, value []byte) core.RecordOp {
	return core.RecordOp{Table: table, Key: positionKey(k.host.incarnation.ID, position), Expect: core.AnyVersion, Value: value}
}

// remove deletes the record of an event.
func (k *saver) remove(table string, position uint64) core.RecordOp {
	return core.RecordOp{Table: table, Key: positionKey(k.host.incarnation.ID, position), Expect: core.AnyVersion, Action: core.DeleteRecord}
}

// answered goes on after a Commit. While it is unknown whether it was made, the same one
// is tried again.
func (k *saver) answered(a answer) {
	h := k.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return
	}
	s, err := k.current, a.err
	conflict := errors.Is(err, core.CodeRecordConflict)
	switch {
	case err == nil:
	case errors.Is(err, core.CodeUnknownOutcome), s.unknown && !conflict && (a.looked || core.AsError(err).Info().Retryable):
		s.unknown = true
		k.retry(err)
		return
	case s.unknown && conflict && !a.looked:
		h.run(func() { k.answer(answer{k.look(s, err), true}) })
		return
	}
	k.finish(s, err)
}

// look returns nil if the Commit that a save is in conflict with is an earlier try of it.
func (k *saver) look(s *save, conflict error) error {
	h := k.host
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

// retry has the Commit tried again later. host.mu is held.
func (k *saver) retry(err error) {
	h := k.host
	h.owner.config.Logger.Warn("storing for a subscription", "subscription", h.incarnation.key.name, "error", err)
	k.retryAt = time.Now().Add(k.backoff)
	k.backoff = min(2*k.backoff, mostBackoff)
	h.owner.clock.set(h, k.retryAt)
}

// finish ends a save whose outcome is known. host.mu is held.
func (k *saver) finish(s *save, err error) {
	h := k.host
	k.current = nil
	if err == nil {
		k.backoff = leastBackoff
		k.saved = s.progress
		k.revision++
	}
	h.stored(s.store, err)
	switch {
	case errors.Is(err, core.CodeRecordConflict):
		h.finish(core.Errorf(core.CodeSubscriptionInterrupted, "subscription %q has another owner now", core.Clip(h.incarnation.key.name)))
	case err != nil && s.store == nil:
		k.current = s // the machine does not try this again
		k.retry(err)
	default:
		clear(s.ops) // which may hold many events
		*s = save{ops: s.ops}
		k.spare = s
	}
}
