package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

// TestSystemStreams reads, lists, exports and copies a log with events of the system.
func TestSystemStreams(t *testing.T) {
	node, err := runtime.Start(t.Context(), runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close(t.Context())
	event := core.NewEvent{ID: core.NewID(), Type: "KeyMade", Data: []byte("1")}
	for _, stream := range []string{"a", "$audit", "b", "$other"} {
		event.ID = core.NewID()
		c := core.Commit{System: true, Appends: []core.Append{
			{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{event}},
			{Stream: "linked", Expect: core.AnyVersion, Links: []core.ID{event.ID}},
		}}
		if _, err := node.Store().Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]string{
		"read $all":                        "a b",
		"read $all --system":               "a $audit b $other",
		"read $audit":                      "$audit",
		"read $all --backward":             "b a",
		"read $all --limit 1":              "a",
		"tail --from 1 --limit 2":          "a b",
		"tail --from 1 --limit 3 --system": "a $audit b",
		"tail $audit --from 1 --limit 1":   "$audit",
		"streams ls":                       "a b linked",
		"streams ls --system":              "$audit $other a b linked",
		"export":                           "a linked b linked",
		"export $audit":                    "$audit",
	} {
		out, _ := mustRun(t, append(strings.Fields(args), "--server", node.URL(), "-o", "ndjson")...)
		if got := strings.Join(streamsIn(out), " "); got != want {
			t.Errorf("gyre %s: %s, want %s", args, got, want)
		}
	}
	if _, said := mustRun(t, "read", "$all", "--system", "--limit", "1", "--server", node.URL()); said != "There are more: gyre read '$all' --from 2 --system\n" {
		t.Errorf("gyre read --system --limit 1 says %q", said)
	}
	if _, said := mustRun(t, "export", "--server", node.URL()); !strings.Contains(said, "\n4 events of the system's streams, and links to such, left out\n") || strings.Contains(said, "positions") {
		t.Errorf("gyre export says %q", said)
	}
	copySystem(t, node)
}

// copySystem copies the log of a node to a directory, and not to another node.
func copySystem(t *testing.T, node *runtime.Node) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	if _, said := mustRun(t, "copy", "--from", node.URL(), "--to", dir); !strings.Contains(said, "4 events and 4 links copied") || !strings.Contains(said, "they are the same") {
		t.Errorf("gyre copy says %q", said)
	}
	mustRun(t, "verify", "--data", dir)
	target, err := runtime.Start(t.Context(), runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close(t.Context())
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"copy", "--from", dir, "--to", target.URL()}, strings.NewReader(""), &stdout, &stderr)
	if said := stderr.String(); code == exitOK || !strings.Contains(said, "only nodes write the system's streams") || target.Store().State().Head != 0 {
		t.Errorf("gyre copy to a node: %d, %q", code, said)
	}
}

// streamsIn are the streams that lines of JSON name.
func streamsIn(out string) (names []string) {
	for line := range strings.Lines(out) {
		_, rest, _ := strings.Cut(line, `"stream":"`)
		name, _, _ := strings.Cut(rest, `"`)
		names = append(names, name)
	}
	return names
}
