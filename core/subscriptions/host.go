package subscriptions

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// host runs the machine of one subscription at its owner. A goroutine that brings an input
// applies it under mu, with all that follows from it but I/O: an ack leads to sends without
// another goroutine. Beside the host are
//
//   - the reader (reader.go), a goroutine while there are subscribers,
//   - the replayer (replay.go), a goroutine while there is something to replay,
//   - the saver (saver.go), which the Owner's checkpointer runs for all hosts,
//   - the alarm (clock.go), which the Owner's clock keeps for all hosts.
//
// running counts the goroutines, end ends them.
//
//	subscribers ──► machine ──► pending of each subscriber ──► Take
//	  the log ──► reader ──►│   ▲
//	   parked ──► replayer ►│
//	                        ├─► saver ──► Commit
//	                        └─► alarm
type host struct {
	owner       *Owner
	incarnation *incarnation
	began       time.Time
	read        chan struct{} // holds 1: the reader has something to do
	alarm       alarm         // the clock's
	saver       saver
	replayer    replayer

	ctx     context.Context // ends with the host
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // protects the fields below
	machine *delivery.Machine
	// subs are those that have joined, by their leases.
	subs     map[delivery.Lease]*subscriber
	due      due
	expiry   expiry
	deletion deletion
	waiting  waiting
	reading  bool  // there is a reader
	draining bool  // Owner.Drain has begun
	ended    error // why there is nothing to apply to any more
}

// due is what the machine has said and is not done.
type due struct {
	read     core.Limit // for the reader
	wake     time.Time
	reported delivery.State
	idle     time.Time // since when there is no subscriber; zero while there is one
	untaken  time.Time // no event that waits for Take times out before; zero if none waits
}

// idleFor is how long a host stays without subscribers: whoever fetches now and then
// does not start it each time.
const idleFor = 5 * time.Second

// advance carries out what inputs have made possible. mu is held.
func (h *host) advance(now time.Time) {
	if len(h.waiting.list) > 0 {
		h.machine.Flush()
	}
	t := &h.due
	if !t.untaken.IsZero() && !t.untaken.After(now) {
		h.holdUntaken(now)
	}
	out := h.machine.Advance(now)
	if len(out.Sends) > 0 && t.untaken.IsZero() {
		t.untaken = now.Add(h.ackTimeout())
	}
	for i := range out.Sends {
		s := h.subs[out.Sends[i].Lease]
		s.pending.add(now, out.Sends[i].Events, s.bound)
		s.wake()
	}
	if out.Changed || out.State != t.reported {
		t.reported = out.State
		for _, s := range h.subs {
			s.wake()
		}
	}
	if out.Read != t.read {
		if t.read = out.Read; t.read.Events > 0 {
			wake(h.read)
		}
	}
	if h.incarnation.key.transient && h.keepNothing(&out, now) {
		h.advance(now)
		return
	}
	if f := h.machine.Finished(); f != h.waiting.finished {
		h.waiting.finished = f
		h.waiting.move()
	}
	if h.waiting.empty != nil && h.machine.InFlight() == 0 {
		close(h.waiting.empty)
		h.waiting.empty = nil
	}
	if !out.Wake.IsZero() && (t.wake.IsZero() || out.Wake.Before(t.wake)) {
		t.wake = out.Wake
		h.owner.clock.set(h, t.wake)
	}
	h.saver.want(out.Store)
	h.replayer.wake()
}

// stored applies the outcome of a Commit, of a Store if it is not nil. mu is held.
func (h *host) stored(store *delivery.Store, err error) {
	now := time.Now()
	if err == nil {
		if store != nil {
			h.replayer.stored(store)
			h.waiting.stored(store)
		}
		h.waiting.settle(&h.saver)
	}
	if store != nil {
		parking, _ := h.machine.Unstored()
		h.machine.Stored(now, err)
		if err != nil {
			h.unparked(parking)
		}
	}
	h.advance(now)
}

// wake fills a channel that holds 1.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// idleSince notes that nobody has joined. mu is held, or nobody has the host yet.
func (h *host) idleSince(now time.Time) {
	h.due.idle = now
	h.owner.clock.set(h, now.Add(idleFor))
}

// onTimer does what only time has brought. The clock calls it.
func (h *host) onTimer(now time.Time) {
	if h.expire(now) && !h.owner.retire(h) {
		h.owner.clock.set(h, now.Add(idleFor))
	}
}

// expire applies the time to the machine and to detached subscribers, and sets the next
// alarm. It reports whether nobody needs the host.
func (h *host) expire(now time.Time) (idle bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return false
	}
	h.due.wake = time.Time{}
	h.advance(now)
	for _, s := range h.subs {
		switch {
		case !s.detached:
		case s.until.After(now):
			h.owner.clock.set(h, s.until)
		default:
			h.leave(s, false, now, core.Errorf(core.CodeLeaseLost, "the time of the lease is over"))
		}
	}
	h.saver.onTimer(now)
	switch end := h.due.idle.Add(idleFor); {
	case h.due.idle.IsZero():
	case end.After(now):
		h.owner.clock.set(h, end)
	default:
		return true
	}
	return false
}

