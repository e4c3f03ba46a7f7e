package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestScavengingDocs runs the session of docs/scavenging.md.
func TestScavengingDocs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), "--data", filepath.Join(dir, "data"), "--hard-deletes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	if ran := runSession(t, node, "../../docs/scavenging.md"); ran != 9 {
		t.Errorf("the session has %d commands", ran)
	}
}
