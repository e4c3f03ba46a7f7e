package subscriptions

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// maxRead bounds a read: events are kept by the block that they were read in.
var maxRead = core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10}

// readLog is the reader: it feeds the machine what it asks for, from a follower.
func (h *host) readLog() { h.work("reading", h.follow) }

// follow reads from the machine's cursor until an error. fed reports whether it read
// something.
func (h *host) follow(sel *selector) (fed bool, err error) {
	h.mu.Lock()
	from := core.From{Kind: core.AfterPosition, N: h.machine.Info(time.Now(), 0).Cursor, Log: h.saver.saved.Log}
	h.mu.Unlock()
	follower, err := h.owner.store.Follow(h.ctx, core.FollowRequest{Stream: h.incarnation.Definition.Stream, From: from, Filter: h.incarnation.filter()})
	if err != nil {
		return false, err
	}
	defer func() { _ = follower.Close() }() // it only ends the wait
	var items []delivery.Item
	for ; ; fed = true {
		limit, err := h.toRead(h.ctx)
		if err != nil {
			return fed, err
		}
		deletions := h.owner.store.Deletions()
		d, err := follower.Next(h.ctx, limit)
		if err != nil {
			return fed, err
		}
		if d.Count > 0 {
			h.wasThere(deletions)
		}
		if items, err = h.feedAll(sel, items, &d); err != nil {
			return fed, err
		}
	}
}

// feedAll feeds what was read, in pieces that the selector bounds. It waits before each
// until the machine wants more. items is room for them.
func (h *host) feedAll(sel *selector, items []delivery.Item, d *core.Delivery) (_ []delivery.Item, err error) {
	for b := d.Batch; ; {
		items, b, err = sel.items(h.ctx, items[:0], b)
		if err != nil {
			return items, err
		}
		cursor, live := d.Cursor, d.Live
		if b.Count > 0 {
			cursor, live = b.First-1, false
		}
		err = h.feed(items, cursor, live, d.Removals)
		clear(items) // they hold their block in memory
		if err != nil || b.Count == 0 {
			return items, err
		}
		if _, err = h.toRead(h.ctx); err != nil {
			return items, err
		}
	}
}

// toRead waits until the machine wants to read.
func (h *host) toRead(ctx context.Context) (core.Limit, error) {
	for {
		h.mu.Lock()
		limit := h.due.read
		h.mu.Unlock()
		if limit.Events > 0 {
			return core.Limit{Events: min(limit.Events, maxRead.Events), Bytes: min(limit.Bytes, maxRead.Bytes)}, nil
		}
		select {
		case <-h.read:
		case <-ctx.Done():
			return core.Limit{}, core.AsError(ctx.Err())
		}
	}
}

// feed gives the machine what was read when the Store's Removals was known, but for what is gone
// by now.
func (h *host) feed(items []delivery.Item, cursor uint64, live bool, known uint64) error {
	for {
		upTo := h.owner.store.Removals()
		if known != upTo {
			var err error
			if items, err = h.there(items, known); err != nil {
				return err
			}
			known = upTo
		}
		if fed, err := h.feedIf(items, cursor, live, known); fed || err != nil {
			return err
		}
	}
}

// there returns those of the items that are in the log still.
func (h *host) there(items []delivery.Item, known uint64) ([]delivery.Item, error) {
	events := make([][]byte, len(items))
	for i := range items {
		events[i] = items[i].Raw
	}
	gone, err := h.owner.store.Gone(h.ctx, known, events)
	if err != nil {
		return nil, err
	}
	kept := make([]delivery.Item, 0, len(items))
	for i := range items {
		if !gone[i] {
			kept = append(kept, items[i])
		}
	}
	return kept, nil
}

// feedIf feeds items unless events were removed since they were known to be there.
func (h *host) feedIf(items []delivery.Item, cursor uint64, live bool, known uint64) (fed bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended != nil:
		return false, h.ended
	case len(items) > 0 && known != h.owner.store.Removals():
		return false, nil
	}
	if err := h.machine.Feed(items, cursor, live); err != nil {
		return false, err
	}
	if len(items) > 0 {
		h.expiry.took(known)
	}
	h.advance(time.Now())
	return true, nil
}
