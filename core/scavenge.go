package core

import (
	"context"
	"time"
)

// Fate is what becomes of an event, or a link, in a scavenge.
type Fate uint8

// The fates of an event.
const (
	// Stays keeps the event.
	Stays Fate = iota
	// Goes removes the event. Its version is not given again.
	Goes
	// GoesForGood removes the event, and nothing remembers its version: the stream is gone.
	GoesForGood
)

// Scavenging says what a scavenge does.
type Scavenging struct {
	// Fate decides about each event and link, in the log's order; the Store sets it. An engine may
	// ask again about a piece of the log. Events of streams that were removed go anyway, and so do
	// links to them. nil keeps all others. Of the event only its place is set for sure: Stream,
	// Version, Position, Recorded, Incarnation and, of a link, Link. It is valid during the call,
	// which may read the log. A fate may change from Stays to the others and from Goes to
	// GoesForGood, and never back.
	Fate func(ctx context.Context, e *Event) (Fate, error)
	// Prepare finds out at once what Fate has to know of some events, at most MaxReadEvents; the Store
	// sets it. An engine that has many together calls it before it asks for their fates, and saves a
	// look-up for each. It may be nil.
	Prepare func(ctx context.Context, events []Event) error
	// AsOf has Fate decide by the policies of retention as they are now; the Store sets it. It
	// returns a number, which is another one if a policy was loosened since. An engine calls it
	// before it decides about a piece of the log. If a Commit has put a policy since before that
	// call, which the engine finds out in the same critical section, or transaction, in which the
	// events go, it calls AsOf again, and decides again if the number is another one. nil
	// compares nothing.
	AsOf func(ctx context.Context) (uint64, error)
	// From is where to begin: Scavenged.Next of an earlier scavenge. 0 is the beginning.
	From uint64
	// All removes everything that goes, whatever that costs. Otherwise an engine leaves what
	// takes more work than it wins.
	All bool
	// DryRun changes nothing.
	DryRun bool
	// Table has the records that the caller itself puts for each scavenge. What these alone have
	// replaced is no reason to begin a new piece of the log.
	Table string
	// BytesPerSecond bounds what is read and written of the log; 0 is no bound. A scavenge rests
	// for as long as it works in any case.
	BytesPerSecond int64
	// Report, if not nil, is called with the result so far after each piece of the log.
	Report func(Scavenged)
}

// MaxDecisions bounds how often a scavenge decides about a piece of the log whose policies others
// loosen meanwhile. It leaves the piece to the next scavenge then.
const MaxDecisions = 10

// Scavenged is what a scavenge did, or would do.
type Scavenged struct {
	Bytes   int64  // that the log had, as far as it was looked at
	Won     int64  // bytes that storage no longer needs for the log
	Events  uint64 // that went, links included
	Changes uint64 // of records, that went
	LeftOut int64  // bytes of the newest part of the log, which is looked at with All only
	// Deferred is how many bytes have the pieces that are left to the next scavenge (MaxDecisions).
	Deferred int64
	// Next is where to go on from, and 0 when everything was looked at. Last is where the
	// scavenge ends. They count positions or pieces of the log, as the engine does.
	Next, Last uint64
}

// Scavenger is implemented by engines that give back the storage of events that go.
type Scavenger interface {
	// Scavenge removes events for good, while everything else goes on. What is done stays done
	// and the result is right, whatever ends it. One scavenge runs at a time on an engine; the
	// next one waits.
	Scavenge(ctx context.Context, s Scavenging) (Scavenged, error)
}

// Scavenge removes for good what nobody can read any more, and so what has expired. It sets r.Fate,
// r.Prepare and r.AsOf. What a policy shows that was put before, or meanwhile, stays.
func (s *Store) Scavenge(ctx context.Context, r Scavenging) (Scavenged, error) {
	engine, ok := s.engine.(Scavenger)
	switch {
	case !ok:
		return Scavenged{}, Errorf(CodeNotSupported, "the storage engine has no scavenge")
	case r.BytesPerSecond < 0 || r.From > MaxNumber:
		return Scavenged{}, Errorf(CodeInvalidRequest, "from %d and %d bytes per second are out of range", r.From, r.BytesPerSecond)
	}
	if err := s.policies.fresh(ctx); err != nil {
		return Scavenged{}, err
	}
	r.Fate, r.Prepare, r.AsOf = nil, nil, nil
	if s.policies.any.Load() {
		f := fates{store: s}
		r.Fate, r.Prepare, r.AsOf = f.fate, f.prepare, f.asOf
	}
	return engine.Scavenge(ctx, r)
}

// A scavenge rests for as long as it has worked, after pieces and not after each event.
const (
	leastRest = 10 * time.Millisecond
	mostRest  = time.Second
)

// Pace bounds how much is read and written, for engines. One goroutine uses it.
type Pace struct {
	bytesPerSecond int64
	rests          bool // for as long as it works
	begun          time.Time
	paid           int64     // bytes
	working        time.Time // since when it has not rested
}

// NewPace begins now. 0 is no bound.
func NewPace(bytesPerSecond int64) *Pace {
	now := time.Now()
	return &Pace{bytesPerSecond: bytesPerSecond, begun: now, working: now}
}

// Pace is that of a scavenge, which begins now. It rests for as long as it works, so that others
// have half of the machine at least.
func (s *Scavenging) Pace() *Pace {
	p := NewPace(s.BytesPerSecond)
	p.rests = true
	return p
}

// Pay waits until so many bytes more may be read or written. The error is that of ctx.
func (p *Pace) Pay(ctx context.Context, bytes int64) error {
	now, rest := time.Now(), time.Duration(0)
	if p.rests {
		rest = min(now.Sub(p.working), mostRest)
	}
	if p.paid += bytes; p.bytesPerSecond > 0 {
		due := p.begun.Add(time.Duration(float64(p.paid) / float64(p.bytesPerSecond) * float64(time.Second)))
		rest = max(rest, due.Sub(now))
	}
	if rest >= leastRest {
		timer := time.NewTimer(rest)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		p.working = time.Now()
	}
	return ctx.Err()
}
