package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// The watch over the head asks the server as often as it is worth it: seldom
// when there is no waiter, at shorter intervals the more happens when there is one. It
// is one look at the end of an index, and takes no lock.
const (
	pollIdle   = time.Second
	pollFast   = 5 * time.Millisecond
	pollSlow   = 50 * time.Millisecond
	pollFailed = 250 * time.Millisecond
	// sizeEvery is how often the size of the log is asked for.
	sizeEvery = 30 * time.Second
	// maxSessionBytes is far more than the rows of sessions take. Each beat leaves one
	// behind, which lasts as long as the oldest transaction.
	maxSessionBytes = 1 << 20
)

// poller is the goroutine that watches the head. Open starts it, Close waits
// for it.
type poller struct {
	running sync.WaitGroup
	// now ends a pause early: there is a waiter.
	now chan struct{}
	// hinted ends a pause early: the head has moved.
	hinted chan struct{}
}

// HeadHint tells the watch that the log has reached a position, as another node says. It
// looks at once, if somebody waits for that. HeadHint does not block.
func (e *Engine) HeadHint(position uint64) {
	if !e.log.awaitedBefore(position) {
		return
	}
	select {
	case e.poll.hinted <- struct{}{}:
	default:
	}
}

// WaitHead is core.HeadWatcher's.
func (e *Engine) WaitHead(ctx context.Context, log string, after uint64) (uint64, error) {
	if err := e.enter(ctx); err != nil {
		return 0, err
	}
	e.calls.RUnlock() // Close ends the wait below
	for {
		head, changed, ok := e.log.await(log, after)
		if ok {
			return head, nil
		}
		select {
		case e.poll.now <- struct{}{}:
		default:
		}
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = core.AsError(ctx.Err())
		case <-e.closing.Done():
			err = errClosed()
		}
		e.log.leave()
		if err != nil {
			return 0, err
		}
	}
}

// await registers a waiter, unless the head or the identity has moved already.
func (l *logState) await(log string, after uint64) (head uint64, changed <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.head > after || l.id != log {
		return l.head, nil, true
	}
	l.waiting++
	return 0, l.changed, false
}

func (l *logState) leave() {
	l.mu.Lock()
	l.waiting--
	l.mu.Unlock()
}

func (l *logState) awaited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting > 0
}

// awaitedBefore reports whether there is a waiter, and the head is not known to have
// reached a position.
func (l *logState) awaitedBefore(position uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting > 0 && l.head < position
}

// run watches until the engine closes.
func (e *Engine) run() {
	interval := pollSlow
	sized := time.Time{}
	for {
		moved, err := e.look()
		switch {
		case err != nil:
			interval = pollFailed
		case moved:
			interval = pollFast
		default:
			interval = min(2*interval, pollSlow)
		}
		if time.Since(sized) > sizeEvery && err == nil {
			e.measure()
			sized = time.Now()
		}
		if !e.pause(interval) {
			return
		}
	}
}

// pause waits for the interval, or longer if there is no waiter.
func (e *Engine) pause(interval time.Duration) bool {
	now := e.poll.now
	if e.log.awaited() {
		now = nil
	} else {
		interval = max(interval, pollIdle)
	}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-now:
	case <-e.poll.hinted:
	case <-e.closing.Done():
		return false
	}
	return true
}

// look asks for the head, and reports whether it has moved.
func (e *Engine) look() (moved bool, err error) {
	ctx, cancel := context.WithTimeout(e.closing, e.config.CallTimeout)
	defer cancel()
	var now logRow
	known := e.log.known()
	err = on(ctx, e.steps, func(ctx context.Context, c *pgx.Conn) (err error) {
		if now, err = e.logRow(ctx, c, "watch", known.last.position); err != nil {
			return err
		}
		if noTail, noEpoch := now.lacks(&known); noTail || noEpoch {
			// Behind a pooler the same connection may lead to another server.
			if err = e.recognize(ctx, c); err == nil {
				now, err = e.logRow(ctx, c, "watch", 0)
			}
		}
		return err
	})
	if err != nil {
		if e.closing.Err() == nil && !e.lostStatement(err) {
			e.noteProblem(asError(err))
			if isAway(err) {
				e.log.outage.begin()
			}
		}
		return false, err
	}
	e.log.outage.end()
	before := e.log.state()
	if now.id != before.Log {
		// Another node has found that the log lost its tail.
		e.replaceLog(&now)
		return true, nil
	}
	e.reached(&now)
	e.log.forget(&now, known.last)
	e.log.advance(now.head, now.last)
	if e.log.mayMend() {
		e.mended()
	}
	return now.head > before.Head, nil
}

// measure asks for the size of the log, and whether it has the index of types.
func (e *Engine) measure() {
	ctx, cancel := context.WithTimeout(e.closing, e.config.CallTimeout)
	defer cancel()
	var bytes, sessions int64
	var indexed bool
	err := on(ctx, e.reads, func(ctx context.Context, c *pgx.Conn) error {
		return withSettings(ctx, c, func() error {
			err := c.QueryRow(ctx, `SELECT sum(pg_total_relation_size(c.oid))::bigint,
				coalesce(sum(pg_relation_size(c.oid)) FILTER (WHERE c.relname IN ('sessions', 'ring_sessions')), 0)::bigint FROM pg_class c
			JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'`, e.config.Store).Scan(&bytes, &sessions)
			if err != nil {
				return err
			}
			x := typeIndex
			err = x.look(ctx, c, e.config.Store)
			indexed = x.State == IndexReady
			return err
		})
	})
	if err != nil {
		return
	}
	e.log.mu.Lock()
	e.log.bytes, e.log.typesIndexed = bytes, indexed
	e.log.mu.Unlock()
	if sessions > maxSessionBytes {
		e.config.Logger.Warn("beats leave rows behind that PostgreSQL cannot remove: somebody holds a transaction open (pg_stat_activity, xact_start)",
			"store", e.config.Store, "bytes", sessions)
	}
}
