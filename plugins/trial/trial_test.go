package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// program is a handler in Go of one event.
type program func(c plugins.Connection, i int, e *abi.Event) error

func (p program) New(_ context.Context, c plugins.Connection) (plugins.Handler, error) {
	return &handler{p, c}, nil
}

func (program) Close() error { return nil }

type handler struct {
	program
	plugins.Connection
}

func (h *handler) Handle(_ context.Context, batch []byte) (abi.Verdict, int64, error) {
	b, err := abi.OpenBatch(batch)
	if err != nil {
		return 0, 0, err
	}
	var e abi.Event
	for i := 0; ; i++ {
		if ok, err := b.Next(&e); !ok {
			return abi.Done, int64(i), err
		}
		if err := h.program(h.Connection, i, &e); err != nil {
			return 0, int64(i), err
		}
	}
}

func (*handler) MemoryBytes() int64 { return 1 << 10 }
func (*handler) Close()             {}

// errno is the error of an answer.
func errno(e abi.Errno) error {
	if e != abi.OK {
		return &plugins.Failure{Reason: e.Error()}
	}
	return nil
}

// fold appends what its state has counted of a stream. Its types say how events fail.
func fold(c plugins.Connection, i int, e *abi.Event) error {
	c.Effects.Begin(i)
	switch typ := string(e.Type); {
	case typ == "Crash", typ == "Flaky" && e.Attempt < 3:
		return &plugins.Failure{Reason: "crashed"}
	case typ == "Retry" && e.Attempt < 2:
		return errno(c.Effects.Result(i, abi.Retry, 0, []byte("later")))
	case typ == "Park":
		return errno(c.Effects.Result(i, abi.Park, 0, []byte("no")))
	case typ == "Skip":
		return errno(c.Effects.Result(i, abi.Skip, 0, nil))
	}
	count, _ := c.Reads.Get(e.Stream)
	count = append(slices.Clone(count), '|')
	out, err := abi.AppendEvent(nil, &abi.Appended{Type: []byte("Out"), Data: fmt.Appendf(nil, "%d", len(count))})
	if err != nil {
		return err
	}
	c.Output.Log(abi.Info, []byte("counted"))
	return errors.Join(errno(c.Effects.Put(i, e.Stream, count)), errno(c.Effects.Append(i, append([]byte("out-"), e.Stream...), -1, out)))
}

func item(position uint64, stream, typ string) delivery.Item {
	p := core.Placement{Stream: stream, Version: position, Position: position, Recorded: int64(position), ID: core.ID{byte(position), byte(position >> 8)}}
	return delivery.Item{Position: position, Key: stream, Raw: core.EncodeEvent(nil, p, &core.NewEvent{Type: typ, Data: []byte("{}")})}
}

func bindingOf(lanes, batch int) *plugins.Binding {
	b := plugins.Binding{
		Name: "fold", Version: "1", Kind: plugins.KindHandler, Generations: plugins.Generations{Generation: 1}, Lanes: lanes,
		Input: plugins.Input{Stream: "in"}, Grants: []string{"append:*", "state"}, Limits: plugins.DefaultLimits(), OnError: plugins.DefaultErrorPolicy(),
	}
	b.Limits.BatchEvents = batch
	return &b
}

