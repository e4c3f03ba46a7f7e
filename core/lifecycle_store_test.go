package core_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// lives is a Store whose streams are changed as a whole.
type lives struct {
	*testing.T
	store *core.Store
}

func newLives(t *testing.T) *lives {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	return &lives{t, store}
}

func (l *lives) must(c core.Commit) core.Result {
	l.Helper()
	r, err := l.store.Append(l.Context(), c)
	if err != nil {
		l.Fatal(err)
	}
	return r
}

// write appends n events to a stream, whose data are the numbers from first on.
func (l *lives) write(stream string, first, n int) {
	l.Helper()
	a := core.Append{Stream: stream, Expect: core.AnyVersion}
	for i := range n {
		a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: "t", Data: fmt.Append(nil, first+i)})
	}
	l.must(core.Commit{Appends: []core.Append{a}})
}

func (l *lives) change(stream string, action core.StreamAction) {
	l.Helper()
	l.must(core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: core.AnyVersion, Action: action}}})
}

// following is a follow whose events arrive as they come.
type following struct {
	*lives
	follower core.Follower
	got      []string // "stream/version data"
	last     core.Delivery
}

func (l *lives) follow(stream string, from core.From) *following {
	l.Helper()
	f, err := l.store.Follow(l.Context(), core.FollowRequest{Stream: stream, From: from})
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = f.Close() })
	return &following{lives: l, follower: f}
}

// next takes one delivery of n events at most.
func (f *following) next(n int) {
	f.Helper()
	d, err := f.follower.Next(f.Context(), core.Limit{Events: n, Bytes: core.MaxPageBytes})
	if err != nil {
		f.Fatal(err)
	}
	if d.Cursor < f.last.Cursor {
		f.Errorf("the cursor goes back from %d to %d", f.last.Cursor, d.Cursor)
	}
	f.last = d
	for e := range d.Events() {
		f.got = append(f.got, fmt.Sprintf("%s/%d %s", e.Stream, e.Version, e.Data))
	}
}

// gets takes deliveries until there is nothing more, and compares them. It needs a bubble.
func (f *following) gets(want ...string) {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			d, err := f.follower.Next(ctx, core.Limit{Events: 2, Bytes: core.MaxPageBytes})
			if err != nil {
				return
			}
			f.last = d
			for e := range d.Events() {
				f.got = append(f.got, fmt.Sprintf("%s/%d %s", e.Stream, e.Version, e.Data))
			}
		}
	}()
	synctest.Wait()
	cancel()
	<-done
	if !slices.Equal(f.got, want) || !f.last.Live {
		f.Errorf("%q, live: %v, want %q", f.got, f.last.Live, want)
	}
	f.got = nil
}

// D10, D11: a follow of a deleted stream is live and gets nothing; $all and links have its
// events. What the follow has not had, it gets once the stream is back.
func TestFollowDeletedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		l.write("a", 1, 3)
		behind, current := l.follow("a", core.From{}), l.follow("a", core.From{})
		behind.next(1)
		current.gets("a/1 1", "a/2 2", "a/3 3")
		l.change("a", core.DeleteStream)
		begun, end := l.follow("a", core.From{}), l.follow("a", core.From{Kind: core.FromEnd})
		behind.gets("a/1 1")
		for _, f := range []*following{current, begun, end} {
			f.gets()
		}
		for i := range 20 {
			l.write("b", i, 1)
		}
		for _, f := range []*following{behind, current, begun, end} {
			f.gets()
		}
		l.follow("b", core.From{Kind: core.AfterVersion, N: 19}).gets("b/20 19")
		all := l.follow(core.All, core.From{})
		if all.next(3); !slices.Equal(all.got, []string{"a/1 1", "a/2 2", "a/3 3"}) {
			t.Errorf("$all has %q", all.got)
		}
		l.change("a", core.UndeleteStream)
		l.write("a", 4, 1)
		behind.gets("a/2 2", "a/3 3", "a/4 4")
		current.gets("a/4 4")
		begun.gets("a/1 1", "a/2 2", "a/3 3", "a/4 4")
		end.gets("a/4 4")
	})
}

