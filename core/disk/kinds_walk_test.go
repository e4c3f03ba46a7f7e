package disk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// kindsWalk changes a log at random, and compares what is selected from it with a scan.
type kindsWalk struct {
	t      *testing.T
	random *rand.Rand
	config Config
	engine *Engine
}

// newKindsWalk has segments that are read in more than one stride.
func newKindsWalk(t *testing.T, seed uint64) *kindsWalk {
	w := &kindsWalk{t: t, random: rand.New(rand.NewPCG(seed, 9)), config: Config{Dir: t.TempDir(), SegmentBytes: 9 * scanStrideBytes / 4}}
	w.open()
	t.Cleanup(func() { _ = w.engine.Close() })
	return w
}

func (w *kindsWalk) open() {
	w.t.Helper()
	var err error
	if w.engine, err = Open(w.t.Context(), w.config); err != nil {
		w.t.Fatal(err)
	}
}

// append appends events to a stream or two. Types and categories differ in length.
func (w *kindsWalk) append() error {
	c := &core.Commit{}
	for i := range 1 + w.random.IntN(2) {
		category := []string{"file", "order", "service"}[w.random.IntN(3)]
		a := core.Append{Stream: fmt.Sprintf("%s-%d", category, 2*w.random.IntN(3)+i), Expect: core.AnyVersion}
		typ := "T" + strings.Repeat("y", w.random.IntN(6))
		for range 1 + w.random.IntN(60) {
			if w.random.IntN(10) == 0 {
				typ = "T" + strings.Repeat("y", w.random.IntN(6))
			}
			a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: typ, Format: core.Bytes, Data: make([]byte, w.random.IntN(8<<10))})
		}
		c.Appends = append(c.Appends, a)
	}
	return w.engine.Commit(w.t.Context(), []*core.Commit{c}).Outcomes[0].Err
}

// request is a random one.
func (w *kindsWalk) request() core.ReadRequest {
	r := core.ReadRequest{Stream: core.All, Backward: w.random.IntN(2) == 0, Limit: core.Limit{Events: 1 + w.random.IntN(300)}}
	if head := w.engine.State().Head; w.random.IntN(2) == 0 && head > 0 {
		r.From = 1 + w.random.Uint64N(head)
	}
	r.Select = []core.Selection{
		{Category: "file"}, {Category: "none"}, {Filter: core.Filter{Types: []string{"Ty"}}}, {Filter: core.Filter{Types: []string{"T", "Tyyy"}}},
		{Filter: core.Filter{Types: []string{"*"}}}, {Category: "service", Filter: core.Filter{Types: []string{"Tyy*"}}},
	}[w.random.IntN(6)]
	return r
}

// check compares what is selected with what a scan of everything finds.
func (w *kindsWalk) check() {
	w.t.Helper()
	for range 3 {
		r := w.request()
		got, want := selectAll(w.t, w.engine, r), w.scan(r)
		if !slices.Equal(positions(got), want) {
			w.t.Fatalf("%+v: %d events, want %d", r, len(got), len(want))
		}
	}
}

func (w *kindsWalk) scan(r core.ReadRequest) (found []uint64) {
	w.t.Helper()
	all := r
	all.Select, all.Limit = core.Selection{}, core.Limit{Events: 1000, Bytes: core.MaxPageBytes}
	for {
		page, err := w.engine.Read(w.t.Context(), all)
		if err != nil {
			w.t.Fatal(err)
		}
		for ev := range page.Events() {
			if r.Select.Match(&ev) {
				found = append(found, ev.Position)
			}
		}
		if page.End {
			return found
		}
		all.From = page.Next
	}
}

func positions(events []core.Event) (all []uint64) {
	for i := range events {
		all = append(all, events[i].Position)
	}
	return all
}

// scavenge removes a stream, for good.
func (w *kindsWalk) scavenge() {
	w.t.Helper()
	stream := fmt.Sprintf("%s-%d", []string{"file", "order", "service"}[w.random.IntN(3)], w.random.IntN(6))
	c := &core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: core.AnyVersion, Action: core.RemoveStream}}}
	w.engine.Commit(w.t.Context(), []*core.Commit{c}) // it may not be there
	if _, err := w.engine.Scavenge(w.t.Context(), core.Scavenging{All: true}); err != nil {
		w.t.Fatal(err)
	}
}

