package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
)

// passThrough is a module that exports every import, so that a test can call them with any
// arguments.
func passThrough() []byte {
	b := &built{memory: []uint32{1, 1}}
	table := importTable()
	for _, i := range table {
		b.host(i.module, i.name, i.typ.params, i.typ.results)
	}
	for i, f := range table {
		var code []byte
		for p := range f.typ.params {
			code = append(code, opLocalGet, byte(p))
		}
		b.define("x_"+f.name, f.typ.params, f.typ.results, nil, slices.Concat(code, []byte{opCall, byte(i)})...)
	}
	return handler(b, opI32Const, 0)
}

// probe calls an import as a guest would, with the fuel of a call.
func probe(in *Instance, name string, args ...uint64) (uint64, error) {
	if err := in.tank.enter(context.Background()); err != nil {
		return 0, err
	}
	defer in.tank.leave()
	in.tank.fill(context.Background(), 1_000_000, in.config.Limits.Time)
	stack := append(slices.Clone(args), 0)
	err := in.module.ExportedFunction("x_"+name).CallWithStack(in.ctx, stack)
	in.settleFuel()
	return stack[0], err
}

func TestWASIHasFixedAnswers(t *testing.T) {
	r := &recorder{}
	in := start(t, load(t, passThrough()), r.config())
	cases := []struct {
		name string
		args []uint64
		want uint64
	}{
		{"args_get", []uint64{0, 0}, wasiOK},
		{"args_sizes_get", []uint64{0, 4}, wasiOK},
		{"environ_get", []uint64{0, 0}, wasiOK},
		{"environ_sizes_get", []uint64{0, 4}, wasiOK},
		{"clock_time_get", []uint64{2, 0, 0}, wasiInvalid},
		{"sched_yield", nil, wasiOK},
		{"fd_close", []uint64{1}, wasiBadFile},
		{"fd_seek", []uint64{1, 0, 0, 0}, wasiNoSeek},
		{"fd_fdstat_get", []uint64{1, 0}, wasiOK},
		{"fd_fdstat_get", []uint64{3, 0}, wasiBadFile},
		{"fd_fdstat_set_flags", []uint64{0, 0}, wasiOK},
		{"fd_fdstat_set_flags", []uint64{9, 0}, wasiBadFile},
		{"fd_prestat_get", []uint64{3, 0}, wasiBadFile},
		{"fd_prestat_dir_name", []uint64{3, 0, 0}, wasiBadFile},
		{"fd_write", []uint64{3, 0, 0, 0}, wasiBadFile},
		{"fd_write", []uint64{1, 0, maxVectors + 1, 0}, wasiInvalid},
		{"poll_oneoff", []uint64{0, 0, 0, 0}, wasiInvalid},
		{"poll_oneoff", []uint64{0, 0, maxVectors + 1, 0}, wasiInvalid},
	}
	for _, c := range cases {
		if got, err := probe(in, c.name, c.args...); got != c.want || err != nil {
			t.Errorf("%s%v = %d, %v; want %d", c.name, c.args, got, err, c.want)
		}
	}
	_, err := probe(in, "proc_exit", 3)
	wantTrap(t, trapOf(err), Failed)
	asked := map[string]bool{"proc_exit": true, "random_get": true} // the latter has a test of its own
	for _, c := range cases {
		asked[c.name] = true
	}
	for _, i := range wasiImports() {
		if !asked[i.name] {
			t.Errorf("%s is not asked for its answer", i.name)
		}
	}
	if len(r.lines) > 0 {
		t.Errorf("unexpected effects: %q", r.lines)
	}
}

func TestWASIPrintsToTheLog(t *testing.T) {
	r := &recorder{}
	in := start(t, load(t, passThrough()), r.config())
	text := "one\ntwo and \nthree"
	in.memory.WriteString(100, text)
	vectors := binary.LittleEndian.AppendUint32(nil, 100)
	in.memory.Write(0, binary.LittleEndian.AppendUint32(vectors, uint32(len(text))))
	if _, err := probe(in, "fd_write", 1, 0, 1, 8); err != nil {
		t.Fatal(err)
	}
	in.flush()
	if want := []string{"log 1 one", "log 1 two and ", "log 1 three"}; !slices.Equal(r.lines, want) {
		t.Errorf("got %q, want %q", r.lines, want)
	}
	if n, _ := in.memory.ReadUint32Le(8); int(n) != len(text) {
		t.Errorf("%d bytes written of %d", n, len(text))
	}
}

func TestSleepMovesTheMonotonicClock(t *testing.T) {
	in := start(t, load(t, passThrough()), (&recorder{}).config())
	subscriptions := make([]byte, 2*subscriptionBytes)
	binary.LittleEndian.PutUint64(subscriptions, 7)
	binary.LittleEndian.PutUint64(subscriptions[24:], 5_000)
	binary.LittleEndian.PutUint64(subscriptions[subscriptionBytes:], 8)
	binary.LittleEndian.PutUint64(subscriptions[subscriptionBytes+24:], 9_000)
	in.memory.Write(0, subscriptions)
	if answer, err := probe(in, "poll_oneoff", 0, 200, 2, 400); answer != wasiOK || err != nil {
		t.Fatal(answer, err)
	}
	count, _ := in.memory.ReadUint32Le(400)
	user, _ := in.memory.ReadUint64Le(200)
	if in.slept != firstTick+5_000 || count != 1 || user != 7 {
		t.Errorf("slept %d ns, %d events, the first of %d", in.slept, count, user)
	}
	if _, err := probe(in, "clock_time_get", 1, 0, 0); err != nil {
		t.Fatal(err)
	}
	if now, _ := in.memory.ReadUint64Le(0); now != firstTick+5_000 {
		t.Errorf("the monotonic clock is at %d", now)
	}
}

