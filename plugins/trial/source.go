package trial

import (
	"context"
	"io"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// Source has the events that are handled.
type Source interface {
	// Next appends the next events in the order of positions. The error is io.EOF at the end.
	Next(ctx context.Context, dst []delivery.Item) ([]delivery.Item, error)
}

// Range reads events of a log that a definition delivers, between two positions.
type Range struct {
	picker   *subscriptions.Picker
	follower core.Follower
	to       uint64
	rest     core.Batch // read, and not picked
	ended    bool       // all was read
}

// NewRange returns the events of a log from a position to another that a definition delivers.
// Close it.
func NewRange(ctx context.Context, log core.Log, d *subscriptions.Definition, programs subscriptions.Programs, from, to uint64) (*Range, error) {
	picker, err := subscriptions.NewPicker(d, programs)
	if err != nil {
		return nil, err
	}
	place := core.From{Kind: core.AfterPosition, N: from - 1}
	follower, err := log.Follow(ctx, core.FollowRequest{Stream: d.Stream, From: place, Filter: picker.Filter()})
	if err != nil {
		_ = picker.Close() // it frees memory only
		return nil, err
	}
	return &Range{picker: picker, follower: follower, to: to}, nil
}

// Close frees what it has.
func (r *Range) Close() {
	_ = r.picker.Close()   // it frees memory only
	_ = r.follower.Close() // it only ends the wait
}

// readLimit bounds a read.
var readLimit = core.Limit{Events: core.MaxReadEvents, Bytes: 1 << 20}

// Next is Source.Next.
func (r *Range) Next(ctx context.Context, dst []delivery.Item) ([]delivery.Item, error) {
	for n := len(dst); len(dst) == n; {
		for r.rest.Count == 0 {
			if r.ended {
				return dst, io.EOF
			}
			d, err := r.follower.Next(ctx, readLimit)
			if err != nil {
				return dst, err
			}
			r.rest = d.Batch
			r.ended = d.Cursor >= r.to || d.Live && d.Head >= r.to
		}
		var err error
		if dst, r.rest, err = r.picker.Items(ctx, dst, r.rest); err != nil {
			return dst, err
		}
		for len(dst) > n && dst[len(dst)-1].Position > r.to {
			dst, r.rest = dst[:len(dst)-1], core.Batch{}
		}
	}
	return dst, nil
}
