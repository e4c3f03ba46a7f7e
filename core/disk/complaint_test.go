package disk

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What lasts is said once a minute; what is new, or has come back, at once.
func TestComplaintsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full, broken := errors.New("no space left on device"), errors.New("input/output error")
		var c complaint
		said := 0
		for range 4 * 60 * 10 { // ten minutes
			if c.due(full) {
				said++
			}
			time.Sleep(time.Second / 4)
		}
		if said != 10 {
			t.Errorf("in ten minutes it is said %d times", said)
		}
		for i, want := range []struct {
			err error
			due bool
		}{{broken, true}, {broken, false}, {nil, false}, {broken, true}, {full, true}} {
			if c.due(want.err) != want.due {
				t.Errorf("%d: due is not %t of %v", i, want.due, want.err)
			}
		}
	})
}
