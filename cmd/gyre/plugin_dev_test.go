package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gyre-events/gyre/plugins/dev"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// copyingPlugin is a directory with a plugin whose build copies a module: guests.Words, at first.
func copyingPlugin(t *testing.T) (dir string, write func(name string, content []byte)) {
	dir = t.TempDir()
	write = func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("gyre.plugin.json", []byte(`{"name":"copied","version":"0.1.0","abi":"gyre_1","kind":"projection","capabilities":["state"],
		"subscription":{"stream":"order-1"},"build":["cp","module.bin","module.wasm"],"module":"module.wasm"}`))
	write("module.bin", guests.Words)
	write("events.ndjson", []byte(`{"stream":"order-1","type":"OrderPlaced","data":{"total":10}}`+"\n"))
	return dir, write
}

// TestDevPrintsRounds: each change of a file is a round, and a line for programs.
func TestDevPrintsRounds(t *testing.T) {
	t.Parallel()
	dir, write := copyingPlugin(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	out, stdout := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"plugin", "dev", dir, "--events", filepath.Join(dir, "events.ndjson"), "-o", "ndjson"}, strings.NewReader(""), stdout, &stderr)
		stdout.Close()
	}()
	lines := bufio.NewScanner(out)
	next := func() (r struct {
		dev.Round
		Problem *wire.Error `json:"problem"`
	}) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("there is no round: %v", lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		return r
	}
	if r := next(); r.Round.Round != 1 || r.Events != 1 || r.Tried.State.Added != 1 || r.Changes != nil {
		t.Errorf("the first round: %+v", r)
	}
	write("module.bin", guests.Totals)
	if r := next(); r.Changes == nil || r.Changes.Writes != 1 || len(r.Files) != 1 {
		t.Errorf("another module: %+v", r)
	}
	write("module.bin", []byte("no module"))
	if r := next(); r.Problem == nil || r.Problem.Code != "invalid_module" || r.Tried != nil {
		t.Errorf("no module: %+v", r)
	}
	cancel(signaled{syscall.SIGINT})
	if lines.Scan() {
		t.Errorf("after the interrupt there is %s", lines.Bytes())
	}
	if c := <-code; c != exitInterrupted || !strings.Contains(stderr.String(), `"code":"canceled"`) {
		t.Errorf("exit code %d: %s", c, &stderr)
	}
}
