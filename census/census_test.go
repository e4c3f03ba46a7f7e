package census

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onEngines runs a test on a Store of each engine.
func onEngines(t *testing.T, test func(*testing.T, *core.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, newStore(t, memory.New())) })
	t.Run("disk", func(t *testing.T) {
		e, err := disk.Open(t.Context(), disk.Config{Dir: t.TempDir(), SegmentBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		test(t, newStore(t, e))
	})
	t.Run("postgres", func(t *testing.T) {
		server := pgtest.Shared(t)
		e, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL, Store: server.Store(t)})
		if err != nil {
			t.Fatal(err)
		}
		test(t, newStore(t, e))
	})
}

func newStore(t testing.TB, e core.Engine) *core.Store {
	t.Helper()
	s := core.NewStore(e, core.StoreConfig{})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// model counts what a test appends.
type model struct {
	types      map[string]int
	categories map[string]Sums
	versions   map[string]int
}

func newModel() *model {
	return &model{map[string]int{}, map[string]Sums{}, map[string]int{}}
}

func (m *model) add(stream, typ string, link bool) {
	if core.IsSystem(stream) {
		return
	}
	category, _, _ := strings.Cut(stream, "-")
	c := m.categories[category]
	if m.versions[stream]++; m.versions[stream] == 1 {
		c.Streams++
	}
	if link {
		c.Links++
	} else {
		c.Events++
		m.types[typ]++
	}
	m.categories[category] = c
}

// stored compares the model with what is stored.
func (m *model) stored(t testing.TB, store *core.Store) {
	t.Helper()
	m.compare(t, &Census{config: Config{Store: store, Commits: store}})
}

// step counts what follows, and stores it.
func (f *fold) step(ctx context.Context) (more bool, err error) {
	if more, err = f.count(ctx); err != nil {
		return more, err
	}
	return more, f.save(ctx)
}

// compare compares the model with all pages of a Census.
func (m *model) compare(t testing.TB, c *Census) {
	t.Helper()
	got := newModel()
	for r := (ListRequest{Limit: 3}); ; {
		page, err := c.Types(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range page.Types {
			got.types[n.Type] = int(n.Events)
		}
		if r.After = page.Next; page.End {
			break
		}
	}
	for r := (ListRequest{Order: ByName, Limit: 2}); ; {
		page, err := c.Categories(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if page.UpTo != page.Head || page.Others != (Sums{}) {
			t.Fatalf("%d of %d are counted, and others %+v", page.UpTo, page.Head, page.Others)
		}
		all := Sums{}
		for _, c := range m.categories {
			all.Streams, all.Events, all.Links = all.Streams+c.Streams, all.Events+c.Events, all.Links+c.Links
		}
		if page.All != all {
			t.Errorf("all are %+v, want %+v", page.All, all)
		}
		for _, n := range page.Categories {
			got.categories[n.Category] = Sums{Streams: n.Streams, Events: n.Events, Links: n.Links}
		}
		if r.After = page.Next; page.End {
			break
		}
	}
	if !maps.Equal(m.types, got.types) {
		t.Errorf("types are %v, want %v", got.types, m.types)
	}
	if !maps.Equal(m.categories, got.categories) {
		t.Errorf("categories are %v, want %v", got.categories, m.categories)
	}
}

// Whatever is appended, and however often the fold begins anew, each event is counted once.
func TestCountsAreExact(t *testing.T) {
	onEngines(t, func(t *testing.T, store *core.Store) {
		random := rand.New(rand.NewPCG(1, 2))
		m, known := newModel(), []core.ID{}
		linked := map[string]bool{}
		var f *fold
		for range 60 {
			stream := fmt.Sprintf("%s-%d", []string{"order", "cart", "file"}[random.IntN(3)], random.IntN(5))
			a := core.Append{Stream: stream, Expect: core.AnyVersion}
			switch kind := random.IntN(6); {
			case kind == 0 && len(known) > 0:
				id := known[random.IntN(len(known))]
				if a.Stream = "picked-" + id.String()[:1]; linked[a.Stream+id.String()] {
					continue
				}
				linked[a.Stream+id.String()] = true
				a.Links = []core.ID{id}
				m.add(a.Stream, "", true)
			case kind == 1:
				a.Stream = "$system-" + stream
				fallthrough
			default:
				for range 1 + random.IntN(4) {
					e := core.NewEvent{ID: core.NewID(), Type: fmt.Sprintf("T%d", random.IntN(7)), Data: []byte("1")}
					a.Events = append(a.Events, e)
					m.add(a.Stream, e.Type, false)
					if !core.IsSystem(a.Stream) {
						known = append(known, e.ID)
					}
				}
			}
			if _, err := store.Append(t.Context(), core.Commit{System: true, Appends: []core.Append{a}}); err != nil {
				t.Fatal(err)
			}
			if f == nil || random.IntN(4) == 0 {
				var err error
				if f, err = load(t.Context(), store, store); err != nil {
					t.Fatal(err)
				}
			}
			if random.IntN(2) == 0 {
				if more, err := f.step(t.Context()); more || err != nil {
					t.Fatal(more, err)
				}
				m.stored(t, store)
			}
		}
		if _, err := f.step(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.stored(t, store)
	})
}

// Of two that fold, the slower one is refused, and begins with what the other has stored.
func TestTwoFold(t *testing.T) {
	onEngines(t, func(t *testing.T, store *core.Store) {
		m := newModel()
		one := func() {
			appendOne(t, store, "order-1", "A")
			m.add("order-1", "A", false)
		}
		one()
		first, err := load(t.Context(), store, store)
		if err != nil {
			t.Fatal(err)
		}
		second, err := load(t.Context(), store, store)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := first.step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := second.step(t.Context()); !errors.Is(err, core.CodeRecordConflict) {
				t.Fatalf("the slower one: %v", err)
			}
			m.stored(t, store)
			one()
			if second, err = load(t.Context(), store, store); err != nil {
				t.Fatal(err)
			}
			first, second = second, first
			if _, err := second.step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := first.step(t.Context()); !errors.Is(err, core.CodeRecordConflict) {
				t.Fatalf("the slower one: %v", err)
			}
			one()
			if first, err = load(t.Context(), store, store); err != nil {
				t.Fatal(err)
			}
			if second, err = load(t.Context(), store, store); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func appendOne(t testing.TB, store *core.Store, stream, typ string) {
	t.Helper()
	c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{Type: typ, Data: []byte("1")}}}}}
	if _, err := store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// inDoubt makes Commits whose answer may be lost, before or after they are written.
type inDoubt struct {
	*core.Store
	random *rand.Rand
}

func (s inDoubt) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	switch lost := core.Errorf(core.CodeUnknownOutcome, "the answer is lost"); s.random.IntN(3) {
	case 0:
		return core.Result{}, lost
	case 1:
		if _, err := s.Store.Append(ctx, c); err != nil {
			return core.Result{}, err
		}
		return core.Result{}, lost
	}
	return s.Store.Append(ctx, c)
}

// A step whose outcome is unknown is counted once.
func TestUnknownOutcomes(t *testing.T) {
	store := newStore(t, memory.New())
	c := &Census{closing: t.Context(), config: Config{Store: store, Commits: inDoubt{store, rand.New(rand.NewPCG(3, 4))}}}
	m := newModel()
	for n := range 50 {
		appendOne(t, store, fmt.Sprint("s-", n%7), "T")
		m.add(fmt.Sprint("s-", n%7), "T", false)
		if _, err := c.advance(); err == nil { // it may be stored, or not
			m.compare(t, c)
			_ = c.fold.Load().save(t.Context())
			c.fold.Store(nil)
		}
	}
	for by := time.Now().Add(20 * time.Second); ; {
		if _, err := c.advance(); err == nil && c.fold.Load().save(t.Context()) == nil {
			break
		}
		if c.fold.Store(nil); time.Now().After(by) {
			t.Fatal("no answer comes")
		}
	}
	m.stored(t, store)
}

// Names are bounded: who comes too late is one of the others, whatever is restarted.
func TestNamesAreBounded(t *testing.T) {
	store := newStore(t, memory.New())
	const beyond = 500
	for n := 0; n < MaxNames+beyond; n += 500 {
		c := core.Commit{}
		for i := range 500 {
			name := fmt.Sprintf("%05d", n+i)
			c.Appends = append(c.Appends, core.Append{Stream: "c" + name + "-1", Events: []core.NewEvent{{Type: "T" + name, Data: []byte("1")}}})
		}
		if _, err := store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	steps := 0
	for more := true; more; steps++ {
		f, err := load(t.Context(), store, store)
		if err != nil {
			t.Fatal(err)
		}
		if more, err = f.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if steps < 2 {
		t.Errorf("%d step has counted all: it is not bounded", steps)
	}
	c := &Census{config: Config{Store: store, Commits: store}}
	types, err := c.Types(t.Context(), ListRequest{})
	if err != nil || types.Total != MaxNames || types.All.Events != MaxNames+beyond || types.Others != (Sums{Events: beyond}) || types.UpTo != MaxNames+beyond {
		t.Errorf("%d types, others %+v, up to %d, %v", types.Total, types.Others, types.UpTo, err)
	}
	categories, err := c.Categories(t.Context(), ListRequest{})
	if err != nil || categories.Total != MaxNames || categories.Others != (Sums{Streams: beyond, Events: beyond}) {
		t.Errorf("%d categories, others %+v, %v", categories.Total, categories.Others, err)
	}
}

// Pages are sorted, begin with a prefix, and follow each other.
func TestPages(t *testing.T) {
	store := newStore(t, memory.New())
	for stream, events := range map[string]int{"b-1": 2, "a-1": 1, "a-2": 2, "c": 3, "ab-1": 3, "-x": 1} {
		for range events {
			appendOne(t, store, stream, "Of"+stream)
		}
	}
	f, err := load(t.Context(), store, store)
	if err == nil {
		_, err = f.step(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &Census{config: Config{Store: store, Commits: store}}
	for _, test := range []struct {
		r    ListRequest
		want string
	}{
		{ListRequest{}, "a -x ab b c"},
		{ListRequest{Order: ByEvents}, "a ab c b -x"},
		{ListRequest{Order: ByName}, "-x a ab b c"},
		{ListRequest{Order: ByEvents, Prefix: "a"}, "a ab"},
	} {
		for limit := 1; limit <= 6; limit++ {
			var got []string
			r := test.r
			for r.Limit = limit; ; {
				page, err := c.Categories(t.Context(), r)
				if err != nil || page.Total != 5 || page.UpTo != 12 || page.Head != 12 {
					t.Fatalf("%+v: %+v, %v", r, page, err)
				}
				for _, n := range page.Categories {
					got = append(got, n.Category)
				}
				if r.After = page.Next; page.End {
					break
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%+v: got %v, want %s", r, got, test.want)
			}
		}
	}
	for _, r := range []ListRequest{{Order: "size"}, {After: "x"}, {After: "1"}, {Prefix: "\x00"}} {
		if _, err := c.Categories(t.Context(), r); core.AsError(err) == nil {
			t.Errorf("%+v is served", r)
		}
	}
	if _, err := c.Types(t.Context(), ListRequest{Order: ByStreams}); !errors.Is(err, core.CodeInvalidRequest) {
		t.Errorf("types by streams: %v", err)
	}
}

// A Census counts what is appended within two seconds, and only where it is owned.
func TestCensusFolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t, memory.New())
		var owned atomic.Bool
		owned.Store(true)
		c := New(Config{Store: store, Commits: store, Owns: owned.Load})
		defer c.Close()
		m := newModel()
		for n := range 5 {
			stream := fmt.Sprint("s-", n%2)
			appendOne(t, store, stream, "T")
			m.add(stream, "T", false)
			time.Sleep(2 * stepEvery)
			if m.compare(t, c); c.Lag() != 0 {
				t.Errorf("a lag of %d", c.Lag())
			}
		}
		if page, err := (&Census{config: Config{Store: store}}).Types(t.Context(), ListRequest{}); err != nil || page.UpTo == page.Head {
			t.Errorf("few events are stored at once: %+v, %v", page, err)
		}
		time.Sleep(storeEvery)
		m.stored(t, store)
		owned.Store(false)
		time.Sleep(2 * stepEvery)
		m.compare(t, c)
		appendOne(t, store, "s-9", "T")
		time.Sleep(2 * storeEvery)
		page, err := c.Types(t.Context(), ListRequest{})
		if err != nil || page.UpTo != 5 || page.Head != 6 {
			t.Errorf("where another node owns it: %+v, %v", page, err)
		}
	})
}

// What counts much is stored at once.
func TestMuchIsStoredAtOnce(t *testing.T) {
	store, m := newStore(t, memory.New()), newModel()
	c := &Census{closing: t.Context(), config: Config{Store: store, Commits: store}}
	for round := range 3 {
		events := make([]core.NewEvent, 100*(round+1))
		for i := range events {
			events[i] = core.NewEvent{Type: "T", Data: []byte("1")}
			m.add("s-1", "T", false)
		}
		if _, err := store.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "s-1", Expect: core.AnyVersion, Events: events}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.advance(); err != nil {
			t.Fatal(err)
		}
		m.stored(t, store)
	}
}

// The history of a real repository is counted as a plain loop counts it.
func TestRealData(t *testing.T) {
	for _, name := range []string{"../examples/temporal-sample.ndjson", "../../shared/data/temporal.ndjson.gz"} {
		t.Run(name[strings.LastIndexByte(name, '/')+1:], func(t *testing.T) {
			file, err := os.Open(name)
			if err != nil {
				t.Skip(err)
			}
			defer file.Close()
			var in io.Reader = file
			if strings.HasSuffix(name, ".gz") {
				if in, err = gzip.NewReader(file); err != nil {
					t.Fatal(err)
				}
			}
			e, err := disk.Open(t.Context(), disk.Config{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			store, m := newStore(t, e), newModel()
			importAll(t, store, m, in)
			for more := true; more; {
				f, err := load(t.Context(), store, store)
				if err != nil {
					t.Fatal(err)
				}
				if more, err = f.step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			m.stored(t, store)
		})
	}
}

func importAll(t *testing.T, store *core.Store, m *model, in io.Reader) {
	t.Helper()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 4<<20)
	c := core.Commit{}
	flush := func() {
		if len(c.Appends) == 0 {
			return
		}
		if _, err := store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		c = core.Commit{}
	}
	for lines.Scan() {
		var line struct {
			Stream, Type string
			Data         json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		m.add(line.Stream, line.Type, false)
		c.Appends = append(c.Appends, core.Append{Stream: line.Stream, Expect: core.AnyVersion, Events: []core.NewEvent{{Type: line.Type, Data: line.Data}}})
		if len(c.Appends) == 500 {
			flush()
		}
	}
	flush()
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// What a record has is a count that is encoded the same, or is refused.
func FuzzDecode(f *testing.F) {
	f.Add((&Count{Events: 3, Streams: 2, Links: 1, Position: 9, Time: time.UnixMicro(1e15)}).encode())
	f.Add([]byte(`{"position":7,"otherTypes":{"Events":1}}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeCount(b); err == nil {
			if again, err := decodeCount(c.encode()); err != nil || again != c {
				t.Errorf("%x: %+v, then %+v, %v", b, c, again, err)
			}
		}
		if s, err := decodeState(b); err == nil && s.Position > 0 {
			text, err := json.Marshal(&s)
			if again, err2 := decodeState(text); err != nil || err2 != nil || again.Position != s.Position {
				t.Errorf("%s: %v, %v", b, err, err2)
			}
		}
	})
}
