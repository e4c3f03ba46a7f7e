package wasm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
)

// imports adds functions of the host's table to a module, and returns a function that
// emits a call of one with constants.
func imports(b *built, names ...string) func(name string, args ...int) []byte {
	index := map[string]uint32{}
	table := importTable()
	for _, name := range names {
		i := slices.IndexFunc(table, func(t imported) bool { return t.name == name })
		index[name] = b.host(table[i].module, name, table[i].typ.params, table[i].typ.results)
	}
	return func(name string, args ...int) (code []byte) {
		i := slices.IndexFunc(table, func(t imported) bool { return t.name == name })
		for j, arg := range args {
			if table[i].typ.params[j] == typeI64 {
				code = appendSigned(append(code, opI64Const), int64(arg))
			} else {
				code = append(code, i32(arg)...)
			}
		}
		return slices.Concat(code, []byte{opCall}, uleb(int(index[name])))
	}
}

func TestGuestStagesEffects(t *testing.T) {
	appended, err := abi.AppendEvent(nil, &abi.Appended{Type: []byte("Out"), Data: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	b := &built{data: slices.Concat([]byte("the stream\x1b[1mbad"), appended)}
	call := imports(b, abi.EventBegin, abi.StatePut, abi.StateDelete, abi.Append, abi.EventResult, abi.Log, abi.StateGet, abi.BatchRead)
	const out = 17
	drop := []byte{opDrop}
	module := handler(b, slices.Concat(
		call(abi.BatchRead, 0, 1000, 5000), drop,
		call(abi.EventBegin, 1), drop,
		call(abi.StatePut, 0, 3, 1000, 4), drop,
		call(abi.StateDelete, 0, 3), drop,
		call(abi.Append, 4, 6, -2, out, len(appended)), drop,
		call(abi.EventResult, 1, int(abi.Park), 250, 0, 3), drop,
		call(abi.Log, int(abi.Warn), 0, out),
		call(abi.StateGet, 0, 3, 2000, 5), // answers 16, and copies nothing into 5 bytes
		i32(16), []byte{0x6b},
	)...)
	r := &recorder{}
	in := start(t, load(t, module), r.config())
	verdict, fuel, err := in.Call(context.Background(), batchOf(t, 2))
	if verdict != abi.Done || fuel <= 0 || err != nil {
		t.Errorf("verdict %d, fuel %d, %v", verdict, fuel, err)
	}
	want := []string{
		"put 1 the GYB1", "delete 1 the", "append 1 stream -2 (37 bytes)", "result 1 2 250ms the", "log 2 the stream�[1mbad",
	}
	if !slices.Equal(r.lines, want) || r.begun != 1 {
		t.Errorf("got %q of event %d, want %q of event 1", r.lines, r.begun, want)
	}
}

func TestCallsOutOfTurnAreRefused(t *testing.T) {
	appended, err := abi.AppendEvent(nil, &abi.Appended{Type: []byte("Out")})
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name  string
		begin int // event, or -1 for none
		want  abi.Errno
		op    string
		args  []int
	}{
		{"append before an event", -1, abi.Invalid, abi.Append, []int{0, 1, -1, 100, len(appended)}},
		{"put before an event", -1, abi.Invalid, abi.StatePut, []int{0, 1, 0, 1}},
		{"event back", 1, abi.Invalid, abi.EventBegin, []int{0}},
		{"event after the last", 1, abi.Invalid, abi.EventBegin, []int{2}},
		{"result of no event", 0, abi.Invalid, abi.EventResult, []int{2, 0, 0, 0, 0}},
		{"secret", 0, abi.Unsupported, abi.SecretGet, []int{0, 1, 0, 0}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := &built{memory: []uint32{8}, data: slices.Concat([]byte("k"), make([]byte, 99), appended)}
			call := imports(b, slices.Compact([]string{abi.EventBegin, c.op})...)
			var code []byte
			if c.begin >= 0 {
				code = append(call(abi.EventBegin, c.begin), opDrop)
			}
			// The verdict is the errno.
			r := &recorder{}
			in := start(t, load(t, handler(b, append(code, call(c.op, c.args...)...)...)), r.config())
			got, _, err := in.Call(context.Background(), batchOf(t, 2))
			if err != nil || abi.Errno(got) != c.want || len(r.lines) > 0 {
				t.Errorf("errno %d after %d effects, %v; want %d after none", got, len(r.lines), err, c.want)
			}
		})
	}
}

