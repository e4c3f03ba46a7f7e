package subscriptions

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// parkedExpiry says up to which of Store.Removals the parked events were looked through.
// Owner.mu protects it.
type parkedExpiry struct {
	seen  uint64        // 0: look for what was removed at any time
	taken bool          // TakeOver was called since the last look began
	done  chan struct{} // closed when a look ends; nil if nobody waits for one
}

// expireParked drops the parked events that are removed from the log, with the reasons and
// failures that their records have, until the Owner is closed. It begins with what was removed
// while no Owner was there.
func (o *Owner) expireParked() {
	var last parkedLook
	for backoff := leastBackoff; ; {
		pause, err := o.lookForGone(&last)
		work := o.parkedWork
		if err == nil {
			backoff = leastBackoff
		} else {
			if o.ctx.Err() == nil {
				o.config.Logger.Warn("looking for parked events that are removed", "error", err)
			}
			pause, work = backoff, nil
			backoff = min(2*backoff, mostBackoff)
		}
		var due <-chan time.Time
		if pause > 0 {
			due = time.After(pause)
		}
		select {
		case <-work:
		case <-due:
		case <-o.ctx.Done():
			return
		}
	}
}

// parkedLook is the last look at everything parked.
type parkedLook struct {
	ended  time.Time
	lasted time.Duration
}

// pause returns how long the next look at everything has to wait if nobody waits for it: one part
// of looksPart of the time may be spent on those.
func (l *parkedLook) pause() time.Duration { return looksPart*l.lasted - time.Since(l.ended) }

// lookForGone drops what was removed since the last look. Where only streams were removed, it looks
// at the incarnations that may have parked something of them. Otherwise it looks at everything, for
// which it may have to wait: then pause is greater than 0.
func (o *Owner) lookForGone(last *parkedLook) (pause time.Duration, err error) {
	since, awaited := o.beginLook()
	upTo := o.store.Removals()
	if since == upTo {
		return 0, nil
	}
	removed := o.store.Removed(since)
	if err := o.awaitLooks(o.ctx, upTo); err != nil { // what is parked from now on was there
		return 0, err
	}
	o.awaitEnded()
	having, known := o.parkedStreams.having(removed.Streams)
	pause = last.pause()
	switch all := removed.Any || removed.Expired || !known; {
	case !all:
		err = o.dropParkedOf(since, having)
	case !awaited && pause > 0:
		return pause, nil
	default:
		began := time.Now()
		err = o.dropAnyParked(since)
		last.ended, last.lasted = time.Now(), time.Since(began)
	}
	if err == nil {
		o.endLook(upTo)
	}
	return 0, err
}

// beginLook returns up to which removal was looked, and whether somebody waits for more.
func (o *Owner) beginLook() (since uint64, awaited bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parked.taken = false
	return o.parked.seen, o.parked.done != nil
}

// endLook notes a look, unless there is more to look at since it has begun.
func (o *Owner) endLook(seen uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.parked.taken {
		o.parked.seen = seen
	}
	if o.parked.done != nil {
		close(o.parked.done)
		o.parked.done = nil
	}
}

// TakeOver says that this Owner may own names that another one has owned. It has everything that is
// parked looked through for what was removed at any time, and does not wait for that.
func (o *Owner) TakeOver() {
	o.mu.Lock()
	o.parked.seen, o.parked.taken = 0, true
	o.mu.Unlock()
	wake(o.parkedWork)
}

// awaitParked waits until the parked events were looked through.
func (o *Owner) awaitParked(ctx context.Context, upTo uint64) error {
	for {
		looked := o.nextLook(upTo)
		if looked == nil {
			return nil
		}
		wake(o.parkedWork)
		select {
		case <-looked:
		case <-o.ctx.Done():
			return errClosed()
		case <-ctx.Done():
			return core.AsError(context.Cause(ctx))
		}
	}
}

// nextLook returns a channel that is closed when the next look ends, or nil if none is needed.
func (o *Owner) nextLook(upTo uint64) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parked.seen >= upTo {
		return nil
	}
	if o.parked.done == nil {
		o.parked.done = make(chan struct{})
	}
	return o.parked.done
}

// awaitEnded waits for the last Commits of hosts that have ended, which may park removed events.
func (o *Owner) awaitEnded() {
	for _, h := range o.hosts() {
		if h.ctx.Err() != nil {
			h.running.Wait()
		}
	}
}

// dropAnyParked drops the parked events of all incarnations that were removed behind since.
func (o *Owner) dropAnyParked(since uint64) error {
	o.parkedStreams.begin()
	for _, h := range o.hosts() { // what is being parked may not be read
		if err := h.saver.noteParking(); err != nil {
			return err
		}
	}
	if err := o.dropParked(since, nil); err != nil {
		return err
	}
	o.parkedStreams.end()
	return nil
}

// dropParkedOf is dropAnyParked of some incarnations, which are in order.
func (o *Owner) dropParkedOf(since uint64, incarnations []string) error {
	for ids := range slices.Chunk(incarnations, maxLoaded) {
		ranges := make([]core.KeyRange, len(ids))
		for i, id := range ids {
			ranges[i] = core.KeyRange{After: id + "/", Before: id + "0"} // which comes after "/"
		}
		if err := o.dropParked(since, ranges); err != nil {
			return err
		}
	}
	return nil
}

// maxGoneParked is from how many parked events on they are dropped, before others are looked for.
const maxGoneParked = core.MaxReadEvents

