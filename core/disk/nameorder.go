package disk

import (
	"slices"
	"strings"
	"sync"
)

// nameOrder has the streams of a table in the byte order of their names. They are sorted when
// somebody asks, those that are new since the last time only.
type nameOrder struct {
	made []*memStream // in the order they were made; the table's mu protects it
	cuts int          // how often some were removed from made; the table's mu protects it

	mu     sync.Mutex
	sorted []*memStream // the first of made; what it points to does not change
	asOf   int          // cuts when they were sorted
}

// cut removes those that are not in streams. The table's mu is held.
func (o *nameOrder) cut(streams map[string]*memStream) {
	kept := make([]*memStream, 0, len(streams))
	for _, s := range o.made {
		if streams[s.name] == s {
			kept = append(kept, s)
		}
	}
	o.made = kept
	o.cuts++
}

// drop lets go of everything.
func (o *nameOrder) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.made, o.sorted = nil, nil
}

// byName returns the streams of a table. Writers do not wait while they are sorted.
func (t *memtable) byName() []*memStream {
	t.mu.RLock()
	made, cuts := t.names.made, t.names.cuts
	t.mu.RUnlock()
	o := &t.names
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asOf != cuts {
		o.sorted, o.asOf = nil, cuts
	}
	if len(made) > len(o.sorted) {
		o.sorted = mergeByName(o.sorted, made[len(o.sorted):])
	}
	return o.sorted
}

func mergeByName(sorted, fresh []*memStream) []*memStream {
	fresh = slices.Clone(fresh)
	slices.SortFunc(fresh, func(a, b *memStream) int { return strings.Compare(a.name, b.name) })
	if len(sorted) == 0 {
		return fresh
	}
	all := make([]*memStream, 0, len(sorted)+len(fresh))
	for _, s := range fresh {
		for len(sorted) > 0 && sorted[0].name < s.name {
			all, sorted = append(all, sorted[0]), sorted[1:]
		}
		all = append(all, s)
	}
	return append(all, sorted...)
}
