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
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// shadow has a version run in the shadow of a binding's, and waits until it does.
func (n *node) shadow(name, version string) {
	n.t.Helper()
	if _, err := n.host.Shadow(n.t.Context(), name, plugins.Shadow{Version: version}); err != nil {
		n.t.Fatal(err)
	}
	n.awaitStatus(name, "runs with its shadow", func(s *plugins.Status) bool {
		return s.Shadow != nil && s.State == plugins.Running && s.Shadow.Version == version
	})
	n.awaitShadow(name)
}

// awaitShadow waits until the shadow is given batches.
func (n *node) awaitShadow(name string) {
	n.t.Helper()
	for by := time.Now().Add(30 * time.Second); !n.host.ShadowIsReady(name); time.Sleep(time.Millisecond) {
		if time.Now().After(by) {
			n.t.Fatalf("the shadow of binding %q is not ready", name)
		}
	}
}

func (n *node) differences(name string) plugins.ShadowReport {
	n.t.Helper()
	r, err := n.host.Differences(n.t.Context(), name, plugins.ShadowRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// hostile are handlers of candidates, each of which fails in its way.
var hostile = map[string]func(f *folder) handle{
	"the same": func(f *folder) handle { return f.handle },
	"crashes":  func(*folder) handle { return func(*call) error { return &plugins.Failure{Reason: "crashed"} } },
	"panics":   func(*folder) handle { return func(*call) error { panic("oh") } },
	"stops":    func(*folder) handle { return func(*call) error { return errStop } },
	"loops":    func(*folder) handle { return func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() } },
	"other writes": func(f *folder) handle {
		return func(c *call) error {
			if err := c.put("mine-"+string(c.Stream), fmt.Sprint(c.Position)); err != nil {
				return err
			}
			if err := c.errno(c.Effects.Delete(c.index, []byte("count-"+string(c.Stream)))); err != nil {
				return err
			}
			return c.append("out-of-bounds", -1, "Other", "1")
		}
	},
}

// TestShadowWritesNothing: whatever a version does in the shadow, the log, the state and the lanes
// are what they are without it.
func TestShadowWritesNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine core.Engine) {
		n := newNode(t, engine)
		events := sources(rand.New(rand.NewPCG(3, 3)), 60, types)
		run := func(name string, shadow handle) (all []string) {
			f := &folder{}
			n.add(name, "1", plugins.Manifest{Subscription: plugins.Input{Filter: subscriptions.Filter{Streams: []string{name + "-s-*"}}, PartitionBy: subscriptions.ByStream}}, f.handle)
			n.deploy(name, plugins.Deploy{
				Version: "1", Lanes: 2, Grants: []string{"append:out-*", "state"}, Limits: &plugins.Limits{BatchEvents: 7, TimeMs: 20, InitMs: 20},
				OnError: &plugins.ErrorPolicy{Attempts: 3, MinMs: 1, MaxMs: 5},
			})
			if shadow != nil {
				n.add(name, "2", n.version(name, "1"), shadow)
				n.shadow(name, "2")
			}
			head := n.store.State().Head
			for _, s := range events {
				n.appendOne(name+"-"+s.stream, s.typ, core.NewID())
			}
			last := n.store.State().Head
			n.await(name, last)
			total := 0
			for _, e := range n.events(core.All) {
				if strings.HasPrefix(e.Stream, "out-"+name) {
					total++
					all = append(all, strings.ReplaceAll(fmt.Sprintf("%s %d %s %s", e.Stream, e.Version, e.Type, e.Data), name, "NAME"))
				}
			}
			if now := n.store.State().Head; now != head+uint64(len(events)+total) {
				t.Errorf("%s: the head went from %d to %d with %d events and %d outputs", name, head, now, len(events), total)
			}
			slices.Sort(all)
			for lane := range 2 {
				state := n.state(name, lane)
				for _, key := range slices.Sorted(maps.Keys(state)) {
					all = append(all, strings.ReplaceAll(fmt.Sprintf("%d %s=%s", lane, key, state[key]), name, "NAME"))
				}
			}
			for _, l := range n.await(name, last).LaneStatus {
				all = append(all, fmt.Sprintf("%+v", l.Attempts))
			}
			return all
		}
		want := run("none", nil)
		for i, name := range slices.Sorted(maps.Keys(hostile)) {
			if got := run(fmt.Sprintf("p%d", i), hostile[name](&folder{})); !slices.Equal(sortedLanes(got), sortedLanes(want)) {
				t.Errorf("beside one that %s it is\n%s\nand without it\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

// sortedLanes are lines without the numbers of lanes, which depend on the names of streams.
func sortedLanes(lines []string) (out []string) {
	for _, l := range lines {
		out = append(out, strings.TrimPrefix(strings.TrimPrefix(l, "0 "), "1 "))
	}
	slices.Sort(out)
	return slices.DeleteFunc(out, func(l string) bool { return strings.HasPrefix(l, "total=") })
}

// TestShadowIsADryRun: a shadow that ran from the start has found what a dry run finds.
func TestShadowIsADryRun(t *testing.T) {
	t.Parallel()
	n := newNode(t, memory.New())
	first, second := &folder{}, &folder{}
	n.add("fold", "1", foldManifest, first.handle)
	n.add("fold", "2", foldManifest, func(c *call) error {
		switch {
		case string(c.Type) == "Quiet":
			return c.errno(c.Effects.Result(c.index, abi.Skip, 0, nil))
		case string(c.Type) == "Bad":
			return c.append("out-"+string(c.Stream), -1, "NotBad", "1")
		case c.Position%11 == 0:
			return &plugins.Failure{Reason: "crashed"}
		}
		return second.handle(c)
	})
	n.deploy("fold", plugins.Deploy{
		Version: "1", Lanes: 2, Grants: []string{"append:out-*", "state"}, Limits: &plugins.Limits{BatchEvents: 5},
		OnError: &plugins.ErrorPolicy{Attempts: 4, MinMs: 1, MaxMs: 2},
	})
	n.shadow("fold", "2")
	for _, s := range sources(rand.New(rand.NewPCG(5, 5)), 120, types) {
		n.appendOne(s.stream, s.typ, s.id)
	}
	last := n.store.State().Head
	n.await("fold", last)
	got := n.differences("fold")
	want := n.dryRun("fold", plugins.DryRun{Version: "2", Against: "1", To: last, Show: plugins.MaxShown}).Differences
	s := got.Shadow
	if s.Events != 120 || s.Dropped != 0 || s.Ended != "" || int(s.Differ) != want.Events || int(s.Outputs) != want.Outputs || int(s.Writes) != want.Writes || int(s.Fates) != want.Fates || want.Events == 0 {
		t.Errorf("%+v\na dry run has %d events, %d outputs, %d writes, %d fates", s, want.Events, want.Outputs, want.Writes, want.Fates)
	}
	text := func(d plugins.Difference) string {
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	byPosition := map[uint64]string{}
	for _, d := range got.Differences {
		byPosition[d.Position] = text(d.Difference)
	}
	for _, d := range want.First {
		if byPosition[d.Position] != text(d) {
			t.Errorf("event %d: the shadow has\n%s\na dry run\n%s", d.Position, byPosition[d.Position], text(d))
		}
	}
	if two, err := n.host.Differences(t.Context(), "fold", plugins.ShadowRequest{Before: 5, Limit: 2}); err != nil || len(two.Differences) != 2 || two.Differences[0].Seq != 3 {
		t.Errorf("%+v, %v", two.Differences, err)
	}
	if s.OverlayBytes == 0 || s.Fuel == 0 {
		t.Errorf("%+v", s)
	}
}

// TestShadowUnderFaults: the same code in the shadow does the same, through Commits that are lost,
// late or made unseen, kills and retries.
func TestShadowUnderFaults(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 12; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 9))
			f := &folder{}
			w := newWorld(t, f.library(), 0)
			defer w.close()
			d := plugins.Deploy{
				Version: "1", Lanes: 2, Grants: []string{"append:out-*", "state"}, Limits: &plugins.Limits{BatchEvents: 3},
				OnError: &plugins.ErrorPolicy{Attempts: 1000, MinMs: 1, MaxMs: 50},
			}
			for what, do := range map[string]func(*process) error{
				"deploy": func(p *process) error { _, err := p.host.Deploy(context.Background(), "fold", d); return err },
			} {
				if problem := w.retry(what, do); problem != "" {
					t.Fatal(problem)
				}
			}
			if problem := w.retry("shadow", func(p *process) error {
				_, err := p.host.Shadow(context.Background(), "fold", plugins.Shadow{Version: "2"})
				return err
			}); problem != "" {
				t.Fatal(problem)
			}
			w.have(fates(r.Uint64()))
			look := func() {
				if s, err := w.now.host.Differences(context.Background(), "fold", plugins.ShadowRequest{}); err == nil && s.Shadow.Differ > 0 {
					t.Fatalf("the same code differs: %+v", s.Differences)
				}
			}
			kinds := slices.DeleteFunc(slices.Clone(types), func(k string) bool { return k == "Stubborn" })
			parked := 0
			for range 8 {
				events := sources(r, 1+r.IntN(12), kinds)
				for _, e := range events {
					if e.typ == "Bad" {
						parked++
					}
				}
				w.append(events)
				time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
				w.restart()
				look()
			}
			w.have(nil)
			if problem := w.drained("fold", parked); problem != "" {
				t.Fatal(problem)
			}
			look()
			w.append(sources(r, 20, []string{"Plain", "Double", "Exact", "Flaky"}))
			if problem := w.drained("fold", parked); problem != "" {
				t.Fatal(problem)
			}
			look()
			if s, err := w.now.host.Differences(context.Background(), "fold", plugins.ShadowRequest{}); err != nil || s.Shadow.Events+s.Shadow.Dropped == 0 || s.Shadow.OverlayBytes != 0 {
				t.Errorf("%+v, %v", s.Shadow, err)
			}
		})
	}
}

