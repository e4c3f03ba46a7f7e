package main

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

// TestStreamsDelete: what each command prints, and how it exits.
func TestStreamsDelete(t *testing.T) {
	node, err := runtime.Start(t.Context(), runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0", HardDeletes: true})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close(t.Context())
	c := core.Commit{Appends: []core.Append{{Stream: "order-1", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
	if _, err := node.Store().Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		args []string
		want string // "": it fails
		exit int
	}{
		{[]string{"delete", "order-1", "--expect", "7"}, "", exitConflict},
		{[]string{"delete", "order-1", "--expect", "1"}, "deleted order-1\n", 0},
		{[]string{"delete", "order-1"}, "", exitNotFound},
		{[]string{"undelete", "order-1"}, "undeleted order-1\n", 0},
		{[]string{"undelete", "order-1"}, "", exitConflict},
		{[]string{"delete", "order-1", "--hard", "--expect", "1"}, "removed the events of order-1\n", 0},
		{[]string{"delete", "order-1", "--tombstone", "--yes"}, "tombstoned order-1\n", 0},
		{[]string{"delete", "order-1", "--tombstone", "--hard"}, "", exitUsage},
		{[]string{"delete", "order-1", "--expect", "x"}, "", exitUsage},
	} {
		cmd := exec.Command("gyre", append([]string{"streams"}, append(x.args, "--server", node.URL())...)...)
		out, err := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code != x.exit || string(out) != x.want {
			t.Errorf("gyre streams %v exits with %d, %q, %v; want %d, %q", x.args, code, out, err, x.exit, x.want)
		}
	}
	out, _ := mustRun(t, "streams", "delete", "order-2", "--tombstone", "-o", "json", "--server", node.URL())
	var printed changedStream
	if err := json.Unmarshal([]byte(out), &printed); err != nil || printed != (changedStream{"order-2", "tombstone"}) {
		t.Errorf("%s: %+v, %v", out, printed, err)
	}
}
