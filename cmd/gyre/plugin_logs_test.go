package main

import (
	"bufio"
	"os/exec"
	"syscall"
	"testing"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
)

// TestPluginLogsOutliveTheNode follows the log of a plugin while its node is killed and comes back.
func TestPluginLogsOutliveTheNode(t *testing.T) {
	t.Parallel()
	r := &pluginRing{pluginRun: startPluginRun(t, "gyre", []*ringNode{{args: []string{"--data", t.TempDir()}}})}
	node := r.nodes[0]
	r.upload("words", "1", guests.Words, `"projection","capabilities":["state"]`)
	var s plugins.Status
	r.must(node, "POST", "words/deploy", `{"version":"1","grants":["state"]}`, &s)

	follow := exec.CommandContext(t.Context(), "gyre", "plugin", "logs", "words", "-f", "--server", "http://"+node.listen)
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = follow.Process.Kill()
		_ = follow.Wait() // it was killed
	}()
	lines := bufio.NewScanner(out)
	for kills := range 3 {
		if kills > 0 {
			if _, err := node.now.end(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			node.begin()
			node.ready()
		}
		r.feed(1)
		if !lines.Scan() {
			t.Fatalf("after %d kills the log ends: %v", kills, lines.Err())
		}
	}
}
