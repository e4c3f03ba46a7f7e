package expression

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/gyre-events/gyre/core"
)

const agreeData = `{"n":7,"m":-3,"f":2.5,"big":9223372036854775807,"t":true,"s":"abcä","e":"","x":null,
	"l":[1,2,3,2],"ls":["a","b",""],"o":{"a":1,"b":{"c":[true,null]}},"mixed":[1,"a",null,2.5,[1],{"k":1}],"at":"2026-11-23T10:00:00Z"}`

var agreeEvent = core.Event{
	Stream: "order-7", Version: 3, Position: 12, Type: "OrderPaid",
	Time:     time.Date(2026, 11, 23, 10, 0, 0, 500, time.UTC),
	Recorded: time.Date(2026, 11, 23, 23, 59, 1, 0, time.UTC),
	Data:     []byte(agreeData), Metadata: []byte(`{"user":"u","n":1}`), Format: core.JSON,
}

// celVariables are those of agreeEvent as cel-go takes them.
func celVariables(t testing.TB) map[string]any {
	e := &agreeEvent
	return map[string]any{
		"stream": e.Stream, "type": e.Type, "version": int64(e.Version), "position": int64(e.Position), "id": e.ID.String(),
		"time": e.Time, "recorded": e.Recorded, "data": celJSON(t, e.Data), "metadata": celJSON(t, e.Metadata),
	}
}

func celJSON(t testing.TB, text []byte) any {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return withNumbers(v)
}

func withNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = withNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = withNumbers(v[k])
		}
		return &sortedMap{types.DefaultTypeAdapter.NativeToValue(v).(traits.Mapper), slices.Sorted(maps.Keys(v))}
	}
	return v
}

// sortedMap is a map of cel-go whose keys come in order, as here.
type sortedMap struct {
	traits.Mapper
	keys []string
}

func (m *sortedMap) Iterator() traits.Iterator {
	return types.DefaultTypeAdapter.NativeToValue(m.keys).(traits.Iterable).Iterator()
}

// refusedHere are errors where cel-go has a value, against the specification of the language:
// keys of any type, and comprehensions over a text if it is empty.
var refusedHere = regexp.MustCompile("cannot be a key|a (string|bytes) has no items")

// agree evaluates a source here and with cel-go's own interpreter. Both have to give the same
// value, or both an error. It reports whether there was a value.
func agree(t testing.TB, env *cel.Env, variables map[string]any, source string) bool {
	t.Helper()
	tree, issues := env.Compile(source)
	mine, err := compile(env, source, false)
	if issues.Err() != nil || err != nil {
		if issues.Err() == nil && !strings.Contains(err.Error(), "literal text") && !strings.Contains(err.Error(), "pattern") && !strings.Contains(err.Error(), "zone") {
			t.Errorf("%s\n\tcompiles with cel-go, here: %v", source, err)
		}
		return false
	}
	p, err := env.Program(tree, cel.CostLimit(1_000_000))
	if err != nil { // such as an index that can never be one
		return false
	}
	want, _, wantErr := p.Eval(variables)
	m := &machine{locals: make([]result, mine.locals)}
	m.begin(t.Context(), &agreeEvent)
	got, gotErr := mine.root.eval(m)
	switch {
	case gotErr != nil && refusedHere.MatchString(gotErr.Error()):
		return false
	case m.ended != nil || wantErr != nil && strings.Contains(wantErr.Error(), "limit exceeded"):
		return false
	case (gotErr == nil) != (wantErr == nil):
		t.Errorf("%s\n\tis %v, %v\n\twant %v, %v", source, canonical(got), gotErr, want, wantErr)
	case gotErr == nil && canonical(got) != canonical(want):
		t.Errorf("%s\n\tis   %s\n\twant %s", source, canonical(got), canonical(want))
	}
	return gotErr == nil
}

// canonical writes a value of either kind with its types.
func canonical(v any) string {
	var entries []string
	switch v := v.(type) {
	case nil:
		return "nothing"
	case *list:
		for _, item := range v.items {
			entries = append(entries, canonical(item))
		}
		return "[" + strings.Join(entries, ",") + "]"
	case *object:
		for _, e := range v.entries {
			entries = append(entries, canonical(e.key)+":"+canonical(e.value))
		}
	case traits.Mapper:
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			entries = append(entries, canonical(key)+":"+canonical(v.Get(key)))
		}
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			entries = append(entries, canonical(it.Next()))
		}
		return "[" + strings.Join(entries, ",") + "]"
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano)
	case *types.Type:
		return "type " + v.TypeName()
	case types.Double:
		return "double " + strconv.FormatFloat(float64(v), 'g', -1, 64)
	case ref.Val:
		return fmt.Sprintf("%s %q", v.Type().TypeName(), fmt.Sprint(v.Value()))
	}
	slices.Sort(entries)
	return "{" + strings.Join(entries, ",") + "}"
}

