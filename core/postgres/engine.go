package postgres

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gyre-events/gyre/core"
)

// Engine is the log in one schema. It is a core.Engine and a core.HeadWatcher.
type Engine struct {
	config Config
	sql    *statements
	steps  *pgxpool.Pool // for Commits and the watch
	reads  *pgxpool.Pool

	epoch uint64 // that the engine was opened under
	log   logState
	hints

	// lookFirst is for how many more groups ids are looked up before writing.
	lookFirst atomic.Int32
	// unnamed says that prepared statements get lost.
	unnamed atomic.Bool
	// cutOff are backends that may still write what a Commit was answered
	// unknown_outcome for.
	cutOff cutOff

	calls     sync.RWMutex    // held by every call for reading, by Close for writing
	closing   context.Context // ends what waits
	close     context.CancelFunc
	stepCtx   context.Context // ends steps, some time after closing
	kill      context.CancelFunc
	poll      poller
	remover   remover
	scavenger scavenger
	session   session
	arbiter   arbiter
}

// hints are what the engine remembers to be quicker.
type hints struct {
	names *nameCache
	sizes *sizes
}

var (
	_ core.Engine      = (*Engine)(nil)
	_ core.HeadWatcher = (*Engine)(nil)
)

// closeGrace is for how long Close lets steps go on.
const closeGrace = 5 * time.Second

// enter begins a call; the caller calls calls.RUnlock if there is no error.
func (e *Engine) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return core.AsError(err)
	}
	e.calls.RLock()
	if e.closing.Err() != nil {
		e.calls.RUnlock()
		return errClosed()
	}
	if err := e.session.shutOut.Load(); err != nil {
		e.calls.RUnlock()
		return err
	}
	return nil
}

func errClosed() *core.Error { return core.Errorf(core.CodeStoreClosed, "the store is closed") }

// Sizes is core.Sizer's.
func (e *Engine) Sizes(context.Context) (core.Sizes, error) {
	return core.Sizes{Database: e.State().Bytes}, nil
}

// State is core.Engine's. It does no I/O: the head is the last one that was seen.
func (e *Engine) State() core.State { return e.log.state() }

// Close is core.Engine's.
func (e *Engine) Close() error {
	e.close()
	late := time.AfterFunc(closeGrace, e.kill)
	defer late.Stop()
	e.calls.Lock()
	defer e.calls.Unlock()
	e.poll.running.Wait()
	e.remover.running.Wait()
	e.session.running.Wait()
	e.closeSession()
	e.scavenger.conn.close()
	e.arbiter.beats.close()
	e.arbiter.views.close()
	for _, pool := range []*pgxpool.Pool{e.steps, e.reads} {
		if pool != nil { // Open came that far
			pool.Close()
		}
	}
	return nil
}

// read runs a call that changes nothing on a connection for reads. It may run
// several times, each time from its beginning: connections that a restart or a
// fail-over broke are replaced, and a server that is away is waited for as long as
// Config.ReadRetryFor.
func (e *Engine) read(ctx context.Context, call func(ctx context.Context, c *pgx.Conn) error) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.calls.RUnlock()
	bounded, cancel := context.WithTimeout(ctx, e.config.CallTimeout)
	defer cancel()
	defer context.AfterFunc(e.closing, cancel)()
	tries := reread{engine: e, retry: retry{pause: firstPause}}
	err := on(bounded, e.reads, call)
	for err != nil && tries.again(bounded, err) {
		err = on(bounded, e.reads, call)
	}
	switch {
	case err == nil:
		e.log.outage.end()
		return nil
	case e.closing.Err() != nil:
		return errClosed()
	case ctx.Err() != nil:
		return core.AsError(ctx.Err())
	}
	return asError(err)
}

// on runs call on a connection of the pool.
func on(ctx context.Context, pool *pgxpool.Pool, call func(ctx context.Context, c *pgx.Conn) error) error {
	c, err := pool.Acquire(ctx)
	if err != nil {
		return &acquireError{err}
	}
	defer c.Release()
	if err = call(ctx, c.Conn()); err == nil {
		return nil
	}
	_ = rollBack(ctx, c.Conn())
	if c.Conn().IsClosed() {
		return &lostError{err}
	}
	return err
}

// acquireError says that there was no connection, so that nothing was sent.
type acquireError struct{ err error }

func (e *acquireError) Error() string { return e.err.Error() }
func (e *acquireError) Unwrap() error { return e.err }

// lostError says that the connection is gone, whatever became of the call.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }
