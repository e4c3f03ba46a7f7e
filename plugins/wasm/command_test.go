package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/stdio"
)

// textAt is where the text of a built command is, behind a vector that names it.
const textAt = 16

// writing is a command that writes a text to a file descriptor, and goes on with code.
func writing(fd int, text string, code ...byte) []byte {
	b := &built{memory: []uint32{uint32(1 + len(text)/pageBytes)}, data: make([]byte, textAt, textAt+len(text))}
	binary.LittleEndian.PutUint32(b.data, textAt)
	binary.LittleEndian.PutUint32(b.data[4:], uint32(len(text)))
	b.data = append(b.data, text...)
	call := imports(b, "fd_write", "proc_exit")
	b.exports = append(b.exports, export{abi.Memory, kindMemory, 0})
	b.define(abi.Main, none, none, none, slices.Concat(call("fd_write", fd, 0, 1, 8), []byte{opDrop}, code)...)
	return b.bytes()
}

// exits is the code of a call of proc_exit, the second import.
func exits(code int) []byte { return append(i32(code), opCall, 1) }

// copying is a command that writes what it reads to its standard error.
func copying() []byte {
	b := &built{memory: []uint32{1}, data: make([]byte, textAt)}
	binary.LittleEndian.PutUint32(b.data, textAt)
	call := imports(b, "fd_read", "fd_write")
	b.exports = append(b.exports, export{abi.Memory, kindMemory, 0})
	const room, count = 100, 8
	readAgain := slices.Concat(
		i32(4), i32(room), []byte{0x36, 2, 0}, // the vector has room
		call("fd_read", 0, 0, 1, count), []byte{opDrop},
		i32(4), i32(count), []byte{0x28, 2, 0, 0x36, 2, 0}, // and then what was read
		call("fd_write", 2, 0, 1, 12), []byte{opDrop},
		i32(count), []byte{0x28, 2, 0, opBrIf, 0}, // until that is nothing
	)
	b.define(abi.Main, none, none, none, slices.Concat([]byte{opLoop, blockEmpty}, readAgain, []byte{opEnd})...)
	return b.bytes()
}

// loadCommand makes a program of a command.
func loadCommand(t *testing.T, module []byte) *Program {
	t.Helper()
	m := parsed(t, module)
	if err := m.CheckABI(abi.Main); err != nil {
		t.Fatal(err)
	}
	code, err := InProcess(m)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewHost(DefaultMemory).Load(context.Background(), code, abi.Main)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// runCommand has a command handle two events, at positions 0 and 1.
func runCommand(t *testing.T, module []byte, r *recorder) (abi.Verdict, error) {
	t.Helper()
	h, err := loadCommand(t, module).Plugin().New(context.Background(), plugins.Connection{Limits: plugins.DefaultLimits(), Effects: r, Reads: r, Output: r})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	verdict, _, err := h.Handle(context.Background(), batchOf(t, 2))
	return verdict, err
}

func TestCommandStagesWhatItWrites(t *testing.T) {
	const text = `{"do":"append","position":0,"stream":"s","expect":3,"events":[{"type":"T","data":null}]}
{"do":"put","position":0,"key":"k","value":{"a":1}}
{"do":"put","position":0,"key":"k","valueBase64":"YWI="}
{"do":"delete","position":0,"key":"k"}
{"do":"log","level":"warn","text":"a\u001bb"}
{"do":"metric","kind":"gauge","name":"g","value":1.5}
{"do":"skip","position":0}
{"do":"ack","position":1}
{"do":"retry","position":1,"delayMs":20,"reason":"later"}
{"do":"park","position":1,"reason":"bad"}`
	want := []string{
		"append 0 s 3 (37 bytes)", `put 0 k {"a":1}`, "put 0 k ab", "delete 0 k", "log 2 a�b", "metric 1 g 1.5", "result 0 3 0s ",
		"result 1 0 0s ", "result 1 1 20ms later", "result 1 2 0s bad",
	}
	for name, code := range map[string][]byte{"returns": nil, "exits with 0": exits(0)} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			verdict, err := runCommand(t, writing(1, text, code...), r)
			if verdict != abi.Done || err != nil || !slices.Equal(r.lines, want) {
				t.Errorf("verdict %d, %v, %q", verdict, err, r.lines)
			}
		})
	}
}

