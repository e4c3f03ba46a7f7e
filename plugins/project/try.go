package project

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
	"github.com/gyre-events/gyre/plugins/wasm"
	"github.com/gyre-events/gyre/sdk/plugin/testhost"
)

// Event is an event for Try.
type Event struct {
	Stream string
	core.NewEvent
}

// Trial is what a module did with events.
type Trial struct {
	Events   int `json:"events"`   // that were given
	Filtered int `json:"filtered"` // of them, which the manifest's subscription passes over
	Acked    int `json:"acked"`
	Skipped  int `json:"skipped"`
	Batches  int `json:"batches"`
	// Fuel is of all batches, and MostFuel of the one that used most.
	Fuel        int64 `json:"fuel"`
	MostFuel    int64 `json:"mostFuel"`
	MemoryBytes int   `json:"memoryBytes"` // of the instance, at the end

	Appended []Appended         `json:"appended"`
	State    map[string]string  `json:"state"`
	Parked   []Failed           `json:"parked"`
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

var levels = [...]string{abi.Debug: "debug", abi.Info: "info", abi.Warn: "warn", abi.Error: "error"}

// Try runs the module over events in a sandbox, as a binding that is made from the manifest and
// granted all that it asks for would, in one lane. It ends at an event that fails: at a trap, a
// retry or a stop. The error is about the trial itself, such as a module that does not start.
func (b *Built) Try(ctx context.Context, events []Event, compile subscriptions.Compiler) (*Trial, error) {
	code, err := wasm.InProcess(b.Parsed)
	if err != nil {
		return nil, err
	}
	program, err := wasm.NewHost(wasm.DefaultMemory).Load(ctx, code, b.Version.Manifest.Kind.Entry())
	if err != nil {
		return nil, err
	}
	defer func() { _ = program.Close() }() // frees memory only
	return try(ctx, program, &b.Version.Manifest, events, compile)
}

func try(ctx context.Context, program *wasm.Program, m *plugins.Manifest, events []Event, compile subscriptions.Compiler) (*Trial, error) {
	t, err := newTrial(program, m)
	if err != nil {
		return nil, err
	}
	defer t.discard()
	t.Events = len(events)
	batch, err := t.take(events)
	if err != nil {
		return nil, err
	}
	if err := t.filter(ctx, batch, compile); err != nil {
		return nil, err
	}
	return &t.Trial, t.run(ctx)
}

// trial is a Trial under way.
type trial struct {
	Trial
	program  *wasm.Program
	instance *wasm.Instance // nil after one that failed
	manifest *plugins.Manifest
	limits   plugins.Limits
	host     grantedHost
	all      []core.Event
	events   []abi.Event // to be handled
	writer   abi.BatchWriter
}

func newTrial(program *wasm.Program, m *plugins.Manifest) (*trial, error) {
	granted, err := plugins.ParseCapabilities(m.Capabilities)
	if err != nil {
		return nil, err
	}
	t := &trial{program: program, manifest: m, limits: m.Limits.OrDefaults()}
	t.Trial = Trial{Appended: []Appended{}, State: map[string]string{}, Parked: []Failed{}, Metrics: map[string]float64{}, Logs: []Line{}}
	t.host = grantedHost{Host: &testhost.Host{Config: string(m.Config), State: t.State, Metrics: t.Metrics}, granted: granted}
	return t, nil
}

// discard closes the instance, whose memory has seen what is not so.
func (t *trial) discard() {
	if t.instance != nil {
		t.instance.Close()
	}
	t.instance = nil
}

// run handles all events, as many at a time as the limits say.
func (t *trial) run(ctx context.Context) error {
	for rest := t.events; len(rest) > 0 && t.Failed == nil; {
		n, err := t.fill(rest)
		if err != nil {
			return err
		}
		done, err := t.handle(ctx, rest[:n])
		if err != nil {
			return err
		}
		rest = rest[done:]
	}
	if t.instance != nil {
		t.MemoryBytes = t.instance.MemoryBytes()
	}
	return ctx.Err()
}

// fill encodes a batch and returns how many events it has.
func (t *trial) fill(events []abi.Event) (n int, err error) {
	t.writer.Reset(events[min(t.limits.BatchEvents, len(events))-1].TimeMicros, 1, 0)
	for n < min(t.limits.BatchEvents, len(events)) && (n == 0 || len(t.writer.Bytes()) < t.limits.BatchBytes) {
		if err = t.writer.Add(&events[n]); err != nil {
			break
		}
		n++
	}
	if n == 0 {
		return 0, fmt.Errorf("event %d does not fit into a batch: %w", events[0].Position, err)
	}
	return n, nil
}

// handle hands out the batch that was filled, and returns how many events are finished. After a
// failure that can be of any of them, each is handled alone.
func (t *trial) handle(ctx context.Context, events []abi.Event) (done int, err error) {
	verdict, err := t.call(ctx, events)
	if trap := (*wasm.Trap)(nil); errors.As(err, &trap) && ctx.Err() == nil {
		return t.alone(ctx, events, Failed{Reason: trap.Error(), Stack: trap.Stack})
	}
	if err != nil {
		return 0, err
	}
	if verdict != abi.Done {
		return t.alone(ctx, events, Failed{Reason: verdictText(verdict)})
	}
	for i := range events {
		switch r := t.host.Results[i]; r.Action {
		case abi.Skip:
			t.Skipped++
		case abi.Park:
			t.commit(events, i)
			t.Parked = append(t.Parked, failedOf(&events[i], r.Message))
			return i + 1, nil
		case abi.Retry:
			t.commit(events, i)
			t.Failed = new(failedOf(&events[i], r.Message))
			return i + 1, nil
		default:
			t.Acked++
		}
	}
	t.commit(events, len(events))
	return len(events), nil
}

func verdictText(v abi.Verdict) string {
	switch v {
	case abi.RetryBatch:
		return "the handler asked to retry the batch"
	case abi.ParkBatch:
		return "the handler asked to park the batch"
	case abi.Stop:
		return "the handler asked to stop"
	}
	return fmt.Sprintf("the handler returned %d", v)
}

// call calls the handler, in a new instance if there is none. What it logs is kept, whatever
// becomes of the rest.
func (t *trial) call(ctx context.Context, events []abi.Event) (abi.Verdict, error) {
	t.host.Reset(events)
	defer t.keepOutput()
	if t.instance == nil {
		limits := wasm.Limits{MemoryBytes: t.limits.MemoryBytes, Fuel: t.limits.Fuel, Time: t.limits.Time(), InitTime: t.limits.InitTime()}
		instance, err := t.program.New(ctx, wasm.Config{Limits: limits, Effects: &t.host, Reads: &t.host, Output: &t.host})
		if err != nil {
			return 0, err
		}
		t.instance = instance
	}
	verdict, fuel, err := t.instance.Call(ctx, t.writer.Bytes())
	t.Batches++
	t.Fuel += fuel
	t.MostFuel = max(t.MostFuel, fuel)
	return verdict, err
}

func (t *trial) keepOutput() {
	for _, l := range t.host.Logs {
		t.Logs = append(t.Logs, Line{levels[l.Level], l.Text})
	}
	t.host.Logs = nil
}

// alone handles events of a batch that failed one after the other, up to the one that fails
// alone.
func (t *trial) alone(ctx context.Context, events []abi.Event, why Failed) (done int, err error) {
	t.discard()
	if len(events) == 1 {
		failed := failedOf(&events[0], why.Reason)
		failed.Stack = why.Stack
		t.Failed = &failed
		return 1, nil
	}
	for i := range events {
		if _, err := t.fill(events[i : i+1]); err != nil {
			return i, err
		}
		if _, err := t.handle(ctx, events[i:i+1]); err != nil || t.Failed != nil {
			return i + 1, err
		}
	}
	return len(events), nil
}

func failedOf(e *abi.Event, reason string) Failed {
	return Failed{Position: e.Position, Stream: string(e.Stream), Type: string(e.Type), Reason: reason}
}

// commit keeps the effects of the events before one. If there are others, the instance has
// seen them, and goes.
func (t *trial) commit(events []abi.Event, end int) {
	t.host.Commit(end)
	for _, a := range t.host.Appended {
		t.Appended = append(t.Appended, Appended{
			Source: events[a.Event].Position, Stream: a.Stream, Expected: a.Expected, Type: a.Type, Data: a.Data, Metadata: a.Metadata, Binary: a.Binary,
		})
	}
	if end < len(events) {
		t.discard()
	}
}

// firstDay is when the first event was recorded that has no time, and a second later the next.
var firstDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// take gives the events their places, as a new log would.
func (t *trial) take(events []Event) (core.Batch, error) {
	var batch core.Batch
	versions := map[string]uint64{}
	for i := range events {
		e := &events[i]
		versions[e.Stream]++
		at := e.Time
		if at.IsZero() {
			at = firstDay.Add(time.Duration(i) * time.Second)
		}
		p := core.Placement{Stream: e.Stream, Version: versions[e.Stream], Position: uint64(i + 1), Recorded: at.UnixMicro(), ID: e.ID}
		if p.ID == (core.ID{}) {
			binary.BigEndian.PutUint64(p.ID[8:], p.Position)
		}
		batch.Add(core.EncodeEvent(nil, p, &e.NewEvent), p.Position)
	}
	t.all = batch.Slice()
	t.host.Streams = map[string][]abi.Event{}
	for i := range t.all {
		t.host.Streams[t.all[i].Stream] = append(t.host.Streams[t.all[i].Stream], eventOf(&t.all[i]))
	}
	if len(t.all) != len(events) {
		return batch, core.Errorf(core.CodeInternal, "%d events became %d", len(events), len(t.all))
	}
	return batch, nil
}

// filter keeps the events that the manifest's subscription delivers. Those that its expression
// fails on are parked, as they are in a node.
func (t *trial) filter(ctx context.Context, batch core.Batch, compile subscriptions.Compiler) error {
	input := &t.manifest.Subscription
	patterns := core.Filter{Streams: input.Filter.Streams, Types: input.Filter.Types}
	verdicts, err := judge(ctx, input.Filter.Expr, batch, compile)
	if err != nil {
		return err
	}
	for i := range t.all {
		e := &t.all[i]
		of := input.Stream == "" || input.Stream == core.All || input.Stream == e.Stream
		switch v := verdicts[i]; {
		case !of || !patterns.Match(e.Stream, e.Type):
			t.Filtered++
		case v.Fault != "":
			t.Parked = append(t.Parked, Failed{Position: e.Position, Stream: e.Stream, Type: e.Type, Reason: v.Fault})
		case !v.Keep:
			t.Filtered++
		default:
			t.events = append(t.events, eventOf(e))
		}
	}
	return nil
}

// judge runs an expression over a batch. Without one, all events are kept.
func judge(ctx context.Context, expression string, batch core.Batch, compile subscriptions.Compiler) ([]subscriptions.Verdict, error) {
	if expression == "" {
		return slices.Repeat([]subscriptions.Verdict{{Keep: true}}, batch.Count), nil
	}
	program, err := compile(subscriptions.Source{Filter: expression})
	if err != nil {
		return nil, err
	}
	var verdicts []subscriptions.Verdict
	for rest := batch; err == nil && rest.Count > 0; {
		before := len(verdicts)
		if verdicts, err = program.Run(ctx, rest, verdicts); err == nil {
			_, rest = rest.Cut(core.Limit{Events: len(verdicts) - before, Bytes: math.MaxInt})
		}
	}
	return verdicts, errors.Join(err, program.Close())
}

// eventOf is an event as it is handed to a plugin for the first time.
func eventOf(e *core.Event) abi.Event {
	a := effects.EventOf(e, nil)
	a.Attempt = 1
	return a
}
