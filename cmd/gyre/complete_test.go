package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

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
	completes(t, "order-1\norder-2\n:4\n", "read", "--server", node.URL(), "order-")
}

// completes waits until a shell gets an answer.
func completes(t *testing.T, want string, args ...string) {
	t.Helper()
	for by := time.Now().Add(startWithin); ; {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"__complete"}, args...), strings.NewReader(""), &stdout, &stderr); code != exitOK {
			t.Fatalf("%s: exit code %d: %s", args, code, &stderr)
		}
		if stdout.String() == want {
			return
		}
		if time.Now().After(by) {
			t.Fatalf("%s completes to %q, want %q", args, &stdout, want)
		}
	}
}

// completesTo is the script's command that waits until a shell is offered a name.
func completesTo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: completes NAME ARG...")
	}
	for by := time.Now().Add(startWithin); ; {
		text, err := gyre(ts, append([]string{"__complete"}, args[1:]...)).Output()
		ts.Check(err)
		if slices.Contains(strings.Split(string(text), "\n"), args[0]) {
			return
		}
		if time.Now().After(by) {
			ts.Fatalf("%s is not offered: %s", args[0], text)
		}
	}
}
