package subscriptions

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
)

// count bounds the stored subscriptions of a log. They are counted now and then: so many may be
// created until the next time that several nodes together stay near the bound.
type count struct {
	held chan struct{} // holds 1 while somebody has the fields below
	left int           // that may be created before the next count
	full time.Time     // until when there are too many, without another look
}

const (
	// countPart is the part of the free places that a node fills before it counts again: one in
	// so many.
	countPart = 16
	// countLeast is how many it fills at least.
	countLeast = 64
	// countAgain is how long a full log is not counted again.
	countAgain = 5 * time.Second
)

// takePlace takes a place for a subscription that is created. The error is
// too_many_subscriptions.
func (o *Owner) takePlace(ctx context.Context) error {
	c := &o.count
	select {
	case c.held <- struct{}{}:
		defer func() { <-c.held }()
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	}
	most := o.config.MaxStored
	if c.left == 0 && time.Now().After(c.full) {
		stored := 0
		err := o.records.each(ctx, definitionsTable, "", "", core.MaxReadEvents, func(*core.Record) (bool, error) {
			stored++
			return stored < most, nil
		})
		if err != nil {
			return err
		}
		if free := most - stored; free > 0 {
			c.left = min(free, max(countLeast, free/countPart))
		} else {
			c.full = time.Now().Add(countAgain)
		}
	}
	if c.left == 0 {
		e := core.Errorf(core.CodeTooManySubscriptions, "the store has %d subscriptions, which is the limit", most)
		e.Limit = int64(most)
		return e
	}
	c.left--
	return nil
}
