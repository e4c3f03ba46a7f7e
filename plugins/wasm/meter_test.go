package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// refueler is the host's side of the meter: slices up to a budget.
type refueler struct {
	slice, budget int64
	calls         int
	mod           api.Module
}

var errSpent = errors.New("the budget is spent")

func (f *refueler) refuel(_ context.Context, _ api.Module, stack []uint64) {
	f.calls++
	next := min(f.slice, f.budget+int64(stack[0]))
	if next <= 0 {
		panic(errSpent)
	}
	f.budget += int64(stack[0]) - next
	stack[0] = uint64(next)
}

// used returns the fuel that has been used of the budget.
func (f *refueler) used(budget int64) int64 {
	return budget - f.budget - int64(f.mod.ExportedGlobal(fuelExport).Get())
}

// instantiate runs a module under wazero alone, metered or not.
func instantiate(t testing.TB, module []byte, f *refueler) (api.Module, error) {
	t.Helper()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, runtimeConfig())
	t.Cleanup(func() { rt.Close(ctx) })
	if f != nil {
		i64 := []api.ValueType{api.ValueTypeI64}
		builder := rt.NewHostModuleBuilder(meterModule).NewFunctionBuilder()
		if _, err := builder.WithGoModuleFunction(api.GoModuleFunc(f.refuel), i64, i64).Export(meterRefuel).Instantiate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	mod, err := rt.Instantiate(ctx, module)
	if f != nil {
		f.mod = mod
	}
	return mod, err
}

func metered(t testing.TB, module []byte) []byte {
	t.Helper()
	m, err := Parse(module)
	if err != nil {
		t.Fatalf("%v in %x", err, module)
	}
	return m.meter(1 << 10) // so that a page has many
}

// outcome is what can be seen of a module after all its functions were called.
type outcome struct {
	results []string
	memory  string
	globals []string
}

// outcomeOf calls f0, f1, … with some arguments. spent says that the budget ended it.
func outcomeOf(mod api.Module) (o outcome, spent bool) {
	for i := 0; ; i++ {
		f := mod.ExportedFunction(fmt.Sprint("f", i))
		if f == nil {
			break
		}
		args := make([]uint64, len(f.Definition().ParamTypes()))
		for j := range args {
			args[j] = uint64(j+1) * 1021
		}
		got, err := f.Call(context.Background(), args...)
		if errors.Is(err, errSpent) {
			return o, true
		}
		if err != nil {
			text, _, _ := strings.Cut(err.Error(), "\n")
			o.results = append(o.results, text)
			continue
		}
		for j, t := range f.Definition().ResultTypes() {
			o.results = append(o.results, visible(t, got[j]))
		}
	}
	view, _ := mod.Memory().Read(0, mod.Memory().Size())
	o.memory = string(view)
	for i := range numbers {
		g := mod.ExportedGlobal(fmt.Sprint("g", i))
		o.globals = append(o.globals, visible(g.Type(), g.Get()))
	}
	return o, false
}

// visible formats a value. All NaNs are equal.
func visible(t api.ValueType, v uint64) string {
	switch t {
	case api.ValueTypeI32:
		return fmt.Sprint(uint32(v))
	case api.ValueTypeF32:
		return fmt.Sprint(math.Float32frombits(uint32(v)))
	case api.ValueTypeF64:
		return fmt.Sprint(math.Float64frombits(v))
	}
	return fmt.Sprint(v)
}

func TestMeteredModulesCompute(t *testing.T) {
	for seed := range 60 {
		choices := make([]byte, 100+seed*20)
		state := uint32(seed + 1)
		for i := range choices {
			state = state*1664525 + 1013904223
			choices[i] = byte(state >> 24)
		}
		checkMetered(t, choices)
	}
}