// dropParked drops the parked events that were removed behind since and whose keys are in some
// ranges, or any with nil.
func (o *Owner) dropParked(since uint64, ranges []core.KeyRange) error {
	r := core.RecordsRequest{Table: parkedTable, Ranges: ranges, Limit: core.MaxReadEvents}
	for more := true; more; {
		gone := map[string][]delivery.ParkedRef{}
		for n := 0; more && n < maxGoneParked; {
			page, err := o.store.Records(o.ctx, r)
			if err != nil {
				return err
			}
			found, err := o.goneParked(since, page, gone)
			if err != nil {
				return err
			}
			n += found
			if more = len(page) == r.Limit; more {
				r.After = page[len(page)-1].Key
			}
		}
		if err := o.dropGone(gone); err != nil {
			return err
		}
	}
	return nil
}

// goneParked adds to gone those of a page of parked events that were removed behind since, by
// incarnation, and notes the streams of all.
func (o *Owner) goneParked(since uint64, page []core.Record, gone map[string][]delivery.ParkedRef) (found int, err error) {
	var refs []delivery.ParkedRef
	var ids []string
	var events [][]byte
	for i := range page {
		var p parkedEvent
		position, err := decodeEvent(parkedTable, &page[i], &p)
		if err != nil {
			return 0, err
		}
		id, _, _ := strings.Cut(page[i].Key, "/")
		o.parkedStreams.add(id, &p)
		if raw := p.place(position); raw != nil {
			refs = append(refs, delivery.ParkedRef{Position: position, Key: p.Key})
			ids, events = append(ids, id), append(events, raw)
		}
	}
	are, err := o.store.Gone(o.ctx, since, events)
	for i := range are {
		if are[i] {
			gone[ids[i]] = append(gone[ids[i]], refs[i])
			found++
		}
	}
	return found, err
}

// dropGone drops parked events, by incarnation, and empties gone.
func (o *Owner) dropGone(gone map[string][]delivery.ParkedRef) error {
	drop := func(key nameKey, record *core.Record) (bool, error) {
		l, err := incarnationIn(key, record)
		if err == nil && len(gone[l.ID]) > 0 {
			err = o.dropGoneOf(l, gone)
		}
		return len(gone) > 0, err
	}
	if len(gone) == 0 {
		return nil
	}
	err := o.records.each(o.ctx, definitionsTable, "", "", core.MaxReadEvents, func(r *core.Record) (bool, error) {
		return drop(stored(r.Key), r)
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	err = o.records.each(o.ctx, unnamedTable, "", "", core.MaxReadEvents, func(r *core.Record) (bool, error) {
		at := strings.LastIndexByte(r.Key, '/')
		return drop(unnamed(r.Key[:at], r.Key[at+1:]), r)
	})
	if err != nil {
		return err
	}
	return o.areDeleted(gone)
}

// dropGoneOf takes out of gone what is of an incarnation, and drops it if this Owner owns it.
func (o *Owner) dropGoneOf(l *incarnation, gone map[string][]delivery.ParkedRef) error {
	switch err := o.owned(l.key.name); {
	case errors.Is(err, core.CodeNotServing): // it may be the next owner
		return err
	case err != nil: // its owner drops them
		delete(gone, l.ID)
		return nil
	}
	err := o.withHostOf(o.ctx, l.key, func(h *host) error {
		if h.incarnation.ID != l.ID {
			return core.Errorf(core.CodeSubscriptionNotFound, "the incarnation has another key by now")
		}
		return h.dropRemoved(gone[l.ID])
	})
	switch {
	case errors.Is(err, core.CodeSubscriptionNotFound): // it is deleted, or Swap has moved it
		return nil
	case err != nil && failed(err) && o.ctx.Err() == nil:
		o.config.Logger.Warn("dropping parked events that are removed", "subscription", l.key.name, "error", err)
		err = nil
	}
	delete(gone, l.ID)
	return err
}

// areDeleted returns an error for an incarnation that is there, though no definition was found: Swap
// has moved it meanwhile. What deleted ones have left is swept.
func (o *Owner) areDeleted(gone map[string][]delivery.ParkedRef) error {
	for id := range gone {
		switch _, _, err := o.records.progress(o.ctx, id); {
		case err == nil:
			return core.Errorf(core.CodeSubscriptionInterrupted, "the incarnation %s has changed its place", id)
		case !errors.Is(err, core.CodeSubscriptionNotFound):
			return err
		}
	}
	return nil
}

// dropRemoved drops those of some parked events that are parked still.
func (h *host) dropRemoved(refs []delivery.ParkedRef) error {
	var parked []delivery.ParkedRef
	for _, ref := range refs {
		p, err := h.owner.records.parked(h.ctx, positionKey(h.incarnation.ID, ref.Position))
		if err != nil {
			return err
		}
		if p != nil {
			parked = append(parked, ref)
		}
	}
	return h.drop(h.ctx, parked, h.machine.ExpireParked)
}

// place is an encoded event at the place of a parked one, without its content; nil of a record
// that does not say where the event is.
func (p *parkedEvent) place(position uint64) []byte {
	if p.Stream == "" {
		return nil
	}
	at := core.Placement{Stream: p.Stream, Version: 1, Position: position, Incarnation: 1}
	if p.Link != nil {
		return core.EncodeLink(nil, at, *p.Link, "")
	}
	return core.EncodeEvent(nil, at, &core.NewEvent{})
}

// streams are those whose removal may remove the event.
func (p *parkedEvent) streams() []string {
	if p.Stream == "" {
		return nil
	}
	if p.Link != nil {
		return []string{p.Stream, p.Link.Stream}
	}
	return []string{p.Stream}
}

// putPlace notes where an event is.
func (p *parkedEvent) putPlace(raw []byte) error {
	var e core.Event
	if _, err := core.DecodeEvent(raw, &e); err != nil {
		return err
	}
	p.Stream = e.Stream
	if !e.Link.IsZero() {
		p.Link = &e.Link
	}
	return nil
}
