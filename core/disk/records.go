package disk

import (
	"context"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/gyre-events/gyre/core"
)

type recordStore struct {
	mu      sync.Mutex
	overlay map[string]recordChange
	pending []stagedChange
}

type stagedChange struct {
	end offset
	recordChange
}

func openRecords(dir, log string, logger *slog.Logger) (*recordStore, error) {
	return &recordStore{overlay: make(map[string]recordChange)}, nil
}
func recordKey(table, key string) string { return table + "\x00" + key }

func (s *recordStore) revision(table, key string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.pending) - 1; i >= 0; i-- {
		if s.pending[i].table == table && s.pending[i].key == key {
			return s.pending[i].revision
		}
	}
	return s.overlay[recordKey(table, key)].revision
}
func (s *recordStore) check(ops []core.RecordOp, element int) error {
	for i := range ops {
		o := &ops[i]
		if rev := s.revision(o.Table, o.Key); !o.Expect.Holds(rev) {
			err := core.Errorf(core.CodeRecordConflict, "record %q/%q is at revision %d, expected %s", o.Table, o.Key, rev, o.Expect)
			element += i
			err.Element = &element
			return err
		}
	}
	return nil
}
func (s *recordStore) changes(ops []core.RecordOp) []recordChange {
	var cs []recordChange
	for i := range ops {
		o := &ops[i]
		rev := s.revision(o.Table, o.Key)
		for k := range cs {
			if cs[k].table == o.Table && cs[k].key == o.Key {
				rev = cs[k].revision
			}
		}
		c := recordChange{table: o.Table, key: o.Key}
		if !o.Delete {
			c.revision, c.value = rev+1, slices.Clone(o.Value)
		}
		cs = append(cs, c)
	}
	return cs
}
func (s *recordStore) stage(end offset, cs []recordChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range cs {
		s.pending = append(s.pending, stagedChange{end, c})
	}
}
func (s *recordStore) replay(end offset, c recordChange) { s.stage(end, []recordChange{c}) }
func (s *recordStore) publish(end offset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.pending) && s.pending[n].end <= end {
		c := s.pending[n].recordChange
		if c.revision == 0 {
			delete(s.overlay, recordKey(c.table, c.key))
		} else {
			s.overlay[recordKey(c.table, c.key)] = c
		}
		n++
	}
	s.pending = slices.Delete(s.pending, 0, n)
}
func (s *recordStore) rollback() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = s.pending[:0]
}
func (s *recordStore) applied() offset   { return 0 }
func (s *recordStore) sealed(end offset) {}
func (s *recordStore) close() error      { return nil }

// Records is core.Engine's.
func (e *Engine) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.life.RUnlock()
	s := e.records
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []core.Record
	for _, c := range s.overlay {
		if c.table == r.Table && (r.Key == "" || c.key == r.Key) && strings.HasPrefix(c.key, r.Prefix) && c.key > r.After {
			out = append(out, core.Record{Key: c.key, Revision: c.revision, Value: c.value})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out[:min(len(out), r.Limit)], nil
}
