package disk

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// appender is the end of the log: the one segment that is written, and what
// of it is durable. Writing is the business of the owner of Engine.mu;
// syncing is done by whoever waits, one for all.
type appender struct {
	fs  FS
	dir string

	// onDurable is called in order, with mu held.
	onDurable func(mark)
	// durable is the last mark that is durable. Readers see nothing behind it.
	durable atomic.Pointer[mark]

	mu      sync.Mutex
	changed sync.Cond // durable moved, a sync ended, something failed

	// mu protects the fields below.
	file       File
	header     segmentHeader
	written    mark // the file has frames up to here
	syncing    bool
	generation int   // counts the files that were given up
	failed     error // why file may not be written or synced any more
}

var errGivenUp = errors.New("the segment was given up after an error")

func newAppender(fs FS, dir string) *appender {
	a := &appender{fs: fs, dir: dir, onDurable: func(mark) {}}
	a.changed.L = &a.mu
	a.durable.Store(&mark{})
	return a
}

// start goes on in file, whose header is h and in which everything up to m is
// durable.
func (a *appender) start(file File, h segmentHeader, m mark) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.syncing {
		a.changed.Wait()
	}
	if a.file != nil {
		_ = a.file.Close() // all that was acknowledged of it is durable
	}
	if a.failed != nil {
		a.generation++
	}
	a.file, a.header, a.written, a.failed = file, h, m, nil
	a.durable.Store(&m)
	a.changed.Broadcast()
}

// write puts frames behind what is written; m is the state after them. It
// must be called with Engine.mu held.
func (a *appender) write(frames []byte, m mark) error {
	a.mu.Lock()
	file, from, err := a.file, a.written.end, a.failed
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(frames, from.byte()); err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.fail(err)
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return a.failed
	}
	a.written = m
	return nil
}

// ticket is what a step waits for.
type ticket struct {
	generation int
	end        offset
}

// now is the ticket for everything written so far.
func (a *appender) now() ticket {
	a.mu.Lock()
	defer a.mu.Unlock()
	return ticket{a.generation, a.written.end}
}

// wait returns once t is durable, or with the reason why it may never be. The
// first caller syncs for all whose frames were written by then. A caller that
// waited for a sync that came too early lets the writer finish before the next, so
// that it is for both; writer is the writer's lock.
func (a *appender) wait(t ticket, writer sync.Locker) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	tooEarly := false
	for {
		switch {
		case a.generation != t.generation:
			return errGivenUp
		case a.durable.Load().end >= t.end:
			return nil
		case a.failed != nil:
			return a.failed
		case a.syncing:
			a.changed.Wait()
			tooEarly = true
		case tooEarly:
			tooEarly = false
			a.mu.Unlock()
			writer.Lock()
			//lint:ignore SA2001 whoever had it has written now
			writer.Unlock()
			a.mu.Lock()
		default:
			a.syncNow()
		}
	}
}

// syncWritten makes everything written so far durable. It must be called with
// Engine.mu held.
func (a *appender) syncWritten() error {
	return a.wait(a.now(), noLock{})
}

// noLock is for a caller that is the writer.
type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}

// syncNow makes what is written durable. It must be called with mu held, and
// gives it back while it waits for the disk.
func (a *appender) syncNow() {
	a.syncing = true
	file, m := a.file, a.written
	a.mu.Unlock()
	err := file.Datasync()
	a.mu.Lock()
	a.syncing = false
	switch {
	case a.failed != nil: // by a write meanwhile; the answer is no longer of use
	case err != nil:
		a.fail(err)
	default:
		a.durable.Store(&m)
		a.onDurable(m)
	}
	a.changed.Broadcast()
}

// fail gives the file up. What the kernel does with pages whose write failed
// differs between file systems, and a second sync may report success for data
// that is gone; so nothing behind durable is believed from here on. It must be
// called with mu held.
func (a *appender) fail(err error) {
	if a.failed == nil {
		a.failed = err
	}
	a.changed.Broadcast()
}

// giveUp is fail for callers that do not hold mu.
func (a *appender) giveUp(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail(err)
}

// failure is why the file was given up, or nil.
func (a *appender) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

// quiet waits until nobody is syncing, so that the file may be closed.
func (a *appender) quiet() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.syncing {
		a.changed.Wait()
	}
}

// zeros is what segments are made of. Overwriting written blocks is what makes
// a sync cheap: measured, a preallocated but unwritten file costs 1.3 to 2
// times as much, for its blocks change their state with each sync.
var zeros [1 << 20]byte

// prepareSegment makes the file of a segment: size zeros, durably there under
// its name. Until it has a header it is not part of the log. Filling goes at the pace
// that p allows.
func prepareSegment(fs FS, dir string, number uint32, size int64, p *pace) (File, error) {
	name := filepath.Join(dir, segmentName(number))
	temporary := name + ".tmp"
	file, err := fs.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	err = fill(file, size, p)
	if err == nil {
		err = fs.Rename(temporary, name)
	}
	if err == nil {
		err = fs.SyncDir(dir)
	}
	if err != nil {
		_ = file.Close()
		_ = fs.Remove(temporary) // gives the space back; open removes it as well
		return nil, err
	}
	return file, nil
}

// fillBytes is how much of a segment is filled at a time. What is written with one call
// the system may cache as one piece, which later reads are quicker through.
const fillBytes = 256 << 10

// fill makes file size zeros long, durably.
func fill(file File, size int64, p *pace) error {
	for o := int64(0); o < size; o += fillBytes {
		if err := p.await(o); err != nil {
			return err
		}
		n := min(fillBytes, size-o)
		if _, err := file.WriteAt(zeros[:n], o); err != nil {
			return err
		}
		if err := writeSoon(file, o, n); err != nil {
			return err
		}
	}
	return file.Sync()
}

// beginSegment writes the header that makes a prepared file part of the log.
func beginSegment(file File, h *segmentHeader) error {
	if _, err := file.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	return file.Datasync()
}

// close closes the file.
func (a *appender) close() {
	a.quiet()
	if a.file != nil {
		// What was acknowledged was synced; there is nothing that closing
		// could still lose.
		_ = a.file.Close()
		a.file = nil
	}
}
