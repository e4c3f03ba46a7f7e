package keys

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// Copy gives a store the keys of another, and returns how many there are. Keys that the other
// has not are deleted. Nobody else may write the keys meanwhile.
func Copy(ctx context.Context, from, to Store) (count int, err error) {
	there, err := read(ctx, from)
	if err != nil {
		return 0, err
	}
	here, err := read(ctx, to)
	if err != nil {
		return 0, err
	}
	var changes []core.RecordOp
	for _, key := range slices.Sorted(maps.Keys(there)) {
		if old, ok := here[key]; !ok || !bytes.Equal(old, there[key]) {
			changes = append(changes, core.RecordOp{Table: table, Key: key, Expect: core.AnyVersion, Value: there[key]})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(here)) {
		if _, ok := there[key]; !ok {
			changes = append(changes, core.RecordOp{Table: table, Key: key, Expect: core.AnyVersion, Action: core.DeleteRecord})
		}
	}
	// The mark is in the first: a store is protected before it has a key.
	mark := slices.IndexFunc(changes, func(op core.RecordOp) bool { return op.Key == protectedKey })
	if mark > 0 {
		changes[0], changes[mark] = changes[mark], changes[0]
	}
	for some := range slices.Chunk(changes, core.MaxReadEvents) {
		if _, err := to.Append(ctx, core.Commit{System: true, Records: some}); err != nil {
			return 0, err
		}
	}
	delete(there, protectedKey)
	return len(there), nil
}

// Protected reports whether a store has, or had, keys.
func Protected(ctx context.Context, store core.RecordReader) (bool, error) {
	found, err := store.Records(ctx, core.RecordsRequest{Table: table, Keys: []string{protectedKey}})
	return len(found) > 0, err
}
