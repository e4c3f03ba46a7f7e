package subscriptions

import (
	"context"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// parkedExpiry says up to which of Store.Removals the parked events were looked through.
// Owner.mu protects it.
type parkedExpiry struct {
	seen uint64
	done chan struct{} // closed when seen changes; nil if nobody waits for it
}

// expireParked drops the parked events that are removed from the log, with the reasons and
// failures that their records have, until the Owner is closed. It begins with what was removed
// while no Owner was there.
func (o *Owner) expireParked() {
	for seen, backoff := uint64(0), leastBackoff; ; {
		if _, err := o.store.AwaitRemoval(o.ctx, seen); err != nil {
			return
		}
		upTo := o.store.Removals()
		err := o.awaitLooks(o.ctx, upTo) // what is parked from now on was there
		if err == nil {
			err = o.dropParked(seen)
		}
		if err == nil {
			seen, backoff = upTo, leastBackoff
			o.lookedThroughParked(seen)
			continue
		} else if o.ctx.Err() == nil {
			o.config.Logger.Warn("looking for parked events that are removed", "error", err)
		}
		select {
		case <-time.After(backoff):
		case <-o.ctx.Done():
			return
		}
		backoff = min(2*backoff, mostBackoff)
	}
}

func (o *Owner) lookedThroughParked(seen uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parked.seen = seen
	if o.parked.done != nil {
		close(o.parked.done)
		o.parked.done = nil
	}
}

// awaitParked waits until the parked events were looked through.
func (o *Owner) awaitParked(ctx context.Context, upTo uint64) error {
	for {
		o.mu.Lock()
		seen := o.parked.seen
		if o.parked.done == nil {
			o.parked.done = make(chan struct{})
		}
		looked := o.parked.done
		o.mu.Unlock()
		if seen >= upTo {
			return nil
		}
		select {
		case <-looked:
		case <-o.ctx.Done():
			return errClosed()
		case <-ctx.Done():
			return core.AsError(context.Cause(ctx))
		}
	}
}

// maxGoneParked is from how many parked events on they are dropped, before others are looked for.
const maxGoneParked = core.MaxReadEvents

// dropParked drops the parked events that were removed behind since.
func (o *Owner) dropParked(since uint64) error {
	for after := ""; ; {
		gone, next, err := o.goneParked(since, after)
		if err == nil && len(gone) > 0 {
			err = o.dropGone(gone)
		}
		if err != nil || next == "" {
			return err
		}
		after = next
	}
}

// dropGone drops parked events, by incarnation.
func (o *Owner) dropGone(gone map[string][]delivery.ParkedRef) error {
	drop := func(key nameKey, record *core.Record) (bool, error) {
		l, err := incarnationIn(key, record)
		if err != nil {
			return false, err
		}
		refs := gone[l.ID]
		if len(refs) == 0 || o.owned(key.name) != nil { // its owner drops them
			return true, nil
		}
		err = o.withHostOf(o.ctx, key, func(h *host) error { return h.dropRemoved(refs) })
		if err != nil && failed(err) && o.ctx.Err() == nil { // it may be deleted by now
			o.config.Logger.Warn("dropping parked events that are removed", "subscription", key.name, "error", err)
			err = nil
		}
		return true, err
	}
	err := o.records.each(o.ctx, definitionsTable, "", "", core.MaxReadEvents, func(r *core.Record) (bool, error) {
		return drop(stored(r.Key), r)
	})
	if err != nil {
		return err
	}
	return o.records.each(o.ctx, unnamedTable, "", "", core.MaxReadEvents, func(r *core.Record) (bool, error) {
		at := strings.LastIndexByte(r.Key, '/')
		return drop(unnamed(r.Key[:at], r.Key[at+1:]), r)
	})
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

// goneParked are parked events behind the record after that were removed behind since, by
// incarnation. next is the record to go on after, "" behind the last one.
func (o *Owner) goneParked(since uint64, after string) (gone map[string][]delivery.ParkedRef, next string, err error) {
	gone = map[string][]delivery.ParkedRef{}
	for n := 0; n < maxGoneParked; {
		page, err := o.store.Records(o.ctx, core.RecordsRequest{Table: parkedTable, After: after, Limit: core.MaxReadEvents})
		if err != nil || len(page) == 0 {
			return gone, "", err
		}
		var refs []delivery.ParkedRef
		var ids []string
		var events [][]byte
		for i := range page {
			var p parkedEvent
			position, err := decodeEvent(parkedTable, &page[i], &p)
			if err != nil {
				return nil, "", err
			}
			if raw := p.place(position); raw != nil {
				refs = append(refs, delivery.ParkedRef{Position: position, Key: p.Key})
				id, _, _ := strings.Cut(page[i].Key, "/")
				ids = append(ids, id)
				events = append(events, raw)
			}
		}
		are, err := o.store.Gone(o.ctx, since, events)
		if err != nil {
			return nil, "", err
		}
		for i := range are {
			if are[i] {
				gone[ids[i]] = append(gone[ids[i]], refs[i])
				n++
			}
		}
		after = page[len(page)-1].Key
	}
	return gone, after, nil
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
