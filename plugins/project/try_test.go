//go:build !race

// Compiling the Go runtime takes a minute with the race detector.

package project

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// obedient does what the type of an event says.
const obedient = `package main

import "github.com/gyre-events/gyre/sdk/plugin"

func init() { plugin.Handle(handle) }

func main() {}

var seen int

func handle(c *plugin.Context, e *plugin.Event) error {
	seen++
	c.Log(plugin.Info, e.Type)
	if err := c.Count("handled", 1); err != nil {
		return err
	}
	switch e.Type {
	case "Count":
		_, err := c.State().Add("n", 1)
		return err
	case "Seen":
		return c.State().PutInt("seen", int64(seen))
	case "Append":
		return c.Append("out-"+e.Stream, "Made", e.Data)
	case "Config":
		return c.State().Put("config", c.Config("").Raw())
	case "Read":
		events, err := c.ReadStream(e.Stream, 1, 10)
		if err != nil {
			return err
		}
		return c.State().PutInt("read", int64(len(events)))
	case "Secret":
		_, err := c.Secret("KEY")
		return err
	case "Skip":
		return plugin.Skip
	case "Park":
		return plugin.Park("no")
	case "Retry":
		return plugin.Retry(0, "later")
	case "Stop":
		return plugin.Stop("enough")
	case "Panic":
		panic("oh")
	case "Loop":
		for {
			seen++
		}
	case "Fill":
		kept = append(kept, make([]byte, 1<<30))
	}
	return nil
}

var kept [][]byte
`

// triedWith runs events of the given types over a manifest with some members.
func triedWith(t *testing.T, program plugins.Program, members string, types ...string) *Trial {
	t.Helper()
	m, err := plugins.DecodeManifest([]byte(strings.Replace(manifestWith(members), "projection", "handler", 1)))
	if err != nil {
		t.Fatal(err)
	}
	events := make([]Event, 0, len(types))
	for _, typ := range types {
		events = append(events, Event{"s", core.NewEvent{Type: typ, Data: []byte(`{"n":1}`)}})
	}
	trial, err := try(t.Context(), program, &plugins.Version{Plugin: m.Name, Version: m.Version, Manifest: *m}, events, expression.NewCompiler().Compile)
	if err != nil {
		t.Fatal(err)
	}
	return trial
}

const (
	all    = `"capabilities":["append:out-*","state","streams.read"]`
	notOut = `,"subscription":{"filter":{"streams":["s"]}}`
)

func TestTry(t *testing.T) {
	p := create(t, "counter")
	write(t, p, "main.go", obedient)
	built := build(t, p)
	trial, err := built.Try(t.Context(), nil, nil)
	if err != nil || trial.Events != 0 || trial.Failed != nil {
		t.Errorf("without events: %+v, %v", trial, err)
	}
	code, err := wasm.InProcess(built.Parsed)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := wasm.NewHost(wasm.DefaultMemory).Load(t.Context(), code, abi.Handle)
	if err != nil {
		t.Fatal(err)
	}
	defer loaded.Close()
	program := loaded.Plugin()

	trial = triedWith(t, program, all+notOut+`,"config":{"a":1},"limits":{"batchEvents":2}`, "Count", "Append", "Skip", "Count", "Config", "Read")
	if trial.Failed != nil || trial.Events != 6 || trial.Acked != 5 || trial.Skipped != 1 || trial.Batches != 3 || trial.Fuel < trial.MostFuel || trial.MostFuel == 0 || trial.MemoryBytes == 0 {
		t.Errorf("%+v", trial)
	}
	if want := map[string]string{"n": "2", "config": `{"a":1}`, "read": "6"}; !maps.Equal(trial.State, want) {
		t.Errorf("state %v, want %v", trial.State, want)
	}
	if want := []Appended{{
		Source: 2, Stream: "out-s", Expected: -1, Type: "Made", Data: `{"n":1}`,
		Metadata: `{"causation_depth":1,"causation_id":"00000000-0000-0000-0000-000000000002","correlation_id":"00000000-0000-0000-0000-000000000002"}`,
	}}; !slices.Equal(trial.Appended, want) {
		t.Errorf("appended %+v", trial.Appended)
	}
	if want := (Line{"info", "Count"}); len(trial.Logs) != 6 || trial.Logs[0] != want || trial.Metrics["handled"] != 6 {
		t.Errorf("logs %v, metrics %v", trial.Logs, trial.Metrics)
	}

	t.Run("filter", func(t *testing.T) {
		trial := triedWith(t, program, all+`,"subscription":{"filter":{"types":["C*","Park"],"expr":"type != 'Park'"}}`, "Count", "Append", "Park", "Count")
		if trial.Acked != 2 || trial.Filtered != 2 || trial.State["n"] != "2" {
			t.Errorf("%+v", trial)
		}
		trial = triedWith(t, program, all+`,"subscription":{"filter":{"expr":"data.x == 1"}}`, "Count")
		if len(trial.Parked) != 1 || trial.Acked != 0 {
			t.Errorf("a filter that fails: %+v", trial)
		}
		trial = triedWith(t, program, all+`,"subscription":{"stream":"other"}`, "Count")
		if trial.Filtered != 1 {
			t.Errorf("another stream: %+v", trial)
		}
	})
	t.Run("park", func(t *testing.T) {
		trial := triedWith(t, program, all, "Count", "Park", "Seen", "Count")
		if trial.Failed != nil || trial.Acked != 3 || len(trial.Parked) != 1 || trial.Parked[0] != (Failed{Position: 2, Stream: "s", Type: "Park", Reason: "no"}) {
			t.Errorf("%+v", trial)
		}
		// The instance that had seen the parked event is gone.
		if want := map[string]string{"n": "2", "seen": "1"}; !maps.Equal(trial.State, want) {
			t.Errorf("state %v, want %v", trial.State, want)
		}
	})
	for typ, reason := range map[string]string{
		"Retry": "later", "Stop": "the handler asked to stop", "Panic": "panic: oh", "Loop": "out of fuel", "Fill": "crashed", "Secret": "denied",
	} {
		t.Run(typ, func(t *testing.T) {
			trial := triedWith(t, program, all+`,"limits":{"fuel":20000000,"timeMs":30000}`, "Count", typ, "Count")
			if trial.Failed == nil || trial.Failed.Position != 2 || !strings.Contains(trial.Failed.Reason, reason) || trial.Acked != 1 || trial.State["n"] != "1" {
				t.Errorf("%+v, failed %+v", trial, trial.Failed)
			}
		})
	}
	t.Run("denied", func(t *testing.T) {
		for _, typ := range []string{"Count", "Append", "Read"} {
			trial := triedWith(t, program, `"capabilities":["append:other"]`, typ)
			if trial.Failed == nil || !strings.HasPrefix(trial.Failed.Reason, "denied (to ") {
				t.Errorf("%s without a grant: %+v", typ, trial.Failed)
			}
		}
	})
}
