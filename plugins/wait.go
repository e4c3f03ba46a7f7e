package plugins

import (
	"context"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// Wait blocks until running is done, or until ctx ends. In the second case a goroutine goes on to wait
// for running.
func Wait(ctx context.Context, running *sync.WaitGroup) error {
	ended := make(chan struct{})
	go func() {
		running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	}
}
