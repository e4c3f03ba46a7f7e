package wasm

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/gyre-events/gyre/core"
	engine "github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
)

// stateful is a recorder that keeps the state which a guest puts.
type stateful struct {
	recorder
	state map[string]string
}

func newStateful() *stateful { return &stateful{state: map[string]string{}} }

func (s *stateful) Put(event int, key, value []byte) abi.Errno {
	s.state[string(key)] = string(value)
	return s.recorder.Put(event, key, value)
}

func (s *stateful) Get(key []byte) ([]byte, abi.Errno) {
	value, ok := s.state[string(key)]
	if !ok {
		return nil, abi.NotFound
	}
	return []byte(value), abi.OK
}

func (s *stateful) Append(event int, stream []byte, expected int64, events []byte) abi.Errno {
	return s.note("append %s %d %x", stream, expected, events) // the event's index depends on the batch
}

func (s *stateful) config() Config {
	return Config{Limits: DefaultLimits(), Effects: s, Reads: s, Output: s}
}

// orders are events with JSON, always the same.
func orders(n int) []abi.Event {
	r := rand.New(rand.NewPCG(1, 2))
	var events []abi.Event
	for i := range n {
		data := fmt.Sprintf(`{"customer":"c-%d","note":"the \"%d\"","items":[{"sku":"s%d","quantity":%d,"price":%d}],"discount":-%d}`,
			r.IntN(20), r.IntN(9), r.IntN(1000), r.IntN(9), r.IntN(10_000), r.IntN(5))
		events = append(events, abi.Event{
			Position: uint64(i), Version: uint64(i), TimeMicros: int64(i), ID: abi.ID{byte(i), byte(i >> 8), 1},
			Flags: abi.JSON, Stream: []byte("orders"), Type: []byte("Placed"), Data: []byte(data),
		})
	}
	return events
}

// batches cuts events into batches of a size.
func batches(t testing.TB, events []abi.Event, size int) (list [][]byte) {
	t.Helper()
	for part := range slices.Chunk(events, size) {
		var w abi.BatchWriter
		w.Reset(part[0].TimeMicros, 0, 0)
		for i := range part {
			if err := w.Add(&part[i]); err != nil {
				t.Fatal(err)
			}
		}
		list = append(list, w.Bytes())
	}
	return list
}

// handle hands batches to a fresh instance and returns the fuel of each.
func handle(t testing.TB, p *Program, config Config, batches [][]byte) (fuel []int64) {
	t.Helper()
	in := start(t, p, config)
	defer in.Close()
	for _, batch := range batches {
		verdict, used, err := in.Call(context.Background(), batch)
		if verdict != abi.Done || err != nil {
			t.Fatal(verdict, err)
		}
		fuel = append(fuel, used)
	}
	return fuel
}

// runUnmetered does the same without the meter.
func runUnmetered(t testing.TB, module []byte, config Config, batches [][]byte) {
	t.Helper()
	ctx := context.Background()
	p := &Program{host: NewHost(DefaultMemory), entry: abi.Handle, runtime: wazero.NewRuntimeWithConfig(ctx, runtimeConfig()), gate: gate{most: 1}}
	defer p.Close()
	if err := p.link(ctx, module); err != nil {
		t.Fatal(err)
	}
	p.gate.enter()
	in := &Instance{program: p, config: config, gate: gate{most: 1}}
	in.linear = linearMemory{limit: config.Limits.MemoryBytes, budget: &p.host.memory}
	in.ctx = context.WithValue(ctx, instanceKey{}, in)
	in.tank.host = p.host
	if err := in.instantiate(); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	in.memory = in.module.Memory()
	entry := in.module.ExportedFunction(abi.Handle)
	for _, batch := range batches {
		in.reset(batch)
		if err := in.readBatch(); err != nil {
			t.Fatal(err)
		}
		in.tank.fill(ctx, 1<<62, time.Hour)
		if err := entry.CallWithStack(in.ctx, in.stack[:]); err != nil || in.stack[0] != api.EncodeI32(int32(abi.Done)) {
			t.Fatal(in.stack[0], err)
		}
	}
}

var examples = map[string][]byte{"C": guests.Totals, "Rust": guests.Words}

func TestTheMeterChangesNoEffectOfExamples(t *testing.T) {
	input := batches(t, orders(1000), 64)
	for name, module := range examples {
		t.Run(name, func(t *testing.T) {
			metered, plain := newStateful(), newStateful()
			handle(t, load(t, module), metered.config(), input)
			runUnmetered(t, module, plain.config(), input)
			if !slices.Equal(metered.lines, plain.lines) || len(plain.lines) < len(input) {
				t.Errorf("%d effects with the meter, %d without, or others", len(metered.lines), len(plain.lines))
			}
		})
	}
}

// The same version over the same batches has the same effects and fuel, in each instance and
// for each program that is compiled from it.
func TestFreshInstancesAreDeterministic(t *testing.T) {
	input := batches(t, orders(1000), 64)
	for name, module := range examples {
		t.Run(name, func(t *testing.T) {
			want, p := newStateful(), load(t, module)
			fuel := handle(t, p, want.config(), input)
			for _, other := range []*Program{p, load(t, module)} {
				got := newStateful()
				if again := handle(t, other, got.config(), input); !slices.Equal(again, fuel) {
					t.Errorf("fuel %v, then %v", fuel, again)
				}
				if !slices.Equal(got.lines, want.lines) {
					t.Error("another instance had other effects")
				}
			}
		})
	}
}

