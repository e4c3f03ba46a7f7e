package core

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCorrelationOf(t *testing.T) {
	for metadata, want := range map[string]string{
		``:                                  "",
		`{}`:                                "",
		`{"correlation_id":"c-1"}`:          "c-1",
		"{ \"correlation_id\" :\n\"c-1\" }": "c-1",
		`{"a":{"correlation_id":"x"}}`:      "",
		`{"a":[{"correlation_id":"x"}],"correlation_id":"y"}`:   "y",
		`{"a":"correlation_id","correlation_id":"y"}`:           "y",
		`{"correlation_id":"x","b":1,"correlation_id":"y"}`:     "y",
		`{"correlation_id":17}`:                                 "",
		`{"correlation_id":{"correlation_id":"x"}}`:             "",
		`{"correlation_id":null}`:                               "",
		`{"correlation\u005fid":"x"}`:                           "x",
		`{"correlation_id":"a\u0062\"c"}`:                       `ab"c`,
		`{"correlation_id":"a\u0000"}`:                          "",
		`{"correlation_id":"` + strings.Repeat("x", 128) + `"}`: strings.Repeat("x", 128),
		`{"correlation_id":"` + strings.Repeat("x", 129) + `"}`: "",
		`{"Correlation_id":"x"}`:                                "",
		`{"x":"\\","correlation_id":"y"}`:                       "y",
	} {
		if got := CorrelationOf([]byte(metadata)); got != want {
			t.Errorf("%s: %q, want %q", metadata, got, want)
		}
	}
}

func FuzzCorrelationOf(f *testing.F) {
	f.Add([]byte(`{"correlation_id":"c-1","a":[{"b":"\"}"}]}`))
	f.Add([]byte(`{"a\\":1,"correlation\u005fid":"\ud83d\ude00"}`))
	f.Add([]byte(`"correlation_id":"`))
	f.Fuzz(func(t *testing.T, metadata []byte) {
		got := CorrelationOf(metadata)
		var fields map[string]json.RawMessage
		if json.Unmarshal(metadata, &fields) != nil || len(fields) == 0 {
			return // it is no object, and only must not panic
		}
		var want string
		if value := fields["correlation_id"]; json.Unmarshal(value, &want) != nil || len(want) > MaxCorrelationBytes || strings.ContainsRune(want, 0) {
			want = ""
		}
		if strings.ContainsRune(string(metadata), '\uFFFD') {
			return // package json puts it in the place of what is no text
		}
		if got != want && !strings.ContainsRune(want, '\uFFFD') {
			t.Errorf("%s: %q, want %q", metadata, got, want)
		}
	})
}
