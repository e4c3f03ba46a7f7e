package main

import (
	"testing"

	"github.com/gyre-events/gyre/sdk/plugin/plugintest"
)

func TestTop(t *testing.T) {
	test := plugintest.New(count)
	change := func(path string) plugintest.Event {
		return plugintest.Event{Stream: "file-all/" + path, Type: "FileModified", Data: `{"path":"` + path + `"}`}
	}
	done := test.Handle(change("demo/a.go"), change("demo/b.go"), change("demo/b.go"), change("x/c.go"), change(""))
	if done.Results[4].Action != "skip" {
		t.Errorf("the result of an event without a path is %+v", done.Results[4])
	}
	for query, want := range map[string]string{
		``:                        `[{"file":"demo/b.go","changes":2},{"file":"demo/a.go","changes":1},{"file":"x/c.go","changes":1}]`,
		`{"n":1}`:                 `[{"file":"demo/b.go","changes":2}]`,
		`{"n":5,"prefix":"x/"}`:   `[{"file":"x/c.go","changes":1}]`,
		`{"prefix":"nothing"}`:    `[]`,
		`{"n":-1}`:                `[]`,
		`{"n":100000000,"m":"!"}`: `[{"file":"demo/b.go","changes":2},{"file":"demo/a.go","changes":1},{"file":"x/c.go","changes":1}]`,
	} {
		if answer, err := test.Query(top, query); err != nil || answer != want {
			t.Errorf("the answer to %s is %s, %v; want %s", query, answer, err, want)
		}
	}
	if answer, err := test.Query(top, `{"n":`); err == nil {
		t.Errorf("the answer to broken JSON is %s", answer)
	}
}
