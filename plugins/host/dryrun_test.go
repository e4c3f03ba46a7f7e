package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/host"
)

// writes counts what is written.
type writes struct {
	core.Engine
	count atomic.Int64
}

func (w *writes) Commit(ctx context.Context, group []*core.Commit) core.Step {
	w.count.Add(1)
	return w.Engine.Commit(ctx, group)
}

// tables are those that a node with plugins may write.
var tables = []string{
	"plugin_bindings", "plugin_lanes", "plugin_runs", "plugin_generations", "plugin_sweeps", "plugin_traces", "plugin_logs",
	"subscriptions", "subscription_state", "subscription_parked", "subscription_failed", "subscription_replays", "subscription_removals",
	"progress", "held", "state/fold/1",
}

// stored is everything that is stored, as text.
func (n *node) stored() string {
	n.t.Helper()
	var all strings.Builder
	for from := uint64(1); ; {
		page, err := n.store.ReadLog(n.t.Context(), from, core.Limit{Events: core.MaxReadEvents})
		if err != nil {
			n.t.Fatal(err)
		}
		fmt.Fprintf(&all, "%d %x\n", page.Head, page.Block)
		if page.End {
			break
		}
		from = page.Next
	}
	for _, table := range tables {
		records, err := n.store.Records(n.t.Context(), core.RecordsRequest{Table: table, Limit: core.MaxReadEvents})
		if err != nil {
			n.t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %+v\n", table, records)
	}
	return all.String()
}

// atRest has the binding do nothing any more.
func (n *node) atRest(name string) {
	n.t.Helper()
	if _, err := n.host.Pause(n.t.Context(), name); err != nil {
		n.t.Fatal(err)
	}
	n.stop()
	n.start()
}

func (n *node) dryRun(name string, d plugins.DryRun) plugins.DryRunResult {
	n.t.Helper()
	r, err := n.host.DryRun(n.t.Context(), name, d, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// TestDryRunIsWhatIsStored: a dry run of the deployed version over its own history has the outputs
// and the state that are stored, byte by byte, however batches are cut, and writes nothing.
func TestDryRunIsWhatIsStored(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine core.Engine) {
		w := &writes{Engine: engine}
		n := newNode(t, w)
		f := &folder{}
		n.add("fold", "1", foldManifest, f.handle)
		r := rand.New(rand.NewPCG(7, 7))
		var last uint64
		for _, s := range sources(r, 150, types) {
			n.appendOne(s.stream, s.typ, s.id)
		}
		last = n.store.State().Head
		n.deploy("fold", plugins.Deploy{
			Version: "1", Lanes: 3, Grants: []string{"append:out-*", "state"}, Limits: &plugins.Limits{BatchEvents: 7},
			OnError: &plugins.ErrorPolicy{Attempts: 5, MinMs: 1, MaxMs: 5},
		})
		n.await("fold", last)
		n.atRest("fold")
		before, count := n.stored(), w.count.Load()
		result := n.dryRun("fold", plugins.DryRun{Show: plugins.MaxShown, To: last})
		if after := n.stored(); after != before || w.count.Load() != count {
			t.Errorf("the dry run has made %d commits", w.count.Load()-count)
		}
		n.compareOutputs(&result)
		if d := result.Tried.Stored; d == nil || d.Added+d.Changed+d.Removed != 0 || result.Tried.State.Added == 0 {
			t.Errorf("the state differs: %+v", d)
		}
		if result.Events != 150 || result.Ended != "" || result.Tried.Parked == 0 || result.Tried.Failures == 0 || result.Tried.Acked+result.Tried.Parked != 150 {
			t.Errorf("%+v", result)
		}
	})
}

// compareOutputs compares outputs with what was appended.
func (n *node) compareOutputs(r *plugins.DryRunResult) {
	n.t.Helper()
	got := map[string][]string{}
	for _, o := range r.Tried.Outputs.First {
		got[o.Stream] = append(got[o.Stream], fmt.Sprintf("%s %s %s %s", o.ID, o.Type, o.Value, o.Metadata))
	}
	want := map[string][]string{}
	total := 0
	for _, e := range n.events(core.All) {
		if strings.HasPrefix(e.Stream, "out-") {
			want[e.Stream] = append(want[e.Stream], fmt.Sprintf("%s %s %s %s", e.ID, e.Type, e.Data, e.Metadata))
			total++
		}
	}
	if !maps.EqualFunc(got, want, slices.Equal[[]string]) || r.Tried.Outputs.Count != total || total == 0 {
		n.t.Errorf("%d outputs, %d are stored:\n%v\n%v", r.Tried.Outputs.Count, total, got, want)
	}
	sum := 0
	for _, b := range r.Tried.Outputs.Buckets {
		sum += b
	}
	if sum != total || len(r.Tried.Outputs.Buckets) > plugins.DryRunBuckets {
		n.t.Errorf("the buckets are %v of %d outputs", r.Tried.Outputs.Buckets, total)
	}
}

func (n *node) appendOne(stream, typ string, id core.ID) {
	n.t.Helper()
	c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: id, Type: typ, Data: []byte(`{}`)}}}}}
	if _, err := n.store.Append(n.t.Context(), c); err != nil {
		n.t.Fatal(err)
	}
}

