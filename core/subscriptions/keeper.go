package subscriptions

import (
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// save is one Commit of the keeper.
type save struct {
	commit   core.Commit
	progress progress
	store    *delivery.Store // nil if it is the mode only that changes
	// unknown says that it may have been made by an earlier try.
	unknown bool
}

// keeper is what the goroutine of keep has.
type keeper struct {
	*host
	serial  uint64
	now     *save      // under way, or to be tried again
	answers chan error // holds 1
	rest    time.Duration
	retry   <-chan time.Time // when to try now again; nil while it is under way
}

// keep is the keeper: it makes the Commits, watches the clock, and ends the host when
// nobody needs it any more.
func (h *host) keep() {
	k := &keeper{host: h, answers: make(chan error, 1), rest: leastRest}
	timer := time.NewTimer(idleFor)
	defer timer.Stop()
	for {
		select {
		case <-h.kick:
		case <-timer.C:
			h.expire(time.Now())
		case err := <-k.answers:
			k.answered(err)
		case <-k.retry:
			k.submit()
		case <-h.ctx.Done():
			h.owner.forget(h)
			return
		}
		if k.now == nil {
			k.begin()
		}
		next, idle := h.next(k.now == nil)
		if idle && h.owner.retire(h) {
			return
		}
		timer.Reset(time.Until(next))
	}
}

// expire does what only time has brought.
func (h *host) expire(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.due.wake = time.Time{}
	h.advance(now)
	for _, s := range h.subs {
		if s.detached && !s.until.After(now) {
			h.leave(s, false, now, core.Errorf(core.CodeLeaseLost, "the time of the lease is over"))
		}
	}
}

// next is when to look again, and whether there is nothing to look for.
func (h *host) next(saved bool) (at time.Time, idle bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	at = now.Add(time.Minute)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	sooner(h.due.wake)
	for _, s := range h.subs {
		if s.detached {
			sooner(s.until)
		}
	}
	if h.due.idle.IsZero() {
		return at, false
	}
	since := h.due.idle.Add(idleFor)
	sooner(since)
	return at, saved && !since.After(now) && h.machine.Settled()
}

// begin takes what there is to save, if anything.
func (k *keeper) begin() {
	h := k.host
	h.mu.Lock()
	s, err := k.nextSave()
	h.mu.Unlock()
	switch {
	case err != nil:
		h.endFor(err)
	case s != nil:
		k.now = s
		k.submit()
	}
}

// nextSave makes the Commit of what the machine wants to store and of its mode. mu is
// held.
func (k *keeper) nextSave() (*save, error) {
	h := k.host
	state := h.machine.State()
	mode := modeOf(state)
	if state == delivery.Lost || h.due.store == nil && mode == h.saved.Mode && h.machine.Reason() == h.saved.Reason {
		return nil, nil
	}
	s := &save{store: h.due.store, progress: h.saved}
	h.due.store = nil
	k.serial++
	p := &s.progress
	p.Mode, p.Reason, p.Writer, p.Serial = mode, h.machine.Reason(), h.owner.id, k.serial
	ops := []core.RecordOp{{}}
	if s.store != nil {
		p.Checkpoint = s.store.Checkpoint
		var err error
		if ops, err = h.parkOps(ops, s.store, p); err != nil {
			return nil, err
		}
	}
	var err error
	ops[0], err = put(progressTable, h.life.ID, core.Expect(h.revision), p)
	s.commit = core.Commit{Records: ops}
	return s, err
}

// parkOps adds the operations on parked events, and counts them.
func (h *host) parkOps(ops []core.RecordOp, store *delivery.Store, p *progress) ([]core.RecordOp, error) {
	drop := func(table string, position uint64) {
		ops = append(ops, core.RecordOp{Table: table, Key: positionKey(h.life.ID, position), Expect: core.AnyVersion, Delete: true})
	}
	for i := range store.Park {
		e := &store.Park[i]
		value, err := encodeParked(e)
		if err != nil {
			return nil, core.Errorf(core.CodeInternal, "parked event %d: %w", e.Position, err)
		}
		ops = append(ops, core.RecordOp{Table: parkedTable, Key: positionKey(h.life.ID, e.Position), Expect: core.AnyVersion, Value: value})
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

// submit makes the Commit. The answer comes to the keeper: the Store must not be
// called from there.
func (k *keeper) submit() {
	k.retry = nil
	k.owner.store.Submit(k.ctx, k.now.commit, func(_ core.Result, err error) { k.answers <- err })
}

// answered goes on after a Commit. Where it cannot be told whether it was made, the
// same one is tried again until it can.
func (k *keeper) answered(err error) {
	s := k.now
	switch {
	case err == nil:
	case errors.Is(err, core.CodeUnknownOutcome), s.unknown && !errors.Is(err, core.CodeRecordConflict) && core.AsError(err).Info().Retryable:
		s.unknown = true
		k.pause(err)
		return
	case s.unknown && errors.Is(err, core.CodeRecordConflict):
		p, _, readErr := k.owner.records.progress(k.ctx, k.life.ID)
		if readErr != nil && !errors.Is(readErr, core.CodeSubscriptionNotFound) {
			k.pause(readErr)
			return
		}
		if p.Writer == s.progress.Writer && p.Serial == s.progress.Serial {
			err = nil // it was the earlier try
		}
	}
	k.now = nil
	if err == nil {
		k.rest = leastRest
	}
	k.settle(s, err)
}

// pause has the Commit tried again later.
func (k *keeper) pause(err error) {
	k.owner.config.Logger.Warn("storing for a subscription", "subscription", k.life.key.name, "error", err)
	k.retry = time.After(k.rest)
	k.rest = min(2*k.rest, mostRest)
}

// settle tells the machine of a Commit whose outcome is known.
func (k *keeper) settle(s *save, err error) {
	h := k.host
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if err == nil {
		h.saved = s.progress
		h.revision++
		if s.store != nil {
			h.replays.stored(s.store)
		}
		close(h.saves)
		h.saves = make(chan struct{})
	}
	if s.store != nil {
		h.machine.Stored(now, err)
	}
	h.advance(now)
	switch {
	case errors.Is(err, core.CodeRecordConflict):
		h.finish(core.Errorf(core.CodeSubscriptionInterrupted, "subscription %q has another owner now", clip(h.life.key.name)))
	case err != nil && s.store == nil:
		k.now = s // the machine does not try this again
		k.pause(err)
	}
}