// checkMetered compares a generated module with and without the meter.
func checkMetered(t *testing.T, choices []byte) {
	t.Helper()
	module := generate(choices)
	const budget = 2_000_000
	f := &refueler{slice: 1000, budget: budget}
	with, err := instantiate(t, metered(t, module), f)
	if err != nil {
		t.Fatal(err)
	}
	got, spent := outcomeOf(with)
	if spent {
		return
	}
	without, err := instantiate(t, module, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := outcomeOf(without)
	if !slices.Equal(got.results, want.results) || !slices.Equal(got.globals, want.globals) || got.memory != want.memory {
		t.Errorf("metered: %v %v, without the meter: %v %v", got.results, got.globals, want.results, want.globals)
	}
	again := &refueler{slice: 77, budget: budget}
	mod, err := instantiate(t, metered(t, module), again)
	if err != nil {
		t.Fatal(err)
	}
	outcomeOf(mod)
	if a, b := f.used(budget), again.used(budget); a != b || a <= 0 {
		t.Errorf("fuel of two runs: %d in slices of 1000, %d in slices of 77", a, b)
	}
}

// endless are functions that never end, or not for a very long time.
func endless() map[string][]byte {
	loop := &built{}
	loop.define("f0", none, none, nil, opLoop, blockEmpty, opBr, 0, opEnd)

	recursion := &built{}
	recursion.define("f0", none, none, nil, opCall, 0, opCall, 0)

	tree := &built{}
	tree.define("", none, none, nil, opNop)
	for i := range byte(60) {
		tree.define("", none, none, nil, opCall, i, opCall, i)
	}
	tree.define("f0", none, none, nil, opCall, 60)

	fill := slices.Concat(i32(0), i32(1), i32(64<<20), []byte{0xfc, 11, 0})
	storm := &built{memory: []uint32{1024}}
	storm.define("f0", none, none, nil, slices.Repeat(fill, 200)...)

	entries := slices.Concat([]byte{opLoop, blockEmpty}, i32(0), []byte{opCallIndirect, 0, 0, opBr, 0, opEnd})
	indirect := &built{table: []uint32{1}}
	indirect.define("f0", none, none, nil, entries...)
	indirect.define("", none, none, nil, opNop)

	return map[string][]byte{
		"loop": loop.bytes(), "recursion": recursion.bytes(), "call tree": tree.bytes(),
		"memset storm": storm.bytes(), "indirect calls": indirect.bytes(),
	}
}

func TestTheMeterStopsWhatNeverEnds(t *testing.T) {
	for name, module := range endless() {
		t.Run(name, func(t *testing.T) {
			var calls []int
			for range 2 {
				f := &refueler{slice: 10_000, budget: 1_000_000}
				mod, err := instantiate(t, metered(t, module), f)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := mod.ExportedFunction("f0").Call(context.Background()); !errors.Is(err, errSpent) {
					t.Fatalf("ended by itself: %v", err)
				}
				calls = append(calls, f.calls)
			}
			if calls[0] != calls[1] {
				t.Errorf("stopped after %d and %d slices", calls[0], calls[1])
			}
		})
	}
}

func TestTheMeterStopsALoopInStart(t *testing.T) {
	b := &built{start: 1}
	b.define("", none, none, nil)
	b.define("", none, none, nil, opLoop, blockEmpty, opBr, 0, opEnd)
	if _, err := instantiate(t, metered(t, b.bytes()), &refueler{slice: 1000, budget: 5000}); !errors.Is(err, errSpent) {
		t.Errorf("the loop ended: %v", err)
	}
}

func TestFuelOfKnownCode(t *testing.T) {
	b := &built{memory: []uint32{1}}
	b.define("f0", none, none, nil, slices.Concat(i32(0), i32(0), i32(6400), []byte{0xfc, 11, 0})...)
	b.define("f1", none, none, i32x1, slices.Concat(i32(10), []byte{
		opLocalSet, 0, opLoop, blockEmpty, opLocalGet, 0, opI32Const, 1, 0x6b, opLocalTee, 0, opBrIf, 0, opEnd,
	})...)
	b.define("f2", none, none, nil, slices.Concat(i32(0), []byte{opIf, blockEmpty}, slices.Repeat([]byte{opMemorySize, 0, opDrop}, 50), []byte{opEnd})...)
	const budget = 10_000
	for name, want := range map[string]int64{
		"f0": 1 + 4 + 100,      // three constants, the fill, and 6400 bytes of it
		"f1": 1 + 2 + 10*(1+5), // the loop ten times
		"f2": 1 + 2,            // not what the if passes over
	} {
		f := &refueler{slice: 1000, budget: budget}
		mod, err := instantiate(t, metered(t, b.bytes()), f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mod.ExportedFunction(name).Call(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := f.used(budget); got != want {
			t.Errorf("%s used %d units of fuel, want %d", name, got, want)
		}
	}
}

// memory.fill and memory.copy write the same bytes in chunks as at once, also where source and
// target overlap, and nothing if the memory ends before them.
func TestBulkInstructionsInChunks(t *testing.T) {
	b := &built{memory: []uint32{1}, data: []byte(strings.Repeat("no two kilobytes of this text are the same: ", 1000))}
	b.exports = append(b.exports, export{"memory", kindMemory, 0})
	get := []byte{opLocalGet, 0, opLocalGet, 1, opLocalGet, 2}
	b.define("fill", i32x3, none, nil, append(get, 0xfc, 11, 0)...)
	b.define("copy", i32x3, none, nil, append(get, 0xfc, 10, 0, 0)...)
	for i := range 8 { // so that no part of the memory is like another
		b.data[5000*i] = byte(i)
	}
	const end = pageBytes
	for _, args := range [][3]uint64{
		{0, 7, 0}, {end, 7, 0}, {end + 1, 7, 0}, {3, 0, 1}, {0, 100, 1023}, {0, 100, 1024}, {100, 0, 1025}, {100, 0, 5000}, {0, 100, 5000},
		{0, 1, 40_000}, {1, 0, 40_000}, {4096, 0, 40_000}, {0, 4096, 40_000}, {20_000, 20_000, 20_000}, {end - 3000, 10, 3000},
		{end - 3000, 10, 3001}, {10, end - 3000, 3001}, {end - 10, 0, 11}, {0, 0, end}, {0, 0, end + 1}, {1<<32 - 1, 0, 2000}, {0, 1<<32 - 1, 1<<32 - 1},
	} {
		for _, name := range []string{"fill", "copy"} {
			want, err := instantiate(t, b.bytes(), nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := instantiate(t, metered(t, b.bytes()), &refueler{slice: 1, budget: 1 << 40})
			if err != nil {
				t.Fatal(err)
			}
			_, wantErr := want.ExportedFunction(name).Call(context.Background(), args[:]...)
			_, gotErr := got.ExportedFunction(name).Call(context.Background(), args[:]...)
			wantBytes, _ := want.Memory().Read(0, end)
			gotBytes, _ := got.Memory().Read(0, end)
			if (wantErr == nil) != (gotErr == nil) || !bytes.Equal(wantBytes, gotBytes) {
				t.Errorf("%s%v: %v, unmetered: %v; same memory: %v", name, args, gotErr, wantErr, bytes.Equal(wantBytes, gotBytes))
			}
		}
	}
}

// A guest that writes all memory at once passes a check for each MiB.
func TestBulkInstructionsAreCheckedInChunks(t *testing.T) {
	b := &built{memory: []uint32{1024}}
	b.define("f0", none, none, nil, slices.Concat(i32(0), i32(1), i32(64<<20), []byte{0xfc, 11, 0})...)
	m, err := Parse(b.bytes())
	if err != nil {
		t.Fatal(err)
	}
	f := &refueler{slice: 1, budget: 1 << 40}
	mod, err := instantiate(t, m.Meter(), f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mod.ExportedFunction("f0").Call(context.Background()); err != nil || f.calls < 64 {
		t.Errorf("%d checks while 64 MiB were written, %v", f.calls, err)
	}
}

func TestStackTracesKeepNames(t *testing.T) {
	b := &built{custom: map[string][]byte{}}
	b.define("f0", none, none, nil, opCall, 1)
	b.define("", none, none, nil, opUnreachable)
	names := slices.Concat([]byte{2, 0}, appendName(nil, "outer"), []byte{1}, appendName(nil, "inner"))
	b.custom["name"] = slices.Concat([]byte{0, 2, 1, 'm', 1}, list(names))
	mod, err := instantiate(t, metered(t, b.bytes()), &refueler{slice: 100, budget: 100})
	if err != nil {
		t.Fatal(err)
	}
	_, err = mod.ExportedFunction("f0").Call(context.Background())
	if err == nil || !strings.Contains(err.Error(), "inner()") || !strings.Contains(err.Error(), "outer()") {
		t.Errorf("stack trace without names: %v", err)
	}
}

func TestMemoryAndTableArePinned(t *testing.T) {
	b := &built{memory: []uint32{1}, table: []uint32{0}}
	b.define("f0", none, i32x1, nil, slices.Concat(i32(maxMemoryPages), []byte{opMemoryGrow, 0})...)
	if _, err := Parse(metered(t, b.bytes())); err == nil {
		t.Error("a metered module passed the parser again, with its reserved import")
	}
	m, err := Parse(b.bytes())
	if err != nil {
		t.Fatal(err)
	}
	w := &meter{m: m}
	if got, want := w.tableSection(), []byte{1, 0x70, 1, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("table section %x, want %x", got, want)
	}
	if got, want := w.memorySection(), slices.Concat([]byte{1, 1, 1}, uleb(maxMemoryPages)); !slices.Equal(got, want) {
		t.Errorf("memory section %x, want %x", got, want)
	}
}
