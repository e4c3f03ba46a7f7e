package subscriptions

import (
	"context"
	"math"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// expiry keeps a host from handing out events that are gone from the log. Its machine has read
// events ahead, and keeps those that are sent again. When Store.Removals says that some may be
// gone, nothing of what is kept is handed out until a look has asked the Store which are, and
// the machine has dropped them. host.mu protects it.
type expiry struct {
	// known is what Removals was before the oldest read of what the machine keeps, or at the
	// last look: what is kept was there then.
	known uint64
	// looked is when the last look began, and lasted how long it took. asked says that a subscriber
	// waits for the next one.
	looked time.Time
	lasted time.Duration
	asked  bool

	fed   uint64        // the least one of what was fed since the look under way began
	looks bool          // a look is under way
	done  chan struct{} // closed when the next look has ended; nil if nobody waits for it
}

// current reports whether everything that the machine keeps is in the log, as far as the
// Store knows. If not, it has somebody look. mu is held.
func (h *host) current() bool {
	x, now := &h.expiry, h.owner.store.Removals()
	switch {
	case x.known == now && (!h.owner.store.Expires() || time.Since(x.looked) < x.looksEvery()):
		return true
	case !x.looks && !h.keepsAny():
		x.known = now
		return true
	case !x.looks && h.ended == nil:
		x.looks = true
		h.run(func() { h.repeat("looking for removed events", h.look) })
	}
	return false
}

const (
	// leastLooks and mostLooks bound how old a look may be where events expire with time.
	leastLooks = 50 * time.Millisecond
	mostLooks  = time.Second
	// looksPart is the part of the time that is spent on looks, at most: one in so many.
	looksPart = 20
)

// looksEvery is how old a look may be when something is handed out. A subscriber that has waited for
// one may come late.
func (x *expiry) looksEvery() time.Duration {
	if x.asked {
		return mostLooks
	}
	return min(max(leastLooks, looksPart*x.lasted), mostLooks)
}

// mayHandOut is current and isThere, for a subscriber: Wake follows if it returns false. mu is held.
func (h *host) mayHandOut() bool {
	ok := h.current()
	h.expiry.asked = !ok
	return ok && h.isThere()
}

func (h *host) keepsAny() bool {
	for range h.machine.Kept() {
		return true
	}
	return false
}

// took notes that events were given to the machine that were read when Removals was known.
// mu is held.
func (x *expiry) took(known uint64) {
	x.known, x.fed = min(x.known, known), min(x.fed, known)
}

// AwaitExpired waits until nothing is kept ahead of subscribers, and nothing parked at this
// Owner, that the Store knows to be gone from the log when it is called.
func (o *Owner) AwaitExpired(ctx context.Context) error {
	upTo := o.store.Removals()
	if err := o.awaitLooks(ctx, upTo); err != nil {
		return err
	}
	return o.awaitParked(ctx, upTo)
}

// awaitLooks waits until no machine keeps what was removed up to a count of Removals, and nothing
// is stored of what it has dropped.
func (o *Owner) awaitLooks(ctx context.Context, upTo uint64) error {
	for _, h := range o.hosts() {
		if err := h.awaitLook(ctx, upTo); err != nil {
			return err
		}
		if err := h.awaitExpired(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (h *host) awaitLook(ctx context.Context, upTo uint64) error {
	for {
		h.mu.Lock()
		done := h.current() || h.expiry.known >= upTo || h.ended != nil
		if h.expiry.done == nil {
			h.expiry.done = make(chan struct{})
		}
		looked := h.expiry.done
		h.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-looked:
		case <-h.ctx.Done():
		case <-ctx.Done():
			return core.AsError(context.Cause(ctx))
		}
	}
}

// awaitExpired waits until nothing is stored of what the machine has dropped.
func (h *host) awaitExpired(ctx context.Context) error {
	if h.incarnation.key.transient {
		return nil // nothing is stored
	}
	err := h.await(ctx, func() bool { return !h.machine.Expiring() })
	if h.ctx.Err() != nil {
		return nil // what is stored, its next host looks through
	}
	return err
}

// look has the machine drop what is gone. more reports whether to look again.
func (h *host) look() (more bool, err error) {
	upTo, began := h.owner.store.Removals(), time.Now()
	h.mu.Lock()
	x := &h.expiry
	known := x.known
	x.fed = math.MaxUint64
	var positions []uint64
	var events [][]byte
	for position, raw := range h.machine.Kept() {
		positions, events = append(positions, position), append(events, raw)
	}
	h.mu.Unlock()
	gone, err := h.owner.store.Gone(h.ctx, known, events)
	if err != nil {
		return false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	x.known, x.looked, x.lasted = min(upTo, x.fed), began, time.Since(began)
	h.dropGone(positions, events, gone)
	if x.done != nil {
		close(x.done)
		x.done = nil
	}
	if x.looks = x.known != h.owner.store.Removals() && h.ended == nil; x.looks {
		return true, nil
	}
	for _, s := range h.subs { // which may have waited for this
		s.wake()
	}
	return false, nil
}

// dropGone has the machine, and those to whom it has sent them, drop the events that are gone.
// mu is held.
func (h *host) dropGone(positions []uint64, events [][]byte, gone []bool) {
	var which []uint64
	versions := map[uint64]uint64{} // of those that are gone, by position
	for i := range gone {
		if gone[i] {
			which = append(which, positions[i])
			for place := range (core.Batch{Block: events[i], Count: 1}).Places() {
				versions[positions[i]] = place.Version
			}
		}
	}
	if len(which) == 0 || h.ended != nil {
		return
	}
	for _, s := range h.subs {
		s.expire(versions)
	}
	parking, _ := h.machine.Unstored()
	h.machine.Expire(time.Now(), which)
	h.unparked(parking)
	h.advance(time.Now())
}

// unparked notes that fewer events are to be parked than before: who waits for them waits for
// fewer. mu is held.
func (h *host) unparked(before int) {
	if now, _ := h.machine.Unstored(); now < before {
		h.waiting.parked += uint64(before - now)
		h.waiting.settle(&h.saver)
	}
}

// maxExpired bounds the versions that a subscriber remembers of expired events.
const maxExpired = 4096

// expire drops what was sent and not taken of some events, and gives the credit for it back:
// nobody will. Those that were taken can be answered by their versions still. host.mu is held.
func (s *subscriber) expire(versions map[uint64]uint64) {
	if s.host.incarnation.Definition.Stream != core.All {
		for position := range s.host.machine.Sent(s.lease) {
			version, ok := versions[position]
			if !ok {
				continue
			}
			if s.expired == nil || len(s.expired) == maxExpired {
				s.expired = map[uint64]uint64{}
			}
			s.expired[version] = position
		}
	}
	// Where the machine is lost, the lease has ended.
	_ = s.host.machine.Credit(s.lease, s.pending.drop(versions))
}

// drop removes some events by their positions, and returns what credit they took.
func (p *pending) drop(gone map[uint64]uint64) (credit delivery.Credit) {
	var kept pending
	for i := range p.runs {
		r := &p.runs[i]
		var left []delivery.Delivery
		n := 0
		for place := range r.Places() {
			raw := r.Block[place.At : place.At+place.Size]
			if _, ok := gone[place.Position]; ok {
				credit.Events++
				credit.Bytes += int64(len(raw))
			} else {
				d := delivery.Delivery{Position: place.Position, Attempt: int(r.attempts[n]), Replay: r.replay, Raw: raw}
				if r.marks != nil {
					d.Key, d.Fault = r.marks[n].Key, r.marks[n].Fault
				}
				left = append(left, d)
			}
			n++
		}
		kept.add(r.since, left, r.marks != nil)
	}
	if credit.Events > 0 {
		*p = kept
	}
	return credit
}
