package main

import (
	"testing"

	"github.com/gyre-events/gyre/sdk/plugin/plugintest"
)

func TestDearestOfEachOrder(t *testing.T) {
	done := plugintest.New(sell).Handle(plugintest.Load(t, "testdata/events.ndjson")...)
	want := []string{`{"order":"order-1","price":30}`, `{"order":"order-2","price":20}`}
	if len(done.Appended) != len(want) {
		t.Fatalf("appended %+v", done.Appended)
	}
	for i, e := range done.Appended {
		if e.Data != want[i] || e.Stream != "dearest" {
			t.Errorf("appended %+v, want %s", e, want[i])
		}
	}
}
