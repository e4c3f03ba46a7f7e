package output

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStore(t testing.TB) *core.Store {
	s := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func bound(name string) *plugins.Binding {
	return &plugins.Binding{Name: name, Version: "1.0", Generations: plugins.Generations{Generation: 3}}
}

// all reads a log page by page.
func all(t testing.TB, o *Outputs, name string) (lines []plugins.LogLine) {
	t.Helper()
	page := plugins.LogsPage{}
	for !page.End {
		var err error
		if page, err = o.Read(context.Background(), name, plugins.LogsRequest{After: page.Next, Limit: 100}); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, page.Lines...)
	}
	for i := 1; i < len(lines); i++ {
		if lines[i].Seq != lines[i-1].Seq+1 {
			t.Fatalf("line %d comes after line %d", lines[i].Seq, lines[i-1].Seq)
		}
	}
	return lines
}

func texts(lines []plugins.LogLine) (texts []string) {
	for _, l := range lines {
		texts = append(texts, l.Text)
	}
	return texts
}

// A log is written within FlushEvery, outlives the process, and is read at another node.
func TestLogSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		a, b := New(store, nil), New(store, nil)
		lane := a.Lane(bound("x"), 2)
		lane.Log(abi.Warn, []byte(`says "hello" & <bye>`))
		lane.At(17)
		lane.Log(abi.Debug, []byte("of an event"))
		time.Sleep(FlushEvery + core.MaxLazyWait)
		synctest.Wait()
		want := []plugins.LogLine{
			{Seq: 1, Time: all(t, a, "x")[0].Time, Level: "warn", Lane: 2, Generation: 3, Version: "1.0", Text: `says "hello" & <bye>`},
			{Seq: 2, Time: all(t, a, "x")[1].Time, Level: "debug", Lane: 2, Generation: 3, Version: "1.0", Position: 17, Text: "of an event"},
		}
		if got := all(t, b, "x"); !slices.Equal(got, want) {
			t.Errorf("the other node reads %+v, want %+v", got, want)
		}
		lane.Log(abi.Error, []byte("last words"))
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.Lane(bound("x"), 0).Log(abi.Info, []byte("goes on"))
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := texts(all(t, b, "x")); !slices.Equal(got, []string{want[0].Text, want[1].Text, "last words", "goes on"}) {
			t.Errorf("read %q", got)
		}
		_ = store.Close()
	})
}

// Two nodes that write to one log, because its binding moves, lose and mix up nothing.
func TestTwoWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		nodes := []*Outputs{New(store, nil), New(store, nil)}
		var writing sync.WaitGroup
		for n, o := range nodes {
			writing.Go(func() {
				lane := o.Lane(bound("x"), n)
				for i := range 100 {
					lane.Log(abi.Info, fmt.Appendf(nil, "%d of %d", i, n))
					time.Sleep(time.Duration(100+50*n) * time.Millisecond)
				}
			})
		}
		writing.Wait()
		for _, o := range nodes {
			if err := o.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		next := make([]int, len(nodes))
		lines := all(t, nodes[0], "x")
		for _, l := range lines {
			if want := fmt.Sprintf("%d of %d", next[l.Lane], l.Lane); l.Text != want {
				t.Fatalf("%q instead of %q", l.Text, want)
			}
			next[l.Lane]++
		}
		if len(lines) != 200 {
			t.Errorf("%d lines, want 200", len(lines))
		}
		_ = store.Close()
	})
}

// faulty is a store whose Commits fail as it is told to.
type faulty struct {
	*core.Store
	fail func(write func() error) error
}

func (f *faulty) Append(ctx context.Context, c core.Commit) (r core.Result, err error) {
	err = f.fail(func() error {
		r, err = f.Store.Append(ctx, c)
		return err
	})
	return r, err
}

// Lines whose Commit has failed are written once, whether it was made or not.
func TestUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		store := &faulty{newStore(t), func(write func() error) error {
			tries++
			switch tries % 4 {
			case 1: // made, and not answered
				_ = write()
				return core.Errorf(core.CodeUnknownOutcome, "the answer is lost")
			case 2:
				return core.Errorf(core.CodeUnknownOutcome, "the question is lost")
			case 3:
				return core.Errorf(core.CodeStoreUnavailable, "not now")
			}
			return write()
		}}
		o := New(store, nil)
		lane := o.Lane(bound("x"), 0)
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprint("line ", i))
			lane.Log(abi.Info, []byte(want[i]))
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(10 * FlushEvery)
		if got := texts(all(t, o, "x")); !slices.Equal(got, want) {
			t.Errorf("read %q", got)
		}
		if err := o.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = store.Close()
	})
}

// Where the store is away, a node stops all the same.
func TestCloseWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stuck{newStore(t)}
		o := New(store, nil)
		for i := range 100 {
			o.Lane(bound(fmt.Sprint("binding ", i)), 0).Log(abi.Info, []byte("a line"))
		}
		began := time.Now()
		if err := o.Close(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(began); took > closeWithin {
			t.Errorf("Close took %s", took)
		}
		_ = store.Close()
	})
}

