package disk

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/gyre-events/gyre/core"
)

// recordStore has the records as of the log's end. The newest changes are in
// memory, in three steps: pending while they are not durable, then fresh, then
// flushing while they are written to a run. The log has all of them, so none of
// this needs to survive.
type recordStore struct {
	logger *slog.Logger
	db     *recordDB
	// reachAt is the Engine's.
	reachAt func(mark) (reach, error)

	mu sync.Mutex
	// mu protects the fields below. Later ones are older.
	pending  []pendingChange
	newest   map[recordID]pendingRevision // of each record that is pending
	fresh    *changeTree
	flushing *changeTree

	bytes   int    // of fresh
	leaving int    // bytes of flushing
	flushed offset // the database has all changes before it
	seen    mark   // fresh has those after it and before this
	logged  int64  // bytes of changes since the last flush
	wanted  bool   // a flush
	closing bool

	failed struct{ flush, merge error } // why the last of them failed, or nil
	pace   recordPace

	flushAt int // a flush is due when fresh has that many bytes

	wake sync.Cond // wanted or closing, a flush or a merge ended, a wait timed out
	done sync.WaitGroup
}

// recordPace is how the database is written.
type recordPace struct {
	least int           // bytes of a flush; freshBytes
	retry time.Duration // from an error to the next try; retryFlush

	warned complaint // of the flusher; open and close are before and after it
}

// changeTree has the last change of each of some records, in the order that the
// database has.
type changeTree = btree.BTreeG[recordChange]

func newChangeTree() *changeTree {
	return btree.NewBTreeGOptions(inKeyOrder, btree.Options{NoLocks: true})
}

// pendingChange is a change whose frame ends at end.
type pendingChange struct {
	end offset
	recordChange
}

// pendingRevision is a record's revision after its last pending change.
type pendingRevision struct {
	end      offset
	revision uint64
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

// newRecordStore serves what db has and the log adds.
func newRecordStore(db *recordDB, logger *slog.Logger, reachAt func(mark) (reach, error)) *recordStore {
	r := db.reach()
	s := &recordStore{
		logger: logger, db: db, reachAt: reachAt,
		flushed: r.end, seen: mark{end: r.end, frame: r.frame},
		newest: make(map[recordID]pendingRevision), fresh: newChangeTree(), flushing: newChangeTree(),
		flushAt: freshBytes, pace: recordPace{least: freshBytes, retry: retryFlush},
	}
	s.wake.L = &s.mu
	return s
}

// check checks what the operations expect, against the records after
// everything decided so far. element is the number of the first. It appends the
// revisions that it found to found, 0 where nothing is expected.
func (s *recordStore) check(ops []core.RecordOp, element int, found []uint64) ([]uint64, error) {
	for i := range ops {
		op := &ops[i]
		if op.Expect == core.AnyVersion {
			found = append(found, 0)
			continue
		}
		revision, err := s.revision(recordID{op.Table, op.Key})
		if err != nil {
			return found, err
		}
		if !op.Expect.Holds(revision) {
			e := core.Errorf(core.CodeRecordConflict, "record %q/%q is at revision %d, expected %s", op.Table, op.Key, revision, op.Expect)
			element += i
			e.Element = &element
			return found, e
		}
		found = append(found, revision)
	}
	return found, nil
}

// revision is that of a record after everything decided so far. Engine.mu is held: what is
// not in memory is in the database, whatever is flushed meanwhile.
func (s *recordStore) revision(id recordID) (uint64, error) {
	if revision, ok := s.revisionInMemory(id); ok {
		return revision, nil
	}
	return s.db.revision(id)
}

func (s *recordStore) revisionInMemory(id recordID) (revision uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.newest[id]; ok {
		return p.revision, true
	}
	for _, t := range []*changeTree{s.fresh, s.flushing} {
		if c, ok := t.Get(recordChange{table: id.table, key: id.key}); ok {
			return c.revision, true
		}
	}
	return 0, false
}

// changes are what the operations do, in their order, in a frame that begins logged
// bytes into the log. found are the revisions from check.
//
// A put that expects nothing reads none: it sets a revision that is greater than any
// before, from its place in the log. A change takes more bytes there than it raises a
// revision, so this stays true whichever way a record is put.
func changes(ops []core.RecordOp, found []uint64, logged int64) []recordChange {
	if len(ops) == 0 {
		return nil
	}
	changes := make([]recordChange, 0, len(ops))
	var last map[recordID]uint64 // revisions after changes, once somebody asks
	for i := range ops {
		op := &ops[i]
		if op.Action == core.CheckRecord {
			continue
		}
		c := recordChange{table: strings.Clone(op.Table), key: strings.Clone(op.Key)}
		switch {
		case op.Action == core.DeleteRecord:
		case op.Expect == core.AnyVersion:
			c.revision = uint64(logged) + uint64(i) + 1
		default:
			if last == nil {
				last = revisionsAfter(changes)
			}
			before, ok := last[c.id()]
			if !ok {
				before = found[i]
			}
			c.revision = before + 1
		}
		if op.Action == core.PutRecord {
			c.value = slices.Clone(op.Value)
		}
		if last != nil {
			last[c.id()] = c.revision
		}
		changes = append(changes, c)
	}
	return changes
}

func revisionsAfter(changes []recordChange) map[recordID]uint64 {
	after := make(map[recordID]uint64, len(changes))
	for i := range changes {
		after[changes[i].id()] = changes[i].revision
	}
	return after
}

// stage notes the changes of a frame that ends at end and is not durable yet.
func (s *recordStore) stage(end offset, changes []recordChange) {
	if len(changes) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		s.pending = append(s.pending, pendingChange{end, c})
		s.newest[c.id()] = pendingRevision{end, c.revision}
	}
}

