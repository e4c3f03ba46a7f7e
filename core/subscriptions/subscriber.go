package subscriptions

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Joiner is implemented by everything that delivers: an Owner, a client of another node,
// or a router before many. The package jointest is its contract.
type Joiner interface {
	// Join begins a lease. The errors are those of Owner.Join.
	Join(ctx context.Context, r JoinRequest) (Subscriber, error)
}

// Subscriber is one consumer's lease of a subscription. Take is for one goroutine at a
// time, everything else is safe for concurrent use. No method blocks.
//
// When the subscription ends under it, Take returns why, and the other calls fail with
// lease_lost.
type Subscriber interface {
	// Take returns the next delivery: up to max events, or a change of state. The
	// first call returns the state at once. ok is false if there is nothing: Wake of
	// the JoinRequest says when to look again.
	Take(max core.Limit) (d Delivery, ok bool, err error)
	// Answer says what became of events, and calls done with the outcome: before it
	// returns, or later from another goroutine. done must not block, nor call the
	// Subscriber. a.Positions belong to the caller again when Answer returns.
	Answer(a Answer, done func(error))
	// Credit adds to what may be sent.
	Credit(more delivery.Credit) error
	// Leave ends the lease, and gives back what is in flight. Clean is a goodbye;
	// otherwise its attempts have failed. Later calls do nothing.
	Leave(clean bool)
}

// Waiting is a Subscriber for a goroutine that waits for deliveries and outcomes.
type Waiting struct {
	Subscriber
	woken chan struct{} // holds 1
}

// JoinWaiting joins and returns a Waiting.
func JoinWaiting(ctx context.Context, at Joiner, r JoinRequest) (*Waiting, error) {
	w := &Waiting{woken: make(chan struct{}, 1)}
	r.Wake = func() { wake(w.woken) }
	var err error
	w.Subscriber, err = at.Join(ctx, r)
	return w, err
}

// Next is Take that waits. The errors are those of Take, and ctx's.
func (w *Waiting) Next(ctx context.Context, max core.Limit) (Delivery, error) {
	for {
		if d, ok, err := w.Take(max); ok || err != nil {
			return d, err
		}
		select {
		case <-w.woken:
		case <-ctx.Done():
			return Delivery{}, core.AsError(ctx.Err())
		}
	}
}

// Do is Answer that waits. The errors are those of a, and ctx's: the answer is given
// then, but its outcome not known.
func (w *Waiting) Do(ctx context.Context, a Answer) error { return Do(ctx, w.Subscriber, a) }

// Do gives a Subscriber an Answer, and waits for the outcome.
func Do(ctx context.Context, s Subscriber, a Answer) error {
	outcome := make(chan error, 1)
	s.Answer(a, func(err error) { outcome <- err })
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	}
}

// Delivery is what a Subscriber takes.
type Delivery struct {
	// Batch has the events, in the order they were sent in, which is that of
	// positions but for those that come back.
	core.Batch
	// Attempts has one for each event: how often it was sent.
	Attempts []uint64
	// Replay is set if all of them are parked events that are delivered again; else none is.
	Replay bool
	// Marks has one for each event, if the subscriber is Bound.
	Marks []Mark

	// State is that of the subscription after the events, and Reason why it is
	// Stopped. Changed says that the Delivery before had another State.
	State   delivery.State
	Reason  string
	Changed bool

	Checkpoint uint64 // stored
	Head       uint64 // of the log
	Lease      uint64 // that the events were sent under
	// Incarnation tells the subscription from an earlier or later one of its name.
	Incarnation string
	// Node hosts the subscription, where that is another than the one that was joined at.
	Node string
}

// Lag is how many positions the checkpoint is behind.
func (d *Delivery) Lag() uint64 { return d.Head - min(d.Checkpoint, d.Head) }

// subscriber is a Subscriber of a host.
type subscriber struct {
	host  *host
	lease delivery.Lease
	woken func() // JoinRequest.Wake

	detached  bool
	principal string // JoinRequest.Principal

	// host.mu protects the fields below.
	pending  pending
	bound    bool
	reported delivery.State
	gone     error     // why it has ended
	until    time.Time // when a detached one ends
	// expired has the positions of events that expired after they were taken, by version; of
	// $all there are none.
	expired map[uint64]uint64
}

