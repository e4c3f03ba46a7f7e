package sdk

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
)

// retryWhileOverloaded does something until it succeeds or fails otherwise than with overloaded,
// which says that nothing was done. It goes on with jittered, growing backoff, never sooner than
// the node asks for, and gives up with the error when ctx, or the time of a request, would be over
// before the next try.
func retryWhileOverloaded[T any](ctx context.Context, c *Client, do func() (T, error)) (result T, err error) {
	by := time.Now().Add(requestTimeout)
	if d, ok := ctx.Deadline(); ok {
		by = d
	}
	for try := 0; ; try++ {
		result, err = do()
		if !errors.Is(err, core.CodeOverloaded) || c.options.Once {
			return result, err
		}
		pause := core.AsError(err).RetryAfter + backoff(try)
		if time.Until(by) <= pause {
			return result, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return result, err
		case <-c.done:
			return result, err
		}
	}
}