func TestHostileGuestsAreStopped(t *testing.T) {
	loop := []byte{opLoop, blockEmpty, opBr, 0, opEnd, opI32Const, 0}
	fill := slices.Concat([]byte{opLoop, blockEmpty}, i32(0), i32(1), i32(pageBytes), []byte{0xfc, 11, 0, opBr, 0, opEnd, opI32Const, 0})
	logging := &built{}
	call := imports(logging, abi.Log)
	logs := slices.Concat([]byte{opLoop, blockEmpty}, call(abi.Log, 1, 0, 4096), []byte{opBr, 0, opEnd, opI32Const, 0})
	outside := &built{}
	callOutside := imports(outside, abi.Log)
	failing := &built{data: []byte("no such order")}
	callFail := imports(failing, abi.Fail)
	cases := []struct {
		name    string
		module  []byte
		endless bool // stopped by time, by fuel and by its caller alike
		want    Reason
	}{
		{"loop", handler(&built{}, loop...), true, ""},
		{"memset", handler(&built{}, fill...), true, ""},
		{"log", handler(logging, logs...), true, ""},
		{"recursion", handler(&built{}, opLocalGet, 0, opLocalGet, 0, opLocalGet, 0, opCall, 0), false, Crashed},
		{"unreachable", handler(&built{}, opUnreachable), false, Crashed},
		{"bad address", handler(outside, append(callOutside(abi.Log, 0, -1, 100), opI32Const, 0)...), false, OutOfBounds},
		{"fail", handler(failing, append(callFail(abi.Fail, 7, 0, 13), opI32Const, 0)...), false, Failed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := load(t, c.module)
			canceled, cancel := context.WithCancel(context.Background())
			if !c.endless {
				in := start(t, p, (&recorder{}).config())
				_, _, err := in.Call(context.Background(), batchOf(t, 1))
				wantTrap(t, err, c.want)
				_, _, err = in.Call(context.Background(), batchOf(t, 1))
				wantTrap(t, err, Discarded)
				cancel()
				return
			}
			// The clock moves by a millisecond a slice, so this is 100 slices.
			config := (&recorder{}).config()
			config.Output = quiet{}
			config.Limits.Time, config.Limits.Fuel = 100_000_000, 1<<40
			in := start(t, p, config)
			_, fuel, err := in.Call(context.Background(), batchOf(t, 1))
			wantTrap(t, err, TimedOut)
			if fuel < 99*sliceFuel || fuel > 102*sliceFuel {
				t.Errorf("stopped after %d units of fuel, a slice is %d", fuel, sliceFuel)
			}
			config.Limits.Time, config.Limits.Fuel = 1<<62, 20*sliceFuel
			in = start(t, p, config)
			_, fuel, err = in.Call(context.Background(), batchOf(t, 1))
			wantTrap(t, err, OutOfFuel)
			again := start(t, p, config)
			if _, other, _ := again.Call(context.Background(), batchOf(t, 1)); other != fuel || fuel < config.Limits.Fuel-sliceFuel {
				t.Errorf("two runs of one budget used %d and %d", fuel, other)
			}
			config.Limits.Fuel = 1 << 40
			in = start(t, p, config)
			p.host.now = func() time.Time { cancel(); return time.Time{} } // canceled once it runs
			_, _, err = in.Call(canceled, batchOf(t, 1))
			wantTrap(t, err, Canceled)
		})
	}
}

func TestStartingIsBounded(t *testing.T) {
	loop := []byte{opLoop, blockEmpty, opBr, 0, opEnd}
	for _, name := range []string{"", abi.Start} {
		b := &built{}
		f := b.define(name, none, none, nil, loop...)
		module := handler(b, opI32Const, 0)
		if name == "" {
			b.start = int(b.define("", none, none, nil, opCall, byte(f)))
			module = b.bytes()
		}
		config := (&recorder{}).config()
		config.Limits.InitTime = 50 * time.Millisecond
		_, err := load(t, module).New(context.Background(), config)
		wantTrap(t, err, TimedOut)
	}
	b := &built{}
	b.define(abi.Init, i32x1, i32x1, nil, opI32Const, 5)
	_, err := load(t, handler(b, opI32Const, 0)).New(context.Background(), (&recorder{}).config())
	wantTrap(t, err, Failed)
	_, err = load(t, handler(&built{memory: []uint32{65}}, opI32Const, 0)).New(context.Background(), (&recorder{}).config())
	wantTrap(t, err, OutOfMemory)
}

