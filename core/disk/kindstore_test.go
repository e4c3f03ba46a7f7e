package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// watchedFS calls read before each read of a file.
type watchedFS struct {
	osFS
	read atomic.Pointer[func(name string, bytes int)]
}

func (f *watchedFS) OpenFile(name string, flag int) (File, error) {
	file, err := f.osFS.OpenFile(name, flag)
	return watchedFile{file, f, filepath.Base(name)}, err
}

type watchedFile struct {
	File
	fs   *watchedFS
	name string
}

func (f watchedFile) ReadAt(b []byte, off int64) (int, error) {
	if read := f.fs.read.Load(); read != nil {
		(*read)(f.name, len(b))
	}
	return f.File.ReadAt(b, off)
}

// count has what is read of the files whose name ends so counted.
func (f *watchedFS) count(suffix string) *atomic.Int64 {
	n := new(atomic.Int64)
	read := func(name string, bytes int) {
		if strings.HasSuffix(name, suffix) {
			n.Add(int64(bytes))
		}
	}
	f.read.Store(&read)
	return n
}

// longCommitEvents are less than a segment has.
const longCommitEvents = 1000

// longLog opens a log with n small events of type t, in segments of so many bytes.
func longLog(t *testing.T, fs FS, n, segmentBytes int) *Engine {
	t.Helper()
	e := open(t, Config{FS: fs, SegmentBytes: int64(segmentBytes)})
	t.Cleanup(func() { _ = e.Close() })
	for range n / longCommitEvents {
		commit(t, e, someEvents("s-1", longCommitEvents))
	}
	return e
}

func ofType(typ string) core.Selection {
	return core.Selection{Filter: core.Filter{Types: []string{typ}}}
}

// selectPage reads one page with ReadSelected.
func selectPage(t *testing.T, e *Engine, r core.ReadRequest) core.Page {
	t.Helper()
	r.Stream, r.Limit = core.All, core.Limit{Events: 100, Bytes: core.MaxPageBytes}
	page, ok, err := e.ReadSelected(t.Context(), r)
	if err != nil || !ok {
		t.Fatalf("%+v: %v, %v", r, ok, err)
	}
	return page
}

// A page of what is nowhere makes the lists of a few segments, and says where to go on.
func TestAPageOfATypeThatIsNowhereIsBounded(t *testing.T) {
	e := longLog(t, osFS{}, 200*longCommitEvents, 1<<20)
	store := core.NewStore(notClosed{e}, core.StoreConfig{})
	defer func() { _ = store.Close() }()
	segments, made := len(e.index.view.Load().segments), 0
	r := core.ReadRequest{Stream: core.All, Select: ofType("None")}
	for pages := 1; ; pages++ {
		page, err := store.Read(t.Context(), r)
		if err != nil || page.Count > 0 {
			t.Fatalf("%d events, %v", page.Count, err)
		}
		files, _ := filepath.Glob(filepath.Join(e.indexDir(), "*.kinds"))
		if n := len(files) - made; n > segments/2 || page.Scanned > 100_000 {
			t.Errorf("a page makes lists of %d of %d segments and reaches over %d positions", n, segments, page.Scanned)
		}
		if made = len(files); page.End {
			if pages < 3 || made != segments-1 {
				t.Errorf("%d pages, %d files for %d segments", pages, made, segments)
			}
			break
		}
		r.From = page.Next
	}
	if page := selectPage(t, e, core.ReadRequest{Select: ofType("None")}); page.Scanned != passedEvents {
		t.Errorf("a segment with lists counts as %d events", page.Scanned)
	}
}

// Events that are read and left out count.
func TestAPageCountsWhatItLeavesOut(t *testing.T) {
	e := longLog(t, osFS{}, longCommitEvents, 1<<20)
	_ = selectPage(t, e, core.ReadRequest{Select: ofType("t")})
	changeStream(t, e, "s-1", core.RemoveStream)
	if page := selectPage(t, e, core.ReadRequest{Select: ofType("t")}); page.Count != 0 || page.Scanned != 101 {
		t.Errorf("%d events, %d were looked at", page.Count, page.Scanned)
	}
}

