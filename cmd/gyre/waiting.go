package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gyre-events/gyre/core"
)

const (
	// noDelivery is why a command waits that a node below quorum delivers nothing to.
	noDelivery = "the node delivers nothing for now: "
	// goesOn is what is said once what was waited for has come.
	goesOn = "Going on."
	// firstAnswer is how long a node may take to begin until it is asked why.
	firstAnswer = time.Second
)

func (a *app) sayWaiting(why string) { fmt.Fprintf(a.stderr, "Waiting: %s.\n", why) }

// onceServed begins something that goes on for long, and says why a node below quorum does
// not begin it. It waits for the quorum as long as ctx, as it does once it has begun. A node
// that refuses calls below quorum at once ends it.
func (a *app) onceServed(ctx context.Context, begin func(ctx context.Context) error) error {
	waiting, began, within := false, time.Now(), min(firstAnswer, a.timeout)
	for {
		asked := time.Now()
		attempt, cancel := context.WithTimeout(ctx, within)
		err := begin(attempt)
		cancel()
		hasWaited := time.Since(asked) > within/2
		switch {
		case errors.Is(err, core.CodeNoNodeAvailable) && hasWaited:
			if !waiting {
				a.sayWaiting(noDelivery + core.AsError(err).Detail)
			}
			waiting, within = true, a.timeout
		case errors.Is(err, core.CodeTimeout) && ctx.Err() == nil && (waiting || time.Since(began) < a.timeout):
			// The answer came too late to be heard: ask again.
		default:
			if waiting && err == nil {
				fmt.Fprintln(a.stderr, goesOn)
			}
			return err
		}
	}
}
