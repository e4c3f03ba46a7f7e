package main

import (
	"maps"
	"testing"

	"github.com/gyre-events/gyre/sdk/plugin/plugintest"
)

func TestCount(t *testing.T) {
	test := plugintest.New(count)
	test.Handle(plugintest.Load(t, "testdata/events.ndjson")...)
	want := map[string]string{".:ann": "2", "cmd/server:ann": "1", "cmd/server:bob": "2"}
	if got := test.State(); !maps.Equal(got, want) {
		t.Errorf("state is %v, want %v", got, want)
	}
}

func TestEventWithoutAuthorIsParked(t *testing.T) {
	test := plugintest.New(count)
	done := test.Handle(
		plugintest.Event{Stream: "file-a", Type: "FileModified", Data: `{"path":"a"}`},
		plugintest.Event{Stream: "file-a", Type: "FileModified", Data: `{"path":"a","author":"ann"}`},
	)
	if done.Results[0].Action != "park" || done.Results[1].Action != "ack" {
		t.Errorf("results are %+v", done.Results)
	}
	if want := map[string]string{".:ann": "1"}; !maps.Equal(test.State(), want) {
		t.Errorf("state is %v, want %v", test.State(), want)
	}
}
