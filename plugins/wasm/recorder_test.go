package wasm

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
)

// recorder is the other side of an instance: it notes what a guest does, and knows a few
// answers.
type recorder struct {
	lines []string
	begun int // the event that was begun last
}

func (r *recorder) note(format string, args ...any) abi.Errno {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
	return abi.OK
}

func (r *recorder) Begin(event int) { r.begun = event }

func (r *recorder) Result(event int, action abi.Action, delay time.Duration, message []byte) abi.Errno {
	return r.note("result %d %d %v %s", event, action, delay, message)
}

func (r *recorder) Append(event int, stream []byte, expected int64, events []byte) abi.Errno {
	return r.note("append %d %s %d (%d bytes)", event, stream, expected, len(events))
}

func (r *recorder) Put(event int, key, value []byte) abi.Errno {
	return r.note("put %d %s %s", event, key, value)
}

func (r *recorder) Delete(event int, key []byte) abi.Errno { return r.note("delete %d %s", event, key) }

func (r *recorder) Log(level abi.Level, line []byte) { _ = r.note("log %d %s", level, line) }

func (r *recorder) Metric(kind abi.Kind, name []byte, value float64) abi.Errno {
	return r.note("metric %d %s %v", kind, name, value)
}

func (r *recorder) Get(key []byte) ([]byte, abi.Errno) {
	if string(key) == "the" {
		return []byte("value of the key"), abi.OK
	}
	return nil, abi.NotFound
}

func (r *recorder) Scan(_, _ []byte, _, size int) ([]byte, abi.Errno) {
	return make([]byte, min(size, 16)), abi.OK
}

func (r *recorder) ReadStream([]byte, int64, int) ([]byte, abi.Errno)   { return nil, abi.Denied }
func (r *recorder) Config([]byte) ([]byte, abi.Errno)                   { return []byte("{}"), abi.OK }
func (r *recorder) Secret([]byte) ([]byte, abi.Errno)                   { return nil, abi.Unsupported }
func (r *recorder) HTTP(int, []byte, time.Duration) ([]byte, abi.Errno) { return nil, abi.Unsupported }

// quiet is an Output that keeps nothing.
type quiet struct{}

func (quiet) Log(abi.Level, []byte)                      {}
func (quiet) Metric(abi.Kind, []byte, float64) abi.Errno { return abi.OK }

// ticking is a clock that moves by a millisecond each time it is read.
func ticking() func() time.Time {
	now := time.Unix(0, 0)
	return func() time.Time { now = now.Add(time.Millisecond); return now }
}

func (r *recorder) config() Config {
	limits := DefaultLimits()
	limits.MemoryBytes = 4 << 20
	return Config{Limits: limits, Effects: r, Reads: r, Output: r}
}

// load makes a program of a built module on a host with a ticking clock.
func load(t testing.TB, module []byte) *Program {
	t.Helper()
	h := NewHost(DefaultMemory)
	h.now = ticking()
	return loadOn(t, h, module)
}

func loadOn(t testing.TB, h *Host, module []byte) *Program {
	t.Helper()
	m, err := Parse(module)
	if err != nil {
		t.Fatal(err)
	}
	code, err := InProcess(m)
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Load(context.Background(), code, abi.Handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// start starts an instance that is connected to r.
func start(t testing.TB, p *Program, config Config) *Instance {
	t.Helper()
	in, err := p.New(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Close)
	return in
}

// batchOf is a batch of some events.
func batchOf(t testing.TB, events int) []byte {
	var w abi.BatchWriter
	w.Reset(1_000_000, 1, 0)
	for i := range events {
		e := abi.Event{Position: uint64(i), TimeMicros: int64(1000 + i), ID: abi.ID{byte(i + 1)}, Stream: []byte("s"), Type: []byte("T"), Data: []byte(`{"n":1}`)}
		if err := w.Add(&e); err != nil {
			t.Fatal(err)
		}
	}
	return w.Bytes()
}

// handler is a module whose gyre_handle has the given code, which leaves an i32.
func handler(b *built, code ...byte) []byte {
	if b.memory == nil {
		b.memory = []uint32{1}
	}
	b.exports = append(b.exports, export{abi.Memory, kindMemory, 0})
	b.define(abi.Handle, i32x3, i32x1, i32x1, code...)
	return b.bytes()
}

func wantTrap(t *testing.T, err error, want Reason) {
	t.Helper()
	var trap *Trap
	if !errors.As(err, &trap) || trap.Reason != want {
		t.Errorf("got %v, want a trap: %s", err, want)
	}
}
