package main

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/scavenge"
)

// TestInterruptedAppend reports that an append may have been written, also after a signal.
func TestInterruptedAppend(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	unknown := core.Errorf(core.CodeUnknownOutcome, "the append was not answered")
	f := failureOf(ctx, &advised{unknown, "Repeat the command with --id 1."})
	if f.exit != exitInterrupted || f.Code != core.CodeUnknownOutcome || !strings.Contains(f.words, "Repeat the command") {
		t.Errorf("exit code %d, %s: %s", f.exit, f.Code, f.words)
	}
	f = failureOf(ctx, core.AsError(context.Canceled))
	if f.exit != exitInterrupted || f.Code != core.CodeCanceled || f.words != "Interrupted.\n" {
		t.Errorf("exit code %d, %s: %s", f.exit, f.Code, f.words)
	}
}

// TestAdviseFolder: a disk of this machine that refuses has other advice than a node that does.
func TestAdviseFolder(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "b/x", Err: syscall.ENOSPC}
	for want, err := range map[string]error{
		"Make room on the disk of b,":    core.Errorf(core.CodeStoreFull, "%w", full),
		"Check that you may write to b,": core.Errorf(core.CodeUnavailable, "%w", &os.LinkError{Op: "rename", Old: "b/x", New: "b/y", Err: syscall.EROFS}),
		core.CodeStoreFull.Info().Fix:    core.Errorf(core.CodeStoreFull, "the node says so"),
		core.CodeUnavailable.Info().Fix:  core.Errorf(core.CodeUnavailable, "no node answers: %w", syscall.ECONNREFUSED),
	} {
		if f := failureOf(t.Context(), adviseFolder(err, "b")); !strings.HasPrefix(f.Fix, want) || f.exit != exitUnavailable {
			t.Errorf("%v: %s, exit code %d", err, f.Fix, f.exit)
		}
	}
}

// TestAdviseHelp: what the node says about a request has the help of the command as advice, and not
// that of the API, unless there is better advice.
func TestAdviseHelp(t *testing.T) {
	bad := core.Errorf(core.CodeInvalidRequest, "it is bad")
	for _, c := range []struct {
		err  error
		want string
	}{
		{bad, "gyre x --help"},
		{&advised{bad, "Mend it."}, "Mend it."},
		{usagef("gyre x 1").because("it is bad"), "gyre x 1"},
		{core.Errorf(core.CodeInvalidFilter, "it is bad"), core.CodeInvalidFilter.Info().Fix},
	} {
		if f := failureOf(t.Context(), adviseHelp("gyre x", c.err)); f.Fix != c.want || f.Detail != "it is bad" {
			t.Errorf("%v: %q", c.err, f.words)
		}
	}
}

// TestScavengeWords: a scavenge that leaves a part of the log to the next one says so.
func TestScavengeWords(t *testing.T) {
	s := scavenge.Status{State: scavenge.Done, Bytes: 1 << 30, Deferred: 64 << 20}
	if words := scavengeWords(s); !strings.Contains(words, "deferred  64.0 MiB, to the next scavenge: ") {
		t.Error(words)
	}
}
