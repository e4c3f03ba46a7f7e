package disk

import (
	"log/slog"
	"slices"
	"strings"
	"sync"

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

// value is that of a record after everything decided so far; nil if there is none. Engine.mu
// is held.
func (s *recordStore) value(id recordID) ([]byte, error) {
	if c, ok := s.pendingChange(id); ok {
		return c.value, nil
	}
	return s.durableValue(id)
}

func (s *recordStore) pendingChange(id recordID) (recordChange, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.newest[id]; !ok {
		return recordChange{}, false
	}
	for _, c := range slices.Backward(s.pending) {
		if c.id() == id {
			return c.recordChange, true
		}
	}
	return recordChange{}, false
}

// durableValue is the value of a record that is durable; nil if there is none.
func (s *recordStore) durableValue(id recordID) ([]byte, error) {
	present, err := s.present(id)
	return present.value, err
}

// present is a record as of everything durable; of one that is not there the revision is 0.
func (s *recordStore) present(id recordID) (c recordChange, err error) {
	if c, ok := s.durableInMemory(id); ok {
		return c, nil
	}
	err = s.db.lookUp([][]byte{id.appendName(nil)}, func(row *recordRow) bool {
		c = row.change()
		return true
	})
	return c, err
}

func (s *recordStore) durableInMemory(id recordID) (recordChange, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inTrees(id)
}

// inTrees finds a change that is not in the database yet. mu is held.
func (s *recordStore) inTrees(id recordID) (recordChange, bool) {
	for _, t := range []*changeTree{s.fresh, s.flushing} {
		if c, ok := t.Get(recordChange{table: id.table, key: id.key}); ok {
			return c, true
		}
	}
	return recordChange{}, false
}

func (s *recordStore) revisionInMemory(id recordID) (revision uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.newest[id]; ok {
		return p.revision, true
	}
	c, ok := s.inTrees(id)
	return c.revision, ok
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
