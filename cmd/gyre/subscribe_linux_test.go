package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

// nodeWith is a node with so many events in a stream.
func nodeWith(t *testing.T, events int) *runtime.Node {
	t.Helper()
	node, err := runtime.Start(t.Context(), runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close(context.Background()) })
	for range events {
		addEvent(t, node)
	}
	return node
}

func addEvent(t *testing.T, node *runtime.Node) {
	c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
	if _, err := node.Store().Append(context.Background(), c); err != nil {
		t.Error(err)
	}
}

// TestSubscribeHasABar has commands say something on a terminal while a subscription
// catches up. The bar stays below what they say, and leaves nothing behind.
func TestSubscribeHasABar(t *testing.T) {
	const events = 12
	node := nodeWith(t, events)
	onward := filepath.Join(t.TempDir(), "onward")
	handle := fmt.Sprintf(`cat >/dev/null; echo out; echo; printf 'no end'; echo err >&2; until test -e %s; do sleep 0.02; done`, onward)
	text := watchTerminal(t, func(terminal *os.File) {
		args := []string{"subscribe", "work", "--until-caught-up", "--exec", handle, "--server", node.URL()}
		if code := run(t.Context(), args, strings.NewReader(""), terminal, terminal); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	}, func(text string, _ io.Writer) {
		if strings.Count(text, "Catching up: ") >= 3 { // the first command waits for it
			if err := os.WriteFile(onward, nil, 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	want := []string{"", "Handled 12: 12 succeeded, 0 parked, 0 failed."}
	for i := range events {
		want = append(want, "out", "", "no end", fmt.Sprintf("[%d] err", i+1))
	}
	lines := shown(text)
	if last := lines[len(lines)-2]; !strings.HasPrefix(last, "Handled") {
		t.Errorf("it ends with %q", last)
	}
	slices.Sort(lines) // stdout and stderr are two pipes
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("the screen shows %q after %q", lines, text)
	}
	if !strings.Contains(text, "║ [") {
		t.Errorf("no bar in %q", text)
	}
}

// TestSubscribeGivesTheTerminalBack: once it has caught up there is no bar, and the
// terminal is a command's own.
func TestSubscribeGivesTheTerminalBack(t *testing.T) {
	node := nodeWith(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pipes int
	text := watchTerminal(t, func(terminal *os.File) {
		args := []string{"subscribe", "work", "--exec", `cat >/dev/null; if test -t 1; then echo terminal; else echo pipe; fi`, "--server", node.URL()}
		if code := run(ctx, args, strings.NewReader(""), terminal, terminal); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	}, func(text string, _ io.Writer) {
		if strings.Contains(text, "terminal") {
			cancel()
			return
		}
		was := pipes
		if pipes = strings.Count(text, "pipe"); pipes > was && pipes >= 3 {
			addEvent(t, node)
		}
	})
	if lines := shown(text); pipes < 1 || !strings.HasPrefix(lines[len(lines)-2], "Handled ") || lines[len(lines)-3] != "terminal" {
		t.Errorf("the screen shows %q after %q", lines, text)
	}
}
