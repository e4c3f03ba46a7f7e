package subscriptions

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// TestParkedStreams: what was parked before a look at everything is forgotten when that ends, but for
// what the look, or somebody beside it, has noted. Before the first look, and with too many, it
// reports that it may be any.
func TestParkedStreams(t *testing.T) {
	x, a, b := makeParkedStreams(), core.NewID().String(), core.NewID().String()
	has := func(ok bool, streams []string, want ...string) {
		t.Helper()
		slices.Sort(want)
		if got, known := x.having(streams); known != ok || known && !slices.Equal(got, want) {
			t.Errorf("%v: %v, known: %t; want %v, %t", streams, got, known, want, ok)
		}
	}
	has(false, []string{"s"})
	x.begin()
	x.add(a, &parkedEvent{Stream: "s"})
	has(false, []string{"none"}) // until it has ended
	x.end()
	has(true, []string{"s"}, a)
	has(true, []string{"none"})
	x.add(b, &parkedEvent{Stream: "links", Link: &core.Origin{Stream: "s"}})
	x.add(b, &parkedEvent{}) // is of an earlier version, which does not say where it is
	has(true, []string{"links", "none"}, b)
	has(true, []string{"links", "s"}, a, b)

	x.begin() // fails
	x.add(b, &parkedEvent{Stream: "failed"})
	x.begin()
	x.add(b, &parkedEvent{Stream: "s"})
	has(true, []string{"s"}, a, b)
	x.end()
	has(true, []string{"s"}, b)
	has(true, []string{"failed"})

	for i := range maxParkedStreams + 1 {
		x.add(a, &parkedEvent{Stream: fmt.Sprint(i)})
	}
	has(false, []string{"none"})
	x.begin()
	x.add(b, &parkedEvent{Stream: "s"})
	x.end()
	has(true, []string{"s"}, b)
}
