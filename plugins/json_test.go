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
