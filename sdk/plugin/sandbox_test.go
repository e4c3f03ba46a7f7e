//go:build !race

// Compiling the Go runtime takes a minute with the race detector.

package plugin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm"
	"github.com/gyre-events/gyre/plugins/wasm/wasmtest"
	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/internal/probe"
	"github.com/gyre-events/gyre/sdk/plugin/testhost"
)

// side connects a sandbox to the host that unit tests have.
type side struct{ *testhost.Host }

func (s side) Result(event int, action abi.Action, delay time.Duration, message []byte) abi.Errno {
	s.Host.Result(event, action, uint32(delay.Milliseconds()), string(message))
	return abi.OK
}

func (s side) Append(event int, stream []byte, expected int64, events []byte) abi.Errno {
	s.begin(event)
	return s.Host.Append(string(stream), expected, events)
}

func (s side) Put(event int, key, value []byte) abi.Errno {
	s.begin(event)
	return s.Host.Put(string(key), value)
}

func (s side) Delete(event int, key []byte) abi.Errno {
	s.begin(event)
	return s.Host.Delete(string(key))
}

func (s side) begin(event int) {
	if s.Current() != event {
		s.Begin(event)
	}
}

func (s side) Get(key []byte) ([]byte, abi.Errno) { return s.Host.Get(string(key)) }

func (s side) Scan(prefix, after []byte, limit, size int) ([]byte, abi.Errno) {
	return s.Host.Scan(string(prefix), string(after), limit, size)
}

func (s side) ReadStream(stream []byte, from int64, limit int) ([]byte, abi.Errno) {
	return s.Host.ReadStream(string(stream), from, limit)
}

func (s side) Config(name []byte) ([]byte, abi.Errno)              { return s.ConfigOf(string(name)) }
func (s side) Secret(name []byte) ([]byte, abi.Errno)              { return s.Host.Secret(string(name)) }
func (s side) HTTP(int, []byte, time.Duration) ([]byte, abi.Errno) { return nil, abi.Unsupported }
func (s side) Log(level abi.Level, line []byte)                    { s.Host.Log(level, string(line)) }
func (s side) Metric(kind abi.Kind, name []byte, value float64) abi.Errno {
	return s.Host.Metric(kind, string(name), value)
}

// newHost is a host that knows a few things.
func newHost(events []abi.Event) *testhost.Host {
	h := &testhost.Host{
		Config: `{"limit":50}`, Secrets: map[string]string{"KEY": "secret"}, State: map[string]string{"n0": "41", "nx": "no number"},
		Streams: map[string][]abi.Event{"orders": {{Version: 1, Stream: []byte("orders"), Type: []byte("A")}, {Version: 2, Stream: []byte("orders"), Type: []byte("B")}}},
	}
	h.Reset(events)
	return h
}

func batchOf(t *testing.T, types ...string) ([]abi.Event, []byte) {
	var w abi.BatchWriter
	w.Reset(1_700_000_000_000_000, 1, 0)
	var events []abi.Event
	for i, typ := range types {
		e := abi.Event{
			Position: uint64(100 + i), Version: uint64(i + 1), TimeMicros: 1_700_000_000_000_000 + int64(i), ID: abi.ID{byte(i + 1), 15: 0xfe}, Attempt: 2,
			Flags: abi.JSON | abi.Replay, Stream: []byte("orders"), Type: []byte(typ), Data: []byte(`{"why":"gründe"}`), Metadata: []byte(`{"correlation_id":"c"}`),
		}
		if err := w.Add(&e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events, w.Bytes()
}

func TestMain(m *testing.M) { wasmtest.Main(m) }

// build builds the probe as a module, and compiles it.
func build(t *testing.T) *wasm.Code {
	guest := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", guest, "./internal/probe/guest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	module, err := os.ReadFile(guest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Parse(module)
	if err != nil {
		t.Fatal(err)
	}
	return wasmtest.Compile(t, m)
}

// What a plugin does in a sandbox is what it does in a unit test.
func TestSandboxAndUnitTestAgree(t *testing.T) {
	code := build(t)
	judged := [][]string{{"Echo", "Skip", "Echo", "Park", "Echo"}, {"Echo", "Panic", "Echo"}}
	judges := func(j plugin.Judge) func(*testhost.Host, []byte) abi.Verdict {
		return func(h *testhost.Host, batch []byte) abi.Verdict { return plugin.RunJudge(j, h, batch) }
	}
	for entry, c := range map[string]struct {
		run   func(*testhost.Host, []byte) abi.Verdict
		types [][]string
	}{
		abi.Handle: {func(h *testhost.Host, batch []byte) abi.Verdict { return plugin.Run(probe.Handle, h, batch) }, [][]string{
			{"Echo", "Append", "State", "Reads", "Echo"}, {"Echo", "Skip", "Echo"}, {"Echo", "Retry", "Echo"},
			{"State", "Park", "State"}, {"Echo", "Stop"}, {"Echo", "Panic", "Echo"},
		}},
		abi.Filter:   {judges(plugin.FilterFunc(probe.Filter)), judged},
		abi.Map:      {judges(plugin.MapFunc(probe.Map)), judged},
		abi.Part:     {judges(plugin.PartitionFunc(probe.Partition)), judged},
		abi.Validate: {judges(plugin.ValidateFunc(probe.Validate)), judged},
	} {
		t.Run(entry, func(t *testing.T) {
			program, err := wasm.NewHost(wasm.DefaultMemory).Load(t.Context(), code, entry)
			if err != nil {
				t.Fatal(err)
			}
			defer program.Close()
			for _, types := range c.types {
				t.Run(fmt.Sprint(types), func(t *testing.T) { agree(t, program, c.run, types) })
			}
		})
	}
}

// agree hands events of some types to a program and to a function outside of a sandbox.
func agree(t *testing.T, program *wasm.Program, run func(*testhost.Host, []byte) abi.Verdict, types []string) {
	events, batch := batchOf(t, types...)
	outside, inside := newHost(events), newHost(events)
	instance, err := program.New(t.Context(), wasm.Config{Limits: wasm.MaxLimits(), Effects: side{inside}, Reads: side{inside}, Output: side{inside}})
	if err != nil {
		t.Fatal(err)
	}
	defer instance.Close()
	got, _, err := instance.Call(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if want := run(outside, batch); got != want {
		t.Fatalf("verdict %d in the sandbox, %d outside", got, want)
	}
	if types[1] != "Stop" && len(inside.Results)+len(inside.Appended)+len(inside.Writes) == 0 {
		t.Error("nothing was done")
	}
	equal(t, "results", inside.Results, outside.Results)
	equal(t, "appended", inside.Appended, outside.Appended)
	equal(t, "writes", inside.Writes, outside.Writes)
	equal(t, "metrics", inside.Metrics, outside.Metrics)
	if types[1] != "Panic" { // whose stack is another
		equal(t, "logs", inside.Logs, outside.Logs)
	}
}

func equal(t *testing.T, what string, inside, outside any) {
	t.Helper()
	if !reflect.DeepEqual(inside, outside) {
		t.Errorf("%s: %+v in the sandbox, %+v outside", what, inside, outside)
	}
}
