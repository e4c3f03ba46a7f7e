package disk

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

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