// Whoever reads a segment for its lists keeps nobody else waiting but those who need them, who
// wait no longer than their requests. The segment is read once.
func TestListsAreMadeOnceAndHoldNobodyUp(t *testing.T) {
	fs := new(watchedFS)
	e := longLog(t, fs, 40*longCommitEvents, 1<<20)
	newest := core.ReadRequest{Select: ofType("t"), Backward: true}
	_ = selectPage(t, e, newest)
	reading, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var firsts atomic.Int64
	read := func(name string, bytes int) {
		if name == segmentName(1) && bytes > headerBytes { // but for its header, when it is opened
			firsts.Add(1)
			once.Do(func() { close(reading); <-goOn })
		}
	}
	fs.read.Store(&read)
	pages := make(chan core.Page, 2)
	var readers sync.WaitGroup
	selectFirst := func() { pages <- selectPage(t, e, core.ReadRequest{Select: ofType("None")}) }
	readers.Go(selectFirst)
	<-reading
	readers.Go(selectFirst)
	if page := selectPage(t, e, newest); page.Count != 100 || page.Scanned != 0 {
		t.Errorf("the newest lists: %d events, %d were looked at", page.Count, page.Scanned)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := core.ReadRequest{Stream: core.All, Select: ofType("t"), Limit: core.Limit{Events: 1, Bytes: 1}}
	if _, _, err := e.ReadSelected(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("a reader that has given up: %v", err)
	}
	close(goOn)
	readers.Wait()
	end := e.index.view.Load().segments[0].end
	if strides := (end + scanStrideBytes - 1) / scanStrideBytes; firsts.Load() > strides+1 {
		t.Errorf("a segment of %d bytes was read with %d calls", end, firsts.Load())
	}
	a, b := <-pages, <-pages
	if a.Next != b.Next || a.Next < 2 {
		t.Errorf("two readers reach %d and %d", a.Next, b.Next)
	}
	for i := range 2 * maxIdleKinds { // others do not displace the newest
		_ = selectPage(t, e, core.ReadRequest{Select: ofType("t"), From: e.index.view.Load().segments[i%2].first})
	}
	if page := selectPage(t, e, newest); page.Scanned != 0 {
		t.Errorf("the newest lists were made again: %d events", page.Scanned)
	}
}

// askedContext is a context that calls ask whenever it is asked whether it has ended.
type askedContext struct {
	context.Context
	ask func() error
}

func (c askedContext) Err() error { return c.ask() }

// endsAfter is a context that has ended when it was asked so many times.
func endsAfter(t *testing.T, times int) context.Context {
	return askedContext{t.Context(), func() error {
		if times--; times < 0 {
			return context.Canceled
		}
		return nil
	}}
}

// What was read of a segment when the reader gave up is not read again.
func TestListsGoOnWhereAReaderGaveUp(t *testing.T) {
	w := newKindsWalk(t, 3)
	for range 25 {
		if err := w.append(); err != nil {
			t.Fatal(err)
		}
	}
	w.scavenge()
	segments := w.engine.index.view.Load().segments
	for i := range segments[:len(segments)-1] {
		seg := &segments[i]
		want, got := newKinds(seg), newKinds(seg)
		if _, err := w.engine.readOn(t.Context(), want, seg, seg.end); err != nil {
			t.Fatal(err)
		}
		calls, end := 0, int64(0)
		for ; got.end < seg.end; calls++ {
			_, err := w.engine.readOn(endsAfter(t, 1), got, seg, seg.end)
			if err != nil && !errors.Is(err, context.Canceled) || got.end <= end {
				t.Fatalf("segment %d: %v at %d, before at %d", seg.number, err, got.end, end)
			}
			end = got.end
		}
		if !bytes.Equal(got.encode(seg, 1), want.encode(seg, 1)) || calls < 2 {
			t.Errorf("segment %d: other lists after %d calls", seg.number, calls)
		}
	}
}

// A page reads the blocks of a long list that it needs, and what it has read is kept.
func TestAPageReadsAPartOfALongList(t *testing.T) {
	fs := new(watchedFS)
	e := longLog(t, fs, 20*longCommitEvents, 4<<20)
	if err := e.sealWritten(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = selectPage(t, e, core.ReadRequest{Select: ofType("t")})
	read := fs.count(".kinds")
	r := core.ReadRequest{Select: ofType("t"), From: 9 * longCommitEvents}
	if page := selectPage(t, e, r); page.Count != 100 || page.Next != r.From+100 {
		t.Errorf("%d events up to %d", page.Count, page.Next)
	}
	if n := read.Swap(0); n > kindsReadBytes+3*4*blockPlaces {
		t.Errorf("a page reads %d bytes of the lists", n)
	}
	if _ = selectPage(t, e, r); read.Load() != 0 {
		t.Errorf("the same page reads %d bytes of the lists again", read.Load())
	}
}

// Every index of a list is found, in memory and in a file.
func TestPlaceLists(t *testing.T) {
	for _, n := range []int{1, blockPlaces - 1, blockPlaces, blockPlaces + 1, 3*blockPlaces + 7} {
		places := make([]uint32, n)
		for i := range places {
			places[i] = uint32(4096 + 10*i)
		}
		e := &Engine{fs: osFS{}, dir: t.TempDir(), index: newIndex(osFS{}, "", hashKey{}, nil)}
		seg := &segment{number: 1, end: 1 << 20}
		e.index.view.Store(&view{segments: []segment{*seg}})
		if err := e.fs.MakeDir(e.indexDir()); err != nil {
			t.Fatal(err)
		}
		k := &kinds{lists: map[kind]*[]uint32{{false, "t"}: &places}, end: seg.end}
		if err := e.writeKinds(k, seg, 5); err != nil {
			t.Fatal(err)
		}
		s := ofType("t")
		found, ok := e.readKinds(seg, 5, &s)
		if !ok || len(found.of) != 1 {
			t.Fatalf("%d lists, %v", len(found.of), ok)
		}
		defer found.close()
		for _, list := range []placeList{{count: n, memory: places}, found.of[0]} {
			for i := 0; i < n; i += 1 + i/50 {
				for off, want := range map[uint32]int{places[i]: i, places[i] - 1: i, places[i] + 1: i + 1} {
					if got, err := list.search(off); got != want || err != nil {
						t.Fatalf("%d of %d: %d, %v", want, n, got, err)
					}
				}
				if got, err := list.slice(i/2, i); err != nil || fmt.Sprint(got) != fmt.Sprint(places[i/2:i]) {
					t.Fatalf("%d to %d of %d: %v", i/2, i, n, err)
				}
			}
		}
	}
}