func TestMemoryIsCapped(t *testing.T) {
	module := handler(&built{memory: []uint32{1}}, slices.Concat(i32(63), []byte{opMemoryGrow, 0, opDrop}, i32(1), []byte{opMemoryGrow, 0})...)
	in := start(t, load(t, module), (&recorder{}).config())
	verdict, _, err := in.Call(context.Background(), batchOf(t, 0))
	if verdict != -1 || err != nil {
		t.Errorf("growing over 4 MiB answered %d, %v", verdict, err)
	}
}

func TestAVerdictButDoneClosesTheInstance(t *testing.T) {
	in := start(t, load(t, handler(&built{}, opLocalGet, 1)), (&recorder{}).config())
	if verdict, _, err := in.Call(context.Background(), batchOf(t, 0)); verdict != abi.Done || err != nil || in.MemoryBytes() != pageBytes {
		t.Errorf("verdict %d, %v, %d bytes", verdict, err, in.MemoryBytes())
	}
	if verdict, _, err := in.Call(context.Background(), batchOf(t, int(abi.ParkBatch))); verdict != abi.ParkBatch || err != nil {
		t.Errorf("verdict %d, %v", verdict, err)
	}
	_, _, err := in.Call(context.Background(), batchOf(t, 0))
	wantTrap(t, err, Discarded)
}

