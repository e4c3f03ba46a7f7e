package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSubscribeOutlivesTheNode kills the node while a command runs. Its success comes too
// late, and the event comes again from the next node.
func TestSubscribeOutlivesTheNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"--data", filepath.Join(dir, "data")}
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), args...)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "append", "s", "First", "--server", node.url)
	var words bytes.Buffer
	worker := exec.Command("gyre", "subscribe", "work", "--exec", "cat; until test -e go; do sleep 0.02; done", "--server", node.url)
	worker.Dir, worker.Stderr = dir, &words
	stdout, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = worker.Process.Kill() })
	out := bufio.NewReader(stdout)
	comes := func(when string) {
		t.Helper()
		line, err := out.ReadString('\n')
		if err != nil || !strings.Contains(line, `"type":"First"`) {
			t.Fatalf("%s: %q, %v", when, line, err)
		}
	}
	comes("at first")
	if _, err := node.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), append(args, "--listen", strings.TrimPrefix(node.url, "http://"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = again.end(syscall.SIGKILL) })
	comes("from the next node")
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rest, err := out.ReadString('\n'); err == nil {
		t.Errorf("and then %q", rest)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	for _, want := range []string{"Lost the connection (", "Connected again.", "Handled 2: 2 succeeded"} {
		if !strings.Contains(words.String(), want) {
			t.Errorf("no %q in %s", want, &words)
		}
	}
	if more, _ := mustRun(t, "subscribe", "work", "--until-caught-up", "--server", again.url); more != "" {
		t.Errorf("in the end there was more: %s", more)
	}
}

// TestSubscribeEndsWithItsSubscription deletes the subscription while the command has no
// node: it ends with the exit code of what was not found, and creates nothing.
func TestSubscribeEndsWithItsSubscription(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"--data", filepath.Join(dir, "data")}
	start := func(more ...string) *process {
		t.Helper()
		node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), append(args, more...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
		return node
	}
	stop := func(node *process) {
		t.Helper()
		if _, err := node.end(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	node := start()
	mustRun(t, "append", "s", "First", "--server", node.url)
	worker := exec.Command("gyre", "subscribe", "work", "--exec", "cat", "--server", node.url)
	var words bytes.Buffer
	worker.Stderr = &words
	stdout, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = worker.Process.Kill() })
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	stop(node)
	elsewhere := start() // where the worker does not look
	mustRun(t, "subscriptions", "delete", "work", "--server", elsewhere.url)
	stop(elsewhere)
	again := start("--listen", strings.TrimPrefix(node.url, "http://"))
	_ = worker.Wait()
	if code := worker.ProcessState.ExitCode(); code != exitNotFound || !strings.Contains(words.String(), "subscription_not_found") {
		t.Errorf("exit code %d, want %d: %s", code, exitNotFound, &words)
	}
	if list, _ := mustRun(t, "subscriptions", "ls", "-o", "json", "--server", again.url); strings.TrimSpace(list) != "[]" {
		t.Errorf("afterwards there is %s", list)
	}
}
