package census

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
)

// What a step counts at most. The last page may pass it.
const (
	stepEvents = 50_000
	stepBytes  = 16 << 20
	// stepNames bounds the counts that a step stores. It is far below core.MaxCommitRecords,
	// since other Commits wait behind one.
	stepNames = 1_000
)

// When a step is stored. A log keeps all that its records ever were.
const (
	// storeShare is how many times the bytes that it counted are those of its Commit, at least.
	storeShare = 20
	// storeEvery is when it is stored, however little it counted.
	storeEvery = 10 * time.Second
	// recordBytes is what a record takes in the log, about.
	recordBytes = 100
)

// table has the counts by name of types, or of categories.
type table struct {
	records  string // the table of their records
	category bool
	counts   map[string]*entry
	others   *Count
	changed  []*entry // since they were stored
}

// entry is a count in a table.
type entry struct {
	named
	changed bool
}

func newTable(records string, others *Count) table {
	return table{records: records, category: records == categoriesTable, counts: map[string]*entry{}, others: others}
}

// add counts an event or a link.
func (t *table) add(name string, e *core.Event) {
	n := t.counts[name]
	if n == nil {
		if len(t.counts) >= MaxNames {
			t.others.add(e, t.category)
			return
		}
		n = &entry{named: named{name: strings.Clone(name)}} // name keeps a page in memory
		t.counts[n.name] = n
	}
	n.add(e, t.category)
	if !n.changed {
		n.changed = true
		t.changed = append(t.changed, n)
	}
}

// saved notes that all counts are stored.
func (t *table) saved() {
	for _, n := range t.changed {
		n.changed = false
	}
	clear(t.changed)
	t.changed = t.changed[:0]
}

// fold adds what the log has to the counts. Its methods are for one goroutine, but for snapshot.
// After an error it does not go on.
type fold struct {
	store   Store
	commits Commits

	log      string    // the identity of the log that it reads
	revision uint64    // of the state's record; 0: there is none
	saved    time.Time // when it was stored last; zero: not by this fold
	bytes    int       // that were counted since then

	mu         sync.Mutex // protects the fields below, which only the fold's goroutine changes
	state      *state
	types      table
	categories table
}

// load begins with what is stored.
func load(ctx context.Context, store Store, commits Commits) (*fold, error) {
	f := &fold{store: store, commits: commits, log: store.State().Log}
	s, revision, err := readState(ctx, store)
	if err != nil {
		return nil, err
	}
	f.state, f.revision = &s, revision
	f.types, f.categories = newTable(typesTable, &s.OtherTypes), newTable(categoriesTable, &s.OtherCategories)
	for _, t := range []*table{&f.types, &f.categories} {
		if err := readCounts(ctx, store, t.records, func(name string, c Count) { t.counts[name] = &entry{named: named{name, c}} }); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// readState returns the fold's own record, and its revision, which is 0 if there is none.
func readState(ctx context.Context, store Store) (s state, revision uint64, err error) {
	found, err := store.Records(ctx, core.RecordsRequest{Table: stateTable, Keys: []string{stateKey}, Limit: 1})
	if err != nil || len(found) == 0 {
		return state{}, 0, err
	}
	s, err = decodeState(found[0].Value)
	return s, found[0].Revision, err
}

// readCounts calls do for each count of a table, in the order of names.
func readCounts(ctx context.Context, store Store, table string, do func(name string, c Count)) error {
	for after := ""; ; {
		page, err := store.Records(ctx, core.RecordsRequest{Table: table, After: after, Limit: core.MaxReadEvents})
		if err != nil {
			return err
		}
		for i := range page {
			c, err := decodeCount(page[i].Value)
			if err != nil {
				return err
			}
			do(page[i].Key, c)
			after = page[i].Key
		}
		if len(page) < core.MaxReadEvents {
			return nil
		}
	}
}

// count counts what follows in the log. more says that it has not reached the end.
func (f *fold) count(ctx context.Context) (more bool, err error) {
	from, bytes := f.state.Position, 0
	for f.state.Position < from+stepEvents && bytes < stepBytes && f.unsaved() < stepNames {
		page, err := f.store.ReadLog(ctx, f.state.Position+1, core.Limit{Events: core.MaxReadEvents})
		if err != nil {
			return false, err
		}
		f.mu.Lock()
		for e := range page.Events() {
			f.add(&e)
		}
		f.mu.Unlock()
		bytes += len(page.Block)
		f.bytes += len(page.Block)
		if more = !page.End; page.End || page.Count == 0 {
			break
		}
	}
	return more, nil
}

// unsaved is how many counts have changed since they were stored.
func (f *fold) unsaved() int { return len(f.types.changed) + len(f.categories.changed) }

// due reports whether what was counted is to be stored.
func (f *fold) due(now time.Time) bool {
	n := f.unsaved()
	return f.bytes > 0 && (n >= stepNames || f.bytes >= storeShare*recordBytes*(n+1) || now.Sub(f.saved) >= storeEvery)
}

// add counts an event or a link.
func (f *fold) add(e *core.Event) {
	f.state.Position = e.Position
	if core.IsSystem(e.Stream) {
		return
	}
	if e.Link.IsZero() {
		f.types.add(e.Type, e)
	}
	f.categories.add(core.CategoryOf(e.Stream), e)
}

// save makes the Commit of a step. It expects that nobody has made another since the last one: the
// error is record_conflict if somebody else folds, too.
func (f *fold) save(ctx context.Context) error {
	text, err := json.Marshal(f.state)
	if err != nil {
		return core.Errorf(core.CodeInternal, "the record %s/%s: %w", stateTable, stateKey, err)
	}
	expect := core.NoStream
	if f.revision > 0 {
		expect = core.Expect(f.revision)
	}
	c := core.Commit{Lazy: true, Records: []core.RecordOp{{Table: stateTable, Key: stateKey, Expect: expect, Value: text}}}
	for _, t := range []*table{&f.types, &f.categories} {
		for _, n := range t.changed {
			c.Records = append(c.Records, core.RecordOp{Table: t.records, Key: n.name, Expect: core.AnyVersion, Value: n.encode()})
		}
	}
	if _, err := f.commits.Append(ctx, c); err != nil {
		return err
	}
	f.revision++
	f.saved, f.bytes = time.Now(), 0
	f.types.saved()
	f.categories.saved()
	return nil
}

// snapshot returns the counts as they are. last are those of an earlier snapshot, or nil.
func (f *fold) snapshot(last *counts) *counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last != nil && last.state.Position == f.state.Position {
		return last
	}
	return &counts{state: *f.state, types: f.types.named(), categories: f.categories.named()}
}

// named returns the counts in the order of names.
func (t *table) named() []named {
	list := make([]named, 0, len(t.counts))
	for _, n := range t.counts {
		list = append(list, n.named)
	}
	slices.SortFunc(list, func(a, b named) int { return strings.Compare(a.name, b.name) })
	return list
}
