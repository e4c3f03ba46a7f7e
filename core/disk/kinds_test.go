package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// kindsLog opens a log of small segments with n events of several types and categories, some
// links, and some events of a system's stream.
func kindsLog(t *testing.T, n int) *Engine {
	t.Helper()
	e, err := Open(t.Context(), Config{Dir: t.TempDir(), SegmentBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	appendKinds(t, e, n)
	return e
}

func appendKinds(t *testing.T, e *Engine, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		id := core.NewID()
		stream := fmt.Sprintf("%s-%d", []string{"file", "order", "service", "a"}[r.IntN(4)], r.IntN(3))
		c := &core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{
			ID: id, Type: fmt.Sprint("T", r.IntN(5)), Data: fmt.Appendf(nil, "%q", strings.Repeat("x", r.IntN(200))),
		}}}}}
		if i%11 == 0 {
			c.Appends = append(c.Appends, core.Append{Stream: "links", Expect: core.AnyVersion, Links: []core.ID{id}})
		}
		if i%17 == 0 {
			c.System = true
			c.Appends = append(c.Appends, core.Append{Stream: "$s", Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T1", Data: []byte("1")}}})
		}
		if o := e.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
}

var kindSelections = []core.Selection{
	{Category: "file"}, {Category: "links"}, {Category: "none"}, {Category: "$s"},
	{Filter: core.Filter{Types: []string{"T1"}}}, {Filter: core.Filter{Types: []string{"T1", "T3"}}}, {Filter: core.Filter{Types: []string{"*"}}},
	{Category: "order", Filter: core.Filter{Types: []string{"T2", "T4"}}},
}

// checkKinds compares what an engine selects with what it has, from some places on.
func checkKinds(t *testing.T, e *Engine) {
	t.Helper()
	store := core.NewStore(readsOnly{e}, core.StoreConfig{})
	for _, selection := range kindSelections {
		for _, r := range []core.ReadRequest{
			{}, {Backward: true}, {System: true}, {System: true, Backward: true}, {From: 100}, {From: 301, Backward: true}, {From: 77, Limit: core.Limit{Events: 1000, Bytes: 700}},
			{Backward: true, Limit: core.Limit{Events: 7}}, {Limit: core.Limit{Events: 3}},
		} {
			r.Stream = core.All
			var want []core.Event
			for ev, err := range core.ReadAll(t.Context(), store, core.ReadRequest{Stream: r.Stream, From: r.From, Backward: r.Backward, System: r.System}) {
				if err != nil {
					t.Fatal(err)
				}
				if selection.Match(&ev) {
					want = append(want, ev)
				}
			}
			r.Select = selection
			if got := selectAll(t, e, r); !slices.EqualFunc(got, want, func(a, b core.Event) bool { return a.Position == b.Position && a.ID == b.ID }) {
				t.Errorf("%+v: %d events, want %d", r, len(got), len(want))
			}
		}
	}
}

// readsOnly hides that an engine is a Selector, and does not close it.
type readsOnly struct{ core.Engine }

// selectAll reads with ReadSelected alone what matches.
func selectAll(t *testing.T, e *Engine, r core.ReadRequest) (events []core.Event) {
	t.Helper()
	if r.Limit.Events == 0 {
		r.Limit.Events = 50
	}
	if r.Limit.Bytes == 0 {
		r.Limit.Bytes = core.MaxPageBytes
	}
	for {
		page, ok, err := e.ReadSelected(t.Context(), r)
		if err != nil || !ok || page.Count > r.Limit.Events {
			t.Fatalf("%+v: %d events, %v, %v", r, page.Count, ok, err)
		}
		for ev := range page.Events() {
			if r.Select.Match(&ev) {
				events = append(events, ev)
			}
		}
		if page.End {
			return events
		}
		if page.Next == r.From {
			t.Fatalf("%+v: next %d", r, page.Next)
		}
		r.From = page.Next
	}
}

func TestKinds(t *testing.T) {
	e := kindsLog(t, 600)
	checkKinds(t, e)
	files, err := filepath.Glob(filepath.Join(e.indexDir(), "*.kinds"))
	if err != nil || len(files) < 5 || len(files) != len(e.index.view.Load().segments)-1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	appendKinds(t, e, 100) // to the segment whose lists are in memory, and to later ones
	checkKinds(t, e)
	c := &core.Commit{Streams: []core.StreamOp{{Stream: "file-1", Expect: core.AnyVersion, Action: core.RemoveStream}}}
	if o := e.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
		t.Fatal(o.Err)
	}
	appendKinds(t, e, 50)
	checkKinds(t, e)
}

