package plugins_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/plugins"
)

// What is no JSON for clients leaves in base64, never as it is.
func TestJSONOfModules(t *testing.T) {
	for value, want := range map[string]bool{
		`{"a":[1,"é"]}`: true, " null ": true, `"\u00ff"`: true,
		"": false, "{": false, "1 2": false, "\"\xff\"": false, "{\"a\":\"\xc3\"}": false, `{"a":1,"a":2}`: false, `"\ud800"`: false,
	} {
		if got := plugins.IsJSON([]byte(value)); got != want {
			t.Errorf("%q: %v", value, got)
		}
		for what, made := range map[string]any{
			"entry": plugins.Entry{Key: "k", Value: []byte(value)}, "answer": plugins.Answer{Value: []byte(value)}, "content": plugins.ContentOf([]byte(value)),
		} {
			text, err := json.Marshal(made)
			if err != nil || !plugins.IsJSON(text) || strings.Contains(string(text), "valueBase64") == want {
				t.Errorf("%s of %q: %q, %v", what, value, text, err)
			}
		}
	}
}

// A value with < and & is in an entry and in an answer as it is.
func TestJSONIsNoPartOfAPage(t *testing.T) {
	const value = `"<a> & b"`
	for want, made := range map[string]json.Marshaler{
		`{"lane":0,"key":"<k>","value":` + value + `}`: plugins.Entry{Key: "<k>", Value: []byte(value)},
		`{"value":` + value + `,"position":0}`:         plugins.Answer{Value: []byte(value)},
	} {
		if text, err := made.MarshalJSON(); err != nil || string(text) != want {
			t.Errorf("%s, %v, want %s", text, err, want)
		}
	}
}
