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
	pace := s.Pace()
	for done.Next <= done.Last {
		bytes, err := e.scavengeSome(ctx, &s, &done)
		if err != nil {
			return done, err
		}
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

// scavengeSome goes through the next events, and returns the size of all. It leaves them as they
// are if policies are loosened again and again meanwhile.
func (e *Engine) scavengeSome(ctx context.Context, s *core.Scavenging, done *core.Scavenged) (bytes int64, err error) {
	dropped := false
	for tries := 0; !dropped && tries < core.MaxDecisions; tries++ {
		d, err := e.decideSome(ctx, s, done.Next, done.Last)
		if err != nil {
			return 0, err
		}
		var won int64
		var events uint64
		won, events, dropped = e.drop(&d, s)
		done.Won, done.Events, bytes = done.Won+won, done.Events+events, d.bytes
	}
	if !dropped {
		done.Deferred += bytes
	}
	done.Next, done.Bytes = min(done.Next+scavengeEvents, done.Last+1), done.Bytes+bytes
	return bytes, nil
}

// decided is what was decided about some events.
type decided struct {
	policies uint64   // Engine.policies before
	bytes    int64    // of all events
	going    []uint64 // their positions
}

// decideSome decides about the next events, without the lock.
func (e *Engine) decideSome(ctx context.Context, s *core.Scavenging, from, last uint64) (d decided, err error) {
	next := min(from+scavengeEvents, last+1)
	e.mu.RLock()
	closed, encoded := e.closed, e.events[from-1:next-1:next-1]
	events := make([]core.Event, 0, len(encoded))
	for i := range encoded {
		if encoded[i] != nil {
			d.bytes += int64(len(encoded[i]))
			events = append(events, e.event(from+uint64(i)))
		}
	}
	d.policies = e.policies
	e.mu.RUnlock()
	if closed {
		return d, errClosed()
	}
	if s.AsOf != nil {
		if _, err := s.AsOf(ctx); err != nil {
			return d, err
		}
	}
	if s.Prepare != nil {
		if err := s.Prepare(ctx, events); err != nil {
			return d, err
		}
	}
	for i := range events {
		fate, err := s.Fate(ctx, &events[i])
		if err != nil {
			return d, err
		}
		if fate != core.Stays {
			d.going = append(d.going, events[i].Position)
		}
	}
	return d, nil
}

// drop forgets what goes, unless it is a dry run. It returns the bytes that this wins, and how
// many events and links go. It is not ok, and nothing goes, if a policy was put since.
func (e *Engine) drop(d *decided, s *core.Scavenging) (won int64, events uint64, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.AsOf != nil && e.policies != d.policies && !s.DryRun {
		return 0, 0, false
	}
	removed := make(map[core.ID]bool)
	for _, p := range d.going {
		if e.events[p-1] == nil {
			continue // with its event, or its stream
		}
		events++
		won += int64(len(e.events[p-1]))
		if s.DryRun {
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
	return won + before - e.bytes, events + links, true
}