// pending is what was sent and not taken, in runs.
type pending struct{ runs []run }

// run is some events, back to back in one block.
type run struct {
	core.Batch
	attempts []uint64
	marks    []Mark    // of a bound subscription
	since    time.Time // when the time to ack of its first event began
	replay   bool      // of parked events
	shared   bool      // the block is a part of what the machine sent
}

// copyBelow is how long a run must be to be left as it is when the next event lies
// elsewhere; shorter ones are copied together, into blocks of copyBlock.
const (
	copyBelow = 16 << 10
	copyBlock = 64 << 10
)

// add copies nothing as long as each event lies behind the one before it, as those
// of one read do.
func (p *pending) add(now time.Time, events []delivery.Delivery, marked bool) {
	for i := range events {
		d := &events[i]
		last := len(p.runs) - 1
		if last < 0 || p.runs[last].replay != d.Replay || !p.runs[last].takes(d.Raw) {
			p.runs = append(p.runs, run{
				Batch: core.Batch{Block: d.Raw, First: d.Position}, since: now, replay: d.Replay, shared: true,
				attempts: make([]uint64, 0, len(events)-i),
			})
			last++
		}
		r := &p.runs[last]
		r.attempts = append(r.attempts, uint64(d.Attempt))
		if marked {
			r.marks = append(r.marks, Mark{d.Key, d.Fault})
		}
		r.Count++
		r.Last = d.Position
	}
}

// takes puts an event behind the others, if it belongs there.
func (r *run) takes(raw []byte) bool {
	n := len(r.Block)
	switch {
	case r.shared && adjacent(r.Block, raw):
		r.Block = r.Block[:n+len(raw)]
		return true
	case r.shared && n < copyBelow:
		r.Block = append(make([]byte, 0, max(copyBlock, n+len(raw))), r.Block...)
		r.shared = false
	case r.shared || n+len(raw) > cap(r.Block):
		return false
	}
	r.Block = append(r.Block, raw...)
	return true
}

// adjacent says that b lies behind a in the same block.
func adjacent(a, b []byte) bool {
	n := len(a)
	return n+len(b) <= cap(a) && &a[:n+1][n] == &b[0]
}

// take removes as much of the first run as a limit allows, at least one event.
func (p *pending) take(limit core.Limit) (taken run) {
	r := &p.runs[0]
	r.Block = r.Block[:len(r.Block):len(r.Block)]
	taken = *r
	var rest core.Batch
	taken.Batch, rest = r.Cut(core.Limit{Events: max(limit.Events, 1), Bytes: max(limit.Bytes, 1)})
	n := taken.Count
	taken.attempts = r.attempts[:n:n]
	if r.marks != nil {
		taken.marks = r.marks[:n:n]
		r.marks = r.marks[n:]
	}
	if rest.Count > 0 {
		*r = run{Batch: rest, attempts: r.attempts[n:], marks: r.marks, since: r.since, replay: r.replay, shared: true}
		return taken
	}
	p.runs[0] = run{}
	if p.runs = p.runs[1:]; len(p.runs) == 0 {
		p.runs = nil
	}
	return taken
}

// takeAll removes as much as a limit allows, at least one event, of all runs together that
// are replays as the first, or none as it.
func (p *pending) takeAll(limit core.Limit) (all run) {
	all = p.take(limit)
	for len(p.runs) > 0 && p.runs[0].replay == all.replay && all.Count < limit.Events {
		room := core.Limit{Events: limit.Events - all.Count, Bytes: limit.Bytes - len(all.Block)}
		if next, _ := p.runs[0].Cut(core.Limit{Events: 1}); len(next.Block) > room.Bytes {
			break
		}
		more := p.take(room)
		all.Block = append(all.Block, more.Block...)
		all.Count += more.Count
		all.Last = more.Last
		all.attempts = append(all.attempts, more.attempts...)
	}
	return all
}

