package disk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// TestListingAfterAFailedSync has syncs fail while streams grow: what was given up is in no
// list, neither before nor after its segment has a run.
func TestListingAfterAFailedSync(t *testing.T) {
	fs := newFaultFS()
	e, err := openOn(t, fs, "data")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	fs.mu.Lock()
	fs.fault = func(_ int, op, name string) error {
		if op == "sync" && filepath.Base(filepath.Dir(name)) == "log" && random.IntN(8) == 0 {
			return errors.New("no")
		}
		return nil
	}
	fs.mu.Unlock()
	want := map[string]core.StreamInfo{}
	append1 := func(stream string) error {
		c := &core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte("{}")}}}}}
		step := e.Commit(context.Background(), []*core.Commit{c})
		for ev := range step.Written.Events() {
			info, at := want[stream], core.StreamPlace{Position: ev.Position, Recorded: ev.Recorded}
			if info.First == 0 {
				info = core.StreamInfo{Name: stream, First: 1, Created: at}
			}
			info.Version, info.Changed = ev.Version, at
			want[stream] = info
		}
		return step.Outcomes[0].Err
	}
	check := func(when string) {
		t.Helper()
		for _, sort := range []core.StreamsSort{core.ByName, core.ByCreated, core.ByChanged} {
			page, err := e.Streams(context.Background(), core.StreamsRequest{Sort: sort, Details: true, Limit: 100})
			if err != nil || len(page.Streams) != len(want) {
				t.Fatalf("%s: %+v, %v, want %+v", when, page, err, want)
			}
			for _, info := range page.Streams {
				if info != want[info.Name] {
					t.Errorf("%s, order %d: %+v, want %+v", when, sort, info, want[info.Name])
				}
			}
		}
	}
	failed := 0
	for i := range 200 {
		if append1([]string{"a", "b", fmt.Sprint("c-", i)}[i%3]) != nil {
			failed++
			check("after a failure")
		}
	}
	if failed == 0 || len(want) < 10 {
		t.Fatalf("%d of 200 failed", failed)
	}
	fs.mu.Lock()
	fs.fault = nil
	fs.mu.Unlock()
	awaitMerges(t, e)
	check("with runs")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = openOn(t, fs, "data"); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	check("opened again")
}

// TestNameOrder: a table has its streams in order, whatever comes and goes.
func TestNameOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	table := newMemtable(&segmentHeader{number: 1, first: 1}, 1)
	off := uint32(headerBytes)
	for range 500 {
		for range random.IntN(20) {
			name := fmt.Sprint(random.IntN(2_000))
			s := table.stream(name, 0)
			table.add(s, off, moment{uint64(off), 1})
			off++
		}
		if random.IntN(10) == 0 {
			off -= min(uint32(random.IntN(15)), off-headerBytes)
			table.cut(int64(off))
		}
		var want, got []string
		for name := range table.streams {
			want = append(want, name)
		}
		slices.Sort(want)
		for _, s := range table.byName() {
			got = append(got, s.name)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d streams in order %q, want %q", len(got), got, want)
		}
	}
}
