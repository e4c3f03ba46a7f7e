package memory

import (
	"context"

	"github.com/gyre-events/gyre/core"
)

// scavengeEvents is how many positions are looked at before others get the lock.
const scavengeEvents = 1000

// Scavenge is core.Scavenger's. It counts positions.
func (e *Engine) Scavenge(ctx context.Context, s core.Scavenging) (done core.Scavenged, err error) {
	if err := ctx.Err(); err != nil {
		return done, core.AsError(err)
	}
	select {
	case e.scavenging <- struct{}{}:
		defer func() { <-e.scavenging }()
	case <-ctx.Done():
		return done, core.AsError(ctx.Err())
	}
	done.Next, done.Last = max(s.From, 1), e.State().Head
	if s.Fate == nil {
		done.Next = done.Last + 1 // what was removed is gone already
	}
	pace := core.NewPace(s.BytesPerSecond)
	for done.Next <= done.Last {
		next, bytes, going, err := e.decideSome(ctx, &s, done.Next, done.Last)
		if err != nil {
			return done, err
		}
		won, events := e.drop(going, s.DryRun)
		done.Next, done.Bytes = next, done.Bytes+bytes
		done.Won, done.Events = done.Won+won, done.Events+events
		if s.Report != nil {
			s.Report(done)
		}
		if err := pace.Pay(ctx, bytes); err != nil {
			return done, core.AsError(err)
		}
	}
	done.Next = 0
	return done, nil
}

// decideSome decides about the next events, without the lock. It returns the positions of
// those that go, the size of all, and where to go on.
func (e *Engine) decideSome(ctx context.Context, s *core.Scavenging, from, last uint64) (next uint64, bytes int64, going []uint64, err error) {
	next = min(from+scavengeEvents, last+1)
	e.mu.RLock()
	closed, encoded := e.closed, e.events[from-1:next-1:next-1]
	events := make([]core.Event, 0, len(encoded))
	for i := range encoded {
		if encoded[i] != nil {
			bytes += int64(len(encoded[i]))
			events = append(events, e.event(from+uint64(i)))
		}
	}
	e.mu.RUnlock()
	if closed {
		return 0, 0, nil, errClosed()
	}
	for i := range events {
		fate, err := s.Fate(ctx, &events[i])
		if err != nil {
			return 0, 0, nil, err
		}
		if fate != core.Stays {
			going = append(going, events[i].Position)
		}
	}
	return next, bytes, going, nil
}

// drop forgets what is at some positions, unless it is a dry run. It returns the bytes that
// this wins, and how many events and links go.
func (e *Engine) drop(going []uint64, dryRun bool) (won int64, events uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	removed := make(map[core.ID]bool)
	for _, p := range going {
		if e.events[p-1] == nil {
			continue // with its event, or its stream
		}
		events++
		won += int64(len(e.events[p-1]))
		if dryRun {
			continue
		}
		event := e.event(p)
		e.streams[event.Stream][event.Version-1] = 0
		if event.Link.IsZero() {
			removed[event.ID] = true
			delete(e.ids, event.ID)
		} else {
			delete(e.links, linkKey{event.Stream, event.ID})
		}
		e.forget(p)
	}
	before := e.bytes
	links := e.removeLinks(removed)
	return won + before - e.bytes, events + links
}
