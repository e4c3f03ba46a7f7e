package ring_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core/ring"
)

// TestBarrier has the cases of the original's sync_nodes, and what is checked again.
func TestBarrier(t *testing.T) {
	const wait = 2 * time.Second
	sync := func(timeout time.Duration) ring.Sync {
		return ring.Sync{Mandatory: []string{"m"}, Optional: []string{"o"}, Timeout: timeout}
	}
	type look struct {
		at   time.Duration
		up   string // the nodes that are
		want string
	}
	const open, waits, failed = "0 {[] []}", "1 ", "2 "
	for name, test := range map[string]struct {
		sync  ring.Sync
		looks []look
	}{
		"S01 no timeout":                   {sync(0), []look{{0, "", open}}},
		"S02 mandatory at the deadline":    {sync(wait), []look{{0, "o", waits + "{[m] []}"}, {wait - 1, "", waits + "{[m] [o]}"}, {wait, "o", failed + "{[m] []}"}}},
		"S03 optional at the deadline":     {sync(wait), []look{{0, "m", waits + "{[] [o]}"}, {wait, "m", "0 {[] [o]}"}, {wait, "", open}}},
		"S04 all are up early":             {sync(wait), []look{{0, "", waits + "{[m] [o]}"}, {1, "mo", open}}},
		"S05 infinity waits for optional":  {sync(ring.SyncForever), []look{{0, "m", waits + "{[] [o]}"}, {1000 * time.Hour, "m", waits + "{[] [o]}"}, {1001 * time.Hour, "mo", open}}},
		"S07 up, then down":                {sync(wait), []look{{0, "mo", open}, {1, "o", waits + "{[m] []}"}, {2, "mo", open}, {wait, "o", failed + "{[m] []}"}}},
		"nobody to wait for":               {ring.Sync{Timeout: wait}, []look{{0, "", open}}},
		"down after the deadline is well":  {sync(wait), []look{{wait, "mo", open}, {wait + 1, "", open}}},
		"infinity, up and down, and up":    {sync(ring.SyncForever), []look{{0, "mo", open}, {1, "m", waits + "{[] [o]}"}, {2, "mo", open}}},
		"mandatory comes at the last look": {sync(wait), []look{{wait - 1, "o", waits + "{[m] []}"}, {wait, "mo", open}}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Hour
			b := ring.NewBarrier(began, test.sync)
			for _, l := range test.looks {
				missing, state := b.Look(began+l.at, func(node string) bool { return slices.Contains([]byte(l.up), node[0]) })
				if got := fmt.Sprint(state, missing); got != l.want {
					t.Fatalf("after %v: %s, want %s", l.at, got, l.want)
				}
			}
			b.Pass()
			if missing, state := b.Look(began+wait, func(string) bool { return false }); state != ring.BarrierOpen || missing.Len() > 0 {
				t.Errorf("a node that serves waits for %v", missing)
			}
		})
	}
}
