package subscriptions

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// The rest of a reader or a keeper whose storage is away doubles between these.
const (
	leastRest = 100 * time.Millisecond
	mostRest  = 5 * time.Second
)

// maxRead bounds a read: events are kept by the block that they were read in.
var maxRead = core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10}

// readLog is the reader: it feeds the machine what it asks for, as the follower
// gives it.
func (h *host) readLog() {
	rest := leastRest
	for {
		fed, err := h.follow()
		switch {
		case h.ctx.Err() != nil:
			return
		case failed(err):
			h.endFor(err)
			return
		case fed:
			rest = leastRest
		}
		h.owner.config.Logger.Warn("reading for a subscription", "subscription", h.life.key.name, "error", err)
		if !h.sleep(rest) {
			return
		}
		rest = min(2*rest, mostRest)
	}
}

// sleep is false when the host ends meanwhile.
func (h *host) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.ctx.Done():
		return false
	}
}

// follow reads from where the machine is, until there is an error. fed says that it
// read something.
func (h *host) follow() (fed bool, err error) {
	h.mu.Lock()
	from := core.From{Kind: core.AfterPosition, N: h.machine.Info(time.Now(), 0).Cursor, Log: h.saved.Log}
	h.mu.Unlock()
	follower, err := h.owner.store.Follow(h.ctx, core.FollowRequest{Stream: h.life.Definition.Stream, From: from, Filter: h.shape.filter})
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
		d, err := follower.Next(h.ctx, limit)
		if err != nil {
			return fed, err
		}
		items = h.shape.items(items[:0], d.Batch)
		if err := h.feed(items, &d); err != nil {
			return fed, err
		}
		clear(items) // they hold their block in memory
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

func (h *host) feed(items []delivery.Item, d *core.Delivery) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return h.ended
	}
	if err := h.machine.Feed(items, d.Cursor, d.Live); err != nil {
		return err
	}
	h.replays.cursor = d.Cursor
	h.advance(time.Now())
	return nil
}
