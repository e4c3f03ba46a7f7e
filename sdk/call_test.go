package sdk

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A node that answers when its time is over is heard before the caller's time is over.
func TestTheServerHasLessTimeThanTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for given, want := range map[time.Duration]int64{
			time.Nanosecond:       1,
			10 * time.Millisecond: 9,
			time.Second:           950,
			time.Hour:             3_599_950,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), given)
			if got := timeoutMs(ctx); got != want {
				t.Errorf("of %s the server gets %d ms, want %d", given, got, want)
			}
			cancel()
		}
		if got := timeoutMs(t.Context()); got != 0 {
			t.Errorf("without a deadline the server gets %d ms, want its default, 0", got)
		}
	})
}
