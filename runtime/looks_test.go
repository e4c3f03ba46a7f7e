package runtime

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever asks while storage is slow, or away, has what was seen last, and waits no longer than it
// says.
func TestLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type storage struct {
			takes time.Duration
			fails error
		}
		var is atomic.Pointer[storage]
		n := 0
		l := newLooks(func(ctx context.Context) (int, error) {
			is := is.Load()
			select {
			case <-time.After(is.takes):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
			n++
			return n, is.fails
		})
		for i, want := range []struct {
			storage
			age     time.Duration
			seen    int
			failed  bool
			waiting time.Duration
		}{
			{storage{time.Second, nil}, time.Minute, 1, false, time.Second},               // the first is waited for
			{storage{time.Second, nil}, time.Minute, 1, false, 0},                         // it is fresh
			{storage{time.Millisecond, nil}, 0, 2, false, time.Millisecond},               // it is to be new
			{storage{time.Second, nil}, 0, 2, false, 100 * time.Millisecond},              // it is slow
			{storage{time.Millisecond, errors.New("away")}, time.Hour, 3, false, 0},       // and has come meanwhile
			{storage{time.Millisecond, errors.New("away")}, 0, 3, true, time.Millisecond}, // storage is away
			{storage{time.Hour, nil}, 0, 3, true, 100 * time.Millisecond},                 // for long
		} {
			is.Store(&want.storage)
			begin := time.Now()
			seen, err := l.get(want.age, 100*time.Millisecond)
			if seen != want.seen || (err != nil) != want.failed || time.Since(begin) != want.waiting {
				t.Errorf("%d: saw %d, %v after %v, want %+v", i, seen, err, time.Since(begin), want)
			}
			if want.takes == time.Second {
				time.Sleep(2 * time.Second)
			}
		}
		begin := time.Now()
		l.close()
		if _, err := l.get(0, time.Minute); err == nil || time.Since(begin) != 0 {
			t.Errorf("after the end: %v, after %v", err, time.Since(begin))
		}
	})
}
