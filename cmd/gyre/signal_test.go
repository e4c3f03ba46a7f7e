package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSecondSignal has a request that never ends, so that the node waits for it.
func TestSecondSignal(t *testing.T) {
	dir := t.TempDir()
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), "--engine", "memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.cmd.Process.Kill() })
	conn, err := net.Dial("tcp", strings.TrimPrefix(node.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "POST /v1/streams/s/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	// The server asks for the body: the request is under way.
	if _, err := conn.Read(make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	if err := node.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-node.stopping
	began := time.Now()
	code, err := node.end(syscall.SIGINT)
	if err != nil || code != exitInterrupted || time.Since(began) > stopWithin/2 {
		t.Errorf("exit code %d, %v, after %s", code, err, time.Since(began))
	}
}

// TestTailOutlivesTheNode kills the node under a tail and starts it again.
func TestTailOutlivesTheNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"--data", filepath.Join(dir, "data")}
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), args...)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "append", "s", "First", "--server", node.url)
	var out, words bytes.Buffer
	tail := exec.Command("gyre", "tail", "--from", "start", "--limit", "2", "--server", node.url)
	seen, err := tail.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	tail.Stderr = &words
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tail.Process.Kill() })
	if _, err := seen.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := node.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	again, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), append(args, "--listen", strings.TrimPrefix(node.url, "http://"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = again.end(syscall.SIGKILL) })
	mustRun(t, "append", "s", "Second", "--server", again.url)
	if _, err := out.ReadFrom(seen); err != nil {
		t.Fatal(err)
	}
	if err := tail.Wait(); err != nil {
		t.Fatalf("tail: %v: %s", err, &words)
	}
	if strings.Count(out.String(), "\n") != 2 || !strings.Contains(out.String(), "s@2  Second") {
		t.Errorf("the tail prints %q", out.String())
	}
	for _, want := range []string{"Lost the connection (", "Connected again."} {
		if !strings.Contains(words.String(), want) {
			t.Errorf("no %q in %s", want, &words)
		}
	}
}
