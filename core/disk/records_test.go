package disk

import (
	"context"
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// TestOverwrittenRecordsStayInMemory: what counts is what there is to write to the
// database, not how often it changed. Checkpoints are few and change all the time.
func TestOverwrittenRecordsStayInMemory(t *testing.T) {
	e, err := Open(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	value := make([]byte, 1<<10)
	put := func(key string) *core.Commit {
		return &core.Commit{Records: []core.RecordOp{{Table: "t", Key: key, Expect: core.AnyVersion, Value: value}}}
	}
	commit := func(group []*core.Commit) {
		t.Helper()
		group = append(group, &core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T"}}}}})
		for _, o := range e.Commit(context.Background(), group).Outcomes {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
	}
	for range 10 { // twice as many bytes as are kept
		var group []*core.Commit
		for i := range 1000 {
			group = append(group, put(fmt.Sprint("k", i%10)))
		}
		commit(group)
	}
	fresh := func() (records, bytes int) {
		e.records.mu.Lock()
		defer e.records.mu.Unlock()
		return e.records.fresh.Len(), e.records.bytes
	}
	if records, bytes := fresh(); records != 11 || bytes < 10<<10 || bytes > 12<<10 {
		t.Errorf("%d records of %d bytes are kept, want 10 of some 1,100 each and the timeline", records, bytes)
	}
	for i := range 10 {
		found, err := e.Records(t.Context(), core.RecordsRequest{Table: "t", Keys: []string{fmt.Sprint("k", i)}, Limit: 1})
		if err != nil || len(found) != 1 || found[0].Revision != 1000 {
			t.Errorf("k%d: %+v, %v", i, found, err)
		}
	}
}
