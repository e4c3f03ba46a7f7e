package cluster

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// received is what came over a Link for one lease and is not handed out. When joins.forgets has
// risen, some of it may be gone from the log: it is sifted, and nothing is handed out meanwhile.
type received struct {
	turn sync.Mutex               // held while something is handed out, or put into held
	held []subscriptions.Delivery // protected by turn: sifted, to be handed out first

	mu     sync.Mutex    // protects the fields below
	sifted uint64        // up to which of joins.forgets
	under  chan struct{} // closed when the sifting under way has ended; nil if none is
}

// forget waits until nothing is handed out any more that came before and is gone by now.
func (j *joins) forget(ctx context.Context) error {
	upTo := j.forgets.Add(1)
	for _, o := range j.all() {
		o.mu.Lock()
		p := o.inner
		o.mu.Unlock()
		for p != nil && !p.isSifted(upTo) {
			select {
			case <-o.siftReceived(p):
			case <-ctx.Done():
				return core.AsError(context.Cause(ctx))
			}
		}
	}
	return nil
}

// isRemote reports whether the lease is at another node.
func (l *innerLease) isRemote() bool { return l.broken != nil }

// isSifted reports whether what has come is sifted up to a count of joins.forgets.
func (l *innerLease) isSifted(upTo uint64) bool {
	if !l.isRemote() {
		return true // the Owner has done it
	}
	l.received.mu.Lock()
	defer l.received.mu.Unlock()
	return l.received.sifted >= upTo
}

// next takes what is to be handed out next. While that is sifted there is nothing, and the caller
// is woken afterwards. The caller has the turn.
func (o *joined) next(p *innerLease, limit core.Limit) (subscriptions.Delivery, bool, error) {
	if !p.isSifted(o.joins.forgets.Load()) {
		o.siftReceived(p)
		return subscriptions.Delivery{}, false, nil
	}
	held := &p.received.held
	if len(*held) == 0 {
		return p.Subscriber.Take(limit)
	}
	d, rest := cutDelivery((*held)[0], limit)
	if (*held)[0] = rest; rest.Count == 0 {
		*held = (*held)[1:]
	}
	return d, true, nil
}

// cutDelivery splits off the first events that fit a limit. The state is that after all of them.
func cutDelivery(d subscriptions.Delivery, limit core.Limit) (head, rest subscriptions.Delivery) {
	head, rest = d, d
	head.Batch, rest.Batch = d.Cut(core.Limit{Events: max(limit.Events, 1), Bytes: max(limit.Bytes, 1)})
	head.Attempts, rest.Attempts = d.Attempts[:head.Count], d.Attempts[head.Count:]
	if rest.Count > 0 {
		head.State, head.Reason, head.Changed = "", "", false
	}
	return head, rest
}

// siftReceived begins to sift what has come of a lease, unless somebody does. It returns what is closed
// when that has ended.
func (o *joined) siftReceived(p *innerLease) <-chan struct{} {
	in := &p.received
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.under == nil {
		under := make(chan struct{})
		in.under = under
		o.joins.running.Go(func() {
			upTo := o.siftUntilDone(p)
			in.mu.Lock()
			in.sifted, in.under = upTo, nil
			in.mu.Unlock()
			close(under)
			o.woken()
		})
	}
	return in.under
}

// siftUntilDone sifts until it succeeds, or the lease is over: then nothing of it is handed out. It
// returns up to which of joins.forgets that is.
func (o *joined) siftUntilDone(p *innerLease) (upTo uint64) {
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		upTo = o.joins.forgets.Load()
		if o.dropGone(p) == nil {
			return upTo
		}
		select {
		case <-time.After(pause):
		case <-p.broken:
			return math.MaxUint64
		case <-o.joins.ctx.Done():
			return math.MaxUint64
		}
	}
}

// dropGone drops what has come of a lease and is gone from the log. The error is that of storage.
func (o *joined) dropGone(p *innerLease) error {
	in := &p.received
	in.turn.Lock()
	for all := (core.Limit{Events: math.MaxInt, Bytes: math.MaxInt}); ; {
		d, ok, err := p.Subscriber.Take(all)
		if err != nil || !ok { // an error comes again, from Take
			break
		}
		in.held = append(in.held, d)
	}
	held := in.held
	in.turn.Unlock()
	var events [][]byte
	for i := range held {
		for place := range held[i].Places() {
			events = append(events, held[i].Block[place.At:place.At+place.Size])
		}
	}
	gone, err := o.joins.store.Gone(o.joins.ctx, 0, events)
	if err != nil {
		return err
	}
	kept, free := keep(held, gone)
	in.turn.Lock()
	in.held = kept
	in.turn.Unlock()
	if free.Events > 0 {
		_ = p.Credit(free) // if the lease has ended, nobody needs it
	}
	return nil
}

// keep returns deliveries without the events that are gone, and the credit that these took.
func keep(all []subscriptions.Delivery, gone []bool) (kept []subscriptions.Delivery, free delivery.Credit) {
	for _, d := range all {
		left := d
		left.Batch, left.Attempts = core.Batch{}, nil
		n := 0
		for place := range d.Places() {
			raw := d.Block[place.At : place.At+place.Size]
			if gone[n] {
				free.Events++
				free.Bytes += int64(len(raw))
			} else {
				left.Add(raw, place.Position)
				left.Attempts = append(left.Attempts, d.Attempts[n])
			}
			n++
		}
		gone = gone[n:]
		if left.Count > 0 || left.Changed {
			kept = append(kept, left)
		}
	}
	return kept, free
}
