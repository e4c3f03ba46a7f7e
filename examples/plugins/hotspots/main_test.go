package main

import (
	"reflect"
	"testing"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin/plugintest"
)

func TestOneEventForEachHotspot(t *testing.T) {
	test := plugintest.New(detect)
	test.SetConfig(`{"threshold":2}`)
	events := plugintest.Load(t, "testdata/events.ndjson")
	done := test.Handle(events...)
	want := []plugintest.Appended{{
		Event: 4, Stream: "hotspot-demo/main.go", Expected: abi.AnyVersion, Type: "HotspotDetected", Data: `{"file":"demo/main.go","changes":3,"author":"bob"}`,
	}}
	if !reflect.DeepEqual(done.Appended, want) {
		t.Errorf("appended %+v, want %+v", done.Appended, want)
	}
	if again := test.Handle(events[0]); len(again.Appended) != 0 {
		t.Errorf("a fifth change appends %+v", again.Appended)
	}
}

func TestThresholdOfTheManifest(t *testing.T) {
	test := plugintest.New(detect)
	test.SetConfig(`{"threshold":50}`)
	change := plugintest.Event{Stream: "file-demo/go.mod", Type: "FileModified", Data: `{"author":"ann"}`}
	appended := 0
	for n := range 60 {
		appended += len(test.Handle(change).Appended)
		if want := min(1, (n+1)/51); appended != want {
			t.Fatalf("after %d changes there are %d events", n+1, appended)
		}
	}
}

func TestOtherStreamsAreSkipped(t *testing.T) {
	done := plugintest.New(detect).Handle(plugintest.Event{Stream: "author-ann", Type: "CommitAuthored", Data: `{}`})
	if done.Results[0].Action != "skip" {
		t.Errorf("the result is %+v", done.Results[0])
	}
}