// tryNode has 40 events of type A that counter has handled.
func tryNode(t *testing.T) *node {
	n := newNode(t, memory.New())
	n.add("counter", "1", counterManifest, counter)
	n.append("A", 40, 3)
	n.deploy("counter", plugins.Deploy{Version: "1", Grants: counterGrants, AllowLoops: new(true)})
	n.await("counter", 44)
	return n
}

func TestDryRunStates(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	for name, c := range map[string]struct {
		plugins.DryRun
		outputs int
		first   string // change of state, in JSON
		stored  string
	}{
		"empty":  {plugins.DryRun{From: 11, To: 40}, 3, `{"lane":0,"key":"A","after":{"value":30}}`, `{"lane":0,"key":"A","before":{"value":40},"after":{"value":30}}`},
		"count":  {plugins.DryRun{From: 11, Count: 20}, 2, `{"lane":0,"key":"A","after":{"value":20}}`, `{"lane":0,"key":"A","before":{"value":40},"after":{"value":20}}`},
		"now":    {plugins.DryRun{From: 31, State: plugins.StoredState, To: 40}, 1, `{"lane":0,"key":"A","before":{"value":40},"after":{"value":50}}`, `{"lane":0,"key":"A","before":{"value":40},"after":{"value":50}}`},
		"before": {plugins.DryRun{From: 31, State: plugins.StateBefore}, 1, `{"lane":0,"key":"A","before":{"value":30},"after":{"value":40}}`, ""},
	} {
		r := n.dryRun("counter", c.DryRun)
		text, err := json.Marshal(r.Tried.State.First)
		if err != nil || string(text) != "["+c.first+"]" || r.Tried.Outputs.Count != c.outputs {
			t.Errorf("%s: %d outputs, state %s, %v", name, r.Tried.Outputs.Count, text, err)
		}
		if text, err = json.Marshal(r.Tried.Stored.First); err != nil || string(text) != "["+c.stored+"]" {
			t.Errorf("%s: beside what is stored %s, %v", name, text, err)
		}
	}
}

func TestDryRunComparesVersions(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	n.add("counter", "2", counterManifest, func(c *call) error {
		if c.Position == 5 {
			return c.park("five")
		}
		if c.Position == 7 {
			return c.errno(c.Effects.Result(c.index, abi.Skip, 0, nil))
		}
		return counter(c)
	})
	r := n.dryRun("counter", plugins.DryRun{Version: "2", Against: "1", To: 40})
	d := r.Differences
	if d == nil || d.Fates != 2 || d.Events != 36 || d.Outputs != 7 || d.First[0].Position != 5 || d.First[0].Tried.Reason != "five" || d.First[0].Against.Fate != plugins.Acked {
		t.Fatalf("%+v", d)
	}
	if d.State.Changed != 1 || string(d.State.First[0].Before.Value) != "40" || string(d.State.First[0].After.Value) != "38" || r.Against.Acked != 40 || r.Tried.Parked != 1 || r.Tried.Skipped != 1 {
		t.Errorf("%+v", r)
	}
	if same := n.dryRun("counter", plugins.DryRun{Version: "1", Against: "1"}).Differences; same.Events != 0 || same.State.Changed != 0 {
		t.Errorf("a version differs from itself: %+v", same)
	}
}

