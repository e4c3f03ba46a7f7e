package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
)

// admit waits for the gate, unless it is open. The error is no_node_available, overloaded
// if too many wait, or canceled.
func (r *Router) admit(ctx context.Context) error {
	s := r.config.Ring.State()
	why := s.Serves(time.Now())
	if why == nil {
		return nil
	}
	if r.config.FailAtOnce {
		return why
	}
	r.mu.Lock()
	full := r.waiting.len+int(r.counted.atGate.Load()) >= r.config.MaxWaiting
	if !full {
		r.counted.atGate.Add(1)
	}
	r.mu.Unlock()
	if full {
		return core.Errorf(core.CodeOverloaded, "%d calls wait already", r.config.MaxWaiting)
	}
	defer r.counted.atGate.Add(-1)
	claim := core.ClaimOf(ctx)
	if claim == nil {
		claim = new(core.Claim)
	}
	defer claim.WaitsFor(nil)
	for why != nil {
		claim.WaitsFor(why)
		select {
		case <-s.Changed:
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return why
			}
			return core.AsError(ctx.Err())
		case <-r.closing.Done():
			return errShuttingDown()
		}
		s = r.config.Ring.State()
		why = s.Serves(time.Now())
	}
	return nil
}

// Admit waits for the gate as reads do. The error is no_node_available, overloaded if too
// many wait, or canceled.
func (r *Router) Admit(ctx context.Context) error { return r.admit(ctx) }

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

// Records is core.Store.Records.
func (r *Router) Records(ctx context.Context, q core.RecordsRequest) ([]core.Record, error) {
	if err := r.admit(ctx); err != nil {
		return nil, err
	}
	return r.config.Store.Records(ctx, q)
}

// State returns the log's state as the Store knows it. It never waits.
func (r *Router) State() core.State { return r.config.Store.State() }
