package subscriptions

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// ParkedEvent is a parked event and why it is.
type ParkedEvent struct {
	Position uint64
	Key      string // the partition key
	At       time.Time
	Cause    delivery.Cause
	Reason   string
	Attempts int
	Failures []delivery.Failure
	// Replaying says that it is to be delivered again.
	Replaying bool
	// Event has the event, as it is in the log; it is empty if the log has it no
	// longer.
	Event core.Batch
}

// ParkedRequest asks for a page of parked events.
type ParkedRequest struct {
	After uint64 // the last position of the page before
	Limit int    // core.DefaultReadEvents if 0, core.MaxReadEvents at most
}

// ParkedPage is the answer, in the order of positions. It has at most
// core.MaxPageBytes of events, and one more.
type ParkedPage struct {
	Parked []ParkedEvent
	End    bool
}

// Parked lists parked events, or answers subscription_not_found.
func (o *Owner) Parked(ctx context.Context, name string, r ParkedRequest) (ParkedPage, error) {
	if err := o.owned(name); err != nil {
		return ParkedPage{}, err
	}
	l, err := o.records.incarnation(ctx, name)
	if err != nil {
		return ParkedPage{}, err
	}
	if r.Limit <= 0 {
		r.Limit = core.DefaultReadEvents
	}
	r.Limit = min(r.Limit, core.MaxReadEvents)
	page, size := ParkedPage{End: true}, 0
	err = o.records.parkedAfter(ctx, l.ID, r.After, min(r.Limit+1, core.MaxReadEvents), func(position uint64, p *parkedEvent) (bool, error) {
		if len(page.Parked) == r.Limit || size > core.MaxPageBytes {
			page.End = false
			return false, nil
		}
		e, err := o.parkedEvent(ctx, l, position, p)
		page.Parked = append(page.Parked, e)
		size += len(e.Event.Block)
		return true, err
	})
	return page, err
}

func (o *Owner) parkedEvent(ctx context.Context, l *incarnation, position uint64, p *parkedEvent) (ParkedEvent, error) {
	e := ParkedEvent{
		Position: position, Key: p.Key, At: p.At, Cause: p.Cause, Reason: p.Reason, Attempts: p.Attempts, Failures: p.Failures,
	}
	var err error
	if e.Event, _, err = o.records.event(ctx, l.Definition.Stream, position); err != nil {
		return e, err
	}
	marks, err := o.store.Records(ctx, core.RecordsRequest{Table: replaysTable, Keys: []string{positionKey(l.ID, position)}, Limit: 1})
	e.Replaying = len(marks) > 0
	return e, err
}

// Selection names parked events: all, or those at Positions, those with IDs, or those
// that match a Filter.
type Selection struct {
	All       bool
	Positions []uint64
	IDs       []core.ID
	Filter    core.Filter
}

// maxSelected bounds the events that a Selection names one by one.
const maxSelected = 10_000

// Replay has parked events delivered again, to whoever is a subscriber then, and says
// how many there are. The errors are subscription_not_found, event_not_found for one
// that is named and not parked, and then nothing happens, and invalid_request.
func (o *Owner) Replay(ctx context.Context, name string, which Selection) (n int, err error) {
	lock, err := o.enter(ctx, stored(name))
	if err != nil {
		return 0, err
	}
	defer o.leave(lock)
	l, err := o.records.incarnation(ctx, name)
	if err != nil {
		return 0, err
	}
	err = o.selected(ctx, l, &which, func(refs []delivery.ParkedRef) error {
		ops := make([]core.RecordOp, len(refs))
		for i, ref := range refs {
			ops[i] = core.RecordOp{Table: replaysTable, Key: positionKey(l.ID, ref.Position), Expect: core.AnyVersion}
		}
		if err := o.commit(ctx, ops...); err != nil {
			return err
		}
		n += len(refs)
		return nil
	})
	if h := lock.host; h != nil && n > 0 {
		h.mu.Lock()
		h.replayer.seek()
		h.mu.Unlock()
	}
	return n, err
}

// Drop forgets parked events and says how many. The errors are those of Replay.
func (o *Owner) Drop(ctx context.Context, name string, which Selection) (n int, err error) {
	err = o.withHost(ctx, name, func(h *host) error {
		return o.selected(ctx, h.incarnation, &which, func(refs []delivery.ParkedRef) error {
			if err := h.drop(ctx, refs, h.machine.Drop); err != nil {
				return err
			}
			n += len(refs)
			return nil
		})
	})
	return n, err
}