// TestDryRunWithoutABinding runs a version as its manifest asks.
func TestDryRunWithoutABinding(t *testing.T) {
	t.Parallel()
	n := newNode(t, memory.New())
	m := copierManifest
	m.Capabilities = []string{"append:copies", "state"}
	n.add("copier", "1", m, copier)
	n.append("Good", 5, 2)
	n.append("Bad", 1, 1)
	r := n.dryRun("copier", plugins.DryRun{Version: "1"})
	if r.Tried.Outputs.Count != 5 || r.Tried.Parked != 1 || r.Tried.Failed[0].Reason != "it is bad" || r.Tried.Stored != nil {
		t.Errorf("%+v", r)
	}
	refused := errors.New("no")
	if _, err := n.host.DryRun(t.Context(), "copier", plugins.DryRun{Version: "1", Admit: func(*plugins.Binding) error { return refused }}, nil); !errors.Is(err, refused) {
		t.Errorf("not admitted: %v", err)
	}
}

func TestDryRunEnds(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	n.add("counter", "stops", counterManifest, func(c *call) error {
		if c.Position == 30 {
			return errStop
		}
		return counter(c)
	})
	r := n.dryRun("counter", plugins.DryRun{Version: "stops"})
	if r.Ended != "event 30 stopped it: the handler asked to stop" || r.Tried.Acked != 29 || r.Tried.Failed[0].Parked {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n.add("counter", "waits", counterManifest, func(c *call) error {
		cancel()
		<-c.ctx.Done()
		return c.ctx.Err()
	})
	if _, err := n.host.DryRun(ctx, "counter", plugins.DryRun{Version: "waits"}, nil); !errors.Is(err, core.CodeCanceled) {
		t.Errorf("its client is gone: %v", err)
	}
	n.add("counter", "large", counterManifest, func(c *call) error {
		for i := range 12 {
			if err := c.errno(c.Effects.Put(c.index, fmt.Appendf(nil, "%d-%d", c.Position, i), make([]byte, abi.MaxValueBytes))); err != nil {
				return err
			}
		}
		return nil
	})
	n.append("A", 20, 3)
	if _, err := n.host.DryRun(t.Context(), "counter", plugins.DryRun{Version: "large"}, nil); !errors.Is(err, core.CodeDryRunTooLarge) {
		t.Errorf("a large state: %v", err)
	}
}

func TestDryRunRefusals(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	n.add("slow", "1", counterManifest, func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() })
	n.add("broken", "1", counterManifest, counter)
	n.breakVersion("broken@1", core.Errorf(core.CodeInvalidModule, "it is broken"))
	n.add("rules", "1", plugins.Manifest{Kind: plugins.KindValidate, Subscription: plugins.Input{Filter: subscriptions.Filter{Streams: []string{"*"}}}}, counter)
	for name, c := range map[string]struct {
		binding string
		plugins.DryRun
		want core.Code
	}{
		"no version":          {"counter", plugins.DryRun{Version: "9"}, core.CodeVersionNotFound},
		"no plugin":           {"nothing", plugins.DryRun{Version: "1"}, core.CodeVersionNotFound},
		"no version is named": {"slow", plugins.DryRun{}, core.CodeInvalidRequest},
		"behind the end":      {"counter", plugins.DryRun{From: 1000}, core.CodeInvalidDryRunRange},
		"to behind the end":   {"counter", plugins.DryRun{To: 1000}, core.CodeInvalidDryRunRange},
		"the wrong way":       {"counter", plugins.DryRun{From: 9, To: 8}, core.CodeInvalidDryRunRange},
		"many":                {"counter", plugins.DryRun{Count: plugins.MaxDryRunEvents + 1}, core.CodeInvalidRequest},
		"a state of its own":  {"counter", plugins.DryRun{State: "mine"}, core.CodeInvalidRequest},
		"much to show":        {"counter", plugins.DryRun{Show: plugins.MaxShown + 1}, core.CodeInvalidRequest},
		"no state":            {"slow", plugins.DryRun{Version: "1", State: plugins.StoredState}, core.CodeBindingNotFound},
		"broken":              {"broken", plugins.DryRun{Version: "1"}, core.CodeInvalidModule},
		"a validator":         {"rules", plugins.DryRun{Version: "1"}, core.CodeInvalidRequest},
	} {
		if _, err := n.host.DryRun(t.Context(), c.binding, c.DryRun, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	empty := newNode(t, memory.New())
	empty.add("counter", "1", counterManifest, counter)
	if _, err := empty.host.DryRun(t.Context(), "counter", plugins.DryRun{Version: "1"}, nil); !errors.Is(err, core.CodeInvalidDryRunRange) {
		t.Errorf("an empty log: %v", err)
	}
}

// lateStore is the Store of a node that has not heard yet what others have written.
type lateStore struct {
	*core.Store
	known core.State
}

// State is subscriptions.Store.State.
func (s lateStore) State() core.State { return s.known }

// TestDryRunOfWhatOthersWrote: the range ends where the log does, whatever the node has heard of it.
func TestDryRunOfWhatOthersWrote(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	n.stop()
	n.configure = func(c *host.Config) { c.Store = lateStore{n.store, n.store.State()} }
	n.start()
	n.append("A", 1, 1)
	head := n.store.State().Head
	if r := n.dryRun("counter", plugins.DryRun{}); r.To != head {
		t.Errorf("the run ends at %d, the log at %d", r.To, head)
	}
	if r := n.dryRun("counter", plugins.DryRun{From: head, To: head}); r.Events != 1 {
		t.Errorf("of the last event: %+v", r)
	}
}

// TestDryRunsAreFew: a third one at a time is refused, and Close ends them.
func TestDryRunsAreFew(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	begun := make(chan struct{}, 2)
	n.add("counter", "waits", counterManifest, func(c *call) error {
		begun <- struct{}{}
		<-c.ctx.Done()
		return c.ctx.Err()
	})
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := n.host.DryRun(context.Background(), "counter", plugins.DryRun{Version: "waits"}, nil)
			ended <- err
		}()
	}
	<-begun
	<-begun
	if _, err := n.host.DryRun(t.Context(), "counter", plugins.DryRun{}, nil); !errors.Is(err, core.CodeTooManyDryRuns) {
		t.Errorf("a third: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := n.host.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, core.CodeCanceled) {
			t.Errorf("the host was closed: %v", err)
		}
	}
}