// D16, D18: followers pass over what was removed, and get the next incarnation from its
// version 1 on, wherever they were.
func TestFollowRemovedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		for i := range 10 {
			l.write("a", i, 1)
			l.write("b", i, 1)
		}
		behind, current, ahead := l.follow("a", core.From{}), l.follow("a", core.From{}), l.follow("a", core.From{})
		all, allBehind := l.follow(core.All, core.From{}), l.follow(core.All, core.From{})
		behind.next(3)
		allBehind.next(3)
		for current.last.Cursor < 19 {
			current.next(100)
		}
		for all.last.Cursor < 20 {
			all.next(100)
		}
		resumed := core.From{Kind: core.AfterPosition, N: behind.last.Cursor}
		l.change("a", core.RemoveStream)
		behind.got, current.got, all.got, allBehind.got = nil, nil, nil, nil
		current.gets()
		l.write("a", 100, 3)
		want := []string{"a/1 100", "a/2 101", "a/3 102"}
		for _, f := range []*following{behind, current, ahead, l.follow("a", resumed), l.follow("a", core.From{})} {
			f.gets(want...)
		}
		all.gets(want...)
		var rest []string
		for i := 1; i < 10; i++ {
			rest = append(rest, fmt.Sprintf("b/%d %d", i+1, i))
		}
		allBehind.gets(append(rest, want...)...)
		l.change("a", core.TombstoneStream)
		for _, f := range []*following{behind, all, l.follow("a", core.From{})} {
			f.gets()
		}
	})
}

// A link whose event is removed is passed over, and the versions behind it stay.
func TestFollowLinksToRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		l.write("a", 1, 2)
		l.write("b", 1, 1)
		var ids []core.ID
		page, err := l.store.Read(t.Context(), core.ReadRequest{Stream: core.All})
		if err != nil {
			t.Fatal(err)
		}
		for e := range page.Events() {
			ids = append(ids, e.ID)
		}
		live := l.follow("l", core.From{})
		live.gets()
		l.must(core.Commit{Appends: []core.Append{{Stream: "l", Expect: core.NoStream, Links: ids}}})
		live.next(1) // l/1
		live.got = nil
		l.change("a", core.RemoveStream)
		live.gets("l/3 1")
		l.follow("l", core.From{}).gets("l/3 1")
		l.follow("l", core.From{Kind: core.AfterVersion, N: 3}).gets()
	})
}

// Every change of a stream is told of in $streams. Who sends the Commit gets no result for
// that, and the first result when it is sent again.
func TestNotices(t *testing.T) {
	l := newLives(t)
	l.write("a", 1, 2)
	if r := l.must(core.Commit{Streams: []core.StreamOp{{Stream: "a", Expect: 2, Action: core.DeleteStream}}}); len(r.Appends) > 0 || r.Position > 0 {
		t.Errorf("%+v, want an empty result", r)
	}
	c := core.Commit{
		Appends: []core.Append{{Stream: "b", Events: []core.NewEvent{{ID: core.NewID(), Type: "t", Data: []byte("1")}}}},
		Streams: []core.StreamOp{{Stream: "a", Expect: 2, Action: core.UndeleteStream}, {Stream: "c", Action: core.TombstoneStream}},
	}
	first, again := l.must(c), l.must(c)
	if !again.Duplicate || len(first.Appends) != 1 || first.Position != 4 || !slices.Equal(first.Appends, again.Appends) || again.Position != 4 {
		t.Errorf("%+v, then %+v", first, again)
	}
	l.change("a", core.RemoveStream)
	page, err := l.store.Read(t.Context(), core.ReadRequest{Stream: "$streams"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e := range page.Events() {
		got = append(got, e.Type+" "+string(e.Data))
	}
	if want := []string{`StreamDeleted {"stream":"a"}`, `StreamUndeleted {"stream":"a"}`, `StreamTombstoned {"stream":"c"}`, `StreamRemoved {"stream":"a"}`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