// TestAgreesWithCEL compares what this package evaluates with cel-go's interpreter, on
// expressions by hand and on random ones.
func TestAgreesWithCEL(t *testing.T) {
	env, err := newEnv()
	if err != nil {
		t.Fatal(err)
	}
	variables := celVariables(t)
	for _, source := range agreeSources {
		agree(t, env, variables, source)
	}
	random := rand.New(rand.NewPCG(1, 2))
	compiled := 0
	for range 3_000 {
		if agree(t, env, variables, randomExpression(random.IntN, 4)) {
			compiled++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of 3,000 random expressions have a value", compiled)
	if compiled < 500 {
		t.Errorf("only %d of the random expressions have a value", compiled)
	}
}

// FuzzAgreesWithCEL does the same with expressions that the fuzzer steers.
func FuzzAgreesWithCEL(f *testing.F) {
	env, err := newEnv()
	if err != nil {
		f.Fatal(err)
	}
	variables := celVariables(f)
	f.Add([]byte("0123456789abcdef"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		choose := func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0])
			choices = choices[1:]
			return c % n
		}
		agree(t, env, variables, randomExpression(choose, 5))
	})
}

var agreeSources = []string{
	`1 + 2 * 3 - 4 / 2 % 3`, `1.5 / 0.0`, `1 / 0`, `1 % 0`, `-data.n`, `-data.s`, `-data.t`, `!data.t`, `!data.n`, `1u - 2u`, `9223372036854775807 + 1`,
	`data.big * 2`, `-(-9223372036854775807 - 1)`, `data.s + "x"`, `b"a" + b"b"`, `data.l + [4]`, `data.l + data.s`, `data.s + 1`,
	`duration("1h") + duration("1m")`, `time + duration("1h")`, `duration("1h") + time`, `time - duration("1s")`, `recorded - time`, `duration("1h") - time`,
	`time < recorded`, `duration("1s") < duration("2s")`, `"a" < "b"`, `b"a" < b"b"`, `false < true`, `1 < 2.5`, `1u < 2`, `data.n < "a"`, `data.l < data.l`, `null < null`,
	`data.f / 0.0 - data.f / 0.0 < 1.0`, `0.0/0.0 == 0.0/0.0`, `0.0/0.0 != 0.0/0.0`, `data.n == 7.0`, `data.n == 7u`, `data.n == "7"`, `data.x == null`, `null == data.n`,
	`data.l == [1, 2.0, 3u, 2]`, `data.o == {"b": {"c": [true, null]}, "a": 1}`, `data.o != {}`, `[1] == [2]`, `{1: 2} == {1.0: 2}`,
	`2 in data.l`, `2.0 in data.l`, `"a" in data.o`, `1 in data.o`, `"a" in {"a": 1}`, `1.0 in {1: 2}`, `1u in {1: 2}`, `1 in 2`, `1 in data.n`, `null in [null]`,
	`data.l[0]`, `data.l[1.0]`, `data.l[1u]`, `data.l[4]`, `data.l[-1]`, `data.l["a"]`, `data.l[1.5]`, `data.o["a"]`, `data.o["z"]`, `data.o[1]`, `{1: "a"}[1.0]`, `{1u: "a"}[1]`, `{true: "a"}[true]`, `data.n[0]`, `data.s[0]`,
	`data.o.b.c[0]`, `data.o.z`, `data.n.z`, `data.l.z`, `has(data.o.a)`, `has(data.o.z)`, `has(data.z.z)`, `has(data.n.z)`, `has(data.l.z)`, `has(data.x.z)`, `has({"a": 1}.a)`,
	`{"a": 1, "b": 2, "a": 3}`, `{data.n: 1}`, `{}`, `[]`, `[1, "a", null]`,
	`size(data.s)`, `data.s.size()`, `size(data.l)`, `data.o.size()`, `size(b"abc")`, `size(data.n)`, `data.x.size()`,
	`data.s.contains("bc")`, `data.s.startsWith("ab")`, `data.s.endsWith("ä")`, `data.n.contains("a")`, `data.s.contains(data.n)`, `data.e.startsWith("")`,
	`data.s.matches("^a.c")`, `matches(data.s, "z")`, `data.n.matches("a")`, `data.s.matches("(")`, `data.s.matches(data.e)`,
	`bool("true")`, `bool("x")`, `bool(data.t)`, `bool(data.n)`, `bytes("ä")`, `bytes(data.s)`, `bytes(data.n)`, `double("1.5")`, `double(data.n)`, `double("x")`, `double(data.t)`, `double(7u)`,
	`duration("1h2m")`, `duration("x")`, `duration(data.n)`, `int("12")`, `int("x")`, `int(1.9)`, `int(data.f)`, `int(1e300)`, `int(time)`, `int(duration("1s"))`, `int(data.t)`, `int(7u)`, `int(null)`,
	`string(1)`, `string(1.5)`, `string(1e30)`, `string(b"abc")`, `string(b"\xff")`, `string(time)`, `string(duration("90m"))`, `string(data.t)`, `string(data.l)`, `string(data.x)`, `string(2u)`, `string(dyn(int))`,
	`timestamp("2026-01-01T00:00:00Z")`, `timestamp(data.at) == time`, `timestamp("x")`, `timestamp(1000)`, `timestamp(data.n)`, `timestamp(1.5)`, `uint(7)`, `uint(-1)`, `uint("7")`, `uint(data.n)`, `uint(data.f)`,
	`dyn(1) + 1`, `type(1)`, `type(data)`, `type(data.l)`, `type(type(1))`, `type(time) == google.protobuf.Timestamp`, `type(data.n) == int`, `type(data.x) == null_type`, `type(duration("1s"))`, `int`, `list`, `data.n == int`,
	`google.protobuf.NullValue.NULL_VALUE`, `.data.n`, `[1].map(data, .data.n)`, `[1].map(data, data)`,
	`time.getFullYear()`, `time.getMonth()`, `time.getDayOfYear()`, `time.getDayOfMonth()`, `time.getDate()`, `time.getDayOfWeek()`, `time.getHours()`, `time.getMinutes()`, `time.getSeconds()`, `time.getMilliseconds()`,
	`recorded.getDate("Europe/Vienna")`, `time.getHours("-02:30")`, `time.getMinutes("-02:30")`, `time.getHours("05:00")`, `time.getHours("+05:00")`, `time.getMonth("UTC")`, `duration("90m").getHours()`, `duration("90m").getMinutes()`, `duration("90s").getSeconds()`,
	`duration("1.5s").getMilliseconds()`, `duration("1s").getFullYear()`, `data.n.getHours()`, `data.at.getHours()`,
	`data.l.all(x, x > 0)`, `data.l.exists(x, x == 2)`, `data.l.exists_one(x, x == 2)`, `data.l.exists_one(x, x == 3)`, `data.l.filter(x, x != 2)`, `data.l.map(x, x * 2)`, `data.l.map(x, x > 1, x)`,
	`data.mixed.all(x, x > 0)`, `data.mixed.exists(x, x == "a")`, `data.mixed.exists(x, x > 2)`, `data.mixed.map(x, x + 1)`, `data.mixed.filter(x, x == x)`, `data.o.all(k, k < "c")`, `data.o.map(k, data.o[k])`, `data.n.all(x, true)`, `data.s.all(x, true)`,
	`data.l.map(x, data.l.map(y, x * y))`, `data.l.map(x, data.l.filter(x, x > 1))`, `data.l.map(x, [x, x]).map(p, p[0] + p[1])`, `data.l.all(x, data.l.exists(y, y == x))`, `[[1, 2], [3]].map(x, x.map(y, y + 1))`, `data.l.map(x, [x].map(y, y + x)[0] + x)`,
	`data.t || data.z`, `data.z || data.t`, `data.t && data.z`, `data.z && !data.t`, `data.z || data.y`, `data.n || data.t`, `data.n || true`, `data.n && false`, `data.n && true`, `data.t && data.n`,
	`data.t ? 1 : data.z`, `data.z ? 1 : 2`, `data.n ? 1 : 2`, `data.t ? data.l : data.o`,
	`metadata.user + "x"`, `metadata.n + 1`, `metadata["z"]`, `stream + type + id`, `version + position`, `size(metadata)`,
}