// Files that are damaged, of another segment or cut off are made anew.
func TestKindsThatAreDamaged(t *testing.T) {
	e := kindsLog(t, 300)
	checkKinds(t, e)
	files, _ := filepath.Glob(filepath.Join(e.indexDir(), "*.kinds"))
	whole := make([][]byte, len(files))
	for i, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		whole[i] = text
	}
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 6 {
		for i, name := range files {
			text := slices.Clone(whole[i])
			switch round % 3 {
			case 0:
				text[r.IntN(len(text))] ^= 1 << r.IntN(8)
			case 1:
				text = text[:r.IntN(len(text))]
			case 2:
				text = whole[(i+1)%len(whole)]
			}
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		e.index.kinds.chosen.forget() // so that the files are read
		e.index.kinds.blocks.forget()
		checkKinds(t, e)
	}
}

// Verify finds a file whose checksums are right and whose lists are not; Rebuild removes it.
func TestVerifyComparesKinds(t *testing.T) {
	e := kindsLog(t, 300)
	checkKinds(t, e)
	segments := e.index.view.Load().segments
	wrong := newKinds(&segments[1])
	if _, err := e.readOn(t.Context(), wrong, &segments[1], segments[1].end); err != nil {
		t.Fatal(err)
	}
	delete(wrong.lists, kind{false, "T1"})
	if err := e.writeKinds(wrong, &segments[1], kindsSeal(&segments[1], &segments[2])); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	config := Config{Dir: e.dir}
	report, err := Verify(t.Context(), config, VerifyOptions{})
	if err != nil || len(report.Problems) != 1 || report.Problems[0].File != "index/0000000002.kinds" || !report.Problems[0].Derived {
		t.Fatalf("%+v, %v", report.Problems, err)
	}
	if report, err = Verify(t.Context(), config, VerifyOptions{Rebuild: true}); err != nil || !report.Clean() || !report.Rebuilt {
		t.Fatalf("%+v, %v", report, err)
	}
	if files, _ := filepath.Glob(filepath.Join(e.indexDir(), "*.kinds")); len(files) > 0 {
		t.Errorf("%q are left", files)
	}
}

// A segment with very many categories has no lists of them, and its types have some.
func TestTooManyKinds(t *testing.T) {
	k := newKinds(&segment{number: 1})
	for i := range uint32(maxKinds + 10) {
		k.add(kind{true, fmt.Sprint("c", i)}, i)
		k.add(kind{false, fmt.Sprint("T", i%7)}, i)
	}
	if _, ok := k.choose(&core.Selection{Category: "c1"}); ok || len(k.lists) != 7 {
		t.Errorf("%d lists", len(k.lists))
	}
	if found, ok := k.choose(&core.Selection{Category: "c1", Filter: core.Filter{Types: []string{"T1"}}}); !ok || len(found.of) != 1 {
		t.Errorf("%d lists of types", len(found.of))
	}
}

func FuzzDecodeDirectory(f *testing.F) {
	seg := &segment{number: 1, salt: 2, first: 1, end: 1 << 20}
	k := &kinds{lists: map[kind]*[]uint32{{false, "T"}: {5, 6}, {true, "c"}: {5}}, end: seg.end}
	f.Add(k.encode(seg, 3)[16:])
	f.Fuzz(func(_ *testing.T, b []byte) {
		b = append(k.encode(seg, 3)[:16], b...)
		resumKinds(b)
		d, ok := decodeDirectory(b, seg, 3)
		if ok {
			_, _ = d.choose(&core.Selection{Category: "c"})
		}
	})
}

// resumKinds gives a directory the checksum that it has to have.
func resumKinds(b []byte) {
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
}
