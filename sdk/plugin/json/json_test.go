package json

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

var texts = []string{
	`{"path":"a/b.go","n":12,"f":-1.5e3,"ok":true,"no":false,"nil":null,"list":[1,"two",[],{}],"in":{"a":{"b":"c"}}}`,
	` [ 1 , 2 ] `, `"\u00e4\ud83d\ude00\n\"\\\/\b\f\t\r"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`, "\"\xff\xfe\u00e4\"",
	`{"a\u0062":1,"ä":2,"":3}`, `{"a":1,"a":2}`, `0`, `-0`, `1e2`, `10.0`, `9223372036854775807`, `9223372036854775808`, `1e999`, `null`, `""`, `[]`, `{}`,
	"\ufeff1", ``, ` `, `01`, `1.`, `.5`, `-`, `+1`, `1e`, `"\x"`, `"\u12"`, `"a`, "\"\n\"", `[1,]`, `{"a"}`, `{"a":}`, `{a:1}`, `[1 2]`, `tru`, `truex`, `nul`, `1 2`, `{"a":1,}`, "\x001", `]`, `[`, `{"a":[}`,
	strings.Repeat("[", 512) + strings.Repeat("]", 512), strings.Repeat("[", 513) + strings.Repeat("]", 513),
}

func TestLikeEncodingJSON(t *testing.T) {
	for _, text := range texts {
		compare(t, []byte(text))
	}
}

func FuzzLikeEncodingJSON(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		compare(t, text)
		walk(Trusted(text)) // which need not be JSON: it ends
	})
}

// compare holds Parse and Values against encoding/json.
func compare(t *testing.T, text []byte) {
	t.Helper()
	v, err := Parse(text)
	var syntax *SyntaxError
	if errors.As(err, &syntax) && syntax.Reason == "nested too deep" {
		return
	}
	if valid := json.Valid(text); valid != (err == nil) {
		t.Fatalf("%q: valid is %v, Parse says %v", text, valid, err)
	}
	if err != nil {
		if v.Exists() || syntax == nil || syntax.Offset > len(text) {
			t.Fatalf("%q: %v with a value of kind %d", text, err, v.Kind())
		}
		return
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var want []any
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, token)
	}
	if got := walk(v); !reflect.DeepEqual(got, want) {
		t.Fatalf("%q: tokens %#v, want %#v", text, got, want)
	}
	compareNumbers(t, v, want)
	if !bytes.Equal(v.Raw(), bytes.Trim(text, " \t\r\n")) {
		t.Fatalf("%q: raw is %q", text, v.Raw())
	}
}

// compareNumbers compares a number as encoding/json decodes it, where it does.
func compareNumbers(t *testing.T, v Value, tokens []any) {
	number, ok := tokens[0].(json.Number)
	if !ok {
		return
	}
	if n, err := number.Int64(); err == nil && v.Int() != n {
		t.Fatalf("%s as an Int is %d", number, v.Int())
	}
	if f, err := number.Float64(); err == nil && v.Float() != f {
		t.Fatalf("%s as a Float is %v", number, v.Float())
	}
}

// walk returns the tokens of a value, as a json.Decoder does.
func walk(v Value) (tokens []any) {
	switch v.Kind() {
	case Null:
		return []any{nil}
	case Bool:
		return []any{v.Bool()}
	case Number:
		return []any{json.Number(v.Raw())}
	case String:
		return []any{v.Text()}
	case ArrayKind:
		tokens = append(tokens, json.Delim('['))
		for _, element := range v.Elements() {
			tokens = append(tokens, walk(element)...)
		}
		return append(tokens, json.Delim(']'))
	case ObjectKind:
		tokens = append(tokens, json.Delim('{'))
		seen := map[string]bool{}
		for name, member := range v.Members() {
			tokens = append(append(tokens, name), walk(member)...)
			if !seen[name] && string(v.Get(name).Raw()) != string(member.Raw()) {
				return append(tokens, "Get of "+name+" is another member")
			}
			seen[name] = true
		}
		return append(tokens, json.Delim('}'))
	}
	return nil
}

