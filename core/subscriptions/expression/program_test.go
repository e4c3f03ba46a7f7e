package expression_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
)

var compiler = expression.NewCompiler()

func event(data string) *core.Event {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	return &core.Event{
		Stream: "order-7", Version: 3, Position: 12, Type: "OrderPaid", Time: at, Recorded: at.Add(time.Second),
		Data: []byte(data), Metadata: []byte(`{"correlation_id":"c","n":1}`),
	}
}

// run judges one event. A fault is an error.
func run(p subscriptions.Program, e *core.Event) (subscriptions.Verdict, error) {
	placed := core.Placement{Stream: e.Stream, Version: e.Version, Position: e.Position, Recorded: e.Recorded.UnixMicro(), ID: e.ID}
	block := core.EncodeEvent(nil, placed, &core.NewEvent{Type: e.Type, Time: e.Time, Data: e.Data, Metadata: e.Metadata})
	b, err := core.ParseBatch(block, 1)
	if err != nil {
		return subscriptions.Verdict{}, err
	}
	verdicts, err := p.Run(context.Background(), b, nil)
	if err != nil {
		return subscriptions.Verdict{}, err
	}
	if v := verdicts[0]; v.Fault != "" {
		return v, errors.New(v.Fault)
	}
	return verdicts[0], nil
}

func TestFilters(t *testing.T) {
	for source, want := range map[string]bool{
		`true`:                            true,
		`type == "OrderPaid"`:             true,
		`type.startsWith("Order")`:        true,
		`stream.matches("^order-[0-9]+")`: true,
		`version == 3 && position > 11`:   true,
		`data.total > 10`:                 true,
		`data.total > 10.25`:              true,
		`data.ratio < 1`:                  true,
		`data.big == 9223372036854775807`: true,
		`has(data.missing)`:               false,
		`data.tags.exists(t, t == "b")`:   true,
		`metadata.correlation_id == "c"`:  true,
		`recorded > timestamp("2026-11-23T10:00:00Z") && time <= timestamp("2026-11-23T10:00:00Z")`: true,
		`data.flag`: true,
		`id == "00000000-0000-0000-0000-000000000000"`: true,
	} {
		p, err := compiler.Compile(subscriptions.Source{Filter: source})
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		v, err := run(p, event(`{"total":11,"ratio":0.5,"big":9223372036854775807,"tags":["a","b"],"flag":true}`))
		if err != nil || v.Keep != want {
			t.Errorf("%s: %v, %v", source, v.Keep, err)
		}
	}
}

func TestKeysAndMaps(t *testing.T) {
	data := `{"b":{"c":1.50,"a":"<x>"},"list":[1,null,true,2.5],"n":7}`
	for source, want := range map[string]string{
		`data.n`:                  "7",
		`data.b.c`:                "1.5",
		`stream + "/" + data.b.a`: "order-7/<x>",
		`data.list[1]`:            "",
		`data.n % 2 == 1`:         "true",
		`string(data.n)`:          "7",
		`metadata.correlation_id`: "c",
	} {
		p, err := compiler.Compile(subscriptions.Source{Key: source})
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if v, err := run(p, event(data)); err != nil || v.Key != want || !v.Keep {
			t.Errorf("%s: %q, %v", source, v.Key, err)
		}
	}
	for source, want := range map[string]string{
		`data.b`: `{"a":"<x>","c":1.5}`,
		`{"at": recorded, "v": version, "l": data.list}`: `{"at":"2026-11-23T10:00:01Z","l":[1,null,true,2.5],"v":3}`,
		`data.list.filter(x, x == 1)`:                    `[1]`,
		`data.n`:                                         `7`,
	} {
		p, err := compiler.Compile(subscriptions.Source{Map: source})
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if v, err := run(p, event(data)); err != nil || string(v.Data) != want {
			t.Errorf("%s: %s, %v", source, v.Data, err)
		}
	}
}

func TestWhatDoesNotCompile(t *testing.T) {
	for _, source := range []string{
		`data.`, `total > 1`, `1 + "a"`, `"text"`, `1`, `data.items.map(x, x)[0] + `, `now()`,
		strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200),
		"true" + strings.Repeat(" && true", 2000),
	} {
		if _, err := compiler.Compile(subscriptions.Source{Filter: source}); !errors.Is(err, core.CodeInvalidExpression) {
			t.Errorf("%.40s: %v", source, err)
		} else if !strings.Contains(err.Error(), "filter.expr: ") {
			t.Errorf("%.40s: %v does not say which", source, err)
		}
	}
}