// replay notes a change found in the log.
func (s *recordStore) replay(end offset, c recordChange) {
	if end > s.applied() {
		s.stage(end, []recordChange{c})
	}
}

// publish makes the changes up to m readable: they are durable.
func (s *recordStore) publish(m mark) {
	end := m.end
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.pending) && s.pending[n].end <= end {
		c := s.pending[n].recordChange
		if old, ok := s.fresh.Set(c); ok {
			s.bytes -= old.size()
		}
		if id := c.id(); s.newest[id].end <= end {
			delete(s.newest, id)
		}
		s.bytes += c.size()
		s.logged += int64(c.size())
		n++
	}
	s.pending = slices.Delete(s.pending, 0, n)
	if end > s.seen.end {
		s.seen = m
	}
	if s.bytes >= s.flushAt || s.logged >= snapshotBytes {
		s.wanted = true
		s.wake.Broadcast()
	}
}

// size is what a change counts for.
func (c *recordChange) size() int {
	return maxChangeOverhead + len(c.table) + len(c.key) + len(c.value)
}

// rollback forgets what was not durable.
func (s *recordStore) rollback() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = s.pending[:0]
	clear(s.newest)
}

// sealed says that a segment ends at end. Once in a few segments everything so far is
// written to the database, so that the replay at the next open is bounded.
func (s *recordStore) sealed(end offset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end.segment() >= s.flushed.segment()+flushSegments {
		s.wanted = true
		s.wake.Broadcast()
	}
}

// applied is the end of the frames whose changes the store has.
func (s *recordStore) applied() offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.end
}

// Records is core.Engine's.
func (e *Engine) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.inUse.RUnlock()
	return e.records.list(r)
}

// list merges what is in memory over what is in the database. It takes the
// first picture first: a flush in between moves changes to the database, where
// the older picture of them wins.
func (s *recordStore) list(r core.RecordsRequest) ([]core.Record, error) {
	newest := s.inMemory(r)
	keys := slices.Sorted(maps.Keys(newest))
	var out []core.Record
	add := func(key string, c recordChange) {
		if c.revision > 0 && len(out) < r.Limit {
			out = append(out, core.Record{Key: key, Revision: c.revision, Value: c.value})
		}
	}
	err := s.db.scan(r, func(key string, c recordChange) bool {
		for len(keys) > 0 && keys[0] < key {
			add(keys[0], newest[keys[0]])
			keys = keys[1:]
		}
		if len(keys) > 0 && keys[0] == key {
			c, keys = newest[key], keys[1:]
		}
		add(key, c)
		return len(out) < r.Limit
	})
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		add(k, newest[k])
	}
	return out, nil
}

// inMemory are the changes that r asks for, by key: all of them up to the key where they
// leave as many records as r wants. It holds the lock for no longer than that takes.
func (s *recordStore) inMemory(r core.RecordsRequest) map[string]recordChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[string]recordChange)
	for _, t := range []*changeTree{s.fresh, s.flushing} { // the newer first
		for _, key := range r.Keys {
			if c, ok := t.Get(recordChange{table: r.Table, key: key}); ok && asked(r, key) {
				addOlder(found, c)
			}
		}
		records := 0
		for _, s := range runs(r) {
			t.Ascend(recordChange{table: r.Table, key: s.least}, func(c recordChange) bool {
				if c.table != r.Table || !s.has(c.key) {
					return false
				}
				if addOlder(found, c).revision > 0 {
					records++
				}
				return records < r.Limit
			})
		}
	}
	return found
}

// addOlder adds c, unless there is a newer change of its key. It returns the newer one.
func addOlder(found map[string]recordChange, c recordChange) recordChange {
	if newer, ok := found[c.key]; ok {
		return newer
	}
	found[c.key] = c
	return c
}

// asked reports whether r, which names keys, asks for one of them.
func asked(r core.RecordsRequest, key string) bool {
	return key > r.After && strings.HasPrefix(key, r.Prefix)
}

// keyRun is a run of keys from the least on. Behind the first key that it does not have,
// it has none.
type keyRun struct{ least, prefix, before string }

func (s *keyRun) has(key string) bool {
	return strings.HasPrefix(key, s.prefix) && (s.before == "" || key < s.before)
}

// runs are the keys that r asks for, in order, unless it names them.
func runs(r core.RecordsRequest) (list []keyRun) {
	switch {
	case r.Keys != nil:
		return nil
	case r.Ranges == nil:
		s := keyRun{least: r.Prefix, prefix: r.Prefix}
		if r.After != "" {
			s.least = max(s.least, behind(r.After))
		}
		return []keyRun{s}
	}
	for _, k := range r.Ranges {
		if after := max(k.After, r.After); k.Before > after {
			list = append(list, keyRun{least: behind(after), before: k.Before})
		}
	}
	return list
}

// behind is the least key behind another.
func behind(key string) string { return key + "\x00" }

// room waits until not too much is missing in the database. The answer, if it does not
// come to that, is why a Commit with records is refused.
func (s *recordStore) room(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+s.leaving <= unflushedBytes {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wake.Broadcast()
	})
	defer stop()
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
// log they reach.
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
