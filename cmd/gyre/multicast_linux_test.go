package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/sdk"
)

// TestMulticastRingSoak has real nodes in network namespaces find each other by beacons. One
// with another key, on the same network, hears them and takes none. With GYRE_SOAK=1 a node
// is cut off until gossip has given up on it, and is heard again.
func TestMulticastRingSoak(t *testing.T) {
	const nodes = 3
	network, server := newNamespaces(t, nodes+1), pgtest.Private(t)
	_, url := newProxy(t, network.hub(), server.URL)
	start := func(i int, key, store string) *ringNode {
		dir := t.TempDir()
		file := filepath.Join(dir, "key")
		if err := os.WriteFile(file, []byte(strings.Repeat(key, 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		n := &ringNode{t: t, listen: network.addr(i) + ":4973", dir: dir, program: network.program(i, dir), args: []string{
			"--cluster", "--node", fmt.Sprintf("node%d", i+1), "--listen", network.addr(i) + ":4973", "--peers-multicast",
			"--postgres", url, "--store", store, "--insecure", "--cluster-key-file", file,
		}}
		n.start()
		t.Cleanup(func() { _, _ = n.now.end(syscall.SIGKILL) })
		return n
	}
	stranger := start(nodes, "s", server.Store(t))
	var list []*ringNode
	store := server.Store(t)
	for i := range nodes {
		list = append(list, start(i, "k", store))
	}
	whole := func() {
		for i, n := range list {
			n.ready()
			var others []string
			for other := range list {
				if other != i {
					others = append(others, network.addr(other)+":7946")
				}
			}
			n.finds(others, "")
		}
	}
	whole()
	stranger.finds(nil, "its key or cluster-name differs")
	if os.Getenv("GYRE_SOAK") == "" {
		return
	}
	network.isolate(0, true)
	time.Sleep(65 * time.Second) // gossip looks for a dead node for 30 s
	network.isolate(0, false)
	whole()
}

// TestMulticastIsNotAvailable: a node whose network takes no multicast does not start.
func TestMulticastIsNotAvailable(t *testing.T) {
	network := newNamespaces(t, 1)
	network.ip("-n", network.name(0), "link", "set", "eth0", "multicast", "off")
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, network.program(0, dir), "serve", "--cluster", "--insecure", "--listen", "0.0.0.0:4973", "--advertise", network.addr(0),
		"--postgres", "postgres://u@192.0.2.1/db", "--cluster-key-file", key, "--peers-multicast")
	text, err := cmd.CombinedOutput()
	const want = "Error: peers-multicast: no interface of this machine that is up takes multicast: name the nodes in another way"
	if cmd.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(text), want) {
		t.Errorf("it ends with %v and says %s", err, text)
	}
}

// finds waits until the node says that multicast leads to some addresses, or what is wrong
// with it.
func (n *ringNode) finds(addresses []string, problem string) {
	n.t.Helper()
	var said ring.Provider
	for by := time.Now().Add(startWithin); time.Now().Before(by); time.Sleep(100 * time.Millisecond) { // nothing says when
		status, err := n.status()
		if err != nil {
			n.t.Fatal(err)
		}
		i := slices.IndexFunc(status.Providers, func(p ring.Provider) bool { return p.Name == "peers-multicast" })
		if i < 0 {
			n.t.Fatalf("%+v has no peers-multicast", status.Providers)
		}
		said = status.Providers[i]
		if slices.Equal(said.Addresses, addresses) && strings.Contains(said.Problem, problem) && (said.Problem == "") == (problem == "") {
			return
		}
	}
	n.t.Errorf("%s finds %+v, want %q, %q", n.listen, said, addresses, problem)
}

// status asks the node how it is.
func (n *ringNode) status() (ring.Status, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), startWithin)
	defer cancel()
	client, err := sdk.Dial(ctx, "http://"+n.listen, sdk.Options{})
	if err != nil {
		return ring.Status{}, err
	}
	defer client.Close()
	return client.Cluster().Status(ctx, "")
}
