package judge_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
)

// A subscription delivers the same whether plugins or expressions shape it, or both.
func TestPluginsShapeWhatExpressionsDo(t *testing.T) {
	shapes := map[string]func(d *subscriptions.Definition){
		"expressions": func(d *subscriptions.Definition) {
			d.Filter.Expr, d.Map.Expr, d.PartitionBy = "data.total >= 100", `{"sum": data.total}`, `expr:"order"`
		},
		"plugins": func(d *subscriptions.Definition) {
			d.Filter.Plugin, d.Map.Plugin, d.PartitionBy = "filter@1", "map@1", "plugin:partition@1"
		},
		"filters of both": func(d *subscriptions.Definition) {
			d.Filter.Expr, d.Filter.Plugin, d.Map.Expr, d.PartitionBy = "data.total >= 50", "filter@1", `{"sum": data.total}`, "plugin:partition@1"
		},
		// The map fails on what the filter drops, and never sees it.
		"expressions behind": func(d *subscriptions.Definition) {
			d.Filter.Plugin, d.Map.Expr = "filter@1", `data.total >= 100 ? {"sum": data.total} : data.missing`
		},
		"a map behind": func(d *subscriptions.Definition) {
			d.Filter.Expr, d.Map.Plugin = "data.total >= 100", "map@1"
		},
	}
	overEngines(t, func(t *testing.T, n *node) {
		n.uploadAll("1", orders, `"batchEvents":7`)
		n.orders(150)
		want := ""
		for _, name := range []string{"expressions", "plugins", "filters of both", "expressions behind", "a map behind"} {
			n.put(name, shapes[name])
			c := n.join(name)
			got := lines(c.take(140))
			c.Leave(true)
			if want == "" {
				want = got
			}
			if got != want || !strings.HasPrefix(got, "11 {\"sum\":100}\n12") {
				t.Errorf("%s: %.200s, want %.200s", name, got, want)
			}
			if info := n.passed(name, 150); info.Parked != 0 {
				t.Errorf("%s: %+v", name, n.parked(name))
			}
		}
	})
}

// Events that a plugin fails on are parked with the reason, and the others go on.
func TestUnfitPlugins(t *testing.T) {
	n := newNode(t, memory.New())
	n.uploadAll("1", unfit, `"fuel":2000000,"batchEvents":16,"memoryBytes":33554432`)
	ways := []string{
		"Fine", "Loop", "Trap", "Fine", "Recurse", "Grow", "Claim", "Outside", "Fail", "Return", "Fine", "Fine", "Action", "Retry",
		"None", "Park", "Large", "Latin", "Quote", "Half", "Much", "Fine",
	}
	n.append("s", "1", ways...)
	failures := map[string]string{
		"Loop": "plugin out of fuel", "Trap": "plugin crashed: unreachable", "Recurse": "plugin ", "Grow": "plugin crashed", "Claim": "plugin out of fuel",
		"Outside": "plugin out of bounds", "Fail": "plugin failed: code 7: no more", "Return": "returned -1, which is no answer", "Action": "it answered 77, which is no answer",
		"Retry": "it answered 1, which is no answer", "None": "it gave no answer", "Park": "bad event", "Large": "it answered with 1048577 bytes, at most", "Latin": "", "Quote": "", "Half": "", "Much": "",
	}
	wrong := func(more map[string]string) map[string]string {
		all := map[string]string{}
		for way, reason := range failures {
			all[way] = reason
		}
		for way, reason := range more {
			all[way] = reason
		}
		return all
	}
	for name, c := range map[string]struct {
		define func(d *subscriptions.Definition)
		faults map[string]string // by the type of the event; "" is none
	}{
		"filter": {func(d *subscriptions.Definition) { d.Filter.Plugin = "filter@1" },
			wrong(map[string]string{"None": "", "Much": "it answered with 1048576 bytes"})},
		"map": {func(d *subscriptions.Definition) { d.Map.Plugin = "map@1" },
			wrong(map[string]string{"Latin": "is not valid JSON", "Quote": "is not valid JSON", "Half": "is not valid JSON", "Much": "it answered with too much"})},
		"partition": {func(d *subscriptions.Definition) { d.PartitionBy = "plugin:partition@1" },
			wrong(map[string]string{"Latin": "the key is not UTF-8", "Quote": "the key is not UTF-8", "Much": "it answered with 1048576 bytes"})},
	} {
		t.Run(name, func(t *testing.T) {
			var good, bad []string
			for _, way := range ways {
				if reason := c.faults[way]; reason == "" {
					good = append(good, way)
				} else {
					bad = append(bad, reason)
				}
			}
			n := &node{t, n.store, n.versions, n.Owner}
			n.put(name, c.define)
			s := n.join(name)
			s.take(len(good))
			n.passed(name, uint64(len(ways)))
			parked := n.parked(name)
			if len(parked) != len(bad) {
				t.Fatalf("parked\n%s\nwant\n%s", lines(parked), lines(bad))
			}
			for i := range bad {
				if !strings.Contains(parked[i], bad[i]) || !strings.Contains(parked[i], name+"@1") {
					t.Errorf("parked %s, want %s", parked[i], bad[i])
				}
			}
		})
	}
}

