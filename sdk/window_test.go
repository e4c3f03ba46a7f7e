package sdk

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

func TestWindowBoundsRequestsAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := window{maxCount: 2, maxBytes: 100}
		acquire := func(bytes int) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return w.acquire(ctx, time.Now().Add(time.Minute), bytes)
		}
		// A single request always fits, and then nothing does.
		if err := acquire(1000); err != nil {
			t.Error(err)
		}
		if err := acquire(1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beyond the bytes: %v", err)
		}
		w.release(1000)
		if err := errors.Join(acquire(50), acquire(50)); err != nil {
			t.Error(err)
		}
		if err := acquire(0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beyond the requests: %v", err)
		}
		// Who waits gets what is released.
		waiting := make(chan error)
		go func() { waiting <- w.acquire(t.Context(), time.Now().Add(time.Minute), 50) }()
		synctest.Wait()
		w.release(50)
		if err := <-waiting; err != nil {
			t.Error(err)
		}
		// Nobody waits for ever, also without a deadline of the caller's.
		if err := w.acquire(context.Background(), time.Now().Add(time.Minute), 51); !errors.Is(err, core.CodeTimeout) {
			t.Errorf("nothing is released: %v", err)
		}
	})
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	for try := range 100 {
		for range 100 {
			pause := backoff(try)
			if pause <= 0 || pause > maxBackoff+minBackoff || pause > minBackoff/5+minBackoff<<min(try, 10) {
				t.Fatalf("try %d waits %s", try, pause)
			}
		}
	}
}
