package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestDeletingDocs runs the session of docs/deleting.md.
func TestDeletingDocs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), "--engine", "memory", "--hard-deletes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	if ran := runSession(t, node, "../../docs/deleting.md"); ran != 12 {
		t.Errorf("the session has %d commands", ran)
	}
}
