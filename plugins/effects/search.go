package effects

import (
	"math"

	"github.com/gyre-events/gyre/plugins/abi"
)

// Search finds the event that a batch fails by, so that the others are handled in batches. Of a
// batch that failed as a whole the first half is handled next, and of what is left half again,
// until the event is alone. Behind it batches grow to their limits again. The zero Search has
// nothing to find.
type Search struct {
	alone   uint64 // up to here events are handled alone: one is known to fail
	failing uint64 // up to here there is an event that fails
	most    int    // events of the next batch; 0 is any
}

// Most is how many events may be handled with one at a position, which is the next.
func (s *Search) Most(position uint64) int {
	switch {
	case position <= s.alone:
		return 1
	case s.most > 0:
		return s.most
	}
	return math.MaxInt
}

// FailedAt takes notice that the event at a position has failed, in a batch with others.
func (s *Search) FailedAt(position uint64) { s.alone = position }

// Failed takes notice that a batch of so many events, more than one, has failed as a whole.
func (s *Search) Failed(events int, last uint64) { s.failing, s.most = last, events/2 }

// Passed takes notice of events that were handled.
func (s *Search) Passed(last uint64) {
	switch {
	case s.most == 0 || last <= s.alone:
	case last < s.failing:
		s.most = max(s.most/2, 1)
	default:
		if s.most *= 2; s.most >= abi.MaxBatchEvents {
			s.most = 0
		}
	}
}

// Found takes notice that an event is settled that has failed alone.
func (s *Search) Found() { s.failing = 0 }
