package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCountExample counts imported events by type, as examples/README.md says.
func TestCountExample(t *testing.T) {
	dir := t.TempDir()
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), "--engine", "memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	mustRun(t, "import", "../../examples/temporal-sample.ndjson", "--server", node.url)
	counts := filepath.Join(dir, "counts")
	t.Setenv("COUNTS", counts)
	mustRun(t, "subscribe", "counting", "--types", "FileDeleted,Nothing*", "--partition-by", "stream", "--workers", "2",
		"--exec", "../../examples/subscribers/count.sh", "--until-caught-up", "--server", node.url)
	out, err := exec.Command("sh", "-c", "sort -u "+counts+" | cut -d ' ' -f 2 | sort | uniq -c").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "178 FileDeleted" {
		t.Errorf("counted %q, %v", out, err)
	}
}
