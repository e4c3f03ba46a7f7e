package core

import (
	"context"
	"math"
	"time"
)

// age says what of the log is too old by one MaxAge. Recorded times never decrease with positions,
// so one position decides about the events of all streams. It serves links, which do not have the
// recorded time of their event.
type age struct {
	cutoff int64 // events that were recorded before it have expired, Unix µs
	// Events before the position old have expired or are gone, and those that there are from young
	// on have not expired. Nothing is known of what is between.
	old, young uint64
	from, to   uint64 // positions to ask about, to not included; none if to is 0
}

// ageOf returns the age of a MaxAge.
func (x *expiry) ageOf(most time.Duration) *age {
	a := x.ages[most]
	if a == nil {
		a = &age{cutoff: x.now - most.Microseconds(), old: 1, young: math.MaxUint64}
		x.ages[most] = a
	}
	return a
}

// hides reports whether the event at a position, which was asked about, is too old or gone.
func (a *age) hides(position uint64) bool { return position < a.young }

// meetLinked notes the position of an event that is known by a link to it.
func (x *expiry) meetLinked(a *age, position uint64) {
	if position < a.old || position >= a.young {
		return
	}
	if a.to == 0 {
		a.from, x.linked = position, append(x.linked, a)
	}
	a.from, a.to = min(a.from, position), max(a.to, position+1)
}

// date finds out which of the positions to ask about are too old, by a binary search among them
// or, if much of the log will be asked about, among all.
func (x *expiry) date(ctx context.Context, a *age) error {
	from, to := a.from, a.to
	if x.asksAll {
		from, to = a.old, min(max(a.to, x.store.engine.State().Head+1), a.young)
	}
	a.from, a.to = 0, 0
	var young uint64
	first, err := searchUint(from, to, func(position uint64) (bool, error) {
		place, err := x.store.placeFrom(ctx, position)
		if err != nil || place.RecordedMicros < a.cutoff {
			return false, err
		}
		young = place.Position
		return true, nil
	})
	if err != nil {
		return err
	}
	isBeforeKnown := first > from || from == a.old
	if first < to {
		first, a.young = young, young
	}
	if isBeforeKnown {
		a.old = first
	}
	return nil
}

// placeFrom returns the place of the first event or link at a position of the log or later. If
// there is none, it is that of the next one, which is recorded after all others.
func (s *Store) placeFrom(ctx context.Context, position uint64) (Place, error) {
	for {
		page, err := s.engine.ReadLog(ctx, position, Limit{Events: 1, Bytes: 1})
		switch {
		case err != nil:
			return Place{}, err
		case page.Count > 0:
			place, _ := decodePlace(page.Block)
			return place, nil
		case page.End:
			return Place{Position: page.Head + 1, RecordedMicros: math.MaxInt64}, nil
		}
		position = page.Next
	}
}