// head is the log's last position.
func (h *host) head() uint64 { return h.owner.store.State().Head }

// join begins a lease. Where there is no place, place is closed when a subscriber has left.
func (h *host) join(r *JoinRequest) (s *subscriber, place <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return nil, nil, h.ended
	}
	now := time.Now()
	lease, err := h.machine.Join(delivery.Consumer{Name: r.Consumer, Workers: r.Workers, Buffer: r.BufferSize}, r.Credit)
	if errors.Is(err, core.CodeSubscriptionInUse) || errors.Is(err, core.CodeTooManySubscribers) {
		if h.waiting.place == nil {
			h.waiting.place = make(chan struct{})
		}
		return nil, h.waiting.place, err
	}
	if err != nil {
		return nil, nil, err
	}
	s = &subscriber{host: h, lease: lease, detached: r.Detached, principal: r.Principal, bound: r.bound, woken: r.Wake}
	if s.detached {
		s.until = now.Add(r.Wait + h.ackTimeout())
		h.owner.clock.set(h, s.until)
	}
	h.subs[lease] = s
	h.due.idle = time.Time{}
	if !h.reading {
		h.reading = true
		h.run(h.readLog)
	}
	h.replayer.start()
	h.advance(now)
	return s, nil, nil
}

// longestFetch is the time to ack of a fetch where a subscription has none: a consumer
// without a connection would otherwise hold its events, and its place, for ever.
const longestFetch = 24 * time.Hour

func (h *host) ackTimeout() time.Duration {
	if ms := h.incarnation.Definition.AckTimeoutMs; ms != delivery.NoLimit {
		return time.Duration(ms) * time.Millisecond
	}
	return longestFetch
}

// attached is the detached subscriber with the lease and the principal of a request.
func (h *host) attached(r *JoinRequest) (Subscriber, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.subs[delivery.Lease(r.Lease)]; s != nil && s.detached && s.principal == r.Principal {
		return s, nil
	}
	return nil, noLease(r)
}

// leave ends a lease. mu is held.
func (h *host) leave(s *subscriber, clean bool, now time.Time, why error) {
	if s.gone != nil {
		return
	}
	s.gone = why
	s.recall()
	s.wake()
	delete(h.subs, s.lease)
	h.waiting.left()
	// Where the machine is lost, the lease has ended already.
	_ = h.machine.Leave(now, s.lease, clean)
	if len(h.subs) == 0 {
		h.idleSince(now)
	}
	h.advance(now)
	if h.incarnation.key.transient && len(h.subs) == 0 {
		h.finish(core.Errorf(core.CodeSubscriptionInterrupted, "the last subscriber of %q has left", core.Clip(h.incarnation.key.name)))
	}
}

// leaveAnswered ends a detached lease of which everything is answered. mu is held.
func (h *host) leaveAnswered(s *subscriber, now time.Time) {
	if s.detached && s.gone == nil && s.reported != "" && h.machine.Unanswered(s.lease) == 0 {
		h.leave(s, true, now, core.Errorf(core.CodeLeaseLost, "everything sent under the lease was answered"))
	}
}

// dismiss has all subscribers leave.
func (h *host) dismiss(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, s := range h.subs {
		h.leave(s, true, now, why)
	}
}

// busy says that somebody needs the host.
func (h *host) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs) > 0 || !h.settled()
}

// settled says that everything is stored that can be. mu is held.
func (h *host) settled() bool {
	return h.machine.Flushed() && h.saver.modeStored()
}

// awaitSettled waits until everything is stored that can be, or the host has ended.
func (h *host) awaitSettled(ctx context.Context) error {
	return h.await(ctx, h.settled)
}

// await waits until Commits have made something true. The error is why the host has
// ended before, or unknown_outcome if ctx has.
func (h *host) await(ctx context.Context, done func() bool) error {
	for {
		h.mu.Lock()
		ended, stored := h.ended, h.waiting.forCommit()
		ok := ended == nil && done()
		h.mu.Unlock()
		if ok || ended != nil {
			return ended
		}
		h.saver.expedite()
		select {
		case <-stored:
		case <-h.ctx.Done():
		case <-ctx.Done():
			return core.Errorf(core.CodeUnknownOutcome, "the wait ended (%w), but the change may still be stored", context.Cause(ctx))
		}
	}
}

// end ends the host for all subscribers. Its goroutines end then; running waits for them.
func (h *host) end(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.finish(why)
}

// finish is end. mu is held.
func (h *host) finish(why error) {
	if h.ended != nil {
		return
	}
	h.ended = why
	for _, s := range h.subs {
		s.gone = why
		s.pending = pending{}
		s.wake()
	}
	clear(h.subs)
	h.waiting.left()
	h.waiting.move()
	h.waiting.end(why)
	h.cancel()
	h.owner.clock.drop(h)
	h.owner.checkpointer.add(&h.saver) // which forgets the host
}

// stop is end, and waits until the host's goroutines are gone.
func (h *host) stop(why error) {
	h.end(why)
	h.running.Wait()
}
