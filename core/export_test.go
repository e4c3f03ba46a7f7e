package core

import (
	"context"
	"time"
)

// LimitRetentions sets how many policies of retention a Store may have.
func LimitRetentions(s *Store, most int) { s.policies.most = most }

// TooOld reports which of some positions are those of events that are too old by a MaxAge, or gone,
// as links to them are looked at: what is asked in one call is found out at once, and what was asked
// before is remembered.
func (s *Store) TooOld(most time.Duration, asksAll bool) func(ctx context.Context, positions []uint64) ([]bool, error) {
	x := s.newExpiry()
	x.asksAll = asksAll
	a := x.ageOf(most)
	return func(ctx context.Context, positions []uint64) (old []bool, err error) {
		for _, p := range positions {
			x.meetLinked(a, p)
		}
		err = x.ask(ctx)
		for _, p := range positions {
			old = append(old, a.hides(p))
		}
		return old, err
	}
}