// drop has the machine forget parked events, by its Drop or ExpireParked, and waits until that is
// stored.
func (h *host) drop(ctx context.Context, refs []delivery.ParkedRef, by func([]delivery.ParkedRef) int) error {
	for rest := refs; len(rest) > 0; {
		h.mu.Lock()
		if h.ended != nil {
			h.mu.Unlock()
			return h.ended
		}
		taken := h.replayer.drop(rest, by)
		h.mu.Unlock()
		dropped := rest[:taken]
		rest = rest[taken:]
		if err := h.await(ctx, func() bool { return !h.replayer.hasAny(dropped) }); err != nil {
			return err
		}
	}
	return nil
}

// selected calls do with the events of a Selection that are parked, page by page.
func (o *Owner) selected(ctx context.Context, l *incarnation, which *Selection, do func([]delivery.ParkedRef) error) error {
	if len(which.Positions)+len(which.IDs) > maxSelected {
		return core.Errorf(core.CodeInvalidRequest, "%d events are named, the limit is %d", len(which.Positions)+len(which.IDs), maxSelected)
	}
	if err := which.Filter.Validate(); err != nil {
		return err
	}
	switch {
	case which.All || !which.Filter.IsZero():
		return o.selectedBy(ctx, l, which, do)
	case len(which.Positions)+len(which.IDs) > 0:
		return o.named(ctx, l, which, do)
	}
	return core.Errorf(core.CodeInvalidRequest, "say which events: all of them, positions, ids or a filter")
}

// named are those that are named one by one.
func (o *Owner) named(ctx context.Context, l *incarnation, which *Selection, do func([]delivery.ParkedRef) error) error {
	positions := which.Positions
	for _, id := range which.IDs {
		position, err := o.positionOf(ctx, l, id)
		if err != nil {
			return err
		}
		positions = append(positions[:len(positions):len(positions)], position)
	}
	refs := make([]delivery.ParkedRef, 0, len(positions))
	for _, position := range positions {
		p, err := o.records.parked(ctx, positionKey(l.ID, position))
		if err != nil {
			return err
		}
		if p == nil {
			return core.Errorf(core.CodeEventNotFound, "the event at position %d is not parked", position)
		}
		refs = append(refs, delivery.ParkedRef{Position: position, Key: p.Key})
	}
	for len(refs) > 0 {
		n := min(len(refs), core.MaxReadEvents)
		if err := do(refs[:n]); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

// positionOf is where an event with an id is for an incarnation: in its own place or, in the stream
// of the subscription, as a link. The log's index of ids knows both.
func (o *Owner) positionOf(ctx context.Context, l *incarnation, id core.ID) (uint64, error) {
	stream := l.Definition.Stream
	e, err := o.store.Event(ctx, id)
	if err != nil || stream == core.All || stream == e.Stream {
		return e.Position, err
	}
	// Who links an event again is told where the link is, whatever is expected. No stream
	// is at this version, so what is no link yet is refused and does not become one.
	again := core.Append{Stream: stream, Expect: core.MaxNumber, Links: []core.ID{id}}
	r, err := o.store.Append(ctx, core.Commit{Appends: []core.Append{again}, System: core.IsSystem(stream)})
	if errors.Is(err, core.CodeWrongExpectedVersion) {
		return 0, core.Errorf(core.CodeEventNotFound, "the event %s is not in stream %q", id, core.Clip(stream))
	}
	return r.Position, err
}

// selectedBy are all, or those that match a filter.
func (o *Owner) selectedBy(ctx context.Context, l *incarnation, which *Selection, do func([]delivery.ParkedRef) error) error {
	var refs []delivery.ParkedRef
	flush := func() error {
		if len(refs) == 0 {
			return nil
		}
		err := do(refs)
		refs = nil
		return err
	}
	err := o.records.parkedAfter(ctx, l.ID, 0, core.MaxReadEvents, func(position uint64, p *parkedEvent) (bool, error) {
		matches, err := o.matches(ctx, l, which, position)
		if err != nil || !matches {
			return err == nil, err
		}
		refs = append(refs, delivery.ParkedRef{Position: position, Key: p.Key})
		if len(refs) < core.MaxReadEvents {
			return true, nil
		}
		return true, flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

func (o *Owner) matches(ctx context.Context, l *incarnation, which *Selection, position uint64) (bool, error) {
	if which.Filter.IsZero() {
		return true, nil
	}
	b, ok, err := o.records.event(ctx, l.Definition.Stream, position)
	if err != nil || !ok {
		return false, err
	}
	e := b.Slice()[0]
	return which.Filter.Match(e.Home().Stream, e.Type), nil
}