// A definition names plugins that are there and of the kind that is needed, and nothing else.
func TestBadDefinitions(t *testing.T) {
	n := newNode(t, memory.New())
	n.uploadAll("1", orders, "")
	n.upload(plugins.KindFilter, "small", unfit, `"memoryBytes":65536`)
	for name, c := range map[string]struct {
		define func(d *subscriptions.Definition)
		want   core.Code
		says   string
	}{
		"no version":      {func(d *subscriptions.Definition) { d.Filter.Plugin = "filter" }, core.CodeInvalidRequest, `filter.plugin: "filter" is not a plugin with its version`},
		"no name":         {func(d *subscriptions.Definition) { d.PartitionBy = "plugin:@1" }, core.CodeInvalidRequest, "partitionBy"},
		"long":            {func(d *subscriptions.Definition) { d.Map.Plugin = "map@" + strings.Repeat("1", 200) }, core.CodeInvalidRequest, "map.plugin"},
		"unknown plugin":  {func(d *subscriptions.Definition) { d.Filter.Plugin = "other@1" }, core.CodePluginNotFound, ""},
		"unknown version": {func(d *subscriptions.Definition) { d.Filter.Plugin = "filter@2" }, core.CodeVersionNotFound, ""},
		"another kind":    {func(d *subscriptions.Definition) { d.Filter.Plugin = "map@1" }, core.CodeInvalidRequest, "plugin map@1 is a map, and stands where a filter is needed"},
		"no memory":       {func(d *subscriptions.Definition) { d.Filter.Plugin = "filter@small" }, core.CodeInvalidRequest, "cannot start"},
	} {
		_, _, err := n.Put(t.Context(), "s", definition(c.define))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s that says %q", name, err, c.want, c.says)
		}
	}
	if _, err := n.Info(t.Context(), "s"); !errors.Is(err, core.CodeSubscriptionNotFound) {
		t.Errorf("after bad definitions: %v", err)
	}
}

// A version in use is not deleted, and a subscription moves to another with a redefinition, while
// events are in flight.
func TestVersionsAreHeld(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.upload(plugins.KindFilter, "1", orders, "")
		n.upload(plugins.KindFilter, "2", unfit, "")
		n.orders(20)
		n.put("s", func(d *subscriptions.Definition) { d.Filter.Plugin = "filter@1" })
		if err := n.versions.Delete(ctx, "filter", "1"); !errors.Is(err, core.CodePluginInUse) {
			t.Errorf("a version in use was deleted: %v", err)
		}
		c := n.join("s")
		c.take(5)
		next, err := c.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20})
		if err != nil || next.First != 16 {
			t.Fatal(next, err)
		}
		redefined := make(chan error, 1)
		go func() {
			redefined <- n.Redefine(ctx, "s", definition(func(d *subscriptions.Definition) { d.Filter.Plugin = "filter@2" }))
		}()
		if err := c.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{16}}); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			var d subscriptions.Delivery
			if d, err = c.Next(ctx, core.Limit{Events: 1, Bytes: 1 << 20}); err == nil && d.Count > 0 {
				err = c.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{d.First}})
			}
		}
		if err := <-redefined; err != nil {
			t.Fatal(err)
		}
		if err := n.versions.Delete(ctx, "filter", "2"); !errors.Is(err, core.CodePluginInUse) || !strings.HasSuffix(err.Error(), " s") {
			t.Errorf("a version in use was deleted: %v", err)
		}
		if err := n.versions.Delete(ctx, "filter", "1"); err != nil {
			t.Error(err)
		}
		n.own() // after a restart
		n.append("s", `{"total":1}`, "Fine", "Trap", "Fine")
		if got := n.join("s").take(2); !strings.HasPrefix(lines(got), "21 ") {
			t.Errorf("delivered %q by the new version", got)
		}
		if err := n.Delete(ctx, "s"); err != nil {
			t.Fatal(err)
		}
		if err := n.versions.Delete(ctx, "filter", "2"); err != nil {
			t.Error(err)
		}
	})
}

// Subscriptions that come to use a version at the same moment all do.
func TestDefinitionsAtTheSameMoment(t *testing.T) {
	n := newNode(t, memory.New())
	n.upload(plugins.KindFilter, "1", orders, "")
	const count = 16
	made := make(chan error, count)
	for i := range count {
		go func() {
			_, _, err := n.Put(context.WithoutCancel(t.Context()), string(rune('a'+i)), definition(func(d *subscriptions.Definition) { d.Filter.Plugin = "filter@1" }))
			made <- err
		}()
	}
	for range count {
		if err := <-made; err != nil {
			t.Error(err)
		}
	}
	if uses, err := n.Uses(t.Context(), "filter", "1"); err != nil || len(uses) != count {
		t.Errorf("%d subscriptions use it, %v", len(uses), err)
	}
}

// A slow filter holds up its own subscription, and ends with it.
func TestASlowFilterIsAlone(t *testing.T) {
	n := newNode(t, memory.New())
	n.upload(plugins.KindFilter, "1", unfit, `"fuel":10000000000,"timeMs":30000`)
	n.append("s", "1", "Loop", "Fine")
	n.put("slow", func(d *subscriptions.Definition) { d.Filter.Plugin = "filter@1" })
	n.put("other", func(d *subscriptions.Definition) { d.Filter.Types = []string{"Fine"}; d.Filter.Plugin = "filter@1" })
	n.join("slow")
	if got := n.join("other").take(1); got[0] != "2 1" {
		t.Errorf("delivered %q beside a filter that does not end", got)
	}
	if err := n.Delete(t.Context(), "slow"); err != nil {
		t.Error(err)
	}
}