// TestFaults: an event that an expression was not ready for is an error of its own.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		source subscriptions.Source
		data   string
	}{
		{subscriptions.Source{Filter: `data.missing == 1`}, `{}`},
		{subscriptions.Source{Filter: `data.a.b.c == 1`}, `{"a":1}`},
		{subscriptions.Source{Filter: `data.n`}, `{"n":1}`},
		{subscriptions.Source{Filter: `data.n / 0 == 1`}, `{"n":1}`},
		{subscriptions.Source{Filter: `data.n + 1 > 0`}, `{"n":9223372036854775807}`},
		{subscriptions.Source{Filter: `data.s > 1`}, `{"s":"x"}`},
		{subscriptions.Source{Key: `data.o`}, `{"o":{}}`},
		{subscriptions.Source{Map: `{1: data.o}`}, `{"o":{}}`},
		{subscriptions.Source{Map: `data.big * 10.0`}, `{"big":1e308}`},
		{subscriptions.Source{Map: `duration("1s")`}, `{}`},
	} {
		p, err := compiler.Compile(c.source)
		if err != nil {
			t.Errorf("%+v: %v", c.source, err)
			continue
		}
		if v, err := run(p, event(c.data)); err == nil {
			t.Errorf("%+v of %s: %+v", c.source, c.data, v)
		}
	}
}

// What is read and written is nested as deeply as events may be.
func TestNesting(t *testing.T) {
	p, err := compiler.Compile(subscriptions.Source{Map: `type == "wrap" ? [data] : data`})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		typ     string
		depth   int
		isFault bool
	}{
		{"T", core.MaxJSONDepth, false}, {"T", core.MaxJSONDepth + 1, true}, {"wrap", core.MaxJSONDepth - 1, false}, {"wrap", core.MaxJSONDepth, true},
	} {
		e := event(strings.Repeat("[", c.depth) + strings.Repeat("]", c.depth))
		e.Type = c.typ
		if v, err := run(p, e); (err != nil) != c.isFault || err == nil && len(v.Data) < 2*c.depth {
			t.Errorf("%s of %d lists: %d bytes, %v", c.typ, c.depth, len(v.Data), err)
		}
	}
}

// TestCostIsBounded: what would take hours, or all memory, is an error within a second
// or two, whatever the event is.
func TestCostIsBounded(t *testing.T) {
	long := `{"s":"` + strings.Repeat("x", 500_000) + `","l":[` + strings.TrimSuffix(strings.Repeat("1,", 200_000), ",") + `]}`
	for _, source := range []string{
		`data.l.all(a, data.l.all(b, data.l.all(c, a == b && b == c)))`,
		`data.l.map(a, data.s + data.s).size() > 0`,
		`(` + strings.TrimSuffix(strings.Repeat("data.s + ", 50), " + ") + `).size() > 0`,
		`data.l.map(a, data.l).map(b, b.map(c, data.s)).size() > 0`,
		`data.l.exists(a, data.s.matches("(x+x+)+y"))`,
		`data.l.exists(a, data.s.contains("xxxxxxy"))`,
		`data.l.exists(a, data.l != data.l)`,
		`data.l.all(a, data.s in ["a", "b"] || !(data.s in data.l))`,
	} {
		p, err := compiler.Compile(subscriptions.Source{Filter: source})
		if err != nil {
			t.Errorf("%.60s: %v", source, err)
			continue
		}
		began := time.Now()
		_, err = run(p, event(long))
		if took := time.Since(began); err == nil || took > 10*time.Second {
			t.Errorf("%.60s: %v after %s", source, err, took)
		} else {
			t.Logf("%.60s: %.80s after %s", source, err, took)
		}
	}
	p, err := compiler.Compile(subscriptions.Source{Map: `data.l.map(a, data.s)`})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(p, event(long)); err == nil {
		t.Error("a map that makes 100 GB of one event")
	}
}

// An expression that is too deep has no place, and its error names none.
func TestErrorOfADeepExpression(t *testing.T) {
	for _, source := range []string{
		strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300), strings.Repeat("[", 100) + "1" + strings.Repeat("]", 100),
		"data" + strings.Repeat(".a", 300), "1" + strings.Repeat("+1", 1000),
	} {
		_, err := compiler.Compile(subscriptions.Source{Map: source})
		if !errors.Is(err, core.CodeInvalidExpression) || core.AsError(err).Detail != "map: it is nested more than 64 deep; each operator of a chain counts" {
			t.Errorf("%.20s…: %v", source, err)
		}
	}
}
