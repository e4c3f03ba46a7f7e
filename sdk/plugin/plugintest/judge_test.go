package plugintest_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/plugintest"
)

func TestJudges(t *testing.T) {
	fails := errors.New("no order")
	orders := func(e *plugin.Event) error {
		switch e.Type {
		case "Panic":
			panic("at once")
		case "Other":
			return fails
		}
		return nil
	}
	for name, c := range map[string]struct {
		judge plugin.Judge
		want  []plugintest.Verdict
	}{
		"filter": {plugin.FilterFunc(func(p *plugin.Pure, e *plugin.Event) (bool, error) {
			return e.JSON().Get("total").Int() >= p.Config("least").Int(), orders(e)
		}), []plugintest.Verdict{{}, {Keep: true}, {Reason: "no order"}, {Reason: "panic: at once"}}},
		"map": {plugin.MapFunc(func(_ *plugin.Pure, e *plugin.Event) ([]byte, error) {
			return e.JSON().Get("total").Raw(), orders(e)
		}), []plugintest.Verdict{{Keep: true, Value: "10"}, {Keep: true, Value: "50"}, {Reason: "no order"}, {Reason: "panic: at once"}}},
		"partition": {plugin.PartitionFunc(func(_ *plugin.Pure, e *plugin.Event) (string, error) {
			return e.Stream[:2], orders(e)
		}), []plugintest.Verdict{{Keep: true, Value: "or"}, {Keep: true, Value: "or"}, {Reason: "no order"}, {Reason: "panic: at once"}}},
		"validate": {plugin.ValidateFunc(func(p *plugin.Pure, e *plugin.Event) error {
			p.Log(plugin.Info, e.Type)
			return orders(e)
		}), []plugintest.Verdict{{Keep: true}, {Keep: true}, {Reason: "no order"}, {Reason: "panic: at once"}}},
	} {
		test := plugintest.NewJudge(c.judge)
		test.SetConfig(`{"least":20}`)
		order := func(typ, data string) plugintest.Event {
			return plugintest.Event{Stream: "order-1", Type: typ, Data: data}
		}
		got := test.Judge(order("Placed", `{"total":10}`), order("Placed", `{"total":50}`), order("Other", `{"total":50}`), order("Panic", `{}`))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