// A guest that keeps nothing in memory has the same effects however events are cut into
// batches.
func TestTheCutOfBatchesChangesNothing(t *testing.T) {
	events, p := orders(1000), load(t, guests.Totals)
	appends := func(s *stateful) []string {
		return slices.DeleteFunc(slices.Clone(s.lines), func(line string) bool { return line[:6] != "append" })
	}
	want := newStateful()
	handle(t, p, want.config(), batches(t, events, 64))
	for _, size := range []int{1, 7, 256} {
		got := newStateful()
		handle(t, p, got.config(), batches(t, events, size))
		if !maps.Equal(got.state, want.state) || !slices.Equal(appends(got), appends(want)) || len(appends(got)) == 0 {
			t.Errorf("in batches of %d: %d events appended, in batches of 64: %d; or other state", size, len(appends(got)), len(appends(want)))
		}
	}
}

func TestHostileGuestsOfAToolchainAreStopped(t *testing.T) {
	p := load(t, guests.Hostile)
	for attempt, want := range map[uint32]Reason{
		guests.Loop: TimedOut, guests.Memset: TimedOut, guests.Tree: TimedOut, guests.Log: TimedOut, guests.Recurse: Crashed, guests.Outside: OutOfBounds,
	} {
		r := &recorder{}
		config := r.config()
		config.Output = quiet{}
		config.Limits = MaxLimits()
		config.Limits.Time = 100 * time.Millisecond // the clock ticks once a slice
		if want == Crashed {
			config.Limits.Time = time.Hour // the stack ends first
		}
		in := start(t, p, config)
		_, fuel, err := in.Call(context.Background(), deep(attempt))
		wantTrap(t, err, want)
		if want == TimedOut && fuel > 110*sliceFuel || len(r.lines) > 0 {
			t.Errorf("attempt %d: stopped after %d slices, with effects %q", attempt, fuel/sliceFuel, r.lines)
		}
	}
	config := (&recorder{}).config()
	config.Limits.MemoryBytes = 40 << 20
	in := start(t, p, config)
	if pages, _, err := in.Call(context.Background(), deep(guests.Grow)); int(pages) != 40<<20/pageBytes || err != nil {
		t.Errorf("a guest has grown to %d pages of 40 MiB, %v", pages, err)
	}
}

// Appends and the collector go on beside two hostile plugins, which only end when their
// caller ends them.
func TestTheNodeGoesOnBesideHostileGuests(t *testing.T) {
	p := loadOn(t, NewHost(DefaultMemory), guests.Hostile)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	for _, attempt := range []uint32{guests.Loop, guests.Memset} {
		config := (&recorder{}).config()
		config.Limits = Limits{MemoryBytes: 64 << 20, Fuel: 1 << 62, Time: 24 * time.Hour, InitTime: time.Hour}
		in := start(t, p, config)
		go func() {
			_, _, err := in.Call(ctx, deep(attempt))
			ended <- err
		}()
	}
	store := core.NewStore(engine.New(), core.StoreConfig{})
	defer store.Close()
	for i := range 100 {
		runtime.GC()
		event := core.NewEvent{ID: core.NewID(), Type: "Placed", Data: []byte("{}")}
		c := core.Commit{Appends: []core.Append{{Stream: "orders", Expect: core.AnyVersion, Events: []core.NewEvent{event}}}}
		if _, err := store.Append(ctx, c); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	select {
	case err := <-ended:
		t.Errorf("a guest ended by itself: %v", err)
	default:
	}
	cancel()
	for range 2 {
		if err := <-ended; core.AsError(err).Code != core.CodeCanceled {
			t.Errorf("a guest whose caller gave up: %v", err)
		}
	}
}

// What one instance writes no other sees.
func TestInstancesShareNothing(t *testing.T) {
	// The verdict is a byte of memory and a global, of which each call adds one to.
	code := slices.Concat(
		i32(0), i32(0), []byte{0x2d, 0, 0}, i32(1), []byte{0x6a, 0x3a, 0, 0}, // memory[0]++
		[]byte{opGlobalGet, 0}, i32(1), []byte{0x6a, opGlobalSet, 0},
		i32(0), []byte{0x2d, 0, 0, opGlobalGet, 0, 0x6a, opLocalSet, 3}, // both are 1, then 2
		[]byte{opLocalGet, 3}, i32(2), []byte{0x46, opIf, byte(typeI32)}, i32(0), []byte{opElse, opLocalGet, 3, opEnd},
	)
	p := load(t, handler(&built{globals: []global{{typeI32, true}}}, code...))
	for range 3 {
		in := start(t, p, (&recorder{}).config())
		for call, want := range []abi.Verdict{0, 4} {
			if verdict, _, err := in.Call(context.Background(), deep(0)); verdict != want || err != nil {
				t.Errorf("call %d of a fresh instance: verdict %d, %v; want %d", call, verdict, err, want)
			}
		}
	}
}