// recall takes back what was sent and not taken, which counts as never sent. host.mu is
// held.
func (s *subscriber) recall() {
	var positions []uint64
	for i := range s.pending.runs {
		positions = appendPositions(positions, s.pending.runs[i].Batch)
	}
	s.pending = pending{}
	_ = s.host.machine.Recall(s.lease, positions) // where the machine is lost, the lease has ended
}

func appendPositions(positions []uint64, b core.Batch) []uint64 {
	for place := range b.Places() {
		positions = append(positions, place.Position)
	}
	return positions
}

// holdUntaken keeps events from timing out that no subscriber has taken yet. mu is held.
func (h *host) holdUntaken(now time.Time) {
	h.due.untaken = time.Time{}
	for _, s := range h.subs {
		s.holdUntaken(now)
		for i := range s.pending.runs {
			if at := s.pending.runs[i].since.Add(h.ackTimeout()); h.due.untaken.IsZero() || at.Before(h.due.untaken) {
				h.due.untaken = at
			}
		}
	}
}

// holdUntaken begins the time to ack anew for events whose time is over before they were
// taken. host.mu is held.
func (s *subscriber) holdUntaken(now time.Time) {
	for i := range s.pending.runs {
		if r := &s.pending.runs[i]; now.Sub(r.since) >= s.host.ackTimeout() {
			s.extend(now, r.Batch)
			r.since = now
		}
	}
}

// extend gives events the time to ack from now on. host.mu is held.
func (s *subscriber) extend(now time.Time, b core.Batch) {
	// Where the machine is lost, the lease has ended.
	_ = s.host.machine.Extend(now, s.lease, appendPositions(nil, b), s.host.ackTimeout())
}

// waitPart is the part of the time to ack that events may wait for Take at its expense:
// one in so many. After a longer wait the time begins with Take.
const waitPart = 16

// Take is Subscriber.Take.
func (s *subscriber) Take(limit core.Limit) (d Delivery, ok bool, err error) {
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.gone != nil {
		return Delivery{}, false, s.gone
	}
	d = Delivery{State: s.reported, Checkpoint: h.saver.saved.Checkpoint, Head: h.head(), Lease: uint64(s.lease), Incarnation: h.incarnation.ID}
	if len(s.pending.runs) > 0 && !h.mayHandOut() {
		if h.deletion.deleted {
			s.report(&d)
		}
		return d, d.Changed, nil // Wake follows
	}
	if len(s.pending.runs) > 0 {
		now, since, taken := time.Now(), s.pending.runs[0].since, run{}
		if s.detached {
			taken = s.pending.takeAll(limit)
		} else {
			taken = s.pending.take(limit)
		}
		d.Batch, d.Attempts, d.Marks, d.Replay = taken.Batch, taken.attempts, taken.marks, taken.replay
		if now.Sub(since) > h.ackTimeout()/waitPart {
			s.extend(now, d.Batch)
		}
		if s.detached {
			s.recall() // there is no second batch
			h.advance(now)
		}
	}
	if len(s.pending.runs) > 0 {
		return d, true, nil // the state is reported after the rest
	}
	s.report(&d)
	return d, d.Count > 0 || d.Changed, nil
}

// report adds the state to a delivery. host.mu is held.
func (s *subscriber) report(d *Delivery) {
	m := s.host.machine
	if d.State = m.State(); d.State != s.reported {
		s.reported, d.Changed, d.Reason = d.State, true, m.Reason()
	}
}

// wake has whoever takes look. host.mu is held.
func (s *subscriber) wake() {
	if s.woken != nil {
		s.woken()
	}
}

// Credit is Subscriber.Credit.
func (s *subscriber) Credit(more delivery.Credit) error {
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.gone != nil {
		return leaseLost(s.gone)
	}
	err := h.machine.Credit(s.lease, more)
	h.advance(time.Now())
	return err
}

// Leave is Subscriber.Leave.
func (s *subscriber) Leave(clean bool) {
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(s, clean, time.Now(), core.Errorf(core.CodeCanceled, "the subscriber has left"))
}
