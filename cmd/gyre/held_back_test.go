//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHeldBack: a saved key that is not sent, because others could read it on its way, is named.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := append(os.Environ(), "XDG_CONFIG_HOME="+dir, "GYRE_TOKEN=")
	node, err := serve(dir, env, filepath.Join(dir, "node.log"), "--engine", "memory", "--allow-host", "0.0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	gyre := func(args ...string) string {
		cmd := exec.Command("gyre", args...)
		cmd.Env = env
		out, _ := cmd.CombinedOutput() // the exit code is not what it is about
		return string(out)
	}
	if out := gyre("auth", "init", "--server", node.url); !strings.Contains(out, "It is saved in ") {
		t.Fatal(out)
	}
	far := strings.Replace(node.url, "127.0.0.1", "0.0.0.0", 1) // the same machine, and no loopback address
	saved := filepath.Join(dir, "gyre", "token")
	if out := gyre("streams", "ls", "--server", far); !strings.Contains(out, "the key in "+saved+" was held back") || !strings.Contains(out, "Try: Call the node by https://") {
		t.Error(out)
	}
	if out := gyre("doctor", "--listen", "127.0.0.1:0", "--server", far); !strings.Contains(out, " answers 401 Unauthorized; the key in "+saved+" was held back") {
		t.Error(out)
	}
	if out := gyre("streams", "ls", "--server", far, "--token-file", saved); strings.Contains(out, "held back") || strings.Contains(out, "Error") {
		t.Error(out)
	}
	if err := os.Remove(saved); err != nil {
		t.Fatal(err)
	}
	if out := gyre("streams", "ls", "--server", far); strings.Contains(out, "held back") || !strings.Contains(out, "no key was given") {
		t.Error(out)
	}
}
