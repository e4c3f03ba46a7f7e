package cluster

import (
	"testing"
	"time"
)

// TestStepsOfTheWallClock: a node serves by its monotonic clock. A wall clock that is set back
// never makes it serve longer; one that is set forward may be that of a machine that was
// suspended, so the node serves again after its next beat.
func TestStepsOfTheWallClock(t *testing.T) {
	for name, c := range map[string]struct {
		left, step time.Duration
		want       bool
	}{
		"in time":                          {left: time.Second, want: true},
		"over":                             {left: 0},
		"set back":                         {left: time.Second, step: -24 * time.Hour, want: true},
		"set back, and over":               {left: 0, step: -24 * time.Hour},
		"set forward a little":             {left: time.Second, step: maxSuspended, want: true},
		"set forward a little, and over":   {left: 0, step: maxSuspended},
		"set forward, or it was suspended": {left: time.Second, step: maxSuspended + time.Millisecond},
	} {
		if got := isLeft(c.left, c.left-c.step); got != c.want {
			t.Errorf("%s: the node serves: %t", name, got)
		}
	}
	now := time.Now()
	if !fresh(now.Add(time.Second), now) || fresh(now, now) || fresh(now.Add(-time.Hour), now) {
		t.Error("fresh is wrong without a step")
	}
}
