package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// joined is a subscriber at this node. It lives through changes of the owner: it joins again
// at the next one, with the credit that is left, until the caller leaves or the subscription
// ends. Meanwhile its state is moving or no_quorum.
//
// Each lease at an owner is a lease of its own to the caller. What was sent under one and
// not answered is sent again under the next, and answers that come late are lease_lost.
type joined struct {
	joins   *joins
	request subscriptions.JoinRequest

	mu     sync.Mutex             // protects the fields below
	inner  *innerLease            // nil while it has none
	gone   error                  // why it has ended
	again  context.CancelFunc     // ends rejoin; nil if there was none
	credit delivery.Credit        // that is left
	owed   delivery.Credit        // of credit, what was added since the request of rejoin
	sent   subscriptions.Delivery // the last, without events
	// waiting is the state while there is no lease, and why.
	waiting delivery.State
	why     string

	positions sentBefore
	versions  sentBefore
	byVersion bool // the caller names events by versions
}

// begin takes a lease. mu is held, or nobody has the joined yet.
func (o *joined) begin(p *innerLease) {
	o.inner = p
	o.sent.Lease = o.joins.leases.Add(1)
	o.positions.next()
	o.versions.next()
}

// woken has the caller call Take.
func (o *joined) woken() {
	if o.request.Wake != nil {
		o.request.Wake()
	}
}

// Take is Subscriber.Take.
func (o *joined) Take(limit core.Limit) (subscriptions.Delivery, bool, error) {
	o.mu.Lock()
	p, gone := o.inner, o.gone
	o.mu.Unlock()
	if gone != nil {
		return subscriptions.Delivery{}, false, gone
	}
	if p == nil {
		return o.report()
	}
	if why := o.joins.ring.State().Serves(time.Now()); why != nil {
		p.Leave(true)
		o.lose(p, why)
		return o.report()
	}
	p.received.turn.Lock()
	d, ok, err := o.next(p, limit)
	if err == nil {
		d, ok = o.took(p, d, ok)
	}
	p.received.turn.Unlock()
	switch {
	case err == nil:
		return d, ok, nil
	case p.lost(err):
		o.lose(p, err)
		return o.report()
	}
	o.end(err, false)
	return subscriptions.Delivery{}, false, err
}

// took notes what was taken from a lease, and makes it the caller's.
func (o *joined) took(p *innerLease, d subscriptions.Delivery, ok bool) (subscriptions.Delivery, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !ok || o.inner != p {
		return subscriptions.Delivery{}, false
	}
	spendCredit(&o.credit, &d)
	o.note(&d)
	d.Lease, d.Node = o.sent.Lease, p.node
	if d.State == "" { // the first state comes after what is sent already
		if d.State = o.sent.State; d.Count > 0 && (d.State == delivery.Moving || d.State == delivery.NoQuorum) {
			d.State = delivery.CatchUp
		}
	}
	d.Changed = d.State != o.sent.State
	o.sent = d
	o.sent.Batch, o.sent.Attempts = core.Batch{}, nil
	return d, d.Count > 0 || d.Changed
}

// note remembers which events were sent under this lease. mu is held.
func (o *joined) note(d *subscriptions.Delivery) {
	if o.positions.simple() && !o.byVersion && firstAttempts(d) {
		o.positions.most = max(o.positions.most, d.Last)
		return
	}
	for place := range d.Places() {
		o.positions.add(place.Position)
		o.versions.add(place.Version)
	}
}

// firstAttempts reports whether all events of a delivery are sent for the first time: then they are
// in the order of positions.
func firstAttempts(d *subscriptions.Delivery) bool {
	for _, attempt := range d.Attempts {
		if attempt > 1 {
			return false
		}
	}
	return !d.Replay
}

// spendCredit takes off what a delivery costs.
func spendCredit(c *delivery.Credit, d *subscriptions.Delivery) {
	if c.Events != delivery.Unlimited {
		c.Events -= int64(d.Count)
	}
	if c.Bytes != delivery.Unlimited {
		c.Bytes -= int64(len(d.Block))
	}
}

// report returns the state of a subscriber without a lease, once.
func (o *joined) report() (subscriptions.Delivery, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.sent
	d.Changed = d.State != o.waiting
	if o.inner != nil || o.gone != nil || !d.Changed {
		return subscriptions.Delivery{}, false, o.gone
	}
	d.State, d.Reason, d.Replay = o.waiting, o.why, false
	o.sent = d
	return d, true, nil
}