// randomExpression makes an expression, by choices. Many do not compile, or fail.
func randomExpression(choose func(n int) int, depth int) string {
	sub := func() string { return randomExpression(choose, depth-1) }
	one := func(of ...string) string { return of[choose(len(of))] }
	if depth == 0 || choose(4) == 0 {
		return one("data.n", "data.m", "data.f", "data.big", "data.t", "data.s", "data.e", "data.x", "data.l", "data.ls", "data.o", "data.mixed", "data.z",
			"metadata", "time", "version", "a", "b", "0", "1", "-1", "2u", "1.5", "true", "false", "null", `"a"`, `""`, `b"a"`, `[]`, `{}`, "data", "int", `duration("90s")`)
	}
	switch choose(12) {
	case 0, 1:
		return "(" + sub() + one(" + ", " - ", " * ", " / ", " % ", " == ", " != ", " < ", " <= ", " > ", " >= ", " in ", " && ", " || ") + sub() + ")"
	case 2:
		return one("!", "-") + "(" + sub() + ")"
	case 3:
		return "(" + sub() + " ? " + sub() + " : " + sub() + ")"
	case 4:
		return "[" + sub() + ", " + sub() + "]"
	case 5:
		return "{" + sub() + ": " + sub() + "}" // with more, cel-go's order is random
	case 6:
		return sub() + "[" + sub() + "]"
	case 7:
		return one("size", "bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint") + "(" + sub() + ")"
	case 8:
		return sub() + one(".contains(", ".startsWith(", ".endsWith(") + sub() + ")"
	case 9:
		return sub() + one(".size()", ".getHours()", ".getFullYear()", `.getMinutes("+01:30")`, `.matches("[a-c]+")`, ".n", ".a", ".s")
	case 10:
		return "has(" + sub() + one(".n", ".a", ".b.c", ".z") + ")"
	default:
		return sub() + one(".all(", ".exists(", ".exists_one(", ".filter(", ".map(") + one("a", "b") + ", " + sub() + ")"
	}
}
