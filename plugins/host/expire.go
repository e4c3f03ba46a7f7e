package host

import (
	"context"
	"slices"
)

// expire drops the queued events that are gone from the log, which the machine has dropped, too, or
// is about to. ok is false if there is to be another look at the queue: something was gone, or a
// Commit under way was not made.
func (l *lane) expire(ctx context.Context) (ok bool, err error) {
	store := l.host.config.Store
	upTo := store.Removals()
	if l.queue.isKnown(upTo) || !l.holds(ruleExpire) {
		return true, nil
	}
	if ok, err := l.drain(ctx); !ok {
		return false, err
	}
	events, known := l.queue.begin(upTo)
	raws := make([][]byte, len(events))
	for i := range events {
		raws[i] = events[i].raw
	}
	are, err := store.Gone(ctx, known, raws)
	if err != nil {
		l.queue.know(known)
		return false, l.fail(err)
	}
	gone, bytes := events[:0:0], 0
	for i := range are {
		if are[i] {
			gone = append(gone, events[i])
			bytes += len(events[i].raw)
		}
	}
	if len(gone) == 0 {
		return true, nil
	}
	if first := &gone[0]; l.stored.Attempts > 0 && !first.replay && first.position == events[0].position {
		// The attempts are of no other event.
		if made, err := l.store(ctx, l.next(first.position), nil); !made || err != nil {
			l.queue.know(known)
			return false, err
		}
	}
	if slices.ContainsFunc(gone, func(e queued) bool { return e.position == l.begun }) {
		l.begun = 0
	}
	l.queue.remove(gone)
	l.answered(bytes)
	return false, nil
}