// run runs fold over events that are given so many at a time.
func run(t interface {
	Fatal(...any)
	Context() context.Context
}, lanes, batch, piece int, events []delivery.Item) plugins.Trial {
	v := New(Config{Binding: bindingOf(lanes, batch), Program: program(fold), Show: plugins.MaxShown, From: 1})
	defer v.Close()
	for part := range slices.Chunk(events, piece) {
		if err := v.Handle(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := v.Result(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLinesHaveTheirEvents: a line has the position of the event that was begun before it.
func TestLinesHaveTheirEvents(t *testing.T) {
	r := run(t, 1, 3, 3, []delivery.Item{item(4, "a", "A"), item(6, "b", "Skip"), item(9, "a", "A")})
	if l := r.Logs.First; len(l) != 2 || l[0].Position != 4 || l[1].Position != 9 || r.Batches != 1 {
		t.Errorf("%d batches, %+v", r.Batches, l)
	}
}

// TestCutsDoNotMatter: outputs and state are the same however events are read and batches are cut.
func TestCutsDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, 3).Draw(t, "lanes")
		var events []delivery.Item
		for i, typ := range rapid.SliceOfN(rapid.SampledFrom([]string{"A", "A", "A", "Crash", "Flaky", "Retry", "Park", "Skip"}), 1, 60).Draw(t, "types") {
			events = append(events, item(uint64(i+1), fmt.Sprint("s", i%4), typ))
		}
		shown := func(r plugins.Trial) string {
			r.Batches, r.Fuel, r.MaxFuel, r.Seconds, r.MemoryBytes, r.Logs = 0, 0, 0, 0, 0, plugins.LoggedLines{}
			slices.SortFunc(r.Outputs.First, func(a, b plugins.OutputEvent) int { return int(a.Source) - int(b.Source) })
			slices.SortFunc(r.Failed, func(a, b plugins.FailedTry) int { return int(a.Position) - int(b.Position) })
			for i := range r.Failed {
				r.Failed[i].Stack = ""
			}
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		want := shown(run(t, lanes, 1, 1, events))
		got := shown(run(t, lanes, rapid.IntRange(1, 20).Draw(t, "batch"), rapid.IntRange(1, 60).Draw(t, "piece"), events))
		if got != want {
			t.Fatalf("cut otherwise it is\n%s\nand one by one\n%s", got, want)
		}
	})
}

func TestBatchesAreCutByTheLimits(t *testing.T) {
	var events []delivery.Item
	for i := range uint64(200) {
		events = append(events, item(i+1, "s", "A"))
	}
	r := run(t, 1, 64, 33, events)
	if r.Batches != 4 || r.Acked != 200 || r.Fuel != 200 || r.MaxFuel != 64 || r.Logs.Count != 200 || r.StateBytes != 201 || r.MemoryBytes != 1<<10 {
		t.Errorf("%+v", r)
	}
	if len(r.Outputs.Buckets) != 50 || r.Outputs.BucketSize != 4 || r.Outputs.Buckets[0] != 4 || r.Outputs.Count != 200 {
		t.Errorf("%+v", r.Outputs)
	}
	if streams := r.Outputs.Streams; len(streams.Names) != 1 || streams.Names[0] != (plugins.Counted{Name: "out-s", Count: 200}) {
		t.Errorf("%+v", streams)
	}
}

// TestPolicies: what an error policy says, and a strict run, end a version.
func TestPolicies(t *testing.T) {
	stop, strict := bindingOf(1, 10), bindingOf(1, 10)
	stop.OnError.Then = plugins.ThenStop
	for name, c := range map[string]struct {
		binding *plugins.Binding
		strict  bool
		typ     string
		ends    bool
	}{
		"stops":                    {stop, false, "Crash", true},
		"is parked by the handler": {stop, false, "Park", false},
		"recovers":                 {stop, false, "Flaky", false},
		"crashes, strictly":        {strict, true, "Crash", true},
		"is retried, strictly":     {strict, true, "Retry", true},
		"is parked, strictly":      {strict, true, "Park", false},
	} {
		v := New(Config{Binding: c.binding, Program: program(fold), Strict: c.strict})
		err := v.Handle(t.Context(), []delivery.Item{item(1, "s", "A"), item(2, "s", c.typ), item(3, "s", "A")})
		if err == nil {
			err = v.Flush(t.Context())
		}
		stopped, ended := errors.AsType[*Stopped](err)
		if ended != c.ends || err != nil && !ended || ended && stopped.Event.Position != 2 {
			t.Errorf("an event that %s: %v", name, err)
		}
		if got := maps.Collect(v.State().Lane(0)); len(got["s"]) == 0 {
			t.Errorf("an event that %s: the state is %v", name, got)
		}
		v.Close()
	}
}

// TestListsAreBounded: what is listed has bounds in number and bytes, and names have one, too.
func TestListsAreBounded(t *testing.T) {
	r := newRoom(3)
	if !r.take(1) || !r.take(maxListedBytes-1) || r.take(1) || r.take(0) {
		t.Error("a list is not bounded by bytes")
	}
	n := names{}
	for i := range plugins.MaxNames + 5 {
		n.count(fmt.Sprint("name", i), 1)
	}
	n.count("name7", 3)
	tally := n.tally()
	if len(tally.Names) != plugins.MaxTally || tally.Names[0] != (plugins.Counted{Name: "name7", Count: 4}) || tally.Others != plugins.MaxNames+5+3-4-(plugins.MaxTally-1) {
		t.Errorf("%d names, the first %v, others %d", len(tally.Names), tally.Names[0], tally.Others)
	}
}

// TestStatePages compares pages of State with what they should be.
func TestStatePages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[ab]{1,3}`)
		s, want := NewState(1), map[string]string{}
		for _, k := range rapid.SliceOf(key).Draw(t, "keys") {
			v := effects.Value{Bytes: []byte(k + "!"), OK: rapid.Bool().Draw(t, "put")}
			if err := s.Set(0, k, v); err != nil {
				t.Fatal(err)
			}
			if delete(want, k); v.OK {
				want[k] = k + "!"
			}
		}
		prefix, after := rapid.StringMatching(`[ab]{0,2}`).Draw(t, "prefix"), rapid.StringMatching(`[ab]{0,3}`).Draw(t, "after")
		var got, keys []string
		for _, e := range s.page(0, prefix, after) {
			got = append(got, e.Key)
		}
		size := 0
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if size += len(k) + len(want[k]); strings.HasPrefix(k, prefix) && k > after {
				keys = append(keys, k)
			}
		}
		if !slices.Equal(got, keys) || s.Bytes() != int64(size) {
			t.Fatalf("prefix %q after %q: %v, want %v; %d bytes, want %d", prefix, after, got, keys, s.Bytes(), size)
		}
	})
}

func TestDiff(t *testing.T) {
	before, after := NewState(2), NewState(2)
	for _, s := range []struct {
		*State
		lane       int
		key, value string
	}{{before, 0, "a", "1"}, {before, 0, "b", "2"}, {before, 1, "c", "3"}, {after, 0, "b", "2"}, {after, 0, "d", `"x"`}, {after, 1, "c", "\xff"}} {
		if err := s.Set(s.lane, s.key, effects.Value{Bytes: []byte(s.value), OK: true}); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Diff(t.Context(), 2, before.Pages, after.Pages, 2)
	text, _ := json.Marshal(d)
	want := `{"added":1,"changed":1,"removed":1,"first":[{"lane":0,"key":"a","before":{"value":1}},{"lane":0,"key":"d","after":{"value":"x"}}]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
	if d, err = Diff(t.Context(), 2, before.Pages, after.Pages, 3); err != nil || string(d.First[2].After.Base64) != "\xff" {
		t.Errorf("%+v, %v", d, err)
	}
}