// restart closes the log, verifies it, and opens it.
func (w *kindsWalk) restart() {
	w.t.Helper()
	if err := w.engine.Close(); err != nil {
		w.t.Fatal(err)
	}
	if report, err := Verify(w.t.Context(), w.config, VerifyOptions{}); err != nil || !report.Clean() {
		w.t.Fatalf("%+v, %v", report.Problems, err)
	}
	w.open()
}

// TestKindsWalkSoak reads by type and category between writes, seals, scavenges and restarts by
// chance, and compares each page with a scan.
func TestKindsWalkSoak(t *testing.T) {
	seeds := 1
	if os.Getenv("GYRE_SOAK") != "" {
		seeds = 100
	}
	for seed := range seeds {
		runKindsWalk(t, uint64(seed))
	}
}

func runKindsWalk(t *testing.T, seed uint64) {
	t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
		w := newKindsWalk(t, seed)
		for range 60 {
			if err := w.append(); err != nil {
				t.Fatal(err)
			}
			switch n := w.random.IntN(24); {
			case n < 8:
				w.check()
			case n == 8:
				if err := w.engine.sealWritten(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.check()
			case n == 9:
				w.scavenge()
				w.check()
			case n == 10:
				w.restart()
				w.check()
			}
		}
		w.check()
		if files, _ := filepath.Glob(filepath.Join(w.engine.indexDir(), "*.kinds")); len(files) < 3 {
			t.Errorf("%d files", len(files))
		}
	})
}

// The names of types and categories stay as they are when the bytes of the log that they were
// read from are overwritten by those of the next stride.
func TestKindsOfALongSegment(t *testing.T) {
	e, err := Open(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	write := func(stream, typ string, n, bytes int) {
		t.Helper()
		a := core.Append{Stream: stream, Expect: core.AnyVersion}
		for range n {
			a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: typ, Format: core.Bytes, Data: make([]byte, bytes)})
		}
		if o := e.Commit(t.Context(), []*core.Commit{{Appends: []core.Append{a}}}).Outcomes[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	write("mine-1", "M", 10, 1)
	for i := range 30 {
		write(fmt.Sprint("secret-", i%7), "Sec", 10, scanStrideBytes/100)
	}
	check := func() {
		t.Helper()
		for of, want := range map[kind]int{{false, "M"}: 10, {true, "mine"}: 10, {false, "Sec"}: 300, {true, "secret"}: 300} {
			r := core.ReadRequest{Stream: core.All}
			if r.Select.Category = of.name; !of.category {
				r.Select = core.Selection{Filter: core.Filter{Types: []string{of.name}}}
			}
			if got := selectAll(t, e, r); len(got) != want {
				t.Errorf("%v: %d events, want %d", of, len(got), want)
			}
		}
	}
	check()
	if err := e.sealWritten(t.Context()); err != nil {
		t.Fatal(err)
	}
	check() // makes the file
	check() // from the file
}

// A reader that selects, beside a writer, gets what a scan gets.
func TestKindsBesideAWriter(t *testing.T) {
	w := newKindsWalk(t, 7)
	store := core.NewStore(notClosed{w.engine}, core.StoreConfig{})
	defer func() { _ = store.Close() }()
	written := make(chan error, 1)
	reader := &kindsWalk{t: t, random: rand.New(rand.NewPCG(8, 9)), engine: w.engine}
	go func() {
		var err error
		for i := 0; i < 120 && err == nil; i++ {
			err = w.append()
		}
		written <- err
	}()
	for more := true; more; {
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			more = false
		default:
		}
		r, head := reader.request(), w.engine.State().Head
		var got []uint64
		for ev, err := range core.ReadAll(t.Context(), store, r) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ev.Position)
		}
		newer := func(position uint64) bool { return position > head }
		if got, want := slices.DeleteFunc(got, newer), slices.DeleteFunc(reader.scan(r), newer); !slices.Equal(got, want) {
			t.Fatalf("%+v: %d events up to %d, want %d", r, len(got), head, len(want))
		}
	}
}

// notClosed is an engine that a Store does not close.
type notClosed struct{ *Engine }

func (notClosed) Close() error { return nil }