func TestCommandReadsItsBatch(t *testing.T) {
	r := &recorder{}
	verdict, err := runCommand(t, copying(), r)
	lines := strings.Join(r.lines, "\n")
	if verdict != abi.Done || err != nil || len(r.lines) != 3 ||
		!strings.HasPrefix(lines, `log 1 {"batch":{"events":2,"config":{}}}`+"\n"+`log 1 {"stream":"s","version":0,"position":0,"id":"01000000-`) {
		t.Errorf("verdict %d, %v, %s", verdict, err, lines)
	}
}

// Each batch has an instance of its own: it begins with the memory of the module.
func TestCommandBeginsAnew(t *testing.T) {
	r := &recorder{}
	h, err := loadCommand(t, copying()).Plugin().New(context.Background(), plugins.Connection{Limits: plugins.DefaultLimits(), Effects: r, Reads: r, Output: r})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for range 3 {
		verdict, fuel, err := h.Handle(context.Background(), batchOf(t, 1))
		if verdict != abi.Done || err != nil || fuel <= 0 || h.MemoryBytes() != pageBytes {
			t.Errorf("verdict %d, fuel %d, memory %d, %v", verdict, fuel, h.MemoryBytes(), err)
		}
	}
	if n := len(r.lines); n != 6 || !slices.Equal(r.lines[:2], r.lines[2:4]) || !slices.Equal(r.lines[:2], r.lines[4:]) {
		t.Errorf("%d lines: %q", n, r.lines)
	}
}

func TestCommandFails(t *testing.T) {
	good := `{"do":"ack","position":0}` + "\n"
	cases := map[string]struct {
		module    []byte
		want      string
		permanent bool
	}{
		"exit code":        {writing(2, "broken\n", exits(3)...), "plugin failed: exit code 3", false},
		"trap":             {writing(1, good, 0), "plugin crashed: unreachable", false},
		"no JSON":          {writing(1, good+"hello\n"), "line 2: it is no JSON object: hello", true},
		"last, no end":     {writing(1, good+`{"do":"ack"`, exits(0)...), "line 2: it is no JSON", true},
		"empty line":       {writing(1, good+"\n"+good), "line 2: it is empty", true},
		"no UTF-8":         {writing(1, "{\"do\":\"log\",\"text\":\"\xff\"}\n"), "line 1: it is no JSON", true},
		"unknown member":   {writing(1, `{"do":"ack","position":0,"why":1}`+"\n"), `line 1: there is no member /why`, true},
		"other position":   {writing(1, `{"do":"ack","position":7}`), "line 1: position 7 is not that of an event of the batch", true},
		"back":             {writing(1, `{"do":"ack","position":1}`+"\n"+good), "line 2: position 0 comes after position 1", true},
		"too long":         {writing(1, strings.Repeat(" ", stdio.MaxLine+1)), "line 1: it has more than 5 MiB", true},
		"refused metric":   {writing(1, `{"do":"metric","kind":"gauge","name":"","value":1}`), "line 1: metric: invalid argument", false},
		"writes elsewhere": {writing(3, good, exits(0)...), "", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			verdict, err := runCommand(t, c.module, r)
			if c.want == "" {
				if verdict != abi.Done || err != nil || len(r.lines) > 0 {
					t.Errorf("verdict %d, %v, %q", verdict, err, r.lines)
				}
				return
			}
			var failed *plugins.Failure
			if !errors.As(err, &failed) || !strings.Contains(failed.Error(), c.want) || failed.Permanent != c.permanent {
				t.Errorf("got %+v (%v), want %q, permanent %t", failed, err, c.want, c.permanent)
			}
		})
	}
}

