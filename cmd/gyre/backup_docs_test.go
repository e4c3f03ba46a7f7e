package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestBackupDocs runs the session of docs/backup.md.
func TestBackupDocs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), "--data", filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	if ran := runSessionIn(t, node, dir, "../../docs/backup.md"); ran != 8 {
		t.Errorf("the session has %d commands", ran)
	}
}
