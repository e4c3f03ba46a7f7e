package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
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
	said, _ := exec.Command("gyre", "streams", "delete", "a'b c", "--tombstone", "--hard", "--server", node.URL()).CombinedOutput()
	if want := `gyre streams delete 'a'\''b c' --tombstone`; !strings.Contains(string(said), want) {
		t.Errorf("%s: it does not say %s", said, want)
	}
	out, _ := mustRun(t, "streams", "delete", "order-2", "--tombstone", "-o", "json", "--server", node.URL())
	var printed changedStream
	if err := json.Unmarshal([]byte(out), &printed); err != nil || printed != (changedStream{"order-2", "tombstone"}) {
		t.Errorf("%s: %+v, %v", out, printed, err)
	}
	out, _ = mustRun(t, "streams", "ls", "--state", "tombstoned", "-o", "ndjson", "--server", node.URL())
	if one, two := strings.Index(out, `"order-1"`), strings.Index(out, `"order-2"`); one < 0 || two < one || strings.Count(out, "\n") != 2 {
		t.Errorf("the tombstoned streams are %s", out)
	}
	if said, err := exec.Command("gyre", "streams", "ls", "--state", "gone", "--server", node.URL()).CombinedOutput(); err == nil || !strings.Contains(string(said), "--state tombstoned") {
		t.Errorf("--state gone: %s, %v", said, err)
	}
}

// TestRemovalIsAskedAbout: who agrees removes the version that was shown, and no other.
func TestRemovalIsAskedAbout(t *testing.T) {
	node, err := runtime.Start(t.Context(), runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0", HardDeletes: true})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close(t.Context())
	client, err := sdk.Dial(t.Context(), node.URL(), sdk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 3 {
		if _, err := client.AppendTo(t.Context(), "order-1", core.AnyVersion, core.NewEvent{Type: "T", Data: []byte("1")}); err != nil {
			t.Fatal(err)
		}
	}
	const shown, tombstone = "order-1 is at version 3. Its events and all links to them go for good.\n", "Nothing can be appended to order-1 again.\n"
	for _, x := range []struct {
		answer     string
		op         core.StreamOp
		expect     core.Expect
		says       string
		isCanceled bool
	}{
		{"y\n", core.StreamOp{Stream: "order-1", Expect: core.AnyVersion, Action: core.RemoveStream}, 3, shown, false},
		{"yes\n", core.StreamOp{Stream: "order-1", Expect: 2, Action: core.TombstoneStream}, 2, shown + tombstone, false},
		{"n\n", core.StreamOp{Stream: "order-1", Expect: core.AnyVersion, Action: core.RemoveStream}, 3, shown, true},
		{"", core.StreamOp{Stream: "order-1", Expect: core.AnyVersion, Action: core.RemoveStream}, 3, shown, true},
		{"y\n", core.StreamOp{Stream: "none", Expect: core.AnyVersion, Action: core.TombstoneStream}, core.AnyVersion, "none is at version 0.", false},
	} {
		var said strings.Builder
		a := &app{stdin: strings.NewReader(x.answer), stderr: &said, timeout: defaultTimeout}
		op := x.op
		err := a.askRemoval(t.Context(), client, &op)
		if errors.Is(err, core.CodeCanceled) != x.isCanceled || (err != nil) != x.isCanceled {
			t.Errorf("%v, answered %q: %v", x.op, x.answer, err)
		}
		if !strings.HasPrefix(said.String(), x.says) || !strings.Contains(said.String(), "Remove them? [y/N] ") || op.Expect != x.expect {
			t.Errorf("%v: it says %q, and expects version %v", x.op, said.String(), op.Expect)
		}
	}
}
