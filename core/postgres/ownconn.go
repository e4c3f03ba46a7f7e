package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// ownConn is a connection beside the pools, for calls that must not wait for one of theirs.
// It is made when it is used first, and again when it is lost. One call uses it at a time.
type ownConn struct {
	engine *Engine
	free   chan *pgx.Conn // has the connection, or nil for none, while no call uses it
}

func newOwnConn(e *Engine) *ownConn {
	o := &ownConn{engine: e, free: make(chan *pgx.Conn, 1)}
	o.free <- nil
	return o
}

// do runs a call. If it fails on a connection that was kept, which may have been broken
// before, a call that may run twice runs again on a new one. An answer of the catalogue is
// no failure.
func (o *ownConn) do(ctx context.Context, twice bool, call func(ctx context.Context, c *pgx.Conn) error) error {
	e := o.engine
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.calls.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, e.config.CallTimeout)
	defer cancel()
	defer context.AfterFunc(e.closing, cancel)()
	var c *pgx.Conn
	select {
	case c = <-o.free:
	case <-ctx.Done():
		return o.asError(ctx.Err())
	}
	kept := c != nil
	c, err := o.try(ctx, c, call)
	if err != nil && kept && twice && c == nil && ctx.Err() == nil {
		c, err = o.try(ctx, nil, call)
	}
	o.free <- c
	return o.asError(err)
}

// try runs a call on c, or a new connection, and returns the one to keep.
func (o *ownConn) try(ctx context.Context, c *pgx.Conn, call func(ctx context.Context, c *pgx.Conn) error) (*pgx.Conn, error) {
	if c == nil {
		var err error
		if c, err = o.connect(ctx); err != nil {
			return nil, &acquireError{err}
		}
	}
	err := call(ctx, c)
	if err == nil || isAnswer(err) && !c.IsClosed() {
		return c, err
	}
	o.drop(c)
	return nil, &lostError{err}
}

// isAnswer reports whether err is one of the catalogue.
func isAnswer(err error) bool {
	_, ok := err.(*core.Error)
	return ok
}

// connect makes a connection to the log.
func (o *ownConn) connect(ctx context.Context) (*pgx.Conn, error) {
	c, err := o.engine.config.connect(ctx, writes)
	if err != nil {
		return nil, err
	}
	if err = setUp(ctx, c); err == nil {
		err = o.engine.recognize(ctx, c)
	}
	if err != nil {
		o.drop(c)
		return nil, err
	}
	return c, nil
}

func (o *ownConn) drop(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), beatTimeout)
	defer cancel()
	_ = c.Close(ctx)
}

// close closes the connection; no call is under way.
func (o *ownConn) close() {
	if c := <-o.free; c != nil {
		o.drop(c)
	}
	o.free <- nil
}

func (o *ownConn) asError(err error) error {
	switch {
	case err == nil:
		return nil
	case o.engine.closing.Err() != nil:
		return errClosed()
	}
	return asError(err)
}
