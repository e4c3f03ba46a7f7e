package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gyre-events/gyre/plugins/wasm/guests"
)

// TestDevOnATerminal: a round takes the place of the one before.
func TestDevOnATerminal(t *testing.T) {
	dir, write := copyingPlugin(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	code, rounds := 0, 0
	text := watchTerminal(t, func(terminal *os.File) {
		code = run(ctx, []string{"plugin", "dev", dir, "--events", filepath.Join(dir, "events.ndjson")}, terminal, terminal, terminal)
	}, func(text string, _ io.Writer) {
		seen := strings.Count(text, "Watching 3 files; Ctrl-C ends it.")
		if seen == rounds {
			return
		}
		if rounds = seen; rounds == 1 {
			write("module.bin", guests.Totals)
		} else {
			cancel(signaled{syscall.SIGINT})
		}
	})
	_, second, ok := strings.Cut(text, clearScreen+"round 2, ")
	if code != exitInterrupted || !ok || !strings.Contains(text, clearScreen+"round 1, ") || !strings.Contains(second, ": copied 0.1.0 with module.bin\r\n") || !strings.Contains(second, "state at the end: 1 added, 0 changed, 1 removed") {
		t.Errorf("exit code %d: %s", code, text)
	}
}
