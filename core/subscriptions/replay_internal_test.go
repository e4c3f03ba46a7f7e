package subscriptions

import (
	"testing"

	"github.com/gyre-events/gyre/core/delivery"
)

// TestParkedWhileAPageIsRead: an event whose replay was asked for before it was parked, as a Swap has
// it, is looked for again when it is parked while the replayer reads: the page may be older.
func TestParkedWhileAPageIsRead(t *testing.T) {
	for name, r := range map[string]replayer{"reading": {active: true}, "read before": {early: true, active: true}, "idle": {}} {
		r.given, r.stale = map[uint64]struct{}{}, map[uint64]struct{}{}
		r.stored(&delivery.Store{Park: []delivery.Parked{{ParkedRef: delivery.ParkedRef{Position: 2}}}})
		if want := name != "idle"; r.sought != want || r.wanted != want {
			t.Errorf("%s: it looks again: %t, want %t", name, r.sought, want)
		}
	}
}
