package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
)

const (
	// The pause after an error of the storage doubles from the first to the second.
	leastPause = 100 * time.Millisecond
	mostPause  = 2 * time.Second
)

// Follow is Log.Follow. It runs here, from the shared log. While the node does not serve,
// or storage is away, the Follower delivers nothing: one Delivery says so, and it goes on
// where it was.
func (r *Router) Follow(ctx context.Context, f core.FollowRequest) (core.Follower, error) {
	if err := r.admit(ctx); err != nil {
		return nil, err
	}
	inner, err := r.config.Store.Follow(ctx, f)
	if err != nil {
		return nil, err
	}
	g := &follower{Follower: inner, ring: r.config.Ring, openings: &r.joins.openings, pause: leastPause}
	g.closed, g.close = context.WithCancelCause(r.closing)
	return g, nil
}

// follower is a Follower behind the gate.
type follower struct {
	core.Follower
	ring     Ring
	openings *openings
	closed   context.Context // ends with Close, or the Router
	close    context.CancelCauseFunc

	last   core.Delivery  // without events
	held   *core.Delivery // that came when the gate was closed
	halted bool           // it was reported that nothing is delivered
	shut   bool           // because the gate was closed
	pause  time.Duration

	mu    sync.Mutex // protects the field below
	while *while     // of the last Next
}

// Next is Follower.Next.
func (f *follower) Next(ctx context.Context, limit core.Limit) (core.Delivery, error) {
	for {
		open := f.openings.now() // before the State is looked at: it ends if that closes the gate
		s := f.ring.State()
		if why := s.Serves(time.Now()); why != nil {
			f.shut = true
			if d, ok := f.halt(why.Detail); ok {
				return d, nil
			}
			if err := f.await(ctx, s.Changed, mostPause); err != nil {
				return core.Delivery{}, err
			}
			continue
		}
		if f.resume() {
			return f.last, nil
		}
		d, err := f.take(ctx, open, limit)
		switch {
		case err == nil && f.ring.State().Serves(time.Now()) != nil:
			f.held = &d
		case err == nil:
			return f.pass(d), nil
		case ctx.Err() != nil || f.closed.Err() != nil:
			return core.Delivery{}, err
		case open.Err() != nil: // the gate has closed
		case !outlived(err):
			return core.Delivery{}, err
		default:
			if d, ok := f.halt(core.AsError(err).Detail); ok {
				return d, nil
			}
			if err := f.await(ctx, nil, f.pause); err != nil {
				return core.Delivery{}, err
			}
			f.pause = min(2*f.pause, mostPause)
		}
	}
}

// take returns what was held back, or the next of the Follower while the gate is open.
func (f *follower) take(ctx, open context.Context, limit core.Limit) (core.Delivery, error) {
	if f.held == nil {
		return f.Follower.Next(f.whileOpen(ctx, open), limit)
	}
	d := *f.held
	head, rest := d.Cut(core.Limit{Events: max(limit.Events, 1), Bytes: max(limit.Bytes, 1)})
	if rest.Count == 0 {
		f.held = nil
		return d, nil
	}
	f.held.Batch = rest
	d.Batch, d.Cursor, d.Live = head, head.Last, false
	return d, nil
}

// pass notes what is delivered.
func (f *follower) pass(d core.Delivery) core.Delivery {
	f.halted, f.pause = false, leastPause
	f.last = d
	f.last.Batch = core.Batch{}
	return d
}

// resume reports whether the caller is to be told that the follow goes on as it was. After
// an error of storage the next Delivery does that.
func (f *follower) resume() bool {
	resumed := f.halted && f.shut
	f.halted, f.shut = f.halted && !resumed, false
	return resumed
}

// halt returns the Delivery that says why there is nothing, unless it was returned already.
func (f *follower) halt(why string) (core.Delivery, bool) {
	if f.halted {
		return core.Delivery{}, false
	}
	f.halted = true
	d := f.last
	d.Live, d.NoQuorum = false, why
	return d, true
}

// outlived reports whether a follow outlives an error of the Store: storage is away.
func outlived(err error) bool {
	switch e := core.AsError(err); e.Code {
	case core.CodeStoreClosed, core.CodeShuttingDown:
		return false
	default:
		return e.Info().Retryable
	}
}

// await waits until something has changed, a while at most.
func (f *follower) await(ctx context.Context, changed <-chan struct{}, most time.Duration) error {
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case <-changed:
	case <-late.C:
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	case <-f.closed.Done():
		if err := context.Cause(f.closed); err != context.Canceled {
			return err
		}
		return errShuttingDown()
	}
	return nil
}

// Close is Follower.Close.
func (f *follower) Close() error {
	f.close(core.Errorf(core.CodeCanceled, "the follow was closed"))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.while.end()
	f.while = nil
	return f.Follower.Close()
}

// while is a context that ends with its caller's or when the gate closes.
type while struct {
	context.Context
	cancel context.CancelFunc
	stop   func() bool
	caller <-chan struct{}
	open   context.Context
}

func (w *while) end() {
	if w != nil {
		w.stop()
		w.cancel()
	}
}

// whileOpen returns ctx, ended when the gate closes. A caller that comes with the same
// context again costs nothing.
func (f *follower) whileOpen(ctx, open context.Context) context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.while; w != nil && w.caller == ctx.Done() && w.open == open {
		return w
	}
	f.while.end()
	w := &while{caller: ctx.Done(), open: open}
	w.Context, w.cancel = context.WithCancel(ctx)
	w.stop = context.AfterFunc(open, w.cancel)
	f.while = w
	return w
}

// openings has a context for the time until the gate closes.
type openings struct {
	present atomic.Pointer[opening]
}

type opening struct {
	context.Context
	cancel context.CancelFunc
}

func (o *openings) now() context.Context { return o.present.Load() }

// end ends the present context, and begins the next.
func (o *openings) end() {
	next := &opening{}
	next.Context, next.cancel = context.WithCancel(context.Background())
	if before := o.present.Swap(next); before != nil {
		before.cancel()
	}
}
