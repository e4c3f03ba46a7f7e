package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

// TestStreamsOfManyPages lists more streams than a page of the server has.
func TestStreamsOfManyPages(t *testing.T) {
	node, err := runtime.Start(t.Context(), runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close(t.Context())
	const streams = 2*core.MaxReadEvents + 1
	var c core.Commit
	for i := range streams {
		c.Appends = append(c.Appends, core.Append{Stream: fmt.Sprintf("order-%06d", i), Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}})
	}
	if _, err := node.Store().Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int]int{0: streams, core.MaxReadEvents: core.MaxReadEvents, streams - 1: streams - 1, streams: streams, 2 * streams: streams} {
		at := []string{"streams", "ls", "--server", node.URL(), "--limit", fmt.Sprint(limit)}
		out, words := mustRun(t, append(at, "-o", "json")...)
		var list []listedStream
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != want || list[want-1].Stream != fmt.Sprintf("order-%06d", want-1) || list[want-1].Changed.Position != uint64(want) {
			t.Errorf("--limit %d: %d streams, the last is %+v", limit, len(list), list[len(list)-1])
		}
		if reported := words != ""; reported != (want < streams) {
			t.Errorf("--limit %d says %q", limit, words)
		}
		if out, _ = mustRun(t, at...); strings.Count(out, "\n") != want+1 || strings.Count(out, "STREAM") != 1 {
			t.Errorf("--limit %d: a table of %d lines", limit, strings.Count(out, "\n"))
		}
	}
}