// TestShadowGoesBack: what a Commit was not made for is not in the state of the shadow.
func TestShadowGoesBack(t *testing.T) {
	t.Parallel()
	f := &folder{}
	lib := newLibrary()
	lib.add("fold", "1", foldManifest, f.handle)
	lib.add("fold", "2", foldManifest, func(c *call) error {
		if _, err := c.count("mine"); err != nil {
			return err
		}
		return f.handle(c)
	})
	w := newWorld(t, lib, 0)
	defer w.close()
	ctx := t.Context()
	if _, err := w.now.host.Deploy(ctx, "fold", plugins.Deploy{Version: "1", Grants: []string{"append:out-*", "state"}, Limits: &plugins.Limits{BatchEvents: 2}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.now.host.Shadow(ctx, "fold", plugins.Shadow{Version: "2"}); err != nil {
		t.Fatal(err)
	}
	for !w.now.host.ShadowIsReady("fold") {
		time.Sleep(time.Millisecond)
	}
	r := rand.New(rand.NewPCG(4, 4))
	faults := rand.New(rand.NewPCG(5, 5))
	w.have(func(c *core.Commit) (fate, time.Duration) {
		if laneOf(c) != "" && faults.IntN(4) == 0 {
			return lost, 0
		}
		return fine, time.Millisecond
	})
	for range 5 {
		w.append(sources(r, 8, []string{"Plain", "Quiet", "Double"}))
	}
	if problem := w.drained("fold", 0); problem != "" {
		t.Fatal(problem)
	}
	w.have(nil)
	report, err := w.now.host.Differences(ctx, "fold", plugins.ShadowRequest{Limit: 1})
	if err != nil || report.Shadow.Events != 40 || report.Shadow.Differ != 40 || report.Shadow.Outputs != 0 || w.deep.Load() == 0 {
		t.Fatalf("%+v, %v, %d deep faults", report.Shadow, err, w.deep.Load())
	}
	for _, write := range report.Differences[0].Tried.Writes {
		if write.Key == "mine" && string(write.Value) != "40" {
			t.Errorf("behind 40 events the shadow has counted %s", write.Value)
		}
	}
}

// TestShadowSwitch: the version in the shadow becomes the one that runs, with the state that is
// stored, and a rollback goes back.
func TestShadowSwitch(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	n.add("counter", "2", counterManifest, func(c *call) error {
		if err := c.put("two", "2"); err != nil {
			return err
		}
		return counter(c)
	})
	n.shadow("counter", "2")
	n.append("A", 5, 1)
	n.await("counter", n.store.State().Head)
	r := n.differences("counter")
	if r.Shadow.Differ != 5 || r.Version != "1" || r.Shadow.Version != "2" || r.Shadow.Since != 44 {
		t.Errorf("%+v", r.Shadow)
	}
	s, err := n.host.Switch(t.Context(), "counter")
	if err != nil || s.Version != "2" || s.Shadow != nil || s.Generation != 1 || s.Previous != "1" {
		t.Fatalf("%+v, %v", s, err)
	}
	n.append("A", 1, 1)
	n.await("counter", n.store.State().Head)
	if got := n.state("counter", 0); !maps.Equal(got, map[string]string{"A": "46", "two": "2"}) {
		t.Errorf("the state is %v", got)
	}
	if s, err = n.host.Rollback(t.Context(), "counter", plugins.Rollback{}); err != nil || s.Version != "1" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := n.host.Switch(t.Context(), "counter"); !errors.Is(err, core.CodeNoRebuild) {
		t.Errorf("a switch to nothing: %v", err)
	}
}

// TestShadowEnds: of itself, when its state has become another, and when somebody ends it.
func TestShadowEnds(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	n.add("counter", "large", counterManifest, func(c *call) error {
		for i := range 4 {
			if err := c.errno(c.Effects.Put(c.index, fmt.Appendf(nil, "%d-%d", c.Position, i), make([]byte, abi.MaxValueBytes))); err != nil {
				return err
			}
		}
		return nil
	})
	n.shadow("counter", "large")
	for range 40 {
		n.append("A", 1, 1)
		n.await("counter", n.store.State().Head)
	}
	s := n.awaitStatus("counter", "has ended its shadow", func(s *plugins.Status) bool { return s.Shadow != nil && s.Shadow.Ended != "" })
	if !strings.Contains(s.Shadow.Ended, "by more than 16777216 bytes") || s.State != plugins.Running {
		t.Errorf("%+v", s.Shadow)
	}
	if s, err := n.host.EndShadow(t.Context(), "counter"); err != nil || s.Shadow != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := n.host.EndShadow(t.Context(), "counter"); !errors.Is(err, core.CodeShadowNotFound) {
		t.Errorf("ended again: %v", err)
	}
	if _, err := n.host.Differences(t.Context(), "counter", plugins.ShadowRequest{}); !errors.Is(err, core.CodeShadowNotFound) {
		t.Errorf("the differences of none: %v", err)
	}
}

// TestSlowShadow: one that takes too long is dropped from batches, each time from more.
func TestSlowShadow(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	n.deploy("counter", plugins.Deploy{Limits: &plugins.Limits{TimeMs: 10, InitMs: 10, BatchEvents: 1}})
	n.add("counter", "loops", counterManifest, func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() })
	n.shadow("counter", "loops")
	began := time.Now()
	n.append("A", 200, 3)
	n.await("counter", n.store.State().Head)
	s := n.differences("counter").Shadow
	if s.Dropped == 0 || s.Events != 0 || s.Differ != 0 || !strings.Contains(s.Why, "it took longer than 10ms") || s.Ended != "" {
		t.Errorf("%+v", s)
	}
	t.Logf("220 batches beside a loop took %s", time.Since(began))
}

func TestShadowRefusals(t *testing.T) {
	t.Parallel()
	n := tryNode(t)
	n.add("counter", "projection", plugins.Manifest{Kind: plugins.KindProjection, Subscription: counterManifest.Subscription}, counter)
	n.add("counter", "lanes", plugins.Manifest{Lanes: 2, Subscription: counterManifest.Subscription}, counter)
	n.add("counter", "input", plugins.Manifest{Subscription: plugins.Input{Stream: "other"}}, counter)
	n.add("counter", "broken", counterManifest, counter)
	n.breakVersion("counter@broken", core.Errorf(core.CodeInvalidModule, "it is broken"))
	n.add("counter", "2", counterManifest, counter)
	for version, want := range map[string]core.Code{
		"projection": core.CodeInvalidRequest, // it may not append, which the binding grants
		"lanes":      core.CodeShadowDiffers, "input": core.CodeShadowDiffers, "broken": core.CodeInvalidModule,
		"9": core.CodeVersionNotFound, "": core.CodeInvalidRequest, "1": core.CodeInvalidRequest,
	} {
		if _, err := n.host.Shadow(t.Context(), "counter", plugins.Shadow{Version: version}); !errors.Is(err, want) {
			t.Errorf("version %q: %v, want %s", version, err, want)
		}
	}
	if _, err := n.host.Shadow(t.Context(), "none", plugins.Shadow{Version: "1"}); !errors.Is(err, core.CodeBindingNotFound) {
		t.Errorf("no binding: %v", err)
	}
	if s, err := n.host.Status(t.Context(), "counter"); err != nil || s.Shadow != nil {
		t.Errorf("%+v, %v", s.Shadow, err)
	}
	n.shadow("counter", "2")
	if s, err := n.host.Deploy(t.Context(), "counter", plugins.Deploy{Version: "2"}); err != nil || s.Shadow != nil {
		t.Errorf("deployed: %+v, %v", s.Shadow, err)
	}
}
