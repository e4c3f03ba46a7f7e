package disk

import (
	"context"
	"errors"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// changeStream makes a Commit of one StreamOp.
func changeStream(t *testing.T, e *Engine, stream string, action core.StreamAction) {
	t.Helper()
	commit(t, e, &core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: core.AnyVersion, Action: action}}})
}

// removedLinks opens a log whose stream "links" has n links to events that are removed.
func removedLinks(t *testing.T, n int) *Engine {
	t.Helper()
	e := open(t, Config{SegmentBytes: 4 << 20})
	t.Cleanup(func() { _ = e.Close() })
	c := someEvents("home", n)
	ids := make([]core.ID, n)
	for i := range ids {
		ids[i] = c.Appends[0].Events[i].ID
	}
	commit(t, e, c)
	commit(t, e, links("links", ids))
	changeStream(t, e, "home", core.RemoveStream)
	return e
}

// Whoever passes over very many links to removed events ends with its request.
func TestPassingOverLinksEnds(t *testing.T) {
	e := removedLinks(t, 2000)
	for _, backward := range []bool{false, true} {
		r := core.ReadRequest{Stream: "links", Backward: backward, Limit: core.Limit{Events: 50, Bytes: core.MaxPageBytes}}
		if page, err := e.Read(endsAfter(t, 3), r); !errors.Is(err, context.Canceled) {
			t.Errorf("read, backward %v: %d events, %v", backward, page.Count, err)
		}
		if page, err := e.Read(t.Context(), r); err != nil || page.Count > 0 || !page.End {
			t.Errorf("read, backward %v: %d events, end %v, %v", backward, page.Count, page.End, err)
		}
	}
	for _, r := range []core.StreamsRequest{{Names: []string{"links"}, Details: true}, {Limit: 10, Details: true}} {
		if page, err := e.Streams(endsAfter(t, 3), r); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v: %+v, %v", r, page, err)
		}
	}
}

// A stream that is removed and begins again while a reader passes over it is read from where
// the reader began.
func TestPassingOverAStreamThatBeginsAgain(t *testing.T) {
	e := removedLinks(t, 200)
	asked := 0
	ctx := askedContext{t.Context(), func() error {
		if asked++; asked == 3 {
			changeStream(t, e, "links", core.RemoveStream)
			commit(t, e, someEvents("links", 190))
		}
		return nil
	}}
	page, err := e.Read(ctx, core.ReadRequest{Stream: "links", Limit: core.Limit{Events: 50, Bytes: core.MaxPageBytes}})
	if err != nil || page.Count != 50 || page.Next != 51 || page.Incarnation != 2 {
		t.Errorf("%d events of incarnation %d, next %d, %v", page.Count, page.Incarnation, page.Next, err)
	}
}

// A stream that is deleted, and not removed, costs lists and walks nothing.
func TestADeletedStreamCostsNothing(t *testing.T) {
	fs := new(watchedFS)
	e := open(t, Config{FS: fs})
	for _, stream := range []string{"a", "b", "c"} {
		commit(t, e, someEvents(stream, 500))
	}
	changeStream(t, e, "b", core.DeleteStream)
	check := func(slow bool) {
		t.Helper()
		if err := e.sealWritten(t.Context()); err != nil {
			t.Fatal(err)
		}
		read := fs.count(".seg")
		page, err := e.Streams(t.Context(), core.StreamsRequest{Limit: 10, Details: true})
		if err != nil || len(page.Streams) != 3 || page.Streams[1].State != core.StreamDeleted || page.Streams[1].Changed.Position != 1000 {
			t.Errorf("%+v, %v", page.Streams, err)
		}
		if got := read.Load() > 0; got != slow {
			t.Errorf("a list reads %d bytes of the log", read.Load())
		}
		r := core.ReadRequest{Stream: core.All}
		if w := e.walker(t.Context(), &r, ofAll, nil); (w.of != nil) != slow {
			t.Error("a walk looks for removed events")
		}
	}
	check(false)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, Config{FS: fs, Dir: e.dir})
	defer func() { _ = e.Close() }()
	check(false)
	commit(t, e, someEvents("d", 1))
	changeStream(t, e, "d", core.RemoveStream)
	check(true)
}