// stuck is a store that takes no Commits.
type stuck struct{ *core.Store }

func (s *stuck) Append(ctx context.Context, _ core.Commit) (core.Result, error) {
	<-ctx.Done()
	return core.Result{}, ctx.Err()
}

// A log keeps the newest 4 MiB in few chunks, and what is dropped is counted.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		o := New(store, nil)
		lane := o.Lane(bound("x"), 0)
		text := []byte(strings.Repeat("x", 4000))
		const lines = 5000 // in ten minutes, of which each may have about 250
		for range lines {
			lane.Log(abi.Info, text)
			time.Sleep(120 * time.Millisecond)
		}
		if err := o.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		stored := all(t, o, "x")
		i, err := o.readIndex(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		bytes, kept, dropped, reports := 0, 0, 0, 0
		for _, c := range i.chunks {
			bytes += c.bytes
		}
		for _, l := range stored {
			n, size := 0, 0
			if _, err := fmt.Sscanf(l.Text, "%d more lines, of %d bytes", &n, &size); err == nil {
				dropped += n
				reports++
				if size != n*len(text) {
					t.Errorf("%s", l.Text)
				}
				continue
			}
			kept++
		}
		if bytes < MaxStoredBytes || bytes > MaxStoredBytes+maxChunkBytes {
			t.Errorf("%d bytes are kept, %d chunks, %d lines of %d, %d dropped, %d reports", bytes, len(i.chunks), kept, i.Next, dropped, reports)
		}
		if len(i.chunks) > 2*MaxStoredBytes/maxChunkBytes+20 {
			t.Errorf("%d chunks", len(i.chunks))
		}
		if dropped == 0 || reports == 0 || kept == 0 {
			t.Errorf("%d lines are kept, and %d reported as dropped", kept, dropped)
		}
		records, err := store.Records(t.Context(), core.RecordsRequest{Table: table, Limit: core.MaxReadEvents})
		if err != nil || len(records) > len(i.chunks)+1 {
			t.Errorf("%d records of %d chunks, %v", len(records), len(i.chunks), err)
		}
		page, err := o.Read(t.Context(), "x", plugins.LogsRequest{Last: 10})
		if want := stored[len(stored)-10:]; err != nil || !slices.Equal(page.Lines, want) || !page.End {
			t.Errorf("the last ten lines are %+v, %v", page, err)
		}
		if err := o.Delete(t.Context(), "x", 3); err != nil {
			t.Fatal(err)
		}
		if records, err := store.Records(t.Context(), core.RecordsRequest{Table: table, Limit: 1}); err != nil || len(records) > 0 {
			t.Errorf("after Delete: %v, %v", records, err)
		}
		_ = store.Close()
	})
}

// Each line is written few times: what goes to the store is some times what is logged.
func TestAmplification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written := 0
		store := &faulty{newStore(t), nil}
		counted := &counting{faulty: store, bytes: &written}
		store.fail = func(write func() error) error { return write() }
		o := New(counted, nil)
		lane := o.Lane(bound("x"), 0)
		logged := 0
		for range 1000 {
			text := []byte(strings.Repeat("x", 100))
			logged += len(text) + lineOverhead
			lane.Log(abi.Info, text)
			time.Sleep(FlushEvery + time.Millisecond) // each on its own
		}
		if err := o.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if written > 16*logged {
			t.Errorf("%d bytes are written for %d that are logged", written, logged)
		}
		if n := len(all(t, o, "x")); n != 1000 {
			t.Errorf("%d lines", n)
		}
		_ = store.Close()
	})
}

type counting struct {
	*faulty
	bytes *int
}

func (c *counting) Append(ctx context.Context, commit core.Commit) (core.Result, error) {
	for _, r := range commit.Records {
		*c.bytes += len(r.Key) + len(r.Value)
	}
	return c.faulty.Append(ctx, commit)
}

// A reader waits for lines of this node and of others, and for a log that begins again.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		a, b := New(store, nil), New(store, nil)
		lane := a.Lane(bound("x"), 0)
		for i, reader := range []*Outputs{a, b, a} {
			request := plugins.LogsRequest{After: uint64(i), Wait: time.Hour}
			var page plugins.LogsPage
			done := make(chan error, 1)
			go func() {
				var err error
				page, err = reader.Read(t.Context(), "x", request)
				done <- err
			}()
			time.Sleep(time.Minute)
			select {
			case err := <-done:
				t.Fatalf("nothing is logged, and Read returns %v", err)
			default:
			}
			lane.Log(abi.Info, []byte("a line"))
			if err := <-done; err != nil || len(page.Lines) != 1 || page.Next != request.After+1 {
				t.Fatalf("read %+v, %v", page, err)
			}
		}
		if err := a.Delete(t.Context(), "x", 3); err != nil {
			t.Fatal(err)
		}
		a.Lane(bound("x"), 0).Log(abi.Info, []byte("of another life"))
		if page, err := b.Read(t.Context(), "x", plugins.LogsRequest{After: 3, Wait: time.Hour}); err != nil || len(page.Lines) != 1 || page.Lines[0].Text != "of another life" {
			t.Errorf("read %+v, %v", page, err)
		}
		if page, err := b.Read(t.Context(), "x", plugins.LogsRequest{After: 1, Wait: time.Second}); err != nil || len(page.Lines) != 0 || page.Next != 1 || !page.End {
			t.Errorf("nothing more comes, and Read returns %+v, %v", page, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Read(ctx, "x", plugins.LogsRequest{After: 1, Wait: time.Hour}); !errors.Is(err, core.CodeCanceled) {
			t.Error(err)
		}
		for _, o := range []*Outputs{a, b} {
			if err := o.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		_ = store.Close()
	})
}

