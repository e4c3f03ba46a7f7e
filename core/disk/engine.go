package disk

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gyre-events/gyre/core"
)

// Engine is the log in one directory. It is a core.Engine.
type Engine struct {
	fs     FS
	dir    string
	config Config
	locks  []heldLock

	id  string // the log's identity
	key hashKey
	// timelines are those of the log, the newest begun by this opening.
	timelines []core.Timeline
	appender  *appender
	files     *segmentFiles
	index     *index
	records   *recordStore
	changed   changedStreams
	blobs     *blobStore
	prepare   *preparer
	recovery  *recovery
	scavenger *scavenger

	closing atomic.Bool
	inUse   sync.RWMutex // held by every call for reading, by Close for writing

	// mu makes one writer at a time. It is not held during the sync of a step.
	mu sync.Mutex
	// mu protects the fields below.
	writer writer
}

var _ core.Engine = (*Engine)(nil)

// enter begins a call; the caller calls inUse.RUnlock if there is no error. It may be called
// during a call: it does not wait for a Close that waits for that.
func (e *Engine) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return core.AsError(err)
	}
	open := e.inUse.TryRLock()
	if open && e.closing.Load() {
		e.inUse.RUnlock()
		open = false
	}
	if !open {
		return core.Errorf(core.CodeStoreClosed, "the store is closed")
	}
	return nil
}

// State is core.Engine's.
func (e *Engine) State() core.State {
	m := e.appender.durable.Load()
	s := core.State{Log: e.id, Timelines: e.timelines, Head: m.head, Bytes: e.index.view.Load().bytesBefore(m.end)}
	if err := e.appender.failure(); err != nil {
		s.ReadOnly = cannotWrite(err)
	} else if err := e.recovery.blocked(); err != nil {
		s.ReadOnly = cannotWrite(err)
	} else if err := e.index.failure(); err != nil {
		s.ReadOnly = cannotWrite(err)
	}
	return s
}

// cannotWrite is the answer while the disk refuses: the system's words, and no
// paths.
func cannotWrite(err error) *core.Error {
	if isFull(err) {
		return core.Errorf(core.CodeStoreFull, "%s", reason(err))
	}
	return core.Errorf(core.CodeStoreReadOnly, "%s", reason(err))
}

// Close is core.Engine's. It ends the log with an empty frame, which says that
// everything before it was durable: damage to a log that was closed is then
// distinguished from a write that was cut off.
func (e *Engine) Close() error {
	if e.closing.Swap(true) {
		e.inUse.Lock() // returns when the other Close is done
		defer e.inUse.Unlock()
		return nil
	}
	e.index.stopWaiting()
	e.records.stopWaiting()
	e.scavenger.close()
	e.inUse.Lock()
	defer e.inUse.Unlock()
	e.recovery.close()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writer.end(e.appender)
	e.prepare.close()
	return e.release()
}

// release gives back what Open took, whether or not it came to its end.
func (e *Engine) release() error {
	var err error
	if e.index != nil {
		e.index.close() // the flusher reports to the records what it has sealed
	}
	if e.records != nil {
		err = e.records.close()
	}
	if e.appender != nil {
		e.appender.close()
	}
	if e.files != nil {
		e.files.close()
	}
	for _, l := range e.locks {
		if lockErr := l.Close(); err == nil {
			err = lockErr
		}
	}
	return err
}

func (e *Engine) indexDir() string { return filepath.Join(e.dir, "index") }
func (e *Engine) blobDir() string  { return filepath.Join(e.dir, blobFolder) }

func (e *Engine) logDir() string {
	if e.config.restoring {
		return filepath.Join(e.dir, restoringName)
	}
	return filepath.Join(e.dir, logFolder)
}

// recordsDir has the runs of the records.
func (e *Engine) recordsDir() string { return filepath.Join(e.dir, "records") }

// Commit is core.Engine's.
//
// A Commit's Checks and the expectations of its Records are about the state
// before the Commit; those of its Appends see the Appends before them.
func (e *Engine) Commit(ctx context.Context, group []*core.Commit) core.Step {
	if err := e.enter(ctx); err != nil {
		return core.FailStep(group, err)
	}
	defer e.inUse.RUnlock()
	if err := e.index.room(ctx, &e.closing); err != nil {
		return core.FailStep(group, err)
	}
	var refusal error
	if slices.ContainsFunc(group, func(c *core.Commit) bool { return len(c.Records)+len(c.Streams) > 0 }) {
		refusal = e.records.room(ctx)
	}
	step, t, err := e.write(group, refusal)
	if err == nil && t.wait {
		err = e.appender.wait(t.ticket, &e.mu)
	}
	if err != nil {
		e.recovery.mend()
		return unknown(step, err)
	}
	return step
}

// unknown is the answer to a step that may or may not be on the disk. It is
// for refusals, too: they may have been given because of what is unknown.
func unknown(step core.Step, err error) core.Step {
	for i := range step.Outcomes {
		step.Outcomes[i] = core.Outcome{
			Err: core.Errorf(core.CodeUnknownOutcome, "the disk answered: %s", reason(err)),
		}
	}
	step.Written = core.Batch{}
	return step
}
