package census

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
)

const (
	// stepEvery is how often what was appended is counted.
	stepEvery = time.Second
	// pauseFactor makes a fold that is behind pause for so many times as long as its step took:
	// it takes a tenth of a processor, and less where others want that.
	pauseFactor  = 9
	longestPause = 10 * time.Second
	// stepWithin bounds a step, and retryAfter is the pause after one that failed.
	stepWithin = time.Minute
	retryAfter = 5 * time.Second
)

// Store is what is counted, and where the counts are: the node's own store, in a ring, too.
type Store interface {
	core.LogReader
	core.RecordReader
	State() core.State
}

// Commits makes Commits: the node's store, or in a ring what makes them under the epoch of the
// view.
type Commits interface {
	Append(ctx context.Context, c core.Commit) (core.Result, error)
}

// Config is what a Census needs.
type Config struct {
	Store   Store
	Commits Commits
	Owns    func() bool // reports whether this node folds; nil: it does
	Logger  *slog.Logger
}

// Census has the counts of a log. It is safe for concurrent use.
type Census struct {
	config  Config
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup
	lag     atomic.Uint64 // see Lag

	fold atomic.Pointer[fold] // nil: this node does not fold, or has to begin anew

	mu   sync.Mutex // held while the counts are read
	last *counts    // nil: not read yet
}

// New returns a Census that folds until Close.
func New(config Config) *Census {
	if config.Owns == nil {
		config.Owns = func() bool { return true }
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Census{config: config}
	c.closing, c.close = context.WithCancel(context.Background())
	c.running.Go(c.run)
	return c
}

// Close ends the fold. Counts can still be read.
func (c *Census) Close() {
	c.close()
	c.running.Wait()
}

// Lag returns how many positions of the log are not counted yet, where this node folds; 0 elsewhere.
func (c *Census) Lag() uint64 { return c.lag.Load() }

// run folds while this node owns the census.
func (c *Census) run() {
	for warned, pause := false, time.Duration(0); ; {
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-c.closing.Done():
			wait.Stop()
			return
		}
		if pause = stepEvery; !c.config.Owns() {
			c.fold.Store(nil) // another node moves the counts
			c.lag.Store(0)
			continue
		}
		began := time.Now()
		more, err := c.advance()
		if more {
			pause = min(pauseFactor*time.Since(began), longestPause)
		}
		if elsewhere(err) {
			continue
		}
		if err != nil {
			pause = retryAfter
			if !warned && c.closing.Err() == nil {
				c.config.Logger.Warn("events are not counted for now", "error", err)
			}
		}
		warned = err != nil
	}
}

// elsewhere reports whether an error says that another node folds, or is about to.
func elsewhere(err error) bool {
	return errors.Is(err, core.CodeRecordConflict) || errors.Is(err, core.CodeStaleEpoch) || errors.Is(err, core.CodeNotServing)
}

// advance counts what was appended, and stores it if that is due. After an error the next one begins
// with what is stored: it may be what this one has written, or another node.
func (c *Census) advance() (more bool, err error) {
	ctx, cancel := context.WithTimeout(c.closing, stepWithin)
	defer cancel()
	f, now := c.fold.Load(), c.config.Store.State()
	if f == nil || f.log != now.Log {
		if f, err = load(ctx, c.config.Store, c.config.Commits); err != nil {
			c.fold.Store(nil)
			return false, err
		}
	}
	if f.state.Position < now.Head {
		more, err = f.count(ctx)
	}
	if err == nil && f.due(time.Now()) {
		err = f.save(ctx)
	}
	if err != nil {
		c.fold.Store(nil)
		return false, err
	}
	c.fold.Store(f)
	head := c.config.Store.State().Head
	c.lag.Store(head - min(head, f.state.Position))
	return more, nil
}