func TestACallWaitsForASlot(t *testing.T) {
	p := load(t, handler(&built{}, opI32Const, 0))
	in := start(t, p, (&recorder{}).config())
	for range cap(p.host.slots) {
		if err := p.host.enter(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := in.Call(ctx, batchOf(t, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a call without a slot: %v", err)
	}
	p.host.leave()
	if _, _, err := in.Call(context.Background(), batchOf(t, 1)); err != nil {
		t.Errorf("a call with a slot, after one that found none: %v", err)
	}
}

func TestForeignImportsAndMissingExportsAreNamed(t *testing.T) {
	foreign := &built{}
	foreign.host(wasiModule, "path_open", none, none)
	wrong := &built{}
	wrong.host(abi.Module, abi.Log, none, none)
	noHandle := &built{memory: []uint32{1}, exports: []export{{abi.Memory, kindMemory, 0}}}
	noMemory := &built{}
	badInit := &built{}
	badInit.define(abi.Init, none, none, nil)
	for want, module := range map[string][]byte{
		`import "wasi_snapshot_preview1"."path_open" does not exist`:                handler(foreign, opI32Const, 0),
		`import "gyre_1"."log" has the type () → (), here it is (i32 i32 i32) → ()`: handler(wrong, opI32Const, 0),
		`export "gyre_handle" is missing`:                                           noHandle.bytes(),
		`export "memory" is missing`:                                                noMemory.bytes(),
		`export "gyre_init" has the type () → (), (i32) → (i32) is needed`:          handler(badInit, opI32Const, 0),
	} {
		m, err := Parse(module)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.CheckABI(abi.Handle); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Of what a guest logs in a call the first 64 KiB are kept, in lines of at most 4 KiB.
func TestLogsAreCut(t *testing.T) {
	b := &built{memory: []uint32{1}}
	call := imports(b, abi.Log)
	module := handler(b, append(slices.Repeat(call(abi.Log, int(abi.Info), 0, 5000), 20), i32(0)...)...)
	r := &recorder{}
	in := start(t, load(t, module), r.config())
	in.memory.WriteString(0, strings.Repeat("x", 5000))
	for range 2 { // the next call has a budget of its own
		r.lines = nil
		if verdict, _, err := in.Call(context.Background(), deep(0)); verdict != abi.Done || err != nil {
			t.Fatal(verdict, err)
		}
		want := "log 1 " + strings.Repeat("x", abi.MaxLineBytes)
		if len(r.lines) != abi.MaxLogBytes/abi.MaxLineBytes || slices.ContainsFunc(r.lines, func(line string) bool { return line != want }) {
			t.Errorf("%d lines were kept, the first of %d bytes", len(r.lines), len(r.lines[0]))
		}
	}
}

func TestCallsDoNotAllocate(t *testing.T) {
	b := &built{}
	call := imports(b, abi.BatchRead, abi.EventBegin, abi.NowMicros, abi.Random)
	module := handler(b, slices.Concat(call(abi.BatchRead, 0, 0, 60_000), []byte{opDrop}, call(abi.EventBegin, 0), []byte{opDrop},
		call(abi.NowMicros), []byte{opDrop}, call(abi.Random, 0, 32), i32(0))...)
	config := (&recorder{}).config()
	config.Output = quiet{}
	in := start(t, load(t, module), config)
	batch := batchOf(t, 64)
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := in.Call(ctx, batch); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}

func BenchmarkCall(b *testing.B) {
	module := &built{}
	call := imports(module, abi.BatchRead)
	in := start(b, load(b, handler(module, append(call(abi.BatchRead, 0, 0, 60_000), opDrop, opI32Const, 0)...)), (&recorder{}).config())
	batch := batchOf(b, 64)
	ctx := context.Background()
	for b.Loop() {
		if _, _, err := in.Call(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
}

// denying denies deletes, as a query's Effects do.
type denying struct{ *recorder }

func (denying) Delete(int, []byte) abi.Errno { return abi.Denied }

// TestQueries: a program that is entered by gyre_query is handed a text, and answers as the result of
// event 0. Its fuel and its time are those of a batch.
func TestQueries(t *testing.T) {
	build := func(code ...byte) []byte {
		b := &built{memory: []uint32{1}}
		read := b.host(abi.Module, abi.BatchRead, []valueType{typeI32, typeI32, typeI32}, i32x1)
		result := b.host(abi.Module, abi.EventResult, []valueType{typeI32, typeI32, typeI32, typeI32, typeI32}, i32x1)
		if code == nil {
			zero := i32(0)
			code = slices.Concat(zero, zero, []byte{opLocalGet, 0, opCall, byte(read), opDrop}, zero, zero, zero, zero, []byte{opLocalGet, 0, opCall, byte(result)})
		}
		b.define(abi.Query, i32x1, i32x1, nil, code...)
		return handler(b, opI32Const, 0)
	}
	enter := func(module []byte) (*Program, error) {
		parsed, err := Parse(module)
		if err != nil {
			t.Fatal(err)
		}
		if !parsed.AnswersQueries() {
			t.Error("the module does not say that it answers queries")
		}
		h := NewHost(DefaultMemory)
		h.now = ticking()
		return h.Load(t.Context(), &Code{metered: parsed.Meter()}, abi.Query)
	}
	p, err := enter(build())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := &recorder{}
	in := start(t, p, r.config())
	for _, query := range []string{"what?", "", "again"} {
		if verdict, fuel, err := in.Call(context.Background(), []byte(query)); err != nil || verdict != abi.Done || fuel == 0 {
			t.Errorf("%q: %d, %d, %v", query, verdict, fuel, err)
		}
	}
	if want := []string{"result 0 0 0s what?", "result 0 0 0s ", "result 0 0 0s again"}; !slices.Equal(r.lines, want) {
		t.Errorf("the answers are %q, want %q", r.lines, want)
	}
	effect := &built{memory: []uint32{1}}
	call := effect.host(abi.Module, abi.StateDelete, []valueType{typeI32, typeI32}, i32x1)
	effect.define(abi.Query, i32x1, i32x1, nil, slices.Concat(i32(0), i32(0), []byte{opCall, byte(call)})...)
	p, err = enter(handler(effect, opI32Const, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	config := r.config()
	config.Effects = denying{r}
	if verdict, _, err := start(t, p, config).Call(context.Background(), []byte("what?")); err != nil || verdict != abi.Verdict(abi.Denied) {
		t.Errorf("an effect is answered with %d, %v", verdict, err)
	}
	loop, err := enter(build(opLoop, blockEmpty, opBr, 0, opEnd, opI32Const, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	config.Limits.Fuel = 100_000
	_, _, err = start(t, loop, config).Call(context.Background(), []byte("what?"))
	wantTrap(t, err, OutOfFuel)
	b := &built{memory: []uint32{1}}
	b.define(abi.Query, none, none, nil)
	if parsed, err := Parse(handler(b, opI32Const, 0)); err != nil || parsed.CheckABI(abi.Handle) == nil {
		t.Errorf("a query of another type is taken: %v", err)
	}
}