// lose gives up a lease, and has the subscription joined again.
func (o *joined) lose(p *innerLease, why error) {
	p.over()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.inner != p || o.gone != nil {
		return
	}
	o.inner = nil
	o.waits(why)
	ctx, cancel := context.WithCancel(o.joins.ctx)
	o.again = cancel
	o.joins.running.Go(func() {
		defer cancel()
		o.rejoin(ctx)
	})
}

// waits sets the state of a subscriber without a lease, and reports whether it is another.
// mu is held.
func (o *joined) waits(why error) (changed bool) {
	before := o.waiting
	o.waiting, o.why = delivery.Moving, core.AsError(why).Detail
	if closed := o.joins.ring.State().Serves(time.Now()); closed != nil {
		o.waiting, o.why = delivery.NoQuorum, closed.Detail
	}
	return o.waiting != before
}

// rejoin joins until it has a lease, the subscription ends or ctx does.
func (o *joined) rejoin(ctx context.Context) {
	j := o.joins
	for pause := leastRejoin; ctx.Err() == nil; pause = min(2*pause, mostRejoin) {
		s := j.ring.State()
		if s.Serves(time.Now()) != nil {
			pause = leastRejoin
			o.stillWaits(s.Serves(time.Now()))
			awaitNewer(ctx, s, mostRejoin)
			continue
		}
		err := o.rejoinOnce(ctx, s)
		switch {
		case err == nil:
			return
		case !outlives(err) && ctx.Err() == nil:
			o.end(err, true)
			return
		}
		o.stillWaits(err)
		j.learn(err)
		awaitNewer(ctx, s, pause)
	}
}

// stillWaits has the caller look if the state is another.
func (o *joined) stillWaits(why error) {
	o.mu.Lock()
	changed := o.waits(why)
	o.mu.Unlock()
	if changed {
		o.woken()
	}
}

// rejoinOnce takes a lease at the owner in a State.
func (o *joined) rejoinOnce(ctx context.Context, s *State) error {
	j := o.joins
	select {
	case j.underWay <- struct{}{}:
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	}
	defer func() { <-j.underWay }()
	r := o.requestAgain()
	within, cancel := context.WithTimeout(ctx, joinFor)
	defer cancel()
	p, err := j.try(within, s, r, o.woken)
	if err != nil {
		if ctx.Err() == nil && within.Err() != nil {
			err = core.Errorf(core.CodeUnavailable, "the owner does not answer: %w", err)
		}
		return err
	}
	o.mu.Lock()
	gone, more := o.gone, o.owed
	if gone == nil {
		o.begin(p)
	}
	o.mu.Unlock()
	if gone != nil {
		p.Leave(true)
		return nil
	}
	if more != (delivery.Credit{}) {
		_ = p.Credit(more) // if that lease has ended, Take notices
	}
	o.woken()
	return nil
}

// requestAgain is the request of a subscriber that comes back: the same incarnation as it
// is, or a transient subscription from the last checkpoint that was reported.
func (o *joined) requestAgain() subscriptions.JoinRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.request
	o.owed = delivery.Credit{}
	r.Credit = delivery.Credit{Events: max(o.credit.Events, 0), Bytes: max(o.credit.Bytes, 1)}
	switch {
	case o.sent.Incarnation == "":
	case r.Transient:
		d := subscriptions.DefaultDefinition()
		if r.Definition != nil {
			d = *r.Definition
		}
		d.From = core.From{Kind: core.AfterPosition, N: o.sent.Checkpoint, Log: o.joins.store.State().Log}
		r.Definition = &d
	default:
		r.Definition, r.AnyOptions, r.Incarnation = nil, false, o.sent.Incarnation
	}
	return r
}

// end ends the subscriber for good. wake has the caller take the reason.
func (o *joined) end(why error, wake bool) {
	o.mu.Lock()
	p, first := o.inner, o.gone == nil
	if first {
		o.gone, o.inner = why, nil
		if o.again != nil {
			o.again()
		}
	}
	o.mu.Unlock()
	if !first {
		return
	}
	o.joins.remove(o)
	if p != nil {
		p.Leave(true)
	}
	if wake {
		o.woken()
	}
}

// Leave is Subscriber.Leave.
func (o *joined) Leave(clean bool) {
	o.mu.Lock()
	p := o.inner
	if o.gone == nil && p != nil {
		o.inner = nil
	}
	o.mu.Unlock()
	o.end(core.Errorf(core.CodeCanceled, "the subscriber has left"), false)
	if p != nil {
		p.Leave(clean)
	}
}