func TestGetters(t *testing.T) {
	v, err := Parse([]byte(texts[0]))
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"text":                  v.Get("path").Text() == "a/b.go",
		"int":                   v.Get("n").Int() == 12,
		"whole number":          v.Get("f").Int() == -1500,
		"float":                 v.Get("f").Float() == -1500,
		"bool":                  v.Get("ok").Bool() && !v.Get("no").Bool(),
		"null":                  v.Get("nil").Exists() && v.Get("nil").Kind() == Null,
		"missing":               !v.Get("x").Exists() && v.Get("x").Raw() == nil,
		"inner":                 v.Get("in").Get("a").Get("b").Text() == "c",
		"of another kind":       v.Get("path").Int() == 0 && v.Get("n").Text() == "" && !v.Get("n").Bool() && v.Get("ok").Float() == 0,
		"member of another":     !v.Get("n").Get("x").Exists() && !v.Get("list").Get("x").Exists(),
		"raw":                   string(v.Get("list").Raw()) == `[1,"two",[],{}]`,
		"too big for an int":    Trusted([]byte(`9223372036854775808`)).Int() == 0,
		"a fraction for an int": Trusted([]byte(`1.5`)).Int() == 0,
		"out of range":          math.IsInf(Trusted([]byte(`-1e999`)).Float(), -1),
	} {
		if !ok {
			t.Errorf("%s is wrong", name)
		}
	}
	n := 0
	for i := range v.Get("list").Elements() {
		n += i
		break
	}
	for range v.Members() {
		n++
		break
	}
	if n != 1 {
		t.Errorf("ranges that end early ran %d times", n)
	}
}

func TestWriting(t *testing.T) {
	object := NewObject().Text("text", "a\"\\\n\x00ä\xff😀").Int("int", math.MinInt64).Float("float", 1e-7).Float("nan", math.NaN()).
		Bool("bool", true).Raw("raw", []byte(`[1]`)).Raw("nothing", nil).
		Raw("array", NewArray().Text("x").Int(2).Raw(NewArray().Bytes()).Raw(NewObject().Bytes()).Bytes()).Bytes()
	want := `{"text":"a\"\\\u000a\u0000ä` + "\ufffd" + `😀","int":-9223372036854775808,"float":1e-07,"nan":null,"bool":true,"raw":[1],"nothing":null,"array":["x",2,[],{}]}`
	if string(object) != want {
		t.Errorf("wrote %s, want %s", object, want)
	}
	if !json.Valid(object) {
		t.Errorf("%s is not valid", object)
	}
}

func FuzzWriting(f *testing.F) {
	f.Add("name", "text", int64(1), 1.5)
	f.Fuzz(func(t *testing.T, name, text string, n int64, x float64) {
		written := NewObject().Text(name, text).Int("n", n).Float("x", x).Bytes()
		v, err := Parse(written)
		if err != nil || !json.Valid(written) {
			t.Fatalf("%q: %v", written, err)
		}
		if utf8.ValidString(text) && v.Get(strings.ToValidUTF8(name, "\ufffd")).Text() != text && utf8.ValidString(name) {
			t.Fatalf("%q was written as %q", text, written)
		}
		if name != "n" && v.Get("n").Int() != n || name != "x" && !math.IsNaN(x) && !math.IsInf(x, 0) && v.Get("x").Float() != x {
			t.Fatalf("%v, %v were written as %q", n, x, written)
		}
	})
}

func TestReadingDoesNotAllocate(t *testing.T) {
	text := []byte(texts[0])
	if n := testing.AllocsPerRun(100, func() {
		v := Trusted(text)
		_ = v.Get("in").Get("a").Get("b").Text()
		for range v.Members() { //nolint:revive // counts allocations
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var sink int64

// event is like the 300 bytes of the measured batches.
var event = []byte(`{"order":"order-000123","customer":"customer-42","placed":"2026-11-30T10:00:00Z","items":[{"sku":"abc-1","qty":2,"price":1999},{"sku":"abc-2","qty":1,"price":2999},{"sku":"abc-3","qty":5,"price":499}],"address":{"street":"Main Street 1","city":"Springfield","zip":"12345"},"note":"leave it at the door"}`)

func BenchmarkRead(b *testing.B) {
	b.SetBytes(int64(len(event)))
	for b.Loop() {
		v := Trusted(event)
		sink += int64(len(v.Get("customer").Text()))
		for _, item := range v.Get("items").Elements() {
			sink += item.Get("qty").Int() * item.Get("price").Int()
		}
	}
}

func BenchmarkReadEncodingJSON(b *testing.B) {
	b.SetBytes(int64(len(event)))
	for b.Loop() {
		var order struct {
			Customer string
			Items    []struct{ Qty, Price int64 }
		}
		if err := json.Unmarshal(event, &order); err != nil {
			b.Fatal(err)
		}
		for _, item := range order.Items {
			sink += item.Qty * item.Price
		}
	}
}
