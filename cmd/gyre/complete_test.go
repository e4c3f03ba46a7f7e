package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

// TestCompletion asks for stream names as a shell does. Nobody waits long for them, so
// a busy machine may have to be asked again.
func TestCompletion(t *testing.T) {
	node, err := runtime.Start(t.Context(), runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close(t.Context())
	for _, name := range []string{"order-1", "order-2", "customer-1"} {
		c := core.Commit{Appends: []core.Append{{Stream: name, Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
		if _, err := node.Store().Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	for range 20 {
		stdout.Reset()
		args := []string{"__complete", "read", "--server", node.URL(), "order-"}
		if code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &stderr)
		}
		if stdout.String() == "order-1\norder-2\n:4\n" {
			return
		}
	}
	t.Errorf("completes to %q", &stdout)
}
