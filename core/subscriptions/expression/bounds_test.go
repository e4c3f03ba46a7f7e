package expression

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp/syntax"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

const (
	// mostCompiled and mostRun bound all that is allocated while a definition is compiled, and
	// while it judges one event; what is in use at a time is less.
	mostCompiled = 128 << 20
	mostRun      = 96 << 20
	// mostMemory bounds the memory of the process that fuzzes.
	mostMemory = 256 << 20
	// mostTime is how long DELETE and SIGTERM may take.
	mostTime = 8 * time.Second
)

// nested returns B.map(a,[a,…×width]) … ×levels, which shares its items: memory for a few is
// enough for a value that is as large as width^levels.
func nested(width, levels int) string {
	return "[data]" + strings.Repeat(".map(a,["+strings.TrimSuffix(strings.Repeat("a,", width), ",")+"])", levels)
}

// attacks take all memory or hours where nothing bounds them.
var attacks = []string{
	nested(10, 9), nested(10, 15) + ".all(v, v == v)", "google.protobuf.Value{list_value: " + nested(10, 9) + "}",
	"[" + nested(10, 15) + "].exists(v, [v] in [[v]])", "size(" + nested(10, 15) + ") > 0", nested(10, 15) + " in {" + `"a": 1}`,
	"{" + `"a": ` + nested(10, 15) + "} == {" + `"a": ` + nested(10, 15) + "}", "string(" + nested(10, 15) + ")", nested(10, 15) + " + " + nested(10, 15),
	`data.s.matches("^(.?){1000}(.?){1000}(.?){1000}c")`, `data.s.matches("^` + strings.Repeat("(.?){1000}", 300) + `c")`, `data.s.matches("` + strings.Repeat(`\\pL`, 900) + `")`,
	`data.s.matches("((((a{30}){30}){30}){30}){30}")`, `data.s.matches("(x+x+)+y")`, `data.s.matches(data.s)`, `data.l.all(x, data.s.matches("^(x|xx)*$"))`, `data.s.matches("(?i)` + strings.Repeat("x?", 400) + strings.Repeat("x", 400) + `")`,
	`data.l.all(x, data.l.all(y, data.l.all(z, x == y && y == z)))`, `data.l.map(x, data.s + data.s)`, `data.l.map(x, data.l + data.l)`, `data.l.map(x, data.l.map(y, data.l.map(z, [x, y, z])))`,
	`[data.s].map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a)`,
	`[data.l].map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a)`,
	`[bytes(data.s)].map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a).map(a, a+a)`,
	`data.l.map(x, {data.s + string(x): data.s, data.s + "a": 1, data.s + "b": 2, data.s + "c": 3})`, `data.l.map(x, int(data.s) == 1 || double(data.s) > 1.0 || timestamp(data.s) < time)`,
	`data.l.exists(x, data.s.contains(data.s + "y"))`, `data.l.exists(x, data.s < data.s)`, `data.l.all(x, data.s == data.s + "")`, `data.l.all(x, size(data.s) > 0)`, `data.l.all(x, data.s in data.l || !(data.s in [data.s, data.s]))`,
	`data.l.all(x, data.zzz || data.l[x + 1000000000] || data.s.y || int(data.s) == 1 || true)`, `data.l.map(x, x.z)`, `data.l.exists_one(x, data.l.exists_one(y, x == y))`, `data.l.filter(x, data.l.filter(y, y == x) == [x])`,
	`data.l.map(x, time.getHours("Europe/Vienna"))`, `data.l.map(x, time.getHours(data.s))`, `data.l.map(x, timestamp("2026-01-01T00:00:00Z") + duration("1h"))`, `data.l.map(x, 9223372036854775807 + x)`, `[1.0e308 * 10.0, 18446744073709551615u]`,
	`data.l.map(x, string(x) + string(time) + string(1.5) + string(duration("1.5s")))`, `data.l.map(x, [data.o, data.o, data.o])`, `data.l.map(x, metadata)`, `data`, `[data, data, data, data, data, data, data, data]`, `data.s + data.s + data.s + data.s`,
	strings.Repeat("[", 60) + "data" + strings.Repeat("]", 60), strings.Repeat("data.l.map(x,", 20) + "x" + strings.Repeat(")", 20), `"` + strings.Repeat(`\\u0001`, 300) + `"`,
	`data.s.replace("x", data.s)`, `"%s".format([data.s])`, `data.s.split("")`, `[data.s, data.s].join()`, `data.l.transformList(i, v, data.l)`, `data.l.all(i, v, data.l.all(j, w, true))`, `cel.bind(x, data, [x, x])`, `data.?s.orValue("")`, `math.greatest(data.l)`, `base64.encode(bytes(data.s))`, `sets.contains(data.l, data.l)`,
}