// A command may import all of WASI. What is not there says so.
func TestCommandHasNoFiles(t *testing.T) {
	r := &recorder{}
	for _, i := range commandImports() {
		want := wasiBadFile
		if i.name == "clock_res_get" || i.name == "proc_raise" {
			want = wasiMissing
		}
		// The command reads from file 1, and the like, and traps unless the answer is right.
		b := &built{memory: []uint32{1}}
		call := imports(b, i.name)
		args := make([]int, len(i.typ.params))
		args[0] = 1
		b.exports = append(b.exports, export{abi.Memory, kindMemory, 0})
		b.define(abi.Main, none, none, none, slices.Concat(call(i.name, args...), i32(want), []byte{0x47, opIf, blockEmpty, 0, opEnd})...)
		if verdict, err := runCommand(t, b.bytes(), r); verdict != abi.Done || err != nil || len(r.lines) > 0 {
			t.Errorf("%s: verdict %d, %v, %q", i.name, verdict, err, r.lines)
		}
	}
}

// A command may import what WASI has, with its types, and nothing else.
func TestCommandImportsAreThoseOfWASI(t *testing.T) {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer rt.Close(ctx)
	compiled, err := wasi_snapshot_preview1.NewBuilder(rt).Compile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own := importsOf(abi.Main)
	for name, f := range compiled.ExportedFunctions() {
		i := slices.IndexFunc(own, func(i imported) bool { return i.name == name })
		if want := (funcType{valueTypes(f.ParamTypes()), valueTypes(f.ResultTypes())}); i < 0 || !own[i].typ.equal(want) {
			t.Errorf("%s %s is not an import", name, want)
		}
	}
	if n := len(compiled.ExportedFunctions()); n != len(own) || n != len(Imports(abi.Main)) {
		t.Errorf("there are %d imports, WASI has %d", len(own), n)
	}
}

// stingy refuses every put.
type stingy struct{ recorder }

func (*stingy) Put(int, []byte, []byte) abi.Errno { return abi.Denied }

func TestCommandIsRefusedAnEffect(t *testing.T) {
	r := &stingy{}
	p := loadCommand(t, writing(1, `{"do":"put","position":1,"key":"k","value":1}`))
	in := start(t, p, Config{Limits: DefaultLimits(), Effects: r, Reads: r, Output: r})
	_, _, err := in.Call(context.Background(), batchOf(t, 2))
	wantTrap(t, err, Failed)
	if want := "line 1: put for the event at 1: denied"; !strings.Contains(err.Error(), want) || !errors.Is(err, core.CodePluginFailed) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// Lines cost fuel, however many a command writes at once, and so does a last one without an end. What
// the guest was handed out and has not used pays for them, too: here the budget is below a slice.
func TestCommandPaysForLines(t *testing.T) {
	const line = `{"do":"log","text":"a"}`
	for _, c := range []struct {
		text              string
		paid, least, most int
	}{{strings.Repeat(line+"\n", 10_000), 100, 1, 100}, {line, 1, 0, 0}} {
		r := &recorder{}
		config := Config{Limits: DefaultLimits(), Effects: r, Reads: r, Output: r}
		config.Limits.Fuel = int64(c.paid) * lineCost
		in := start(t, loadCommand(t, writing(1, c.text)), config)
		_, _, err := in.Call(context.Background(), batchOf(t, 1))
		wantTrap(t, err, OutOfFuel)
		if n := len(r.lines); n < c.least || n > c.most {
			t.Errorf("of %d bytes %d lines are logged", len(c.text), n)
		}
	}
}

func TestCommandIsStopped(t *testing.T) {
	r := &recorder{}
	_, err := runCommand(t, writing(1, "", opLoop, blockEmpty, opBr, 0, opEnd), r)
	var failed *plugins.Failure
	if !errors.As(err, &failed) || !failed.Limit {
		t.Errorf("got %v, want a limit", err)
	}
}

// A command may exit before its entry is called, which is no defect of the host.
func TestCommandExitsWhenItStarts(t *testing.T) {
	b := &built{memory: []uint32{1}}
	call := imports(b, "fd_write", "proc_exit")
	b.exports = append(b.exports, export{abi.Memory, kindMemory, 0})
	b.start = int(b.define("", none, none, none, call("proc_exit", 0)...))
	b.define(abi.Main, none, none, none)
	r := &recorder{}
	_, err := runCommand(t, b.bytes(), r)
	var failed *plugins.Failure
	if !errors.As(err, &failed) || failed.Reason != string(Failed) || failed.Detail != "exit code 0" {
		t.Errorf("got %v", err)
	}
}