// A binding that was deleted and deployed again has a log of its own, whenever the other is swept.
func TestLogOfADeletedBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, swept := range []string{"before", "after"} {
			store := newStore(t)
			a, b := New(store, nil), New(store, nil) // two nodes
			before := a.Lane(&plugins.Binding{Name: "x", Generations: plugins.Generations{Generation: 3, FirstGeneration: 2}}, 0)
			before.Log(abi.Info, []byte("before"))
			time.Sleep(time.Minute)
			sweep := func() {
				t.Helper()
				if err := a.Delete(t.Context(), "x", 3); err != nil {
					t.Fatal(err)
				}
			}
			if swept == "before" {
				sweep()
			}
			again := b.Lane(&plugins.Binding{Name: "x", Generations: plugins.Generations{Generation: 4, FirstGeneration: 4}}, 0)
			again.Log(abi.Info, []byte("again"))
			time.Sleep(time.Minute)
			before.Log(abi.Info, []byte("too late"))
			time.Sleep(time.Minute)
			if swept == "after" {
				sweep()
			}
			if got := texts(all(t, b, "x")); !slices.Equal(got, []string{"again"}) {
				t.Errorf("swept %s: the log is %q", swept, got)
			}
			if records, err := store.Records(t.Context(), core.RecordsRequest{Table: table, Limit: 10}); err != nil || len(records) != 2 {
				t.Errorf("swept %s: %d records, want an index and a chunk, %v", swept, len(records), err)
			}
			if err := errors.Join(a.Close(t.Context()), b.Close(t.Context()), store.Close()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What is on disk is found by the next process.
func TestLogOnDisk(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		engine, err := disk.Open(t.Context(), disk.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		store := core.NewStore(engine, core.StoreConfig{})
		o := New(store, nil)
		o.Lane(bound("x"), 0).Log(abi.Info, fmt.Appendf(nil, "process %d", i))
		if err := o.Release(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		if got := texts(all(t, o, "x")); len(got) != i+1 || got[i] != fmt.Sprint("process ", i) {
			t.Errorf("process %d reads %q", i, got)
		}
		if err := errors.Join(o.Close(t.Context()), store.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMetrics(t *testing.T) {
	o := New(newStore(t), nil)
	defer func() { _ = o.Close(t.Context()) }()
	zero, one := o.Lane(bound("x"), 0), o.Lane(bound("x"), 1)
	for _, c := range []struct {
		lane  *Lane
		kind  abi.Kind
		name  string
		value float64
		want  abi.Errno
	}{
		{zero, abi.Counter, "seen", 2, abi.OK},
		{one, abi.Counter, "seen", 3, abi.OK},
		{one, abi.Counter, "seen", -1, abi.Invalid},
		{one, abi.Gauge, "seen", 1, abi.Invalid},
		{zero, abi.Gauge, "a gauge, \"named\" freely", 7, abi.OK},
		{one, abi.Gauge, "a gauge, \"named\" freely", 5, abi.OK},
		{zero, abi.Histogram, "took", 0.5, abi.OK},
		{one, abi.Histogram, "took", 1e9, abi.OK},
	} {
		if got := c.lane.Metric(c.kind, []byte(c.name), c.value); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	for i := range abi.MaxSeries - 3 {
		if got := zero.Metric(abi.Counter, fmt.Append(nil, i), 1); got != abi.OK {
			t.Errorf("series %d: %v", i, got)
		}
	}
	if got := zero.Metric(abi.Counter, []byte("one too many"), 1); got != abi.Quota {
		t.Errorf("one series too many: %v", got)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(o)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			key := f.GetName() + " " + m.Label[0].GetValue() + " " + m.Label[1].GetValue()
			got[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	for key, want := range map[string]float64{
		"gyre_plugin_counter_total x seen":              5,
		"gyre_plugin_gauge x a gauge, \"named\" freely": 5,
		"gyre_plugin_histogram x took":                  1e9 + 0.5,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if len(got) != abi.MaxSeries {
		t.Errorf("%d series", len(got))
	}
	if err := o.Release(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if families, err := registry.Gather(); err != nil || len(families) > 0 {
		t.Errorf("after Release: %v, %v", families, err)
	}
}