func TestTimeAndRandomnessAreThoseOfTheEvent(t *testing.T) {
	in := start(t, load(t, passThrough()), (&recorder{}).config())
	in.reset(batchOf(t, 2))
	if err := in.readBatch(); err != nil {
		t.Fatal(err)
	}
	bytesOf := func(event uint64) []byte {
		if _, err := probe(in, abi.EventBegin, event); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{abi.Random, "random_get"} {
			if _, err := probe(in, name, 0, 16); err != nil {
				t.Fatal(err)
			}
		}
		b, _ := in.memory.Read(0, 16)
		return bytes.Clone(b)
	}
	first, again, second := bytesOf(0), bytesOf(0), bytesOf(1)
	if !bytes.Equal(first, again) || bytes.Equal(first, second) {
		t.Errorf("random bytes %x, again %x, of the next event %x", first, again, second)
	}
	if now, err := probe(in, abi.NowMicros); now != 1001 || err != nil {
		t.Errorf("now is %d, %v; want the time of the event", now, err)
	}
}

// Whatever a guest passes, an import answers or traps.
func FuzzImports(f *testing.F) {
	f.Add(byte(0), uint64(0), uint64(1<<32-1), uint64(8), uint64(1<<63), uint64(3))
	f.Add(byte(20), uint64(65530), uint64(100), uint64(1<<31), uint64(65536), uint64(0))
	p := load(f, passThrough())
	table := importTable()
	f.Fuzz(func(t *testing.T, which byte, a, b, c, d, e uint64) {
		checkImport(t, p, table[int(which)%len(table)], []uint64{a, b, c, d, e, a ^ b, c ^ d, a, e})
	})
}

// checkImport calls an import before and after event_begin.
func checkImport(t *testing.T, p *Program, function imported, args []uint64) {
	t.Helper()
	config := (&recorder{}).config()
	config.Output = quiet{}
	in := start(t, p, config)
	defer in.Close()
	in.reset(batchOf(t, 3))
	if err := in.readBatch(); err != nil {
		t.Fatal(err)
	}
	args = args[:len(function.typ.params)]
	for i, typ := range function.typ.params {
		if typ == typeI32 {
			args[i] = uint64(uint32(args[i]))
		}
	}
	for _, begin := range []bool{false, true} {
		if begin {
			if _, err := probe(in, abi.EventBegin, 1); err != nil {
				t.Fatal(err)
			}
		}
		_, err := probe(in, function.name, args...)
		if err == nil {
			continue
		}
		if trap := trapOf(err); trap.Reason == HostError || trap.Reason == Crashed {
			t.Fatalf("%s%v: %v", function.name, args, err)
		}
		return
	}
}

// An import that works on a lot of memory stops soon after the deadline, or looks at no more
// than it may have.
func TestImportsDoNotWorkOn(t *testing.T) {
	config := (&recorder{}).config()
	config.Limits.MemoryBytes = 64 << 20
	config.Limits.Time = 20 * time.Millisecond // the clock moves by one at each look
	b := &built{memory: []uint32{1024}}
	call := imports(b, abi.Random, abi.Append, abi.ConfigGet, abi.HTTP, abi.StreamRead)
	const all = 64 << 20
	var code []byte
	for _, refused := range [][]byte{
		call(abi.Append, 0, 1, -1, 0, all), call(abi.Append, 0, all, -1, 0, 32), call(abi.ConfigGet, 0, all, 0, 0),
		call(abi.HTTP, 0, all, 0, 0), call(abi.StreamRead, 0, all, 0, 1, 0, 0),
	} {
		code = slices.Concat(code, refused, i32(int(abi.TooLarge)), []byte{0x47, opIf, blockEmpty, opUnreachable, opEnd})
	}
	code = slices.Concat(code, call(abi.Random, 0, all), i32(0))
	in := start(t, load(t, handler(b, code...)), config)
	_, _, err := in.Call(context.Background(), deep(0))
	wantTrap(t, err, TimedOut)
}

// Every import takes numbers at random, and those at the edges of a page and of 32 and 64
// bits.
func TestImportsTakeAnyArguments(t *testing.T) {
	edges := []uint64{0, 1, 2, 8, 47, 48, 65535, 65536, 65537, 1<<31 - 1, 1 << 31, 1<<32 - 8, 1<<32 - 1, 1 << 32, 1 << 63, 1<<64 - 1}
	r := rand.New(rand.NewPCG(3, 4))
	p := load(t, passThrough())
	for _, function := range importTable() {
		for range 60 {
			args := make([]uint64, 9)
			for i := range args {
				if args[i] = edges[r.IntN(len(edges))]; r.IntN(3) == 0 {
					args[i] = r.Uint64() >> r.IntN(64)
				}
			}
			checkImport(t, p, function, args)
		}
	}
}