// Credit is Subscriber.Credit.
func (o *joined) Credit(more delivery.Credit) error {
	o.mu.Lock()
	p, gone := o.inner, o.gone
	addTo(&o.credit, more)
	addTo(&o.owed, more)
	o.mu.Unlock()
	switch {
	case gone != nil:
		return leaseLost(gone)
	case p != nil:
		_ = p.Credit(more) // if that lease has ended, the next has the credit
	}
	return nil
}

func addTo(c *delivery.Credit, more delivery.Credit) {
	c.Events, c.Bytes = addCredit(c.Events, more.Events), addCredit(c.Bytes, more.Bytes)
}

// addCredit adds without overflow.
func addCredit(have, more int64) int64 {
	more = max(more, 0)
	if have > delivery.Unlimited-more {
		return delivery.Unlimited
	}
	return have + more
}

// Answer is Subscriber.Answer.
func (o *joined) Answer(a subscriptions.Answer, done func(error)) {
	p, late, err := o.sift(&a)
	if err != nil {
		done(err)
		return
	}
	p.Answer(a, func(err error) {
		if err != nil && p.lost(err) {
			err = leaseLost(err)
		}
		done(withLate(err, a.ByVersion, late))
	})
}

// sift takes out of an Answer what was sent under earlier leases, and returns it. The
// error is lease_lost if nothing is left, or there is no lease.
func (o *joined) sift(a *subscriptions.Answer) (p *innerLease, late []uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.byVersion = o.byVersion || a.ByVersion
	sent := &o.positions
	if a.ByVersion {
		sent = &o.versions
	}
	switch closed := o.joins.ring.State().Serves(time.Now()); {
	case o.gone != nil:
		return nil, nil, leaseLost(o.gone)
	case closed != nil:
		return nil, nil, leaseLost(closed)
	case o.inner == nil:
		return nil, nil, core.Errorf(core.CodeLeaseLost, "the subscription moves to another node; what is not answered is sent again")
	case a.Kind == subscriptions.AckUpTo:
		if sent.before(a.UpTo) {
			late = []uint64{a.UpTo}
		}
	default:
		a.Positions, late = sent.sift(a.Positions)
	}
	if len(late) > 0 && (a.Kind == subscriptions.AckUpTo || len(a.Positions) == 0) {
		return nil, nil, core.Errorf(core.CodeLeaseLost, "it was sent under an earlier lease; what was not answered is sent again")
	}
	return o.inner, late, nil
}

// withLate adds to the outcome of an Answer what was sent under earlier leases.
func withLate(err error, byVersion bool, late []uint64) error {
	if len(late) == 0 {
		return err
	}
	refused, ok := errors.AsType[*core.Error](err)
	if err != nil && (!ok || refused.Code != core.CodeUnexpectedAck) {
		return err
	}
	all := core.Errorf(core.CodeUnexpectedAck, "not in flight under this lease: %d", late)
	if ok {
		all = core.Errorf(core.CodeUnexpectedAck, "%s, and %d", refused.Detail, late)
		all.Positions, all.Versions = refused.Positions, refused.Versions
	}
	if byVersion {
		all.Versions = append(all.Versions, late...)
	} else {
		all.Positions = append(all.Positions, late...)
	}
	return all
}

// sentBefore tells the events of earlier leases from those of the present one, by their
// positions or versions. It holds only those that were sent under both.
type sentBefore struct {
	most  uint64              // that was sent
	old   uint64              // most, under earlier leases; 0 if there were none
	again map[uint64]struct{} // up to old, that were sent under the present lease
}

// next begins another lease.
func (s *sentBefore) next() { s.old, s.again = s.most, nil }

// simple reports whether there was no earlier lease.
func (s *sentBefore) simple() bool { return s.old == 0 }

func (s *sentBefore) add(n uint64) {
	s.most = max(s.most, n)
	if n > s.old {
		return
	}
	if s.again == nil {
		s.again = map[uint64]struct{}{}
	}
	s.again[n] = struct{}{}
}

// before reports whether n was sent under an earlier lease only.
func (s *sentBefore) before(n uint64) bool {
	_, again := s.again[n]
	return n <= s.old && !again
}

// sift returns what belongs to the present lease, and what does not. It does not change
// numbers.
func (s *sentBefore) sift(numbers []uint64) (present, late []uint64) {
	for i, n := range numbers {
		switch {
		case !s.before(n):
			if late != nil {
				present = append(present, n)
			}
		default:
			if late == nil {
				present = append(present, numbers[:i]...)
			}
			late = append(late, n)
		}
	}
	if late == nil {
		return numbers, nil
	}
	return present, late
}
