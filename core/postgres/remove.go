package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// A Commit that removes a stream gives it another id, and says that what has the former one
// is removed: from then on nothing finds it, however much it is. Every node then deletes such
// rows, a few at a time, so that a node that is killed leaves that to others.

const (
	// removeRows is how many events, and links to them, one transaction deletes.
	removeRows = 1000
	// The remover rests for as long as it works, and at least leastRest; after an error for
	// longer.
	leastRest  = 20 * time.Millisecond
	errorRest  = time.Second
	deniedRest = time.Minute
)

// remover is the goroutine that deletes what is removed. Open starts it, Close waits for
// it.
type remover struct {
	running sync.WaitGroup
	// now has room for one: streams may have been removed.
	now chan struct{}

	indexed bool // there is linkIndex
	failed  bool // so did the last try
	// What remove_some has returned last, in a transaction that was committed.
	stream, after *int64
}

// removeSoon says that streams may have been removed.
func (e *Engine) removeSoon() {
	select {
	case e.remover.now <- struct{}{}:
	default:
	}
}

// reached notes what the log was found at. A log that has changed is one whose streams may have
// been removed.
func (e *Engine) reached(now *logRow) {
	if e.log.reached(now) {
		e.removeSoon()
	}
}

// replaceLog notes that the log may be another one, or be on another server, which may have
// what was removed and deleted already.
func (e *Engine) replaceLog(now *logRow) {
	e.log.replace(now)
	e.removeSoon()
}

// runRemover deletes what is removed until the engine closes.
func (e *Engine) runRemover() {
	for {
		begun := time.Now()
		more, err := e.removeSome()
		rest := max(time.Since(begun), leastRest)
		if err != nil {
			more, rest = true, max(rest, e.noteRemover(err))
		}
		e.remover.failed = err != nil
		var wait <-chan time.Time
		now := e.remover.now
		if more {
			wait, now = time.After(rest), nil
		}
		select {
		case <-wait:
		case <-now:
		case <-e.closing.Done():
			return
		}
	}
}

// noteRemover logs the first of several errors, and returns for how long to rest.
func (e *Engine) noteRemover(err error) time.Duration {
	problem := asError(err)
	if !e.remover.failed && e.closing.Err() == nil {
		e.config.Logger.Warn("what was removed is still in the database, where nobody finds it", "error", problem)
	}
	if problem.Code == core.CodeStoreDenied {
		return deniedRest
	}
	return errorRest
}

// removeSome deletes some of what is removed, and reports whether there may be more.
func (e *Engine) removeSome() (more bool, err error) {
	ctx, cancel := context.WithTimeout(e.closing, e.config.CallTimeout)
	defer cancel()
	r := &e.remover
	if !r.indexed {
		if more, err = e.hasRemoved(ctx); !more || err != nil {
			return false, err
		}
		err = makeIndexes(e.closing, &e.config, []Index{linkIndex})
		r.indexed = err == nil
		return true, err // what is left of ctx may be too short
	}
	var stream, after *int64
	err = on(ctx, e.reads, func(ctx context.Context, c *pgx.Conn) error {
		return withSettings(ctx, c, func() error {
			return c.QueryRow(ctx, `SELECT * FROM `+e.config.schema()+`.remove_some($1, $2, $3)`, r.stream, r.after, removeRows).
				Scan(&stream, &after)
		})
	})
	if err != nil {
		return true, err
	}
	r.stream, r.after = stream, after
	return stream != nil, nil
}

func (e *Engine) hasRemoved(ctx context.Context) (has bool, err error) {
	err = on(ctx, e.reads, func(ctx context.Context, c *pgx.Conn) error {
		return withSettings(ctx, c, func() error {
			return c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+e.config.schema()+`.removed)`).Scan(&has)
		})
	})
	return has, err
}
