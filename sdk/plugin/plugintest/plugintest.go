// Package plugintest runs the handlers of plugins in unit tests, without a sandbox or a server.
//
//	test := plugintest.New(count)
//	done := test.Handle(plugintest.Event{Stream: "order-1", Type: "OrderPlaced", Data: `{"total":10}`})
//	if test.State()["OrderPlaced"] != "1" || len(done.Appended) != 0 { … }
//
// A Test handles events as a lane does: what a handler did is kept up to the event that it retries
// or parks, state and appended events alike. It keeps the limits of a batch, and grants
// everything; gyre plugin test runs the module itself, with what its manifest asks for.
//
// A Test belongs to one goroutine.
package plugintest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/testhost"
)

// Test is a handler with its state.
type Test struct {
	handler  plugin.Handler
	host     testhost.Host
	position uint64
	versions map[string]uint64
}

// Event is an event to handle. It gets the next position, and the next version of its stream.
type Event struct {
	Stream   string
	Type     string
	Data     string    // JSON, unless Binary
	Metadata string    // a JSON object, or empty
	Time     time.Time // recorded then; the zero time is a fixed day, a second later for each event
	Attempt  int       // 0 is the first
	Binary   bool
	Replay   bool
}

// The parts of what a handler did.
type (
	// Appended is an event that the handler appended. Event is the index of the one that it
	// comes of, among those that were given to Handle.
	Appended = testhost.Appended
	// Line is a log line.
	Line = testhost.Line
)

// Result is what was decided about an event.
type Result struct {
	Action string // ack, skip, retry, park or stop; empty if it was not handled
	Reason string
	After  time.Duration // of a retry
}

// Done is what a handler did with events.
type Done struct {
	Results  []Result // of each event
	Appended []Appended
	Logs     []Line
	Metrics  map[string]float64 // of all that the Test has handled: sums of counters, last values of others
}

// New returns a Test of a handler, with no state.
func New(h plugin.Handler) *Test { return &Test{handler: h, versions: map[string]uint64{}} }

// SetConfig sets the configuration: a JSON object.
func (t *Test) SetConfig(config string) { t.host.Config = config }

// SetSecret sets a secret.
func (t *Test) SetSecret(name, value string) {
	if t.host.Secrets == nil {
		t.host.Secrets = map[string]string{}
	}
	t.host.Secrets[name] = value
}

// SetHTTP sets what answers requests to other servers, which else are unsupported. Any error that
// it returns is an error of input or output.
func (t *Test) SetHTTP(answer func(request []byte) (response []byte, err error)) {
	t.host.HTTP = func(request []byte) ([]byte, abi.Errno) {
		response, err := answer(request)
		if err != nil {
			return nil, abi.IO
		}
		return response, abi.OK
	}
}

// SetState sets a key of the state.
func (t *Test) SetState(key, value string) {
	if t.host.State == nil {
		t.host.State = map[string]string{}
	}
	t.host.State[key] = value
}

// State returns a copy of the state.
func (t *Test) State() map[string]string { return maps.Clone(t.host.State) }

// Handle hands events to the handler, in one batch as long as all goes well. It goes on
// behind an event that is parked, and ends at one that is retried or at a stop. The events are
// added to their streams, which the handler can read.
func (t *Test) Handle(events ...Event) Done {
	list := t.number(events)
	done := Done{Results: make([]Result, len(events))}
	for first := 0; first < len(list); {
		handled, goesOn := t.batch(list[first:], done.Results[first:])
		for _, a := range t.host.Appended {
			a.Event += first
			done.Appended = append(done.Appended, a)
		}
		done.Logs = append(done.Logs, t.host.Logs...)
		if !goesOn || handled == 0 {
			break
		}
		first += handled
	}
	done.Metrics = maps.Clone(t.host.Metrics)
	return done
}

// Query has f answer a query from the state.
func (t *Test) Query(f plugin.QueryFunc, query string) (answer string, err error) {
	t.host.Reset(nil)
	verdict := plugin.RunQuery(f, &t.host, []byte(query))
	switch r := t.host.Results[0]; {
	case verdict != abi.Done:
		return "", errors.New(r.Message)
	case len(r.Message) > abi.MaxAnswerBytes:
		return "", fmt.Errorf("the answer has %d bytes, at most %d are allowed", len(r.Message), abi.MaxAnswerBytes)
	default:
		return r.Message, nil
	}
}

// batch hands out a batch and commits it. It returns how many events are finished, and whether
// the lane goes on with those behind them.
func (t *Test) batch(events []abi.Event, results []Result) (finished int, goesOn bool) {
	t.host.Reset(events)
	var w abi.BatchWriter
	w.Reset(events[len(events)-1].TimeMicros, 1, 0)
	for i := range events {
		if err := w.Add(&events[i]); err != nil {
			events = events[:i] // the rest is another batch
			break
		}
	}
	verdict := plugin.Run(t.handler, &t.host, w.Bytes())
	if verdict != abi.Done {
		t.host.Commit(0)
		results[max(t.host.Current(), 0)] = Result{Action: "stop"}
		return 0, false
	}
	for i := range events {
		r := t.host.Results[i]
		results[i] = Result{actions[r.Action], r.Message, time.Duration(r.DelayMs) * time.Millisecond}
		if r.Action == abi.Retry || r.Action == abi.Park {
			t.host.Commit(i)
			return i + 1, r.Action == abi.Park
		}
	}
	t.host.Commit(len(events))
	return len(events), true
}

var actions = [...]string{abi.Ack: "ack", abi.Retry: "retry", abi.Park: "park", abi.Skip: "skip"}

// firstDay is when the first event is recorded that says nothing about it.
var firstDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// number gives events their places, and adds them to their streams.
func (t *Test) number(events []Event) []abi.Event {
	if t.host.Streams == nil {
		t.host.Streams = map[string][]abi.Event{}
	}
	list := make([]abi.Event, len(events))
	for i, e := range events {
		t.position++
		t.versions[e.Stream]++
		at := e.Time
		if at.IsZero() {
			at = firstDay.Add(time.Duration(t.position) * time.Second)
		}
		a := abi.Event{
			Position: t.position, Version: t.versions[e.Stream], TimeMicros: at.UnixMicro(), Attempt: uint32(max(e.Attempt, 1)),
			Stream: []byte(e.Stream), Type: []byte(e.Type), Data: []byte(e.Data), Metadata: []byte(e.Metadata),
		}
		binary.BigEndian.PutUint64(a.ID[8:], t.position)
		if !e.Binary {
			a.Flags |= abi.JSON
		}
		if e.Replay {
			a.Flags |= abi.Replay
		}
		list[i] = a
		t.host.Streams[e.Stream] = append(t.host.Streams[e.Stream], a)
	}
	return list
}

// Load reads events from a file such as testdata/events.ndjson: an object a line, with stream,
// type, data, metadata and time, as gyre import takes them.
func Load(tb testing.TB, name string) []Event {
	tb.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	var events []Event
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, abi.MaxBatchBytes)
	for number := 1; lines.Scan(); number++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var line struct {
			Stream, Type   string
			Data, Metadata json.RawMessage
			Time           time.Time
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			tb.Fatal(fmt.Errorf("%s:%d: %w", name, number, err))
		}
		events = append(events, Event{Stream: line.Stream, Type: line.Type, Data: string(line.Data), Metadata: string(line.Metadata), Time: line.Time})
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	return events
}
