package census

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// What a step reads at most. The last page may pass it.
const (
	stepEvents = 50_000
	stepBytes  = 16 << 20
	// stepNames bounds the counts that a step writes. It is far below core.MaxCommitRecords,
	// since other Commits wait behind one.
	stepNames = 1_000
)

// table has the counts by name of types, or of categories.
type table struct {
	records  string // the table of their records
	category bool
	counts   map[string]*Count
	others   *Count
	changed  map[string]*Count // since the last step
}

func newTable(records string, others *Count) table {
	return table{records: records, category: records == categoriesTable, counts: map[string]*Count{}, others: others, changed: map[string]*Count{}}
}

// add counts an event or a link.
func (t *table) add(name string, e *core.Event) {
	c := t.counts[name]
	if c == nil {
		if len(t.counts) >= MaxNames {
			t.others.add(e, t.category)
			return
		}
		name, c = strings.Clone(name), &Count{} // name keeps a page in memory
		t.counts[name] = c
	}
	c.add(e, t.category)
	if _, ok := t.changed[name]; !ok {
		t.changed[strings.Clone(name)] = c
	}
}

// fold adds what the log has to the counts. Its methods are for one goroutine. After an error it
// does not go on.
type fold struct {
	store   Store
	commits Commits

	log        string // the identity of the log that it reads
	revision   uint64 // of the state's record; 0: there is none
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
		if err := readCounts(ctx, store, t.records, func(name string, c Count) { t.counts[name] = &c }); err != nil {
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

// step counts what follows in the log, and stores it. more says that it has not reached the end.
// The error is record_conflict if somebody else folds, too.
func (f *fold) step(ctx context.Context) (more bool, err error) {
	from, bytes := f.state.Position, 0
	for f.state.Position < from+stepEvents && bytes < stepBytes && len(f.types.changed)+len(f.categories.changed) < stepNames {
		page, err := f.store.ReadLog(ctx, f.state.Position+1, core.Limit{Events: core.MaxReadEvents})
		if err != nil {
			return false, err
		}
		for e := range page.Events() {
			f.add(&e)
		}
		bytes += len(page.Block)
		if more = !page.End; page.End || page.Count == 0 {
			break
		}
	}
	if f.state.Position == from {
		return false, nil
	}
	return more, f.save(ctx)
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
	f.categories.add(CategoryOf(e.Stream), e)
}

// save makes the Commit of a step. It expects that nobody has made another since the last one.
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
		for name, count := range t.changed {
			c.Records = append(c.Records, core.RecordOp{Table: t.records, Key: name, Expect: core.AnyVersion, Value: count.encode()})
		}
	}
	if _, err := f.commits.Append(ctx, c); err != nil {
		return err
	}
	f.revision++
	clear(f.types.changed)
	clear(f.categories.changed)
	return nil
}
