package disk

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
)

// recordPace is how the database is written.
type recordPace struct {
	least int           // bytes of a flush; freshBytes
	retry time.Duration // from an error to the next try; retryFlush

	warned complaint // of the flusher; open and close are before and after it
}

const (
	// freshBytes of changes are kept before they go to the database; as many as an eighth
	// of it if that is more, up to freshMost, for a change in a longer run is merged fewer
	// times.
	freshBytes = 4 << 20
	freshMost  = 32 << 20
	// unflushedBytes of changes may not be in the database: beyond, Commits with records
	// wait.
	unflushedBytes = 64 << 20
	// flushSegments are sealed between two flushes, if there is little to flush. What
	// changed in them costs the next open a look at their records.
	flushSegments = 4
	// replayBytes of changes are replayed between two flushes while the log is opened. A
	// process that was killed leaves fewer, so opening after it flushes nothing.
	replayBytes = unflushedBytes + 16<<20
)

// room waits until not too much is missing in the database. The answer, if it does not
// come to that, is why a Commit with records is refused.
func (s *recordStore) room(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+s.leaving <= unflushedBytes {
		return nil
	}
	defer wakeAtEnd(ctx, &s.wake)()
	for s.bytes+s.leaving > unflushedBytes {
		switch {
		case ctx.Err() != nil:
			return core.AsError(ctx.Err())
		case s.closing:
			return core.Errorf(core.CodeStoreClosed, "the store is closed")
		case s.failed.flush != nil:
			return cannotWrite(s.failed.flush)
		}
		s.wake.Wait()
	}
	return nil
}

// compact has the database take all that is durable, in one run, and forgets the runs and
// snapshots before it: what they have beside is of records that are not there any more.
func (s *recordStore) compact(ctx context.Context) error {
	if err := s.flushNow(ctx); err != nil {
		return err
	}
	err := s.db.merge(s.db.all, func() bool { return ctx.Err() != nil })
	if err == nil {
		err = s.db.keepSnapshots(1)
	}
	if errors.Is(err, errStopped) {
		return ctx.Err()
	}
	return err
}

// flushNow waits until the database has all that is durable now.
func (s *recordStore) flushNow(ctx context.Context) error {
	defer wakeAtEnd(ctx, &s.wake)()
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.seen.end
	s.wanted = true
	s.wake.Broadcast()
	for s.flushed < due && !s.closing {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.failed.flush != nil {
			return cannotWrite(s.failed.flush)
		}
		s.wake.Wait()
	}
	return ctx.Err()
}

// start begins the goroutines that keep the database up, and its runs few.
func (s *recordStore) start() {
	s.done.Go(s.flushAll)
	s.done.Go(s.mergeAll)
}

// flushAll is the flusher of the records.
func (s *recordStore) flushAll() {
	for s.await(func() bool { return s.wanted && (!s.db.crowded() || s.failed.merge != nil) }) {
		err := s.behind()
		if err == nil {
			err = s.flush()
		}
		s.warn(err)
		if err != nil && !s.pause() {
			return
		}
	}
}

// mergeAll is the merger of the records.
func (s *recordStore) mergeAll() {
	var warned complaint
	for s.await(func() bool { return len(s.db.mergeable()) > 0 }) {
		err := s.db.merge(s.db.mergeable, s.isClosing)
		s.mu.Lock()
		s.failed.merge = err
		s.wake.Broadcast()
		s.mu.Unlock()
		if errors.Is(err, errStopped) {
			continue
		}
		if warned.due(err) {
			s.logger.Warn("the records cannot be merged", "error", err)
		}
		if err != nil && !s.pause() {
			return
		}
	}
}

// await waits until there is something to do; false means closing.
func (s *recordStore) await(due func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closing && !due() {
		s.wake.Wait()
	}
	return !s.closing
}

func (s *recordStore) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// behind is why the database should take no more, if its runs cannot be merged.
func (s *recordStore) behind() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.db.crowded() {
		return nil
	}
	s.failed.flush = s.failed.merge
	s.wake.Broadcast()
	return s.failed.flush
}

// retryFlush is how long the database rests after the disk refused it something.
const retryFlush = time.Second

// pause waits until the next try; false means closing.
func (s *recordStore) pause() bool {
	over := false
	timer := time.AfterFunc(s.pace.retry, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		over = true
		s.wake.Broadcast()
	})
	defer timer.Stop()
	return s.await(func() bool { return over })
}

// stopWaiting ends the wait of everyone: the log is closing.
func (s *recordStore) stopWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.wake.Broadcast()
}

// flush takes the fresh changes to the database, in one run together with how far in the
// log they reach. One goroutine flushes at a time: the one that opens, the flusher, and the one
// that closes once the flusher has ended.
func (s *recordStore) flush() error {
	s.mu.Lock()
	s.wanted = false
	if s.seen.end == s.flushed {
		s.failed.flush = nil
		s.wake.Broadcast()
		s.mu.Unlock()
		return nil
	}
	s.flushing, s.leaving, s.fresh, s.bytes = s.fresh, s.bytes, newChangeTree(), 0
	changes, upTo, logged := s.flushing, s.seen, s.logged
	s.mu.Unlock()

	r, err := s.reachAt(upTo)
	if err == nil {
		err = s.db.apply(changes.Scan, changes.Len(), r, logged)
	}

	dbBytes := s.db.size()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed.flush = err
	s.wake.Broadcast()
	if err != nil {
		s.takeBack()
		s.wanted = true
		return err
	}
	s.flushing, s.leaving, s.flushed = newChangeTree(), 0, upTo.end
	s.logged -= logged
	s.flushAt = min(max(s.pace.least, int(dbBytes/8)), freshMost)
	return nil
}

// takeBack puts what could not be flushed to where it was, under what came
// meanwhile. mu is held.
func (s *recordStore) takeBack() {
	for c := range s.fresh.Scan {
		s.flushing.Set(c)
	}
	s.fresh, s.flushing, s.leaving = s.flushing, newChangeTree(), 0
	s.bytes = 0
	for c := range s.fresh.Scan {
		s.bytes += c.size()
	}
}

// publishReplayed is publish while the log is opened: what a replay has brought is
// flushed if it is much.
func (s *recordStore) publishReplayed(m mark) {
	s.publish(m)
	s.mu.Lock()
	much := s.bytes >= replayBytes
	s.mu.Unlock()
	if !much {
		return
	}
	err := s.flush()
	for err == nil && len(s.db.mergeable()) > 0 {
		err = s.db.merge(s.db.mergeable, never)
	}
	s.warn(err)
}

func (s *recordStore) warn(err error) {
	if s.pace.warned.due(err) {
		s.logger.Warn("the records cannot be written to their database; they stay in memory and the log", "error", err)
	}
}

// close ends the goroutines and closes the database.
func (s *recordStore) close() error {
	s.stopWaiting()
	s.done.Wait()
	s.warn(s.flush())
	return s.db.close()
}