// TestDryRunShowsProgress runs over many events.
func TestDryRunShowsProgress(t *testing.T) {
	t.Parallel()
	n := newNode(t, memory.New())
	n.add("p", "1", plugins.Manifest{Subscription: plugins.Input{Filter: subscriptions.Filter{Types: []string{"A"}}}}, func(*call) error { return nil })
	for range 5 {
		n.append("A", 1000, 3)
		n.append("B", 100, 3)
	}
	var shown []plugins.DryRunProgress
	r, err := n.host.DryRun(t.Context(), "p", plugins.DryRun{Version: "1"}, func(p plugins.DryRunProgress) { shown = append(shown, p) })
	if err != nil || r.Events != 5000 || len(shown) == 0 || shown[0].To != 5500 || shown[0].Events == 0 {
		t.Errorf("%+v, %+v, %v", r, shown, err)
	}
}

// TestDryRunYields: while a binding has a batch, a dry run waits before each of its own, and ends
// all the same.
func TestDryRunYields(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	begun, end := make(chan struct{}, 1), make(chan struct{})
	n.add("busy", "1", plugins.Manifest{Subscription: plugins.Input{Stream: "s-0"}}, func(*call) error {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-end
		return nil
	})
	n.deploy("busy", plugins.Deploy{Version: "1"})
	<-begun
	defer close(end)
	n.deploy("counter", plugins.Deploy{Limits: &plugins.Limits{BatchEvents: 4}})
	began := time.Now()
	r := n.dryRun("counter", plugins.DryRun{To: 40})
	if took := time.Since(began); r.Tried.Batches != 10 || took < 10*10*time.Millisecond {
		t.Errorf("%d batches beside a busy binding took %s", r.Tried.Batches, took)
	}
}
