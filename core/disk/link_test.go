package disk

import (
	"context"
	"errors"
	"testing"

	"github.com/gyre-events/gyre/core"
)

func commit(t testing.TB, e *Engine, c *core.Commit) core.Result {
	t.Helper()
	o := e.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	return o.Result
}

func someEvents(stream string, n int) *core.Commit {
	c := &core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion}}}
	for range n {
		c.Appends[0].Events = append(c.Appends[0].Events, core.NewEvent{ID: core.NewID(), Type: "t", Data: []byte(`{"n":1}`)})
	}
	return c
}

func links(stream string, ids []core.ID) *core.Commit {
	return &core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Links: ids}}}
}

// TestWalkBackOverLinks reads $all backward where long ranges of positions have no
// event: between two samples, at the beginning of a segment, and at the log's end.
func TestWalkBackOverLinks(t *testing.T) {
	e := open(t, Config{SegmentBytes: minSegmentBytes})
	defer e.Close()
	var want []uint64
	var ids []core.ID
	for range 4 {
		c := someEvents("a", 300)
		ids = append(ids, idsOf(c)...)
		r := commit(t, e, c)
		for p := r.Appends[0].FirstPosition; p <= r.Position; p++ {
			want = append(want, p)
		}
		for i := range 3 {
			commit(t, e, links(string(rune('l'+i))+e.State().Log+string(rune('0'+len(want)/300)), ids))
		}
	}
	head := e.State().Head
	for from := head; from > 0; from -= min(from, 97) {
		n := len(want)
		for n > 0 && want[n-1] > from {
			n--
		}
		page, err := e.Read(context.Background(), core.ReadRequest{Stream: core.All, From: from, Backward: true, Limit: core.Limit{Events: 50, Bytes: 1 << 20}})
		if err != nil || page.Count != min(n, 50) {
			t.Fatalf("from %d: %d events, %v, want %d", from, page.Count, err, min(n, 50))
		}
		for i, ev := range page.Slice() {
			if ev.Position != want[n-1-i] {
				t.Fatalf("from %d: event %d is at position %d, want %d", from, i, ev.Position, want[n-1-i])
			}
		}
	}
}

// TestReadOverLinksEndsWithItsContext has $all begin with nothing but links.
func TestReadOverLinksEndsWithItsContext(t *testing.T) {
	e := open(t, Config{})
	defer e.Close()
	c := someEvents("a", 1)
	commit(t, e, c)
	commit(t, e, links("l", idsOf(c)))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w := &walker{ctx: ctx, engine: e, view: e.index.view.Load(), page: new(core.Page), limit: everything}
	if _, err := w.walk(2, 2); !errors.Is(err, core.CodeCanceled) {
		t.Errorf("walk: %v, want canceled", err)
	}
}

// TestVerifyChecksLinks has a link written that names another event than it says, as
// a defect might: the bytes are right and the log is not.
func TestVerifyChecksLinks(t *testing.T) {
	for name, spoil := range map[string]func(to *linked){
		"another event":  func(to *linked) { to.origin.Version, to.origin.Position = 2, 2 },
		"no event":       func(to *linked) { to.origin.Version = 9 },
		"no stream":      func(to *linked) { to.origin.Stream = "none" },
		"wrong position": func(to *linked) { to.origin.Position = 2 },
		"wrong type":     func(to *linked) { to.typ = "other" },
		"nothing":        func(*linked) {},
	} {
		config := Config{Dir: t.TempDir(), SegmentBytes: testSegmentBytes}
		e := open(t, config)
		c := someEvents("a", 3)
		commit(t, e, c)
		e.mu.Lock()
		w := &e.writer
		l := links("l", idsOf(c)[:1])
		if _, err := e.decide(l); err != nil {
			t.Fatal(err)
		}
		spoil(&w.decision.links[0])
		e.encode(l, nil, make([]core.Appended, 1))
		if err := e.flush(new(core.Batch)); err != nil {
			t.Fatal(err)
		}
		e.mu.Unlock()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(context.Background(), config, VerifyOptions{})
		if err != nil || report.Clean() != (name == "nothing") {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
		if !report.Clean() && (report.Problems[0].File != "log/"+segmentName(1) || report.Problems[0].Offset == 0 || report.Problems[0].Derived) {
			t.Errorf("%s: %+v", name, report.Problems)
		}
	}
}

// BenchmarkReadLinks reads pages of a hundred links to events that lie apart.
func BenchmarkReadLinks(b *testing.B) {
	e := open(b, Config{Dir: b.TempDir(), SegmentBytes: 64 << 20})
	defer e.Close()
	var ids []core.ID
	for i := range 200 {
		c := someEvents("s-"+string(rune('a'+i%26)), 50)
		commit(b, e, c)
		ids = append(ids, idsOf(c)[i%50])
	}
	commit(b, e, links("l", ids))
	for b.Loop() {
		page, err := e.Read(context.Background(), core.ReadRequest{Stream: "l", Limit: core.Limit{Events: 100, Bytes: 1 << 20}})
		if err != nil || page.Count != 100 {
			b.Fatal(page.Count, err)
		}
	}
}
