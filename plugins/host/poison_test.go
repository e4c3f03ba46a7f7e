package host_test

import (
	"errors"
	"fmt"
	"math/bits"
	"testing"
	"testing/synctest"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
)

// poisoned plays a batch of n events of which some are poison, by their index, and counts what that
// took: handlers that started, and Commits with effects.
func poisoned(t *testing.T, n int, poison ...int) (starts, commits uint64) {
	synctest.Test(t, func(t *testing.T) {
		crash := func(c *call) error {
			if string(c.Type) == "Poison" {
				return errors.New("it crashed")
			}
			_, err := c.count("total")
			return err
		}
		all := stream("s-0", "Plain", n, "1", nil)
		for _, i := range poison {
			all.Events[i].Type = "Poison"
		}
		d := plugins.Deploy{
			Grants: []string{"state"}, Limits: &plugins.Limits{BatchEvents: n}, OnError: &plugins.ErrorPolicy{Attempts: 1, MinMs: 1, MaxMs: 1},
		}
		backlog(t, crash, d, []core.Append{all}, func(w *world) {
			if problem := w.drained("fold", len(poison)); problem != "" {
				t.Fatal(problem)
			}
			if got := w.outcome("fold", 1).state["0/total"]; got != fmt.Sprint(n-len(poison)) {
				t.Errorf("%s of %d events are in the state", got, n-len(poison))
			}
			parked, err := w.now.subs.Parked(t.Context(), "fold", subscriptions.ParkedRequest{})
			if err != nil || len(parked.Parked) != len(poison) {
				t.Fatalf("%d are parked, %v", len(parked.Parked), err)
			}
			for i, p := range parked.Parked {
				if p.Position != uint64(poison[i]+1) {
					t.Errorf("the event at %d is parked, want %d", p.Position, poison[i]+1)
				}
			}
			s, err := w.now.host.Status(t.Context(), "fold")
			if err != nil {
				t.Fatal(err)
			}
			starts, commits = s.Totals.Starts, s.Totals.Batches
		})
	})
	return starts, commits
}

// TestPoisonIsFoundByHalves: an event that a batch fails by is found in about 2·log₂ of the batch,
// and it alone is parked.
func TestPoisonIsFoundByHalves(t *testing.T) {
	for _, n := range []int{2, 5, 64, 256} {
		log := uint64(bits.Len(uint(n - 1)))
		for _, at := range []int{0, 1, n / 2, n - 2, n - 1} {
			starts, commits := poisoned(t, n, at)
			if starts > log+3 || commits > 2*log+1 {
				t.Errorf("event %d of %d took %d starts and %d Commits, log₂ is %d", at, n, starts, commits, log)
			}
		}
	}
	everyOther := make([]int, 32)
	for i := range everyOther {
		everyOther[i] = 2 * i
	}
	if starts, commits := poisoned(t, 64, everyOther...); starts > 3*64/2 || commits > 64 {
		t.Errorf("every other of 64 took %d starts and %d Commits", starts, commits)
	}
}
