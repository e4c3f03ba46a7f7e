package cluster

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
)

// admit waits for the gate, unless it is open. The error is no_node_available, overloaded
// if too many wait, or that of ctx if it was canceled.
func (r *Router) admit(ctx context.Context) error {
	if why := r.config.Ring.State().Serves(time.Now()); why != nil {
		return why
	}
	return ctx.Err()
}

// Read is Log.Read.
func (r *Router) Read(ctx context.Context, q core.ReadRequest) (core.Page, error) {
	if err := r.admit(ctx); err != nil {
		return core.Page{}, err
	}
	return r.config.Store.Read(ctx, q)
}

// ReadLog is LogReader.ReadLog.
func (r *Router) ReadLog(ctx context.Context, from uint64, limit core.Limit) (core.Page, error) {
	if err := r.admit(ctx); err != nil {
		return core.Page{}, err
	}
	return r.config.Store.ReadLog(ctx, from, limit)
}

// Event finds an event by its id, or returns event_not_found.
func (r *Router) Event(ctx context.Context, id core.ID) (core.Event, error) {
	if err := r.admit(ctx); err != nil {
		return core.Event{}, err
	}
	return r.config.Store.Event(ctx, id)
}

// Streams is core.Store.Streams.
func (r *Router) Streams(ctx context.Context, q core.StreamsRequest) (core.StreamsPage, error) {
	if err := r.admit(ctx); err != nil {
		return core.StreamsPage{}, err
	}
	return r.config.Store.Streams(ctx, q)
}

// State returns the log's state as the Store knows it. It never waits.
func (r *Router) State() core.State { return r.config.Store.State() }
