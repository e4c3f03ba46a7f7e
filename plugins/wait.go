package plugins

import (
	"context"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// Wait waits for what is running, or until ctx ends. Then what still runs does so without it.
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