// heavy are events that are large, deep, or expensive to read.
func heavy() [][]byte {
	x := strings.Repeat("x", 250_000)
	list := strings.TrimSuffix(strings.Repeat("1,", 100_000), ",")
	return [][]byte{
		[]byte(`{"s":"` + x + `","l":[` + list + `],"o":{"a":{"b":["` + x + `"]}}}`),
		[]byte(`{"s":"` + x[:10_000] + `","l":[1,2,3],"o":{}}`),
		[]byte(`{"s":"\u0001` + strings.Repeat(`\u0001`, 100_000) + `","l":[[],[],{}],"o":null}`),
		[]byte("[" + strings.TrimSuffix(strings.Repeat("[],", 340_000), ",") + "]"),
		[]byte("[" + strings.TrimSuffix(strings.Repeat(`{"a":1},`, 125_000), ",") + "]"),
		[]byte(strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000)),
		[]byte(`{"n":` + strings.Repeat("9", 100_000) + `}`),
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func inUse() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

func batchOf(t testing.TB, data ...[]byte) core.Batch {
	t.Helper()
	var b core.Batch
	for i, d := range data {
		at := core.Placement{Stream: "s", Version: uint64(i), Position: uint64(i + 1)}
		b.Add(core.EncodeEvent(nil, at, &core.NewEvent{Type: "T", Data: d, Metadata: []byte(`{"user":"u"}`)}), at.Position)
	}
	return b
}

// bounded compiles an expression as filter, key and map. The first two judge an event, the map
// a large one. None may allocate, take or make more than the bounds.
func bounded(t testing.TB, c *Compiler, source string, data, large []byte) {
	t.Helper()
	judges(t, c, subscriptions.Source{Filter: source}, data)
	judges(t, c, subscriptions.Source{Key: source}, data)
	judges(t, c, subscriptions.Source{Map: source}, large)
}

func judges(t testing.TB, c *Compiler, s subscriptions.Source, data []byte) {
	t.Helper()
	before, began := allocated(), time.Now()
	p, err := c.Compile(s)
	if used, took := allocated()-before, time.Since(began); used > mostCompiled || took > mostTime {
		t.Errorf("%.80v: compiling allocates %d MiB in %s", s, used>>20, took)
	}
	if err != nil {
		if !errors.Is(err, core.CodeInvalidExpression) || len(err.Error()) > maxFaultBytes {
			t.Errorf("%.80v: %v", s, err)
		}
		return
	}
	b := batchOf(t, data)
	before, began = allocated(), time.Now()
	verdicts, err := p.Run(t.Context(), b, nil)
	used, took := allocated()-before, time.Since(began)
	if err != nil || len(verdicts) != 1 {
		t.Fatalf("%.80v: %d verdicts, %v", s, len(verdicts), err)
	}
	if v := &verdicts[0]; used > mostRun || took > mostTime || len(v.Data) > core.MaxEventBytes || len(v.Fault) > 2*maxFaultBytes {
		t.Errorf("%.80v of %.40s: %d MiB in %s; %d bytes, fault %.200s", s, data, used>>20, took, len(v.Data), v.Fault)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// Whatever an expression does, and whatever the event is, it takes bounded memory and time.
func TestAttacks(t *testing.T) {
	c, events := NewCompiler(), heavy()
	for _, source := range attacks {
		bounded(t, c, source, events[1], events[0])
	}
	for _, data := range events {
		bounded(t, c, "data == data", data, data)
	}
}

// The seeds and what grows of them stay within 256 MiB, and within the budget of an event.
func FuzzBounds(f *testing.F) {
	debug.SetMemoryLimit(mostMemory * 3 / 4) // Go returns memory to the system late otherwise
	c := NewCompiler()
	large := []byte(`{"s":"` + strings.Repeat("x", 20_000) + `","l":[` + strings.Repeat("1,", 5_000) + `2],"o":{"a":[{"b":null}]}}`)
	for i, source := range attacks {
		f.Add(source, []byte(fmt.Sprintf(`{"n":%d,"s":"xxxxxxxx","l":[1,2,3],"o":{"a":null}}`, i)))
	}
	f.Fuzz(func(t *testing.T, source string, data []byte) {
		if len(source) > 4096 || len(data) > core.MaxEventBytes {
			return // a definition or an event cannot have more
		}
		if !json.Valid(data) {
			data = []byte("null")
		}
		bounded(t, c, source, data, large)
		if used := inUse(); used > mostMemory {
			t.Errorf("%.80s: the process uses %d MiB", source, used>>20)
		}
	})
}

// An evaluation ends when its context does.
func TestRunEndsWithContext(t *testing.T) {
	p, err := NewCompiler().Compile(subscriptions.Source{Filter: `data.l.all(x, data.l.all(y, x == y))`})
	if err != nil {
		t.Fatal(err)
	}
	events, large := make([][]byte, 100), heavy()[0]
	for i := range events {
		events[i] = large
	}
	b := batchOf(t, events...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	if verdicts, err := p.Run(ctx, b, nil); !errors.Is(err, core.CodeCanceled) || len(verdicts) > 0 || time.Since(began) > time.Second {
		t.Errorf("%d verdicts, %v, after %s", len(verdicts), err, time.Since(began))
	}
	// A run ends by itself, too: after what one event may cost, or once it has made enough.
	if verdicts, err := p.Run(t.Context(), b, nil); err != nil || len(verdicts) == 0 || len(verdicts) > 3 {
		t.Errorf("%d verdicts, %v", len(verdicts), err)
	}
	mapping, err := NewCompiler().Compile(subscriptions.Source{Map: `[data.s]`})
	if err != nil {
		t.Fatal(err)
	}
	if verdicts, err := mapping.Run(t.Context(), b, nil); err != nil || len(verdicts) == 0 || len(verdicts) > 4 {
		t.Errorf("%d events mapped, %v", len(verdicts), err)
	}
}

// A Program holds nothing of the events that it has judged.
func TestProgramsLetGoOfEvents(t *testing.T) {
	p, err := NewCompiler().Compile(subscriptions.Source{Filter: `data.l.exists(i, i == 1) && metadata.user == "u"`})
	if err != nil {
		t.Fatal(err)
	}
	judged := func() weak.Pointer[byte] {
		b := batchOf(t, heavy()[0], []byte(`{"l":[1]}`))
		if verdicts, err := p.Run(t.Context(), b, nil); err != nil || len(verdicts) != 2 {
			t.Errorf("%v, %v", verdicts, err)
		}
		return weak.Make(&b.Block[0])
	}()
	runtime.GC()
	if judged.Value() != nil {
		t.Error("it holds the events of its last run")
	}
	runtime.KeepAlive(p)
}

// The size that is counted for a pattern is at least that of its program.
func TestPatternSize(t *testing.T) {
	for _, source := range []string{
		``, `a`, `abc`, `(?i)abc`, `[a-z0-9_]+`, `\pL*`, `(a|bc|)*`, `a{3,7}`, `(ab{2}){10}`, `(a{0}b){3,}`, `^.*(x+x+)+y$`, `a??b*?`, `(?s).{100}`, `[^\pN]{20}`, `\b(foo|bar|baz)\b`,
	} {
		tree, err := syntax.Parse(source, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		counted := patternSize(tree)
		program, err := syntax.Compile(tree.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		size := len(program.Inst)
		for _, i := range program.Inst {
			size += len(i.Rune) / runesPerInstruction
		}
		if counted < min(size, maxPatternSize) {
			t.Errorf("%s: counted %d, it has %d", source, counted, size)
		}
	}
}

// Definitions that are the same share what is compiled, and the last one frees it.
func TestPrograms(t *testing.T) {
	c := NewCompiler()
	source := subscriptions.Source{Filter: `data.s.matches("^(foo|bar){100}$")`}
	var open []subscriptions.Program
	for range 100 {
		p, err := c.Compile(source)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, p)
	}
	for _, p := range open {
		if p.(*program).codes != open[0].(*program).codes {
			t.Fatal("a program is compiled again")
		}
	}
	for _, p := range open {
		for range 2 { // a second Close does nothing
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(c.shared) > 0 {
		t.Errorf("%d compiled sources are left", len(c.shared))
	}
}
