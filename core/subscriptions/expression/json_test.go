package expression

import (
	"encoding/json"
	"strings"
	"testing"

	"cel.dev/cel-go/common/types"

	"github.com/gyre-events/gyre/core"
)

// Whatever encoding/json reads is read as it reads it, and written so that it is the same.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		agreeData, `[]`, `{"a":1,"b":2,"a":{"z":null}}`, `"\ud800\u0041\n\/"`, "\"\xff\"", `-0`, `1e400`, `-1.5E-3`, `9223372036854775808`, ` [ 1 , { } ] `,
		strings.Repeat("[", 600) + strings.Repeat("]", 600), `{"":""}`, `tru`, `[1,]`, `{"a"}`, `1 2`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m := &machine{}
		m.begin(t.Context(), &core.Event{})
		v, err := m.parse(text)
		if !json.Valid(text) {
			if err == nil {
				t.Fatalf("%q is read as %s", text, canonical(v))
			}
			return
		}
		if err != nil {
			if m.ended == nil && !strings.Contains(err.Error(), "nested deeper") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		want := celJSON(t, text)
		if got, want := canonical(v), canonical(types.DefaultTypeAdapter.NativeToValue(want)); got != want {
			t.Fatalf("%q is read as %s, want %s", text, got, want)
		}
		again, err := m.appendJSON(nil, v, 0)
		if err != nil {
			return // such as a number that is infinite
		}
		back, err := m.parse(again)
		if err != nil {
			t.Fatalf("%q is written as %s, which fails: %v", text, again, err)
		}
		if twice, err := m.appendJSON(nil, back, 0); err != nil || string(twice) != string(again) {
			t.Fatalf("%q is written as %s, and that as %s, %v", text, again, twice, err)
		}
	})
}
