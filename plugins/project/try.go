package project

import (
	"context"
	"errors"
	"math"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/trial"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// Trial is what a module did with events.
type Trial struct {
	Kind     plugins.Kind `json:"kind"`
	Events   int          `json:"events"`   // that were given
	Filtered int          `json:"filtered"` // of them, which the manifest's subscription passes over
	Acked    int          `json:"acked"`
	Skipped  int          `json:"skipped"`
	Batches  int          `json:"batches"`
	// Fuel is of all batches, and MostFuel of the one that used most.
	Fuel        int64 `json:"fuel"`
	MostFuel    int64 `json:"mostFuel"`
	MemoryBytes int64 `json:"memoryBytes"` // of the instance, at the end

	Appended []Appended         `json:"appended"`
	State    map[string]string  `json:"state"`
	Parked   []Failed           `json:"parked"`
	Judged   []Judged           `json:"judged"` // of a plugin that judges events
	Metrics  map[string]float64 `json:"metrics"`
	Logs     []Line             `json:"logs"`
	// Failed is the event at which the trial ended, because it was not handled.
	Failed *Failed `json:"failed,omitempty"`
}

// Appended is an event that the module appended.
type Appended struct {
	Source   uint64 `json:"source"` // the position of the event that it comes of
	Stream   string `json:"stream"`
	Expected int64  `json:"expected"` // as abi has it
	Type     string `json:"type"`
	Data     string `json:"data"` // as it was appended
	Metadata string `json:"metadata,omitempty"`
	Binary   bool   `json:"binary,omitempty"`
}

// Failed is an event that was not handled. Positions count from 1, in the order of the events.
type Failed struct {
	Position uint64 `json:"position"`
	Stream   string `json:"stream"`
	Type     string `json:"type"`
	Reason   string `json:"reason"`
	Stack    string `json:"stack,omitempty"`
}

// Line is a log line.
type Line struct {
	Level string `json:"level"`
	Text  string `json:"text"`
}

// Load makes a program of the module in this process.
func (b *Built) Load(ctx context.Context) (*wasm.Program, error) {
	code, err := wasm.InProcess(b.Parsed)
	if err != nil {
		return nil, err
	}
	return wasm.NewHost(wasm.DefaultMemory).Load(ctx, code, b.Version.Manifest.Entry())
}

// Try runs the module over events in a sandbox, as a binding that is made from the manifest and
// granted all that it asks for would, in one lane. It ends at an event that fails: at a trap, a
// retry or a stop. A plugin that judges events judges each of them; one that it fails on is
// parked. The error is about the trial itself, such as a module that does not start.
func (b *Built) Try(ctx context.Context, events []Event, compile subscriptions.Compiler) (*Trial, error) {
	program, err := b.Load(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = program.Close() }() // frees memory only
	if b.Version.Manifest.Kind.Judges() {
		items, err := NewSample(events).Deliver(ctx, &b.Version.Manifest.Subscription, compile)
		if err != nil {
			return nil, err
		}
		t, err := b.Judge(ctx, program.Plugin(), items, 0)
		if err == nil {
			t.Events, t.Filtered = len(events), len(events)-len(items)
		}
		return t, err
	}
	return try(ctx, program.Plugin(), &b.Version, events, compile)
}

// Binding is what a version would be deployed as, if it were granted all that it asks for.
func Binding(v *plugins.Version) (plugins.Binding, error) {
	return (&plugins.Deploy{Grants: append([]string{}, v.Manifest.Capabilities...)}).Resolve(v.Manifest.Name, nil, v)
}

func try(ctx context.Context, program plugins.Program, v *plugins.Version, events []Event, compile subscriptions.Compiler) (*Trial, error) {
	binding, err := Binding(v)
	if err != nil {
		return nil, err
	}
	binding.Lanes = 1
	sample := NewSample(events)
	t := newTried(v.Manifest.Kind, len(events))
	version := trial.New(trial.Config{Binding: &binding, Program: program, Read: sample.Read, Show: math.MaxInt, Strict: true, Watch: t.settled})
	defer version.Close()
	given, err := sample.Deliver(ctx, &binding.Input, compile)
	if err != nil {
		return nil, err
	}
	t.Filtered = t.Events - len(given)
	err = version.Handle(ctx, given)
	if err == nil {
		err = version.Flush(ctx)
	}
	if stopped := (*trial.Stopped)(nil); errors.As(err, &stopped) {
		failed := failedOf(stopped.Event, stopped.Reason)
		failed.Stack = stopped.Stack
		t.Failed, err = &failed, nil
	}
	if err != nil {
		return nil, err
	}
	return t.Trial, t.fill(ctx, version)
}

// tried is a Trial under way.
type tried struct{ *Trial }

func newTried(kind plugins.Kind, events int) *tried {
	t := &tried{&Trial{Kind: kind, Events: events}}
	t.Appended, t.Parked, t.Judged, t.Logs = []Appended{}, []Failed{}, []Judged{}, []Line{}
	t.State, t.Metrics = map[string]string{}, map[string]float64{}
	return t
}

// settled takes what became of an event.
func (t *tried) settled(s *trial.Settled) {
	switch s.Fate {
	case plugins.Parked:
		t.Parked = append(t.Parked, failedOf(s.Event, s.Failure.Reason))
	case plugins.Skipped:
		t.Skipped++
	default:
		t.Acked++
	}
	for a := range s.Appends() {
		for i := range a.Events {
			e := &a.Events[i]
			t.Appended = append(t.Appended, Appended{
				Source: s.Event.Position, Stream: a.Stream, Expected: trial.Expected(a, i), Type: e.Type,
				Data: string(e.Data), Metadata: string(e.Metadata), Binary: e.Format != core.JSON,
			})
		}
	}
}

// fill fills in the rest.
func (t *tried) fill(ctx context.Context, version *trial.Version) error {
	r, err := version.Result(ctx)
	if err != nil {
		return err
	}
	t.Batches, t.Fuel, t.MostFuel, t.MemoryBytes = r.Batches, r.Fuel, r.MaxFuel, r.MemoryBytes
	for key, value := range version.State().Lane(0) {
		t.State[key] = string(value)
	}
	for _, m := range r.Metrics {
		t.Metrics[m.Name] = m.Value
	}
	for _, l := range r.Logs.First {
		t.Logs = append(t.Logs, Line{l.Level, l.Text})
	}
	return nil
}

func failedOf(e *core.Event, reason string) Failed {
	return Failed{Position: e.Position, Stream: e.Stream, Type: e.Type, Reason: reason}
}
