package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// caughtUp is the cause of the end that --until-caught-up asks for.
type caughtUp struct{ head uint64 }

func (e *caughtUp) Error() string { return fmt.Sprintf("caught up to position %d", e.head) }

// askEvery and showEvery are how often the subscription is polled: for --until-caught-up,
// and for a bar.
const (
	askEvery  = 50 * time.Millisecond
	showEvery = 500 * time.Millisecond
)

// watch shows how far the subscription is, where commands are run, and ends the run when
// it is to end there: everything up to head is finished.
func (c *consumption) watch(ctx context.Context, head uint64, f *subscribeFlags) {
	every := showEvery
	switch {
	case f.untilCaughtUp:
		every = askEvery
	case f.exec == "":
		return
	}
	way := wayTo{app: c.app, head: head}
	defer func() {
		way.finish()
		c.above.Store(nil)
	}()
	err := c.poll(ctx, every, func(i *subscriptions.Info) (bool, error) {
		if i.Finished >= head {
			return true, nil
		}
		if f.exec != "" {
			way.show(i, c.handled())
		}
		if !f.untilCaughtUp {
			return false, nil
		}
		return false, c.stands(i.State, i.Reason)
	})
	switch {
	case !f.untilCaughtUp:
	case err != nil:
		c.end(err)
	default:
		c.end(&caughtUp{head})
	}
}

// wayTo shows how far a subscription is on its way to a position.
type wayTo struct {
	app        *app
	from, head uint64
	meter      *meter // nil before the first look
}

func (w *wayTo) show(i *subscriptions.Info, handled int64) {
	if w.meter == nil {
		w.from = i.Finished
		w.meter = w.app.newMeter("Catching up", int64(w.head-w.from))
	}
	w.meter.set(int64(max(i.Finished, w.from)-w.from), handled)
}

// finish takes away what it shows.
func (w *wayTo) finish() {
	if w.meter != nil {
		w.meter.finish()
	}
}

// stands says why a subscription does not go on, if so.
func (c *consumption) stands(s delivery.State, reason string) error {
	switch {
	case s == delivery.Stopped:
		return fmt.Errorf("the subscription has stopped: %s; gyre subscriptions resume %s goes on", reason, c.name)
	case s == delivery.Paused:
		return fmt.Errorf("the subscription is paused; gyre subscriptions resume %s goes on", c.name)
	}
	return nil
}

// poll asks how the subscription is until something is so. While the node is away it
// goes on asking.
func (c *consumption) poll(ctx context.Context, every time.Duration, is func(*subscriptions.Info) (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		info, err := c.info(ctx)
		switch {
		case ctx.Err() != nil:
			return core.AsError(ctx.Err())
		case err != nil && !core.AsError(err).Info().Retryable:
			return err
		case err == nil:
			if ok, err := is(&info); ok || err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// info returns the subscription's state.
func (c *consumption) info(ctx context.Context) (subscriptions.Info, error) {
	all := c.client.Subscriptions()
	if !c.transient {
		return all.Info(ctx, c.name)
	}
	page, err := all.List(ctx, subscriptions.ListRequest{Prefix: c.name, Limit: 1, Transient: true})
	if err != nil {
		return subscriptions.Info{}, err
	}
	if len(page.Subscriptions) == 0 || page.Subscriptions[0].Name != c.name {
		return subscriptions.Info{}, core.Errorf(core.CodeSubscriptionInterrupted, "the subscription begins anew")
	}
	return page.Subscriptions[0], nil
}
