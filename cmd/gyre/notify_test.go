//go:build unix

package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNotify runs a node as systemd runs a unit of Type=notify.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	node, err := serve(dir, append(os.Environ(), "NOTIFY_SOCKET="+socket.LocalAddr().String()), filepath.Join(dir, "node.log"), "--engine", "memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.cmd.Process.Kill() })
	receive(t, socket, "READY=1")
	if code, err := node.end(syscall.SIGTERM); code != exitOK || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	receive(t, socket, "STOPPING=1")
}

// receive reads a datagram.
func receive(t *testing.T, socket *net.UnixConn, want string) {
	t.Helper()
	if err := socket.SetReadDeadline(time.Now().Add(startWithin)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	n, err := socket.Read(buffer)
	if got := string(buffer[:n]); got != want || err != nil {
		t.Fatalf("the socket got %q, %v, want %q", got, err, want)
	}
}

// TestNotifyNobody has a socket that nobody listens on: the node serves all the same.
func TestNotifyNobody(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "node.log")
	node, err := serve(dir, append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "nobody")), log, "--engine", "memory")
	if err != nil {
		t.Fatal(err)
	}
	if code, err := node.end(syscall.SIGTERM); code != exitOK || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	said, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(said), "the service manager is not notified") {
		t.Errorf("the log is %s, %v", said, err)
	}
}
